"""What a caller makes of an answer, however broken it is: nothing here trusts that an event is JSON."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from benchmarks.targets import CHAT
from tests.support.clients import RawCall, Response, chat, request_bytes

DONE = "[DONE]"
SHOWN = 120
"""Characters of a message that an observation shows."""


@dataclass(frozen=True)
class Heard:
    """One answer, as far as it came."""

    status: int
    """0 when not even a head came."""
    text: str = ""
    error: str | None = None
    """What a refusal says, or an error event in a stream."""
    done: bool = False
    """Whether a stream said [DONE]."""
    whole: bool = False
    """Whether the last byte of the body came, as HTTP frames it."""
    silent: bool = False
    """Whether the caller lost patience."""
    unreadable: int = 0
    """Events of a stream that are not JSON."""
    without_choices: int = 0
    """Events of a stream that a caller who takes `choices[0]` stumbles over."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    seconds: float = 0.0

    @property
    def refused(self) -> bool:
        """Whether the answer is an error status."""
        return self.status >= 400


def heard_of(response: Response, seconds: float = 0.0) -> Heard:
    """Read a response as a careful caller does."""
    streamed = response.headers.get("content-type", "").startswith("text/event-stream")
    events = response.events if streamed else []
    readable = [parsed for event in events if (parsed := _object(event)) is not None]
    errors = [_message(event["error"]) for event in readable if event.get("error")]
    whole = None if streamed else _object(response.body)
    return Heard(
        status=response.status,
        text="".join(map(_text, readable)) if streamed else _text(whole or {}),
        error=_refusal(response) if response.status >= 400 else next(iter(errors), None),
        done=DONE in events,
        whole=response.complete,
        silent=response.failure == "silent",
        unreadable=sum(event != DONE for event in events) - len(readable),
        without_choices=sum(not event.get("choices") and not event.get("error") for event in readable),
        headers=response.headers,
        seconds=seconds,
    )


def _object(text: str | bytes) -> dict[str, Any] | None:
    try:
        parsed: object = json.loads(text)
    except ValueError:
        return None
    return cast("dict[str, Any]", parsed) if isinstance(parsed, dict) else None


def _text(answer: Mapping[str, Any]) -> str:
    choices = answer.get("choices") or [{}]
    part: Mapping[str, Any] = choices[0].get("delta") or choices[0].get("message") or {}
    return part.get("content") or ""


def _message(error: object) -> str:
    told = cast("dict[str, Any]", error).get("message", error) if isinstance(error, dict) else error
    return shown(str(told))


def _refusal(response: Response) -> str:
    parsed = _object(response.body) or {}
    return _message(parsed.get("error") or parsed.get("message") or response.body.decode(errors="replace"))


def shown(text: str) -> str:
    """A text on one line, cut where it gets long."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[:SHOWN] + "…"


@dataclass(frozen=True)
class Dress:
    """What a gateway wants beside the plain request, in headers and in the body."""

    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Caller:
    """Somebody with credentials at a gateway."""

    url: str
    headers: Mapping[str, str]
    dress: Callable[[str], Dress]
    """What the gateway wants of a request for a model."""

    def request(self, model: str, content: str = "Say hello.", **more: Any) -> dict[str, Any]:
        """The parts of a chat request, as `tests.support.clients` takes them."""
        dress = self.dress(model)
        body = chat(model, content, **more) | dict(dress.body)
        return {"json": body, "headers": {**self.headers, **dress.headers}}

    def open(self, model: str, patience: float, **more: Any) -> RawCall:
        """Send a chat request, and leave the answer unread."""
        return RawCall(self.url, request_bytes("POST", CHAT, **self.request(model, **more)), patience)

    def ask(self, model: str, patience: float, **more: Any) -> Heard:
        """A chat request and all of its answer."""
        started = time.monotonic()
        with self.open(model, patience, **more) as call:
            response = call.read_all()
        return heard_of(response, time.monotonic() - started)
