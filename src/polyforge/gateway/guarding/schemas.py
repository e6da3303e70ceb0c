"""What the routes of guardrails and of personal data take and give."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from polyforge.ports.guardrail import Action, Stage
from polyforge.privacy.detector import LEAST
from polyforge.privacy.masks import DEFAULT_TEMPLATE

MOST_CHARACTERS = 200_000
Name = Annotated[str, Field(max_length=100)]


class GuardrailView(BaseModel):
    """A guardrail as it is set."""

    name: str
    use: str
    on: list[Stage]
    action: Action
    on_error: str
    always: bool = Field(description="Whether every call has to pass it, whatever its model names.")


class GuardrailList(BaseModel):
    """All of them, in the order in which calls pass them."""

    data: list[GuardrailView]


class TestRequest(BaseModel):
    """A text to try guardrails on."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(max_length=MOST_CHARACTERS)
    guardrails: list[Name] | None = Field(default=None, max_length=100, description="By name; default: all.")
    stage: Stage = "input"
    model: str = Field(default="", max_length=256, description="For rules that depend on it.")


class TestView(BaseModel):
    """What one guardrail would do with the text."""

    name: str
    decision: str = Field(description="`pass`, `flag`, `change`, `block`, or `error` where it cannot judge.")
    kinds: list[str] = Field(description="What it found.")
    count: int = Field(description="How often.")
    text: str | None = Field(description="The text as it would go on, where it would be changed.")
    milliseconds: float


class TestAnswer(BaseModel):
    """What each would do. Every one is shown the text as it was given."""

    data: list[TestView]


class DetectRequest(BaseModel):
    """A text to look for personal data and secrets in."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(max_length=MOST_CHARACTERS)
    kinds: list[Name] | None = Field(default=None, max_length=200, description="Kinds or groups; default: all.")
    regions: list[Annotated[str, Field(pattern="^[A-Z]{2}$")]] | None = Field(
        default=None, max_length=50, description="Where telephone numbers without `+` may come from (ISO 3166)."
    )
    least_confidence: float = Field(default=LEAST, ge=0, le=1, description="Finds that are less sure are let be.")


class RedactRequest(DetectRequest):
    """A text to hide personal data and secrets of."""

    template: str = Field(default=DEFAULT_TEMPLATE, max_length=100)
    keep_last: dict[Name, int] = Field(
        default={}, max_length=200, description="For a kind, how many of its last letters and digits stay."
    )


class MatchView(BaseModel):
    """One find: `text[start:end]`, in characters."""

    kind: str
    start: int
    end: int
    confidence: float


class DetectAnswer(BaseModel):
    """What was found, in order."""

    data: list[MatchView]


class RedactAnswer(DetectAnswer):
    """The text without what was found in it."""

    text: str


class GuardrailKindView(BaseModel):
    """What can be looked for."""

    name: str
    group: str
    description: str


class GuardrailKindList(BaseModel):
    """All of it."""

    data: list[GuardrailKindView]
