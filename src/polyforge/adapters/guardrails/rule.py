"""A rule in CEL over each text: https://github.com/google/cel-spec. It cannot loop without end, nor reach anything."""

import asyncio
from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

from polyforge.dialects.cel import cel
from polyforge.ports.guardrail import About, Action, Outcome, Part, Passage, Stage
from polyforge.ports.secret_source import SecretSource

_NAMES: Final = frozenset(
    {"text", "part", "role", "stage", "model", "organization", "project", "key", "end_user", "tags"}
)
_LONG: Final = 20_000
"""Characters from which on texts are judged beside the event loop."""


class Settings(BaseModel):
    """When a text is a find."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    when: str = Field(
        max_length=10_000,
        description="A CEL expression that is true for what must not be said. It knows `text`, `part`, `role`, `stage`,"
        " `model`, `organization`, `project`, `key`, `end_user` and `tags`.",
    )
    kind: str = Field(default="rule", pattern=r"^[a-z][a-z0-9_]{0,39}$", description="What a find is called.")

    @field_validator("when")
    @classmethod
    def _is_an_expression(cls, when: str) -> str:
        try:
            unknown = set(cel.compile(when).variables()) - _NAMES
        except ValueError as error:
            raise ValueError(f"is no CEL expression: {str(error)[:300]}") from error
        if unknown:
            raise ValueError(f"knows no {', '.join(sorted(unknown))}; there are {', '.join(sorted(_NAMES))}")
        return when


class CelRule:
    """Asks the expression about every text."""

    def __init__(self, settings: Settings, action: Action) -> None:
        if action not in ("block", "flag"):
            raise ValueError("what a rule finds can be blocked or flagged, not masked")
        self._program = cel.compile(settings.when)
        self._kind = settings.kind
        self._blocks = action == "block"

    async def open(self, secrets: SecretSource) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Nothing to let go of."""

    def begin(self, about: About) -> "CelSession":
        """A session."""
        return CelSession(self._program, self._kind, about, blocks=self._blocks)


class CelSession:
    """One call."""

    def __init__(self, program: cel.Program, kind: str, about: About, *, blocks: bool) -> None:
        self._program = program
        self._kind = kind
        self._about = about
        self._blocks = blocks

    async def check(self, stage: Stage, passages: Sequence[Passage]) -> Outcome:
        """Ask about each text; an expression that fails could not judge."""
        long = sum(len(passage.text) for passage in passages) > _LONG
        count = await asyncio.to_thread(self._count, stage, passages) if long else self._count(stage, passages)
        return Outcome((self._kind,), count, self._blocks) if count else Outcome()

    def filter(self, part: Part) -> None:
        """An expression may ask about all of a text, so it has to wait for it."""

    def _count(self, stage: Stage, passages: Sequence[Passage]) -> int:
        about = self._about
        known = {
            "stage": stage,
            "model": about.model,
            "organization": about.organization_id,
            "project": about.project_id,
            "key": about.key_id,
            "end_user": about.end_user,
            "tags": list(about.tags),
        }
        return sum(
            [self._holds({**known, "text": each.text, "part": each.part, "role": each.role}) for each in passages]
        )

    def _holds(self, known: dict[str, str | list[str]]) -> bool:
        try:
            found = self._program.execute(known)
        except RuntimeError as error:
            raise ValueError("the rule cannot judge this text") from error
        if not isinstance(found, bool):
            raise TypeError("the rule says neither yes nor no")
        return found


ADAPTER = CelRule
