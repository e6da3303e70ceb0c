"""What is sent to every target."""

import json
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["whole", "stream", "paced"]
Caller = Literal["chat", "messages", "responses"]
"""The dialect of a request: OpenAI's chat completions, Anthropic's messages, OpenAI's responses."""
Wire = Literal["openai", "anthropic", "gemini", "bedrock"]
"""The dialect of an upstream's stream: those of a chat completion, a message, generateContent and Converse."""

MODELS: dict[Kind, str] = {"whole": "bench-whole", "stream": "bench-stream", "paced": "bench-paced"}
"""One logical model per canned upstream, so that a gateway's own routing picks the upstream."""


@dataclass(frozen=True)
class Scenario:
    """One kind of load from wrk."""

    name: str
    title: str
    kind: Kind
    callers: int
    payload_bytes: int
    targets: tuple[str, ...] = ()
    """Who takes part, by name; everybody where nobody is named."""
    distinct: bool = False
    """Whether each request says something else, so that no cache knows it."""
    in_turns: bool = False
    """Whether those who take part get their load at once, a tenth of a second each in turn."""


SCENARIOS = (
    Scenario("whole-1-1k", "whole answer, 1 caller, 1 kB request", "whole", 1, 1_000),
    Scenario("whole-32-1k", "whole answer, 32 callers, 1 kB request", "whole", 32, 1_000),
    Scenario("whole-1-100k", "whole answer, 1 caller, 100 kB request", "whole", 1, 100_000),
    Scenario("whole-32-100k", "whole answer, 32 callers, 100 kB request", "whole", 32, 100_000),
    Scenario("stream-32-1k", "stream of 100 chunks sent at once, 32 callers, 1 kB request", "stream", 32, 1_000),
)
LATENCY, THROUGHPUT, STREAM = "whole-1-1k", "whole-32-1k", "stream-32-1k"
LIMITED, HIT, STREAMED_HIT = "limited-32-1k", "hit-32-1k", "hit-stream-32-1k"
WITH_LIMITS = "polyforge-limited"
"""The target that has limits, a budget and a cache."""
LIMITED_SCENARIOS = (
    Scenario(
        LIMITED,
        "whole answer, 32 callers, 1 kB request, each another: with limits, a budget and a cache, and without",
        "whole",
        32,
        1_000,
        ("polyforge", WITH_LIMITS),
        distinct=True,
        in_turns=True,
    ),
    Scenario(
        HIT,
        "whole answer from the cache, 32 callers, 1 kB request",
        "whole",
        32,
        1_000,
        ("bare-plain", WITH_LIMITS),
    ),
    Scenario(
        STREAMED_HIT,
        "stream of 100 chunks from the cache, 32 callers, 1 kB request",
        "stream",
        32,
        1_000,
        ("bare-stream", WITH_LIMITS),
    ),
)
PACED, FIRST_BYTE = "paced", "first-byte"
"""Paced streams: many long ones at once; few of one chunk, whose first byte is timed."""


@dataclass(frozen=True)
class Pair:
    """A caller's dialect and an upstream's."""

    caller: Caller
    upstream: Wire
    title: str

    @property
    def name(self) -> str:
        """As in results."""
        return f"{self.caller}-{self.upstream}"

    @property
    def model(self) -> str:
        """What the caller asks for."""
        return MODELS["paced"] if self.upstream == "openai" else f"{MODELS['paced']}-{self.upstream}"


PASSED = Pair("chat", "openai", "OpenAI chat, passed through")
CROSSED = (
    Pair("chat", "anthropic", "OpenAI chat to Anthropic"),
    Pair("chat", "gemini", "OpenAI chat to Gemini"),
    Pair("chat", "bedrock", "OpenAI chat to Bedrock"),
    Pair("messages", "openai", "Anthropic messages to OpenAI"),
    Pair("responses", "openai", "OpenAI responses to OpenAI chat"),
)
NUMBERED = "lighthouse"
"""The word that makes way for a number where each request says something else."""
_TEXT = f"Tell me what a {NUMBERED} counts. "
_SYSTEM = "You answer in plain words."
_TEMPERATURE = 0.2


def body(kind: Kind, payload_bytes: int) -> bytes:
    """A chat request of about the given size."""
    return json.dumps(_chat(MODELS[kind], payload_bytes, 256, stream=kind != "whole")).encode()


def stream_body(pair: Pair, payload_bytes: int, tokens: int) -> bytes:
    """A request in the caller's dialect, of about the given size, for a stream of so many tokens."""
    request = _chat(pair.model, payload_bytes, tokens, stream=True)
    if pair.caller == "messages":
        system, *request["messages"] = request["messages"]
        request["system"] = system["content"]
    elif pair.caller == "responses":
        request["instructions"], request["input"] = _SYSTEM, request.pop("messages")[1]["content"]
        request["max_output_tokens"] = request.pop("max_tokens")
        request["store"] = False
    return json.dumps(request).encode()


def _chat(model: str, payload_bytes: int, tokens: int, *, stream: bool) -> dict[str, Any]:
    request: dict[str, Any] = {
        "model": model,
        "messages": [
            {"role": "system", "content": _SYSTEM},
            {"role": "user", "content": (_TEXT * (payload_bytes // len(_TEXT) + 1))[:payload_bytes]},
        ],
        "max_tokens": tokens,
        "temperature": _TEMPERATURE,
    }
    return request | {"stream": True} if stream else request
