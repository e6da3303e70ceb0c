"""Texts that are too long, in characters: of one message, or of a whole conversation."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, model_validator

from polyforge.kernel.errors import GuardrailBlocked
from polyforge.ports.guardrail import About, Action, Outcome, Part, Passage, Stage
from polyforge.ports.secret_source import SecretSource


class Settings(BaseModel):
    """The most characters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    most: int | None = Field(default=None, ge=1, description="Characters of one text.")
    most_together: int | None = Field(default=None, ge=1, description="Characters of all texts together.")

    @model_validator(mode="after")
    def _limits_something(self) -> "Settings":
        if self.most is None and self.most_together is None:
            raise ValueError("needs `most` or `most_together`")
        return self


class Length:
    """Judges by length alone. A streamed answer ends where it becomes too long."""

    def __init__(self, settings: Settings, action: Action) -> None:
        if action not in ("block", "flag"):
            raise ValueError("what is too long can be blocked or flagged, not masked")
        self._settings = settings
        self._blocks = action == "block"

    async def open(self, secrets: SecretSource) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Nothing to let go of."""

    def begin(self, about: About) -> "LengthSession":
        """A session."""
        return LengthSession(self._settings, blocks=self._blocks)


class LengthSession:
    """One call."""

    def __init__(self, settings: Settings, *, blocks: bool) -> None:
        self._settings = settings
        self._blocks = blocks
        self.together = 0
        """Characters of the streamed answer so far, whichever text of it they belong to."""

    async def check(self, stage: Stage, passages: Sequence[Passage]) -> Outcome:
        """Measure the texts."""
        lengths = [len(passage.text) for passage in passages]
        most, most_together = self._settings.most, self._settings.most_together
        over = sum(most is not None and length > most for length in lengths)
        over += most_together is not None and sum(lengths) > most_together
        return Outcome(("length",), over, self._blocks) if over else Outcome()

    def filter(self, part: Part) -> "LengthFilter":
        """The same for a text that comes in pieces."""
        return LengthFilter(self, self._settings, blocks=self._blocks)


class LengthFilter:
    """Lets everything through until it is too much."""

    def __init__(self, session: LengthSession, settings: Settings, *, blocks: bool) -> None:
        self._session = session
        self._settings = settings
        self._blocks = blocks
        self._length = 0
        self._over = False

    def feed(self, text: str) -> str:
        """Count it; GuardrailBlocked where it is too much."""
        self._length += len(text)
        self._session.together += len(text)
        most, most_together = self._settings.most, self._settings.most_together
        if (most is not None and self._length > most) or (
            most_together is not None and self._session.together > most_together
        ):
            self._over = True
            if self._blocks:
                raise GuardrailBlocked("the answer is too long")
        return text

    def finish(self) -> str:
        """Nothing is held back."""
        return ""

    def outcome(self) -> Outcome:
        """Whether it was too much."""
        return Outcome(("length",), 1) if self._over else Outcome()


ADAPTER = Length
