"""GET, POST /v1/batches; GET /v1/batches/{id}; POST /v1/batches/{id}/cancel.

Source: https://platform.openai.com/docs/api-reference/batch
"""

from typing import Final

from polyforge.batch.batches.records import described
from polyforge.batch.batches.service import SCOPES, BatchService
from polyforge.dialects.openai_batches import BATCH_PREFIX, batch_ulid, decode_request, encode_batch
from polyforge.dialects.openai_files import encode_page, read_listing
from polyforge.kernel.errors import MethodNotAllowed, NotFound
from polyforge.server.http import Receive, Scope, Send, declared_length, first_values, read_body, send_whole
from polyforge.server.once import Once
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.policy import authorize

PATH: Final = "/v1/batches"
PREFIX: Final = f"{PATH}/"
_CANCEL: Final = "/cancel"
_JSON: Final = (b"content-type", b"application/json")
_BODY_BYTES: Final = 64 * 1024
_MOST: Final = 100
_USUAL: Final = 20


class Batches:
    """What the paths of batches do."""

    def __init__(self, service: BatchService, once: Once) -> None:
        self._service = service
        self._once = once

    async def answer(self, scope: Scope, receive: Receive, send: Send, caller: Caller) -> None:
        """Answer one request; NotFound for a batch that the caller's project does not have."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            body = await self._answer(scope, receive, caller)
            await send_whole(send, 200, [_JSON], body)

        await self._once.answer(scope, receive, send, caller, answer)

    async def _answer(self, scope: Scope, receive: Receive, caller: Caller) -> bytes:
        path, method = scope["path"], scope["method"]
        if path == PATH:
            _require(method, path, "GET", "POST")
            return await self._create(scope, receive, caller) if method == "POST" else await self._list(scope, caller)
        name: str = path.removeprefix(PREFIX)
        id_ = name.removesuffix(_CANCEL)
        if "/" in id_:
            raise NotFound(f"there is nothing at {path[:200]}")
        if name.endswith(_CANCEL):
            _require(method, path, "POST")
            _authorize_work(caller)
            return encode_batch(described(await self._service.cancel(caller, batch_ulid(id_))))
        _require(method, path, "GET")
        authorize(caller, "files:read")
        return encode_batch(described(await self._service.get(caller, batch_ulid(id_))))

    async def _create(self, scope: Scope, receive: Receive, caller: Caller) -> bytes:
        _authorize_work(caller)
        declared_length(first_values(scope["headers"]), _BODY_BYTES)
        asked = decode_request(await read_body(receive, _BODY_BYTES))
        return encode_batch(described(await self._service.create(caller, asked)))

    async def _list(self, scope: Scope, caller: Caller) -> bytes:
        authorize(caller, "files:read")
        asked = read_listing(scope["query_string"], BATCH_PREFIX, "batch", most=_MOST, usual=_USUAL)
        found, more = await self._service.page(caller, asked.limit, asked.after)
        items = [described(each) for each in found]
        return encode_page(items, [each.id for each in items], more=more)


def _authorize_work(caller: Caller) -> None:
    """To make calls in the background, and files of their answers."""
    for permission in sorted(SCOPES):
        authorize(caller, permission)


def _require(method: str, path: str, *allowed: str) -> None:
    if method not in allowed:
        raise MethodNotAllowed(f"{path[:200]} takes {' and '.join(allowed)}", allowed=", ".join(allowed))
