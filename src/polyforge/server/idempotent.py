"""Requests with an `Idempotency-Key`: what they are answered is kept on its way out, and given again."""

import asyncio
import re
from collections.abc import Callable
from typing import Any, Final

from polyforge.gateway.caching.keys import canonical
from polyforge.gateway.job import Job
from polyforge.kernel.errors import Invalid
from polyforge.server.exchange import Exchange
from polyforge.server.http import RawHeaders, Send, overhead_header, send_whole
from polyforge.tenancy.idempotency.service import KEY_HEADER, Claim, Idempotency, KeptAnswer, request_digest

REPLAYED: Final = (b"x-polyforge-idempotent", b"replayed")
_KEY: Final = re.compile(rb"[\x20-\x7e]{1,255}")
_PASSING: Final = frozenset({402, 408, 409, 425, 429})
"""Refusals that may have another answer later, such as when there is money or room again."""
_FAILED: Final = 500
_OK: Final = 200


class Replayed(Exception):
    """The request was answered with what was kept."""

    def __init__(self, job: Job) -> None:
        super().__init__(job.id)
        self.job = job


class Keeping:
    """Sends an answer on, and keeps it before its last bytes go out; where it is not final, lets go of its key."""

    def __init__(self, idempotency: Idempotency, claim: Claim, send: Send, broke_off: Callable[[], bool]) -> None:
        self._idempotency = idempotency
        self._claim = claim
        self._send = send
        self._broke_off = broke_off
        self._status = 0
        self._content_type = b""
        self._chunks: list[bytes] = []
        self._size = 0
        self._over = False

    async def __call__(self, message: Any) -> None:
        """One message of ASGI."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._content_type = next((value for name, value in message["headers"] if name == b"content-type"), b"")
        else:
            self._add(message.get("body", b""))
            if not message.get("more_body"):
                await self._finish()
        await self._send(message)

    async def leave(self) -> None:
        """The request is over, one way or another; its key is free again unless its answer was kept."""
        if not self._over:
            self._over = True
            await self._idempotency.release(self._claim)

    def _add(self, chunk: Any) -> None:
        self._size += len(chunk)
        if self._size <= self._idempotency.max_bytes:
            self._chunks.append(bytes(chunk))
        else:
            self._chunks.clear()

    async def _finish(self) -> None:
        status = self._status
        if (status == _OK and self._broke_off()) or status >= _FAILED or status in _PASSING:
            return
        self._over = True
        large = self._size > self._idempotency.max_bytes
        answer = None if large else KeptAnswer(status, self._content_type, b"".join(self._chunks))
        await self._idempotency.keep(self._claim, answer)


def check_key(key: bytes) -> None:
    """Invalid for a malformed key."""
    if not _KEY.fullmatch(key):
        raise Invalid(f"{KEY_HEADER} must be 1 to 255 printable ASCII characters", param=KEY_HEADER)


async def begin(idempotency: Idempotency, exchange: Exchange, job: Job, key: bytes, send: Send) -> Keeping:
    """What to send the answer through; Replayed when there was one already. Invalid for a malformed key."""
    check_key(key)
    said = await asyncio.to_thread(canonical, job.request.body)
    found = await idempotency.claim(job.caller, key, request_digest(exchange.path, said or job.request.body))
    if isinstance(found, Claim):
        return Keeping(idempotency, found, send, lambda: exchange.error is not None)
    exchange.status = found.status
    headers: RawHeaders = [
        (b"content-type", found.content_type),
        (b"x-request-id", exchange.id.encode()),
        (b"cache-control", b"no-cache"),
        overhead_header(exchange.hops),
        REPLAYED,
    ]
    await send_whole(send, found.status, headers, found.body)
    raise Replayed(job)
