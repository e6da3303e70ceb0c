"""Moderation by a model of this installation that speaks OpenAI's moderations: hate, violence, self-harm and the like.

Source: https://platform.openai.com/docs/guides/moderation. Names of categories are the provider's; in what callers are
told, `/` and `-` of them are `_`. Texts of systems and developers are trusted.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from polyforge.kernel.tasks import Moderation, Task
from polyforge.ports.guardrail import About, Action, Outcome, Part, Passage, Stage, models_of
from polyforge.ports.secret_source import SecretSource

_TRUSTED: Final = frozenset({"system", "developer"})
_BATCH: Final = 32
"""Texts in one call."""
_LONG: Final = 8000
"""Characters of one text; longer ones are judged in pieces, so that none is cut by the provider."""
_MOST_PIECES: Final = 320
_NO_KIND: Final = re.compile("[^a-z0-9_]")


class Settings(BaseModel):
    """What moderates, and how sure it must be of what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(description="A model of this installation of task `moderation`.")
    categories: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="Judge by these and those that have a threshold alone; default: all there are.",
    )
    thresholds: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        default_factory=dict,
        description="For a category, from what score on a text is a find; default: as the provider says.",
    )


class ModerationGuardrail:
    """Asks about whole requests and whole answers."""

    def __init__(self, settings: Settings, action: Action) -> None:
        if action not in ("block", "flag"):
            raise ValueError("what is moderated can be blocked or flagged, not masked")
        self._settings = settings
        self.blocks = action == "block"

    @property
    def model(self) -> str:
        """What moderates."""
        return self._settings.model

    @property
    def task(self) -> Task:
        """What it does."""
        return "moderation"

    async def open(self, secrets: SecretSource) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Nothing to let go of."""

    def begin(self, about: About) -> "ModerationSession":
        """A session."""
        return ModerationSession(self, about)

    def finds(self, judged: Moderation) -> set[str]:
        """The categories of which it is sure enough; ValueError where it says nothing of one that is asked about."""
        thresholds, wanted = self._settings.thresholds, self._settings.categories or tuple(judged.categories)
        if unknown := sorted(set(wanted) - judged.categories.keys() | thresholds.keys() - judged.scores.keys()):
            raise ValueError(f"the moderation model says nothing of {unknown[0]}")
        found = {name for name in wanted if judged.categories[name] and name not in thresholds}
        return found | {name for name, least in thresholds.items() if judged.scores[name] >= least}


class ModerationSession:
    """One call."""

    def __init__(self, guardrail: ModerationGuardrail, about: About) -> None:
        self._guardrail = guardrail
        self._about = about

    async def check(self, stage: Stage, passages: Sequence[Passage]) -> Outcome:
        """Ask about every text, as few times as may be."""
        texts = list(_pieces([passage.text for passage in passages if passage.role not in _TRUSTED]))
        if len(texts) > _MOST_PIECES:
            raise ValueError("the texts are too long to be moderated")
        counts: Counter[str] = Counter()
        for start in range(0, len(texts), _BATCH):
            batch = texts[start : start + _BATCH]
            for judged in await models_of(self._about).moderate(self._guardrail.model, batch):
                counts.update(map(_kind, self._guardrail.finds(judged)))
        return Outcome(tuple(sorted(counts)), counts.total(), self._guardrail.blocks) if counts else Outcome()

    def filter(self, part: Part) -> None:
        """The provider is asked about whole texts only."""


def _pieces(texts: Sequence[str]) -> Iterator[str]:
    for text in texts:
        for start in range(0, len(text), _LONG):
            if piece := text[start : start + _LONG].strip():
                yield piece


def _kind(category: str) -> str:
    """A category as callers are told of it."""
    return _NO_KIND.sub("_", category.lower())[:40]


ADAPTER = ModerationGuardrail
