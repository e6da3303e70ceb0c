"""Makes the call of a line: through admission, guardrails, routing and settlement, as whoever made the batch."""

import asyncio
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, Protocol

import msgspec

from polyforge.batch.batches.embedding import Unit, shares, split
from polyforge.dialects import openai_embeddings
from polyforge.dialects.openai_chat import completions, facts, replies, requests
from polyforge.dialects.openai_responses import facts as response_facts
from polyforge.dialects.openai_responses import replies as response_replies
from polyforge.dialects.openai_responses import requests as response_requests
from polyforge.dialects.openai_responses import state
from polyforge.dialects.writing import Answering
from polyforge.gateway.job import Job
from polyforge.gateway.lineup import Lineup, Lineups
from polyforge.kernel.chat import ChatRequest, ChatResult
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import IdempotencyAnswerLost, Invalid, ModelNotFound, UpstreamFailed
from polyforge.kernel.ids import new_ulid
from polyforge.kernel.money import Micros
from polyforge.kernel.tasks import EmbeddingResult, InferenceRequest
from polyforge.ports.provider import Reply
from polyforge.telemetry.hops import Hops
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.idempotency.service import Claim, Idempotency, KeptAnswer, request_digest
from polyforge.tenancy.limits.deposits import deposit_now

EMBEDDINGS: Final = "/v1/embeddings"
_PRICE: Final = re.compile(rb"price=(\d{1,18})")
_KIND: Final = b"application/json; price=%d"
_OK: Final = 200
_log = get_logger(__name__)


class Answered(msgspec.Struct, frozen=True, gc=False):
    """What came of a call that succeeded."""

    request_id: str
    body: bytes
    price: Micros


class Together(msgspec.Struct, frozen=True, gc=False):
    """What came of a call that several lines made together; lists have an entry for each line."""

    request_id: str
    bodies: list[bytes]
    """JSON in one line."""
    tokens: list[int]
    price: Micros


class CallsModels(Protocol):
    """Makes calls."""

    async def call(
        self, caller: Caller, url: str, body: bytes, *, key: bytes | None, tags: tuple[str, ...]
    ) -> Answered:
        """The answer to a body. With a key it is asked for once: whoever repeats it gets what came of it.
        An answer that was too large to be kept is asked for again.

        Any PolyforgeError where there is none.
        """
        ...

    async def call_together(self, caller: Caller, unit: Unit, *, tags: tuple[str, ...]) -> Together:
        """The answers to lines for the same embedding model; errors as for `call`."""
        ...


class _Url(msgspec.Struct, frozen=True):
    """How bodies for a path are read, and answers written."""

    decode: Callable[[bytes], InferenceRequest]
    read_chat: Callable[[bytes], ChatRequest] | None = None
    write: Callable[[ChatResult, Answering], bytes] | None = None


_URLS: Final[Mapping[str, _Url]] = {
    "/v1/chat/completions": _Url(facts.decode_chat, requests.read_chat, replies.write_reply),
    "/v1/completions": _Url(facts.decode_completion, completions.read_completion, completions.write_completion),
    "/v1/responses": _Url(response_facts.decode_response, response_requests.read_chat, response_replies.write_reply),
    EMBEDDINGS: _Url(openai_embeddings.decode_embeddings),
}


