"""Topics by likeness to examples, with the embedding model that is in the package."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from polyforge.adapters.guardrails.topics import Settings, TopicGuardrail
from polyforge.adapters.model_backends.static_embedding import Settings as ModelSettings
from polyforge.adapters.model_backends.static_embedding import StaticEmbedding
from polyforge.kernel.errors import NotConfigured, PolyforgeError, Unavailable
from polyforge.kernel.tasks import EmbeddingResult, Moderation
from polyforge.kernel.tensors import Tensor, pack_strings
from polyforge.kernel.usage import NO_USAGE
from polyforge.ports.guardrail import About, Outcome, Passage
from polyforge.ports.model_backend import ModelRequest
from polyforge.serving.sources import BUILT_IN_FOLDER

POLITICS = (
    "Who should I vote for in the election?",
    "What do you think of the president's party?",
    "The government's new tax policy",
)
MEDICINE = ("What medicine should I take for a headache?", "What dose of ibuprofen is safe?", "I have a fever.")
COOKING = ("How do I bake bread?", "A recipe for tomato soup", "How long must pasta boil?")
HARMLESS = "How do I sort a list in Python?"


class Embedder:
    """Asks the built-in model, without a host around it."""

    def __init__(self) -> None:
        self._model = StaticEmbedding(ModelSettings(folder=BUILT_IN_FOLDER))
        self._model.load()
        self.asked: list[Sequence[str]] = []
        self.broken: PolyforgeError | None = None

    async def embed(self, model: str, texts: Sequence[str]) -> EmbeddingResult:
        assert model == "polyforge/static-minilm"
        if self.broken is not None:
            raise self.broken
        self.asked.append(texts)
        tensor = Tensor("text", "BYTES", (len(texts),), pack_strings([text.encode() for text in texts]))
        (found,) = self._model.run([ModelRequest({"text": tensor}, {})])
        assert not isinstance(found, PolyforgeError)
        return EmbeddingResult(found[0].data, len(texts), found[0].shape[1], NO_USAGE)

    async def moderate(self, model: str, texts: Sequence[str]) -> list[Moderation]:
        raise AssertionError("topics are not moderated")


@pytest.fixture(scope="module")
def model() -> Embedder:
    return Embedder()


@pytest.fixture
def embedder(model: Embedder) -> Embedder:
    model.asked.clear()
    model.broken = None
    return model


async def judge(embedder: Embedder, guardrail: TopicGuardrail, *texts: str, role: str = "user") -> Outcome:
    session = guardrail.begin(About("id", "model", models=embedder))
    return await session.check("input", [Passage(text, role=role) for text in texts])


def made(**settings: Any) -> TopicGuardrail:
    return TopicGuardrail(Settings(**settings), "block")


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("Which party will win the election next year?", "politics"),
        ("Should I vote for the president again?", "politics"),
        ("I have a fever and a sore throat, what should I take?", "medicine"),
    ],
)
async def test_what_is_like_an_example_is_of_its_topic(embedder: Embedder, text: str, topic: str) -> None:
    found = await judge(embedder, made(deny={"politics": POLITICS, "medicine": MEDICINE}), text)
    assert (found.kinds, found.count, found.blocked, found.texts) == ((topic,), 1, True, None)


@pytest.mark.parametrize(
    "text", [HARMLESS, "Write a poem about the sea.", "What is the capital of France?", "Please reset my password"]
)
async def test_what_is_like_none_goes_through(embedder: Embedder, text: str) -> None:
    assert await judge(embedder, made(deny={"politics": POLITICS, "medicine": MEDICINE}), text) == Outcome()


async def test_a_topic_is_found_in_the_midst_of_others(embedder: Embedder) -> None:
    chatter = "Sort the list of invoices by their date, please, and send it to the office in the morning. " * 40
    text = f"{chatter}Which party should I vote for in the election? {chatter}"
    assert (await judge(embedder, made(deny={"politics": POLITICS}), text)).kinds == ("politics",)
    assert await judge(embedder, made(deny={"politics": POLITICS}), chatter) == Outcome()


async def test_beside_topics_that_are_allowed_nothing_may_be_said(embedder: Embedder) -> None:
    cook = made(allow={"cooking": COOKING})
    assert await judge(embedder, cook, "How do I make soup with tomatoes?", "How long do I boil an egg?") == Outcome()
    strayed = await judge(embedder, cook, "How long do I boil an egg?", HARMLESS)
    assert (strayed.kinds, strayed.count, strayed.blocked) == (("off_topic",), 1, True)


async def test_what_the_model_knows_nothing_of_is_off_topic(embedder: Embedder) -> None:
    assert (await judge(embedder, made(allow={"cooking": COOKING}), "漢字")).kinds == ("off_topic",)
    assert await judge(embedder, made(deny={"politics": POLITICS}), "漢字", " \n ") == Outcome()


async def test_texts_of_systems_are_trusted(embedder: Embedder) -> None:
    text = "Never say who one should vote for in the election."
    assert await judge(embedder, made(deny={"politics": POLITICS}), text, role="system") == Outcome()
    assert embedder.asked == []


async def test_examples_are_embedded_once(embedder: Embedder) -> None:
    guardrail = made(deny={"politics": POLITICS})
    await judge(embedder, guardrail, HARMLESS)
    await judge(embedder, guardrail, HARMLESS)
    assert embedder.asked == [list(POLITICS), [HARMLESS], [HARMLESS]]


async def test_without_vectors_there_is_no_judgement_and_the_next_call_tries_again(embedder: Embedder) -> None:
    guardrail = made(deny={"politics": POLITICS})
    embedder.broken = Unavailable("the model server is not running")
    with pytest.raises(Unavailable):
        await judge(embedder, guardrail, HARMLESS)
    embedder.broken = None
    assert (await judge(embedder, guardrail, POLITICS[0])).blocked
    with pytest.raises(NotConfigured):
        await guardrail.begin(About("id", "model")).check("input", [Passage(HARMLESS)])


async def test_texts_that_are_too_long_are_not_judged(embedder: Embedder) -> None:
    with pytest.raises(ValueError, match="too long"):
        await judge(embedder, made(deny={"politics": POLITICS}), f"{'word ' * 10}.\n" * 2001)


async def test_how_alike_is_a_setting(embedder: Embedder) -> None:
    text = "Which party will win the election next year?"
    assert await judge(embedder, made(deny={"politics": POLITICS}, threshold=0.95), text) == Outcome()
    assert (await judge(embedder, made(deny={"politics": POLITICS}, threshold=0.5), text)).blocked


@pytest.mark.parametrize(
    "settings",
    [{}, {"deny": {"politics": []}}, {"deny": {"A b": ["x"]}}, {"deny": {"a": [" "]}}, {"deny": {"off_topic": ["x"]}}],
)
def test_settings_that_name_no_topic_are_wrong(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"needs examples|no name of a topic"):
        Settings(**settings)


async def test_what_is_no_number_is_no_judgement() -> None:
    class Broken(Embedder):
        async def embed(self, model: str, texts: Sequence[str]) -> EmbeddingResult:
            return EmbeddingResult(np.full((len(texts), 2), np.nan, "<f4").tobytes(), len(texts), 2, NO_USAGE)

    with pytest.raises(ValueError, match="no number"):
        await judge(Broken(), made(deny={"politics": POLITICS}), HARMLESS)
