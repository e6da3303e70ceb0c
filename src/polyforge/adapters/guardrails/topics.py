"""Topics that may not be spoken of, and topics beside which nothing may: by likeness to examples.

Examples and texts are embedded by a model of this installation. A text is cut into its sentences, each of which is
compared with every example; how alike two are is the cosine of the angle between their vectors. What is allowed is
judged by longer passages, because few sentences tell what a text is about. Texts of systems and developers are trusted.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from polyforge.kernel.tasks import Task
from polyforge.ports.guardrail import About, Action, Outcome, Part, Passage, Stage, models_of
from polyforge.ports.models import Models
from polyforge.ports.secret_source import SecretSource

OFF_TOPIC: Final = "off_topic"
_NAME: Final = re.compile("[a-z][a-z0-9_]{0,39}")
_TRUSTED: Final = frozenset({"system", "developer"})
_END: Final = re.compile(r"[.!?]+\s+|[。！？।\n]+")
"""Of a sentence."""
_SENTENCES: Final = (40, 300)
"""The fewest characters that are compared by themselves, and the most: for topics that are denied."""
_PASSAGES: Final = (700, 1000)
"""The same for topics that are allowed."""
_MOST_PIECES: Final = 2000
_BATCH: Final = 100
"""Texts in one call: what every provider takes."""
_MOST_EXAMPLES: Final = 1000

_Vectors = NDArray[np.float32]
Topics = dict[str, tuple[str, ...]]
"""Examples by the name of their topic."""


class Settings(BaseModel):
    """The topics, each with some examples of what is said about it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    deny: Topics = Field(default_factory=dict, description="Examples of what may not be spoken of, by topic.")
    allow: Topics = Field(
        default_factory=dict, description="Examples of what may be spoken of, by topic; then nothing else may."
    )
    model: str = Field(
        default="polyforge/static-minilm",
        description="A model of this installation that embeds; the built-in one reads English only.",
    )
    threshold: float = Field(
        default=0.6, gt=0, le=1, description="How alike a text and an example are at least that are of one topic."
    )

    @field_validator("deny", "allow")
    @classmethod
    def _have_examples(cls, topics: Topics) -> Topics:
        for name, examples in topics.items():
            if not _NAME.fullmatch(name) or name == OFF_TOPIC:
                raise ValueError(f"{name[:50]!r} is no name of a topic: it has small letters, digits and _, at most 40")
            if not examples or not all(example.strip() for example in examples):
                raise ValueError(f"{name} needs examples, none of them empty")
        return topics

    @model_validator(mode="after")
    def _names_something(self) -> "Settings":
        count = sum(len(examples) for topics in (self.deny, self.allow) for examples in topics.values())
        if not 1 <= count <= _MOST_EXAMPLES:
            raise ValueError(f"needs examples under `deny` or `allow`, at most {_MOST_EXAMPLES}")
        return self


class _Known(msgspec.Struct, frozen=True):
    """The examples as vectors of length one, with the topic of each row."""

    names: tuple[str, ...]
    vectors: _Vectors


