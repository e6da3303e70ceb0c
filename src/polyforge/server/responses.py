"""Responses that outlast their request: put into the ones that follow, listed, removed.

GET and DELETE /v1/responses/{id}, GET /v1/responses/{id}/input_items. Source:
https://platform.openai.com/docs/api-reference/responses
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec
from typing_extensions import Buffer

from polyforge.dialects.openai_responses import state
from polyforge.dialects.openai_responses.facts import decode_response
from polyforge.gateway.job import Job
from polyforge.kernel.errors import Invalid, MethodNotAllowed, NotFound, TooLarge
from polyforge.kernel.tasks import InferenceRequest
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.policy import authorize
from polyforge.tenancy.responses.service import Responses

PREFIX: Final = "/v1/responses/"
_ITEMS: Final = "/input_items"
_MOST_ITEMS: Final = 100
_USUAL_ITEMS: Final = 20

_id: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode: Final = msgspec.json.Encoder().encode


class Conversations:
    """What the paths of responses do beside calling a model."""

    def __init__(self, responses: Responses, max_body_bytes: int) -> None:
        self._responses = responses
        self._max_body_bytes = max_body_bytes

    @property
    def keeps(self) -> bool:
        """Whether answers are kept at all."""
        return self._responses.keeps

    async def recall(self, caller: Caller, request: InferenceRequest) -> InferenceRequest:
        """The request with the earlier answers that it refers to in its body; NotFound for one that is not there."""
        references = state.references_of(request.body)
        kept = await self._responses.find(caller, references.answers)
        body = state.recalled(request.body, references, kept)
        if len(body) > self._max_body_bytes:
            raise TooLarge(f"with what it refers to, the request has {len(body)} bytes: at most {self._max_body_bytes}")
        return decode_response(body)

    async def keep(self, job: Job, body: Buffer) -> Buffer:
        """The whole response as it may be sent: kept, or saying that it was not."""
        response = bytes(body)
        return body if await self._keep(job, msgspec.Raw(response)) else state.not_kept(response)

    async def keep_streamed(self, job: Job, frames: bytes) -> bytes:
        """The same for the last events of a stream."""
        head, event = state.last_event(frames)
        kept = await self._keep(job, state.response_in(event))
        return frames if kept else state.ending_not_kept(head, event)

    async def _keep(self, job: Job, response: msgspec.Raw) -> bool:
        kept = state.Kept(state.input_of(job.request.body, job.id), response)
        return await self._responses.keep(job.caller, job.id, job.request.model, kept)

    async def answer(self, method: str, path: str, query: bytes, caller: Caller) -> bytes:
        """The answer on one of the paths of a response; NotFound for one that the caller's project does not have."""
        authorize(caller, "inference")
        name = path.removeprefix(PREFIX)
        response_id = name.removesuffix(_ITEMS)
        if "/" in response_id:
            raise NotFound(f"there is nothing at {path[:200]}")
        allowed = ("GET",) if name.endswith(_ITEMS) else ("GET", "DELETE")
        if method not in allowed:
            raise MethodNotAllowed(f"{path[:200]} takes {' and '.join(allowed)}", allowed=", ".join(allowed))
        ulid = state.ulid_of(response_id)
        if method == "DELETE":
            return await self._remove(caller, ulid, response_id)
        found = (await self._responses.find(caller, [ulid])).get(ulid)
        if found is None:
            raise state.no_response(response_id)
        if name.endswith(_ITEMS):
            return _list_items(found.input, parse_qs(query.decode("latin-1")))
        return bytes(found.response)

    async def _remove(self, caller: Caller, ulid: str, response_id: str) -> bytes:
        if not await self._responses.remove(caller, ulid):
            raise state.no_response(response_id)
        return _encode({"id": response_id, "object": "response", "deleted": True})


def _list_items(items: Sequence[msgspec.Raw], query: Mapping[str, list[str]]) -> bytes:
    """A page of them; the newest first, unless asked otherwise."""
    order = query.get("order", ["desc"])[0]
    if order not in ("asc", "desc"):
        raise Invalid("order must be asc or desc", param="order")
    ordered = list(items) if order == "asc" else list(reversed(items))
    ids = [_id_of(item) for item in ordered]
    start = _start_of(ids, query.get("after"))
    end = start + _limit_of(query.get("limit"))
    page: dict[str, Any] = {
        "object": "list",
        "data": ordered[start:end],
        "first_id": ids[start] if start < len(ids) else None,
        "last_id": ids[min(end, len(ids)) - 1] if start < len(ids) else None,
        "has_more": end < len(ids),
    }
    return _encode(page)


def _id_of(item: msgspec.Raw) -> str:
    return msgspec.json.decode(_id.decode(item)["id"], type=str)


def _start_of(ids: Sequence[str], after: list[str] | None) -> int:
    if after is None:
        return 0
    if after[0] not in ids:
        raise Invalid("after must be the id of an item of this response", param="after")
    return ids.index(after[0]) + 1


def _limit_of(limit: list[str] | None) -> int:
    if limit is None:
        return _USUAL_ITEMS
    if not limit[0].isascii() or not limit[0].isdigit() or not 1 <= int(limit[0][:9]) <= _MOST_ITEMS:
        raise Invalid(f"limit must be between 1 and {_MOST_ITEMS}", param="limit")
    return int(limit[0])
