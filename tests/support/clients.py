"""A small HTTP/1.1 client that tells a whole answer from one that broke off, and can hang up at any byte.

Libraries hide what these tests are about, so this one shows it: `complete` is true only when the framing of the body
says that its last byte came.
"""

import asyncio
import contextlib
import dataclasses
import json as json_module
import socket
import struct
import time
from collections.abc import Callable, Mapping
from typing import Any, Self
from urllib.parse import urlsplit

import httptools

from tests.support.waiting import DEADLINE

Failure = str
"""`refused`: nobody listened; `closed`: the connection ended before the answer; `silent`: nothing came for too long."""


@dataclasses.dataclass
class Response:
    """What came back."""

    status: int = 0
    """0 when not even a head came."""
    headers: dict[str, str] = dataclasses.field(default_factory=dict[str, str])
    body: bytes = b""
    complete: bool = False
    failure: Failure | None = None

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json_module.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error in OpenAI's envelope."""
        return self.json["error"]

    @property
    def events(self) -> list[str]:
        """The payloads of the server-sent events in the body that are whole."""
        return events_of(self.body)

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """The events that are JSON, decoded."""
        return [json_module.loads(event) for event in self.events if event != "[DONE]"]

    @property
    def text(self) -> str:
        """The generated text: of a whole answer, or the deltas of a streamed one put together."""
        if not self.body:
            return ""
        if not self.headers.get("content-type", "").startswith("text/event-stream"):
            return text_of_choice(self.json["choices"][0])
        choices = [choice for chunk in self.chunks for choice in chunk.get("choices", [])]
        return "".join(text_of_choice(choice) for choice in choices)

    @property
    def finished(self) -> bool:
        """Whether a stream said that it is over."""
        return "[DONE]" in self.events

    @property
    def stream_error(self) -> dict[str, Any] | None:
        """The error that a stream ended with."""
        return next((chunk["error"] for chunk in self.chunks if chunk.get("error")), None)

    @property
    def request_id(self) -> str:
        """The id in x-request-id."""
        return self.headers["x-request-id"]


def text_of_choice(choice: Mapping[str, Any]) -> str:
    """The text in a choice of chat or completions, whole or delta."""
    part: Mapping[str, Any] = choice.get("delta") or choice.get("message") or {}
    return part.get("content") or choice.get("text") or ""


def events_of(body: bytes) -> list[str]:
    """The payloads of whole server-sent events."""
    *whole, _ = body.replace(b"\r\n", b"\n").split(b"\n\n")
    events = [event.split(b"\n") for event in whole]
    payloads = [[line[5:].strip() for line in lines if line.startswith(b"data:")] for lines in events]
    return [b"\n".join(lines).decode() for lines in payloads if lines]


class _Reader:
    """Puts a response together from bytes as they come."""

    def __init__(self) -> None:
        self.response = Response()
        self.head_done = False
        self._parser: Any = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.response.failure = "not HTTP"

    def on_header(self, name: bytes, value: bytes) -> None:
        self.response.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.response.status = self._parser.get_status_code()
        self.head_done = True

    def on_body(self, body: bytes) -> None:
        self.response.body += body

    def on_message_complete(self) -> None:
        self.response.complete = True

    @property
    def over(self) -> bool:
        return self.response.complete or self.response.failure is not None


def request_bytes(
    method: str,
    path: str,
    *,
    key: str | None = None,
    json: object = None,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """A request as it goes over the wire; the headers given replace the usual ones."""
    if body is None:
        body = b"" if json is None else json_module.dumps(json).encode()
    usual = {"host": "polyforge.test", "content-length": str(len(body)), "connection": "close"}
    if json is not None or body:
        usual["content-type"] = "application/json"
    if key is not None:
        usual["authorization"] = f"Bearer {key}"
    given = {name.lower(): value for name, value in (headers or {}).items()}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in (usual | given).items() if value)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class RawCall:
    """One request on a connection of its own, read only as far as the test wants."""

    def __init__(self, url: str, request: bytes, timeout: float = DEADLINE) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=timeout)
        self._reader = _Reader()
        self._deadline = time.monotonic() + timeout
        with contextlib.suppress(ConnectionError):  # a server may answer and close before it read everything
            self._socket.sendall(request)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()

    @property
    def response(self) -> Response:
        """What came so far."""
        return self._reader.response

    def read_until(self, enough: Callable[[Response], bool]) -> Response:
        """Read on until `enough` says so, or until the end."""
        while not self._reader.over and not enough(self.response):
            self._read_some()
        return self.response

    def read_head(self) -> Response:
        """Read the status and the headers."""
        return self.read_until(lambda _: self._reader.head_done)

    def read_all(self) -> Response:
        """Read to the end."""
        return self.read_until(lambda _: False)

    def hang_up(self, *, reset: bool = False) -> None:
        """Close the connection, politely or not."""
        if reset:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def _read_some(self) -> None:
        try:
            self._socket.settimeout(max(self._deadline - time.monotonic(), 0.001))
            data = self._socket.recv(65_536)
        except TimeoutError:
            self.response.failure = "silent"
        except ConnectionError:
            self.response.failure = "closed"
        else:
            if data:
                self._reader.feed(data)
            else:
                self.response.failure = "closed"


def call(url: str, path: str, *, method: str = "POST", timeout: float = DEADLINE, **request: Any) -> Response:
    """One request and all of its answer. `request` is as for `request_bytes`."""
    with RawCall(url, request_bytes(method, path, **request), timeout) as one:
        return one.read_all()


async def call_async(
    url: str, path: str, *, method: str = "POST", seconds: float = DEADLINE, **request: Any
) -> Response:
    """The same, without holding up the event loop; a refused connection is a failure, not an exception."""
    reader = _Reader()
    try:
        async with asyncio.timeout(seconds):
            await _exchange(url, request_bytes(method, path, **request), reader)
    except TimeoutError:
        reader.response.failure = "silent"
    except ConnectionRefusedError:
        reader.response.failure = "refused"
    except OSError:
        reader.response.failure = "closed"
    return reader.response


async def _exchange(url: str, request: bytes, reader: _Reader) -> None:
    parts = urlsplit(url)
    incoming, outgoing = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        outgoing.write(request)
        while not reader.over:
            data = await incoming.read(65_536)
            if not data:
                reader.response.failure = "closed"
                return
            reader.feed(data)
    finally:
        outgoing.transport.abort()
        with contextlib.suppress(OSError):
            await outgoing.wait_closed()


def chat(model: str, content: str = "Say hello.", **more: Any) -> dict[str, Any]:
    """The body of a chat request."""
    return {"model": model, "messages": [{"role": "user", "content": content}], **more}
