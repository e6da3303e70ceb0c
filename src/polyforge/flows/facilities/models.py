"""Models for nodes: calls of the gateway, whole or as they are made, each asked for once."""

import asyncio
import re
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Final

import msgspec

from polyforge.batch.batches.calling import ModelCaller
from polyforge.dialects.openai_chat import facts, replies, requests
from polyforge.dialects.openai_chat.streams import ChunkReader, ChunkWriter
from polyforge.dialects.writing import Answering, StreamWriter
from polyforge.flows.facilities.once import Once
from polyforge.flows.running.contract import ModelAnswer
from polyforge.gateway.job import Job
from polyforge.gateway.lineup import Lineup, Lineups
from polyforge.kernel.chat import Delta, TextDelta
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Invalid, ModelNotFound, UpstreamFailed
from polyforge.kernel.folding import fold
from polyforge.kernel.ids import new_ulid
from polyforge.kernel.tasks import Task
from polyforge.telemetry.hops import Hops
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.idempotency.service import Idempotency
from polyforge.tenancy.limits.deposits import deposit_now
from polyforge.upstreams.streams import CanonicalStream

_CHAT: Final = "/v1/chat/completions"
_PRICE: Final = re.compile(rb"price=(\d{1,18})")
_KIND: Final = b"application/json; price=%d"
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode
_encode: Final = msgspec.json.Encoder().encode
Tell = Callable[[str], None]


class FlowModels:
    """Calls models of the lineup that is current when a call begins."""

    def __init__(self, lineups: Lineups, idempotency: Idempotency, clock: Clock, timeout_seconds: float) -> None:
        self._lineups = lineups
        self._once = Once(idempotency)
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._whole = ModelCaller(lineups, idempotency, clock, timeout_seconds)

    def task(self, caller: Caller, model: str) -> Task | None:
        """What a model does; ModelNotFound where there is none that the caller may use."""
        if not caller.may_use(model):
            raise ModelNotFound(f"there is no model {model!r}; GET /v1/models lists them", param="model")
        found = self._lineups.current.catalog.find(model, caller.project_id)
        return None if found.any_task else found.task

    async def call(
        self,
        caller: Caller,
        url: str,
        body: bytes,
        *,
        key: bytes | None,
        tags: tuple[str, ...],
        on_text: Tell | None = None,
    ) -> ModelAnswer:
        """The whole answer; of chats the text is told as it comes."""
        if on_text is None or url != _CHAT:
            found = await self._whole.call(caller, url, body, key=key, tags=tags)
            return ModelAnswer(found.body, found.price)
        fields = {**_decode(body), "stream": True, "stream_options": {"include_usage": True}}
        streamed = _encode(fields)
        if key is None:
            return await self._streamed(caller, streamed, tags, on_text)

        async def ask() -> tuple[bytes, bytes]:
            answer = await self._streamed(caller, streamed, tags, on_text)
            return _KIND % answer.price, answer.body

        note, kept = await self._once.do(caller, key, url, streamed, ask)
        price = _PRICE.search(note)
        return ModelAnswer(kept, int(price[1]) if price else 0)

    async def _streamed(self, caller: Caller, body: bytes, tags: tuple[str, ...], tell: Tell) -> ModelAnswer:
        lineup = self._lineups.current
        lineup.calls += 1
        try:
            job = self._job(lineup, caller, body, tags)
            reading = CanonicalStream(ChunkReader())
            deltas = list[Delta]()
            async with aclosing(lineup.gateway.stream(job)) as frames:
                async for data, _ in frames:
                    deltas += _read(reading, data, tell)
        finally:
            lineup.calls -= 1
        result = fold(deltas)
        if result is None:
            raise UpstreamFailed("the model's answer broke off")
        result.usage = result.usage or job.usage
        return ModelAnswer(replies.write_reply(result, _answering(job)), job.price)

    def _job(self, lineup: Lineup, caller: Caller, body: bytes, tags: tuple[str, ...]) -> Job:
        request = facts.decode_chat(body)
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
        job.path, job.tags, job.read_chat, job.open_writer = _CHAT, tags, requests.read_chat, _open_writer
        job.deposit = deposit_now()
        return job


def _read(reading: CanonicalStream, data: bytes, tell: Tell) -> list[Delta]:
    """What frames say; their text is told."""
    found = [delta for event in reading.feed(data) for delta in event.deltas]
    if reading.failure is not None:
        raise reading.failure
    for delta in found:
        if isinstance(delta, TextDelta):
            tell(delta.text)
    return found


def _open_writer(job: Job) -> StreamWriter:
    return ChunkWriter(_answering(job))


def _answering(job: Job) -> Answering:
    request = job.request
    return Answering(
        job.id,
        request.model,
        int(job.started_at),
        wants_usage=True,
        asked=request.body,
        used=job.usage,
        price=job.price,
    )
