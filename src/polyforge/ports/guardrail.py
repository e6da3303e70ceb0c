"""The port to whatever judges texts on their way to a model or back: patterns, models, other services."""

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import msgspec

from polyforge.kernel.errors import NotConfigured
from polyforge.kernel.tasks import Task
from polyforge.ports.models import Models
from polyforge.ports.secret_source import SecretSource

Stage = Literal["input", "output"]
"""Before a model is asked, or before its answer is given."""
Action = Literal["block", "mask", "pseudonyms", "flag"]
"""What to do about a find: refuse the call, hide it for good, hide it from the model alone, or only write it down."""
Part = Literal["text", "reasoning", "refusal", "arguments", "result", "name"]
"""What a passage is: prose, thought, words of refusal, the arguments of a tool call as JSON text, a tool's result, or
what the caller calls the end user."""


class Passage(msgspec.Struct, frozen=True, gc=False):
    """One text of a conversation or an answer."""

    text: str
    part: Part = "text"
    role: str = "user"


class About(msgspec.Struct, frozen=True, gc=False):
    """Whose call it is; for rules that depend on it."""

    request_id: str
    model: str
    organization_id: str = ""
    project_id: str = ""
    key_id: str = ""
    end_user: str = ""
    tags: tuple[str, ...] = ()
    models: Models | None = None
    """How to ask models of this installation in the call's name; None where there are none to be asked."""


def models_of(about: About) -> Models:
    """The models that a call may have asked; NotConfigured where there are none."""
    if about.models is None:
        raise NotConfigured("there are no models to be asked here")
    return about.models


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What a guardrail makes of some passages. Never holds a text that it found."""

    kinds: tuple[str, ...] = ()
    """What was found, by kind; empty: nothing."""
    count: int = 0
    """How often."""
    blocked: bool = False
    """Whether the call must not go on."""
    texts: Sequence[str] | None = None
    """The texts of all passages as they are to be instead; None: as they are."""


NOTHING_FOUND = Outcome()


class TextFilter(Protocol):
    """Lets a text through that arrives in pieces, changed as it must be."""

    def feed(self, text: str) -> str:
        """Take the next piece; what may be sent on by now. GuardrailBlocked when the text must not go on."""
        ...

    def finish(self) -> str:
        """What is left when no more comes."""
        ...

    def outcome(self) -> Outcome:
        """What was found so far."""
        ...


class GuardrailSession(Protocol):
    """One guardrail during one call; may remember what it hid, to put it back."""

    async def check(self, stage: Stage, passages: Sequence[Passage]) -> Outcome:
        """Judge the passages of a whole request or a whole answer."""
        ...

    def filter(self, part: Part) -> TextFilter | None:
        """What judges a streamed text as it comes; None where only the whole answer can be judged."""
        ...


class Guardrail(Protocol):
    """One configured guardrail. Constructing does no I/O. An exception from a session means that it could not judge."""

    async def open(self, secrets: SecretSource) -> None:
        """Get ready. Does not require other services to be up, nor `secrets` to be there already."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...

    def begin(self, about: About) -> GuardrailSession:
        """A session for one call."""
        ...


@runtime_checkable
class AsksModel(Protocol):
    """A guardrail that judges by a model of this installation, which therefore has to be there."""

    @property
    def model(self) -> str:
        """Its name."""
        ...

    @property
    def task(self) -> Task:
        """What it has to do."""
        ...