class ModelCaller:
    """Calls models of the lineup that is current when a call begins."""

    def __init__(self, lineups: Lineups, idempotency: Idempotency, clock: Clock, timeout_seconds: float) -> None:
        self._lineups = lineups
        self._idempotency = idempotency
        self._clock = clock
        self._timeout_seconds = timeout_seconds

    async def call(
        self, caller: Caller, url: str, body: bytes, *, key: bytes | None, tags: tuple[str, ...]
    ) -> Answered:
        """The answer to a body."""
        if key is None:
            return await self._ask(caller, url, body, tags)
        try:
            found = await self._idempotency.claim(caller, key, request_digest(url, body))
        except IdempotencyAnswerLost:
            _log.warning("a model is asked and paid again: its answer was too large to be kept", url=url)
            return await self._ask(caller, url, body, tags)
        if not isinstance(found, Claim):
            price = _PRICE.search(found.content_type)
            return Answered(new_ulid(), found.body, int(price[1]) if price else 0)
        kept = False
        try:
            answer = await self._ask(caller, url, body, tags)
            large = len(answer.body) > self._idempotency.max_bytes
            kept_answer = None if large else KeptAnswer(_OK, _KIND % answer.price, answer.body)
            await self._idempotency.keep(found, kept_answer)
            kept = True
        finally:
            if not kept:
                await asyncio.shield(self._idempotency.release(found))
        return answer

    async def call_together(self, caller: Caller, unit: Unit, *, tags: tuple[str, ...]) -> Together:
        """The answers to lines for the same embedding model."""
        job, reply = await self._complete(caller, EMBEDDINGS, unit.body, tags)
        if not isinstance(reply.result, EmbeddingResult):
            bodies, tokens = split(unit, bytes(reply.body or b""))
            return Together(job.id, bodies, tokens, job.price)
        if reply.result.rows != sum(unit.sizes):
            raise UpstreamFailed("the embedding model answered with another number of vectors")
        tokens, request = shares(reply.result.usage.input_total, unit.weights), job.request
        # The vectors of each line are written once, not as an answer to all that is then taken apart.
        encode = partial(openai_embeddings.encode_shared, reply.result, request.model, request.encoding)
        return Together(job.id, await asyncio.to_thread(encode, unit.sizes, tokens), tokens, job.price)

    async def _ask(self, caller: Caller, url: str, body: bytes, tags: tuple[str, ...]) -> Answered:
        job, reply = await self._complete(caller, url, body, tags)
        written = await _written(_URLS[url], reply, job)
        # What is kept of a batch is its files, not conversations that go on.
        return Answered(job.id, state.not_kept(written) if job.request.keeps else written, job.price)

    async def _complete(self, caller: Caller, url: str, body: bytes, tags: tuple[str, ...]) -> tuple[Job, Reply]:
        lineup = self._lineups.current
        lineup.calls += 1
        try:
            job = self._job(lineup, caller, url, body, tags)
            return job, await lineup.gateway.complete(job)
        finally:
            lineup.calls -= 1

    def _job(self, lineup: Lineup, caller: Caller, url: str, body: bytes, tags: tuple[str, ...]) -> Job:
        how = _URLS[url]
        request = how.decode(body)
        if request.stream:
            raise Invalid("stream: the calls of a batch are answered whole; leave it out", param="stream")
        if request.recalls:
            raise Invalid(
                "previous_response_id: the calls of a batch cannot go on from others", param="previous_response_id"
            )
        if not request.model:
            raise Invalid("model: name one", param="model")
        if not caller.may_use(request.model):
            raise ModelNotFound(f"there is no model {request.model!r}; GET /v1/models lists them", param="model")
        model = lineup.catalog.find(request.model, caller.project_id)
        request.model = model.name
        if not model.does(request.task):
            raise Invalid(f"the model {model.name!r} does {model.task}, not {request.task}", param="model")
        deadline = asyncio.get_running_loop().time() + self._timeout_seconds
        hops = Hops()
        hops.marks += (hops.marks[0],) * 3
        job = Job(new_ulid(), caller, request, model, hops, self._clock.now(), deadline)
        job.path, job.tags, job.read_chat, job.deposit = url, tags, how.read_chat, deposit_now()
        return job


async def _written(how: _Url, reply: Reply, job: Job) -> bytes:
    """The answer as the path has it."""
    result = reply.result
    if isinstance(result, EmbeddingResult):
        encode = partial(openai_embeddings.encode_embeddings, result, job.request.model, job.request.encoding)
        return await asyncio.to_thread(encode)
    if result is None:
        return bytes(reply.body or b"")
    if how.write is None:
        raise UpstreamFailed("the provider's answer cannot be written in this dialect")
    return how.write(result, _answering(job))


def _answering(job: Job) -> Answering:
    request = job.request
    return Answering(job.id, request.model, int(job.started_at), asked=request.body, used=job.usage, price=job.price)
