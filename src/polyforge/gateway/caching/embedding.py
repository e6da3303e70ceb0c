"""The vector of a question, by an embedding model of ours: a call like any other, admitted and settled by itself."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import numpy as np

from polyforge.gateway.caching.semantic import Vector, unit
from polyforge.gateway.job import Job
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import PolyforgeError
from polyforge.kernel.ids import new_ulid
from polyforge.kernel.tasks import EmbeddingResult, InferenceRequest
from polyforge.ports.provider import Reply
from polyforge.registry.catalog import Catalog
from polyforge.telemetry.hops import Hops
from polyforge.telemetry.logs import get_logger

EMBED_SECONDS: Final = 2.0
"""How long a request waits for the vector of its question."""
_log = get_logger(__name__)

Complete = Callable[[Job], Awaitable[Reply]]
"""Takes a job through the gateway."""


class _Item(msgspec.Struct):
    embedding: list[float]


class _Body(msgspec.Struct):
    data: list[_Item]


_body: Final = msgspec.json.Decoder(_Body)
_encode: Final = msgspec.json.Encoder().encode


class Embedding:
    """Has texts embedded on the account of whoever asks."""

    def __init__(self, complete: Complete, catalog: Catalog, clock: Clock) -> None:
        self._complete = complete
        self._catalog = catalog
        self._clock = clock

    async def embed(self, job: Job, model: str, text: str) -> Vector | None:
        """The vector of a text, of length one; None where it cannot be had in a short time, for whatever reason."""
        try:
            async with asyncio.timeout(EMBED_SECONDS):
                return _vector_of(await self._complete(self._job(job, model, text)))
        except (PolyforgeError, TimeoutError) as error:
            _log.warning("a question could not be embedded", model=model, reason=str(error) or "it took too long")
            return None

    def _job(self, job: Job, model: str, text: str) -> Job:
        body = _encode({"model": model, "input": [text], "encoding_format": "float"})
        request = InferenceRequest("embedding", "openai", model, body, output_limit=0, parts=1, inputs=[text])
        request.end_user = job.request.end_user
        found = self._catalog.find(model)
        return Job(new_ulid(), job.caller, request, found, Hops(), self._clock.now(), job.deadline, tags=job.tags)


def _vector_of(reply: Reply) -> Vector | None:
    result = reply.result
    if isinstance(result, EmbeddingResult):
        return unit(np.frombuffer(memoryview(result.data), "<f4")[: result.dimensions])
    try:
        items = _body.decode(bytes(reply.body or b"")).data
    except msgspec.DecodeError:
        return None
    return unit(items[0].embedding) if items else None