class TopicGuardrail:
    """Compares texts with examples. These are embedded once, in the name of the first call that is judged."""

    def __init__(self, settings: Settings, action: Action) -> None:
        if action not in ("block", "flag"):
            raise ValueError("what is said of a topic can be blocked or flagged, not masked")
        self._settings = settings
        self.blocks = action == "block"
        self._known: dict[str, _Known] = {}
        self._learning = asyncio.Lock()

    @property
    def model(self) -> str:
        """What embeds."""
        return self._settings.model

    @property
    def task(self) -> Task:
        """What it does."""
        return "embedding"

    async def open(self, secrets: SecretSource) -> None:
        """Examples are embedded when they are needed: the model may come later."""

    async def close(self) -> None:
        """Nothing to let go of."""

    def begin(self, about: About) -> "TopicSession":
        """A session."""
        return TopicSession(self, about)

    async def spoken_of(self, models: Models, texts: Sequence[str]) -> list[str]:
        """Topics that are denied and that the texts speak of."""
        denied = await self._learn(models, "deny", self._settings.deny)
        pieces = _pieces(texts, _SENTENCES)
        if denied is None or not pieces:
            return []
        alike = (await self._embed(models, pieces)) @ denied.vectors.T
        return [denied.names[row] for row in np.flatnonzero(alike.max(axis=0) >= self._settings.threshold)]

    async def strays(self, models: Models, texts: Sequence[str]) -> int:
        """How many passages of the texts are of no topic that is allowed."""
        allowed = await self._learn(models, "allow", self._settings.allow)
        pieces = _pieces(texts, _PASSAGES)
        if allowed is None or not pieces:
            return 0
        alike = (await self._embed(models, pieces)) @ allowed.vectors.T
        return int((alike.max(axis=1) < self._settings.threshold).sum())

    async def _learn(self, models: Models, kind: str, topics: Mapping[str, Sequence[str]]) -> _Known | None:
        if not topics:
            return None
        async with self._learning:
            known = self._known.get(kind)
            if known is None:
                names = [name for name, examples in topics.items() for _ in examples]
                texts = [example for examples in topics.values() for example in examples]
                known = self._known[kind] = _Known(tuple(names), await self._embed(models, texts))
        return known

    async def _embed(self, models: Models, texts: Sequence[str]) -> _Vectors:
        """Vectors of length one; of length nothing where the model knows nothing of a text."""
        found: list[_Vectors] = []
        for start in range(0, len(texts), _BATCH):
            result = await models.embed(self.model, texts[start : start + _BATCH])
            vectors = np.frombuffer(memoryview(result.data), "<f4").reshape(result.rows, result.dimensions)
            found.append(_units(vectors))
        return np.concatenate(found)


class TopicSession:
    """One call."""

    def __init__(self, guardrail: TopicGuardrail, about: About) -> None:
        self._guardrail = guardrail
        self._about = about

    async def check(self, stage: Stage, passages: Sequence[Passage]) -> Outcome:
        """Compare the texts; what is no prose, such as arguments of tools, can be denied but is not asked to fit."""
        heard = [passage for passage in passages if passage.role not in _TRUSTED]
        if not heard:
            return Outcome()
        models = models_of(self._about)
        topics = await self._guardrail.spoken_of(models, [passage.text for passage in heard])
        strays = await self._guardrail.strays(models, [passage.text for passage in heard if passage.part == "text"])
        kinds = sorted(set(topics)) + [OFF_TOPIC] * (strays > 0)
        return Outcome(tuple(kinds), len(set(topics)) + strays, self._guardrail.blocks) if kinds else Outcome()

    def filter(self, part: Part) -> None:
        """What a text is about shows at its end."""


def _pieces(texts: Sequence[str], sizes: tuple[int, int]) -> list[str]:
    """The texts in pieces that are judged by themselves; ValueError where that are too many."""
    found: list[str] = []
    for text in texts:
        for piece in _cut(text, *sizes):
            if len(found) == _MOST_PIECES:
                raise ValueError("the texts are too long to be judged by topic")
            found.append(piece)
    return found


def _cut(text: str, least: int, most: int) -> Iterator[str]:
    """Whole sentences, as many as make `least` characters together, those of more than `most` cut."""
    begin = 0
    for found in _END.finditer(text):
        if found.end() - begin >= least:
            yield from _parts(text[begin : found.end()].strip(), most)
            begin = found.end()
    yield from _parts(text[begin:].strip(), most)


def _parts(piece: str, most: int) -> Iterator[str]:
    for start in range(0, len(piece), most):
        if part := piece[start : start + most].strip():
            yield part


def _units(vectors: _Vectors) -> _Vectors:
    lengths: Any = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(lengths).all():
        raise ValueError("the model answered with what is no number")
    return vectors / np.maximum(lengths, np.float32(1e-12))


ADAPTER = TopicGuardrail
