"""What a caller asks and gets, told without any dialect. Needs no library, so that any environment can import it."""

import dataclasses
from typing import Any, Literal, Protocol

LIMIT = 500
"""Output tokens asked for, as one of the dialects must name a limit."""


@dataclasses.dataclass(frozen=True)
class Turn:
    """One turn of a conversation; `results` are of tools: id, name and text."""

    role: Literal["user", "assistant", "tool"]
    text: str = ""
    images: tuple[str, ...] = ()
    """As `https:` or `data:` URLs."""
    calls: tuple[tuple[str, str, str], ...] = ()
    """Id, name and arguments as JSON text."""
    results: tuple[tuple[str, str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Ask:
    """What a caller wants."""

    turns: tuple[Turn, ...] = (Turn("user", "Say something."),)
    system: str | None = None
    tools: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    """Schemas by name."""
    tool_choice: str | None = None
    """`auto`, `none`, `required` or a name."""
    schema: dict[str, Any] | None = None
    temperature: float | None = None
    stop: tuple[str, ...] = ()


@dataclasses.dataclass
class Got:
    """What came back."""

    text: str = ""
    refusal: str | None = ""
    thoughts: str | None = ""
    """These two are None where the client has no place for them."""
    calls: list[tuple[str, str, str]] = dataclasses.field(default_factory=list[tuple[str, str, str]])
    finish: str | None = None
    input_total: int = 0
    cached: int = 0
    output: int = 0
    deltas: int = 0
    """Pieces of text in which it came."""


class Caller(Protocol):
    """One dialect, through its official client. Errors are those of the client."""

    name: str

    def ask(self, model: str, ask: Ask, *, stream: bool) -> Got:
        """The answer."""
        ...

    def close(self) -> None:
        """Let go of connections and processes."""
        ...
