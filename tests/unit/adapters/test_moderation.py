"""Moderation by a model of the installation."""

from collections.abc import Sequence
from typing import Any

import pytest

from polyforge.adapters.guardrails.moderation import ModerationGuardrail, Settings
from polyforge.dialects.openai_moderations import decode_moderation, read_results, write_request
from polyforge.kernel.tasks import EmbeddingResult, Moderation
from polyforge.ports.guardrail import About, Outcome, Passage

MILD = Moderation({"violence": False, "self-harm/intent": False}, {"violence": 0.3, "self-harm/intent": 0.01})
HARD = Moderation({"violence": True, "self-harm/intent": True}, {"violence": 0.97, "self-harm/intent": 0.8})


class Moderator:
    """Judges by a word."""

    def __init__(self) -> None:
        self.asked: list[Sequence[str]] = []

    async def embed(self, model: str, texts: Sequence[str]) -> EmbeddingResult:
        raise AssertionError("nothing is embedded")

    async def moderate(self, model: str, texts: Sequence[str]) -> list[Moderation]:
        self.asked.append(texts)
        return [HARD if "hurt" in text else MILD for text in texts]


async def judge(*texts: str, role: str = "user", **settings: Any) -> Outcome:
    guardrail = ModerationGuardrail(Settings(model="moderator", **settings), "block")
    session = guardrail.begin(About("id", "model", models=Moderator()))
    return await session.check("input", [Passage(text, role=role) for text in texts])


async def test_what_the_provider_flags_is_found_in_words_that_callers_may_be_told() -> None:
    assert await judge("hello") == Outcome()
    assert await judge("hurt them", "hurt me") == Outcome(("self_harm_intent", "violence"), 4, blocked=True)
    assert await judge("never hurt anybody", role="system") == Outcome()


async def test_categories_narrow_what_is_judged_by() -> None:
    assert (await judge("hurt", categories=["violence"])).kinds == ("violence",)
    assert (await judge("hurt", categories=["violence"], thresholds={"violence": 0.99})) == Outcome()


async def test_thresholds_take_the_place_of_the_providers_own() -> None:
    assert (await judge("hello", thresholds={"violence": 0.25})).kinds == ("violence",)
    assert (await judge("hurt", thresholds={"violence": 0.99})).kinds == ("self_harm_intent",)


@pytest.mark.parametrize("settings", [{"categories": ["violance"]}, {"thresholds": {"violance": 0.5}}])
async def test_a_category_that_the_model_does_not_know_is_no_judgement(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="violance"):
        await judge("hello", **settings)


async def test_long_texts_are_judged_in_pieces() -> None:
    assert (await judge("x" * 20_000 + " hurt")).count == 2
    with pytest.raises(ValueError, match="too long"):
        await judge("x" * 3_000_000)


def test_the_dialect_is_openais() -> None:
    request = decode_moderation(write_request("omni-moderation-latest", ["a", "b"]))
    assert (request.model, request.parts) == ("omni-moderation-latest", 2)
    body = (
        b'{"id":"modr-1","model":"omni","results":[{"flagged":true,"categories":{"hate":true,"illicit":null},'
        b'"category_scores":{"hate":0.9,"illicit":null},"category_applied_input_types":{"hate":["text"]}}]}'
    )
    assert read_results(body) == [Moderation({"hate": True}, {"hate": 0.9})]
    with pytest.raises(ValueError, match="results"):
        read_results(b'{"object":"list"}')
