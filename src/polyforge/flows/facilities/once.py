"""What is done once however often its step is repeated: under a key, with what came of it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from polyforge.kernel.errors import IdempotencyAnswerLost
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.idempotency.service import Claim, Idempotency, KeptAnswer, request_digest

_OK: Final = 200
_log = get_logger(__name__)


class Once:
    """Does things under keys, each once."""

    def __init__(self, idempotency: Idempotency) -> None:
        self._idempotency = idempotency

    async def do(
        self, caller: Caller, key: bytes, what: str, asked: bytes, work: Callable[[], Awaitable[tuple[bytes, bytes]]]
    ) -> tuple[bytes, bytes]:
        """What comes of the work, or came of it before: a note and a body. Work that fails may be done again.

        What gave more than is kept is done again. IdempotencyKeyReused where the key was for something else.
        """
        try:
            found = await self._idempotency.claim(caller, key, request_digest(what, asked))
        except IdempotencyAnswerLost:
            _log.warning("something is done and paid again: what came of it was too large to be kept", what=what)
            return await work()
        if not isinstance(found, Claim):
            return found.content_type, found.body
        kept = False
        try:
            note, body = await work()
            large = len(body) > self._idempotency.max_bytes
            await self._idempotency.keep(found, None if large else KeptAnswer(_OK, note, body))
            kept = True
        finally:
            if not kept:
                await asyncio.shield(self._idempotency.release(found))
        return note, body
