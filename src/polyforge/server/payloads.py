"""Words of requests and answers on their way past: gathered where they are to be kept, and handed over at the end.

What is kept of a request is what went past its guardrails: what they masked stays masked. Of a request that was refused
before that nothing is kept, and of an answer nothing in which guardrails put names back that they had hidden.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec

from polyforge.database.scopes import Scope
from polyforge.dialects.writing import Answering
from polyforge.gateway.job import Job
from polyforge.gateway.recorded import STREAMS, Recorded
from polyforge.kernel.chat import ChatResult
from polyforge.kernel.tasks import InferenceRequest
from polyforge.server.endpoints import Endpoint
from polyforge.server.exchange import Exchange
from polyforge.server.http import HeaderMap, Send
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.payloads.policy import LOG_HEADER, PayloadPolicy
from polyforge.tenancy.payloads.records import Offered, Part, Payload, part_of
from polyforge.tenancy.payloads.writer import PayloadWriter

EVENT_BYTES: Final = 16
"""Bytes of a stream's events that are held for each that is kept: events say little in many words."""
_HEADER: Final = LOG_HEADER.encode()
_EVENTS: Final = "text/event-stream"
_TEXTS: Final = ("application/json", "application/problem+json", "text/")
Join = Callable[[bytes], bytes | None]
"""Makes a whole answer of the frames of a stream; None where they make none."""
_log = get_logger(__name__)
_encode: Final = msgspec.json.Encoder().encode


class Payloads:
    """Has payloads kept as the settings say. `any` tells whether there is anything to ask."""

    def __init__(self, policy: PayloadPolicy, writer: PayloadWriter, max_bytes: int) -> None:
        self.any = policy.any
        self._policy = policy
        self._writer = writer
        self._max_bytes = max_bytes

    def watch(self, endpoint: Endpoint, exchange: Exchange, job: Job, headers: HeaderMap, send: Send) -> Send:
        """What to send the answer through. Invalid or Denied for what the caller wants and cannot have."""
        wish = headers.get(_HEADER)
        said = None if wish is None else wish.decode("latin-1")
        if not self._policy.keeps(job.caller.project_id, job.request.model, said):
            return send
        gathering = exchange.gathering = Gathering(endpoint, job, send, self._max_bytes, self._writer.offer)
        return gathering


class Gathering:
    """Sends an answer on, and remembers the beginning of it."""

    def __init__(
        self, endpoint: Endpoint, job: Job, send: Send, max_bytes: int, offer: Callable[[Offered], None]
    ) -> None:
        self._endpoint = endpoint
        self._job = job
        self._send = send
        self._max_bytes = max_bytes
        self._offer = offer
        self._room = max_bytes * (EVENT_BYTES if job.request.stream else 1)
        self._status = 0
        self._content_type = ""
        self._chunks: list[bytes] = []
        self._size = 0

    async def __call__(self, message: Any) -> None:
        """One message of ASGI."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._content_type = next(
                (value.decode() for name, value in message["headers"] if name == b"content-type"), ""
            )
        else:
            self._add(message["body"])
        await self._send(message)

    def leave(self) -> None:
        """The request is over, one way or another: hand over what there is of it."""
        job = self._job
        # Before it is tried anywhere, or found answered, it has not passed its guardrails.
        if not (job.attempts or job.cached):
            return
        request, caller = job.request, job.caller
        asked = _encode(job.chat) if job.canonical and job.chat is not None else request.body
        left_out = "binary" if request.binary else ""
        # A slice, so that what waits does not hold the whole of a large body.
        words = _Words([asked[: self._max_bytes]], len(asked), left_out)
        size = len(words.chunks[0]) + sum(map(len, self._chunks))
        make = partial(_payload, words, self._answered(), self._max_bytes, self._content_type, self._status)
        scope = Scope(caller.organization_id, caller.project_id)
        self._offer(Offered(job.id, scope, caller.user_id or "", request.end_user, size, make))

    def _add(self, chunk: Any) -> None:
        if self._room > 0:
            self._chunks.append(bytes(chunk[: self._room]))
            self._room -= len(chunk)
        self._size += len(chunk)

    def _answered(self) -> "_Words":
        job, kind = self._job, self._content_type
        left_out = ""
        if kind and not kind.startswith(_TEXTS):
            left_out = "binary"
        elif any(found.action == "pseudonyms" for found in job.found):
            left_out = "pseudonyms"
        return _Words(self._chunks, self._size, left_out, self._join() if kind.startswith(_EVENTS) else None)

    def _join(self) -> Join | None:
        """What makes a whole answer of a stream of a chat, without anything that would hold the request."""
        request, write = self._job.request, self._endpoint.write
        if write is None or request.task != "chat" or request.dialect not in STREAMS:
            return None
        job = self._job
        answering = Answering(job.id, request.model, int(job.started_at), used=job.usage, price=job.price)
        return partial(_joined, write, InferenceRequest("chat", request.dialect, request.model, b""), answering)


class _Words(msgspec.Struct, frozen=True):
    """A request or an answer that nobody has put together yet."""

    chunks: list[bytes]
    size: int
    """Bytes of all of it, of which there may be fewer."""
    left_out: str = ""
    join: Join | None = None


def _payload(asked: _Words, answered: _Words, limit: int, content_type: str, status: int) -> Payload:
    return Payload(_part(asked, limit), _part(answered, limit), content_type, status)


def _part(words: _Words, limit: int) -> Part:
    if words.left_out:
        return Part(b"", words.size, left_out=words.left_out)
    content = b"".join(words.chunks)
    whole = content if words.join is None else words.join(content) or content
    return part_of(whole, len(whole) + words.size - len(content), limit)


def _joined(
    write: Callable[[ChatResult, Answering], bytes], request: InferenceRequest, answering: Answering, frames: bytes
) -> bytes | None:
    """The answer that the frames of a stream make; None where they make none."""
    try:
        reply = Recorded("frames", "chat", request.dialect, 0.0, frames, answering.used).reply(request)
        result = None if reply is None else reply.result
        return write(result, answering) if isinstance(result, ChatResult) else None
    except Exception:  # noqa: BLE001 - whatever it was, the frames themselves are kept
        _log.exception("a stream could not be put together", request_id=answering.id)
        return None
