"""Work that callers begin over the API, once for each `Idempotency-Key`: its answer is kept and given again."""

import re
from collections.abc import Awaitable, Callable
from typing import Final

from polyforge.server.http import Message, RawHeaders, Receive, Scope, Send, header, read_body, send_whole
from polyforge.server.idempotent import REPLAYED, Keeping, check_key
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.idempotency.service import KEY_HEADER, Claim, Idempotency, request_digest

App = Callable[[Scope, Receive, Send], Awaitable[None]]
_HEADER: Final = KEY_HEADER.encode()
_BEGINS_WORK: Final = re.compile(
    r"/api/v1/(models|requests/exports|jobs/schedules(/[^/]+/run)?|jobs/[^/]+/retry|flow-runs/[^/]+/rerun|batches"
    r"|flow-triggers/[^/]+/run)"
)
"""Paths of the management API whose POST begins work that goes on without the caller."""


class Once:
    """What is begun under a key is begun once: for the same caller, path and body."""

    def __init__(self, idempotency: Idempotency, max_bytes: int) -> None:
        self._idempotency = idempotency
        self._max_bytes = max_bytes

    def managed(self, app: App) -> App:
        """The management API, with keys where they make a difference."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            caller: Caller | None = scope["state"].get("caller")
            if caller is None or not _BEGINS_WORK.fullmatch(scope["path"]):
                await app(scope, receive, send)
                return
            await self.answer(scope, receive, send, caller, app)

        return answer

    async def answer(self, scope: Scope, receive: Receive, send: Send, caller: Caller, app: App) -> None:
        """Answer a request, with what was kept where its key came before."""
        key = header(scope["headers"], _HEADER)
        if key is None or scope["method"] != "POST":
            await app(scope, receive, send)
            return
        check_key(key)
        body = await read_body(receive, self._max_bytes)
        # Somebody else's key is another request, whatever it says: what they may see is not the same.
        asked = request_digest(f"{scope['path']}?{scope['query_string'].decode()}#{caller.key_id}", body)
        found = await self._idempotency.claim(caller, key, asked)
        if not isinstance(found, Claim):
            headers: RawHeaders = [(b"content-type", found.content_type), (b"cache-control", b"no-cache"), REPLAYED]
            await send_whole(send, found.status, headers, found.body)
            return
        keeping = Keeping(self._idempotency, found, send, lambda: False)
        try:
            await app(scope, _given(body, receive), keeping)
        finally:
            await keeping.leave()


def _given(body: bytes, receive: Receive) -> Receive:
    """The body that was read, and then whatever else comes."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_message
