"""What a provider is to answer, told once and without any wire format; each provider's file writes it in its own."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, Protocol

Ending = Literal["stop", "length", "tool_calls", "refusal", "content_filter"]
Failure = Literal["rate", "quota", "overloaded", "server", "denied", "invalid", "context", "not_found"]
"""429 with Retry-After 7, out of credit, too busy, 500, a bad key, a bad parameter, input too long, no such model."""


@dataclasses.dataclass(frozen=True)
class CalledTool:
    """A call; `arguments` is None where the model gives none at all."""

    name: str
    arguments: dict[str, Any] | None
    id: str


@dataclasses.dataclass(frozen=True)
class Told:
    """What the provider says it used; `input` counts uncached tokens, `output` includes `reasoning`."""

    input: int = 11
    output: int = 7
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One answer. `text` comes in `pieces` when it is streamed."""

    name: str
    pieces: tuple[str, ...] = ()
    thoughts: tuple[str, ...] = ()
    signature: str | None = None
    """With which the thought, or the first call, has to come back; where the provider has such a thing."""
    calls: tuple[CalledTool, ...] = ()
    ending: Ending = "stop"
    told: Told = Told()

    @property
    def text(self) -> str:
        """The whole of it."""
        return "".join(self.pieces)


WEATHER = CalledTool("get_weather", {"city": "Köln", "days": 2}, "call_one")
NOW = CalledTool("get_time", None, "call_two")
SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("text", ("Hello", ", ", "wörld", " 👋", "\nbye")),
        Scenario("empty"),
        Scenario("tools", ("Let me look.",), calls=(WEATHER, NOW), ending="tool_calls"),
        Scenario("only_tools", calls=(WEATHER,), ending="tool_calls"),
        Scenario("structured", ('{"name": ', '"Ada", "age"', ": 36}")),
        Scenario("length", ("This goes on and",), ending="length"),
        Scenario("refusal", ("I cannot help with that.",), ending="refusal"),
        Scenario("filtered", ("Here is",), ending="content_filter"),
        Scenario("cached", ("ok",), told=Told(input=5, output=2, cache_read=1000, cache_write=0)),
        Scenario("cache_written", ("ok",), told=Told(input=5, output=2, cache_read=200, cache_write=300)),
        Scenario(
            "thinking",
            ("42",),
            thoughts=("First I ", "multiply."),
            signature="c2lnbmVk",
            told=Told(input=5, output=30, reasoning=20),
        ),
    )
}


@dataclasses.dataclass(frozen=True)
class Played:
    """An answer as the provider puts it on the wire; a stream in the `chunks` of a chunked body."""

    status: int
    headers: Mapping[str, str]
    chunks: tuple[bytes, ...]


@dataclasses.dataclass
class Seen:
    """What the provider was asked, read out of its own wire format."""

    model: str = ""
    system: str = ""
    turns: list[tuple[str, str]] = dataclasses.field(default_factory=list[tuple[str, str]])
    """Role (`user`, `assistant`) and prose of each turn, in order."""
    images: list[tuple[str | None, str]] = dataclasses.field(default_factory=list[tuple[str | None, str]])
    """Media type and base64 data, or None and a URL."""
    files: list[tuple[str | None, str]] = dataclasses.field(default_factory=list[tuple[str | None, str]])
    tools: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    """The schema of each tool by its name."""
    tool_choice: str | None = None
    """`auto`, `none`, `required` or the name of the tool."""
    called: list[tuple[str, str, dict[str, Any]]] = dataclasses.field(
        default_factory=list[tuple[str, str, dict[str, Any]]]
    )
    """Id, name and arguments of the calls in the history (the id is empty where the format has none)."""
    results: list[tuple[str, str]] = dataclasses.field(default_factory=list[tuple[str, str]])
    """Id (or name, where the format has no ids) and text of the results in the history."""
    thoughts: list[tuple[str, str | None]] = dataclasses.field(default_factory=list[tuple[str, str | None]])
    """Text and signature of thoughts that came back."""
    schema: Any = None
    """Of the structured output."""
    stream: bool = False
    output_limit: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: list[str] = dataclasses.field(default_factory=list[str])
    effort: str | None = None
    budget: int | None = None
    """Of thinking, in tokens."""


class ScriptedProvider(Protocol):
    """One provider's wire format, and how Polyforge is told to use it."""

    name: str
    """As in `use:` of the settings."""
    keeps_ids: bool
    """Whether calls keep the ids that the model gave them (Gemini's have none)."""
    takes_urls: bool
    """Whether it fetches pictures by their URL itself."""

    def settings(self, url: str) -> dict[str, Any]:
        """The provider's entry in polyforge.yaml, its scripted server being at `url` (scheme, host and port)."""
        ...

    def whole(self, scenario: Scenario) -> Played:
        """An answer in one piece."""
        ...

    def stream(self, scenario: Scenario) -> Played:
        """An answer in pieces: one event or more in each chunk."""
        ...

    def failure(self, failure: Failure) -> Played:
        """A refusal, as the provider writes it."""
        ...

    def broken_stream(self, scenario: Scenario) -> Played:
        """A stream that ends cleanly, as HTTP goes, before it said that it has finished."""
        ...

    def error_in_stream(self, scenario: Scenario) -> Played:
        """A stream that turns into an error after its first text."""
        ...

    def is_stream(self, path: str, body: Mapping[str, Any]) -> bool:
        """Whether a request asks for a stream."""
        ...

    def model_of(self, path: str, body: Mapping[str, Any]) -> str:
        """The model that a request names."""
        ...

    def read(self, path: str, body: Mapping[str, Any]) -> Seen:
        """What a request asks for."""
        ...
