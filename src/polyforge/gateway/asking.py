"""The gateway's own questions: to models of this installation, beside a call and in its caller's name.

They are calls like any other, routed, failed over and settled by themselves.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from polyforge.dialects import openai_embeddings, openai_moderations
from polyforge.gateway.job import Job
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import UpstreamFailed
from polyforge.kernel.ids import new_ulid
from polyforge.kernel.tasks import EmbeddingResult, InferenceRequest, Moderation
from polyforge.ports.provider import Reply
from polyforge.registry.catalog import Catalog
from polyforge.telemetry.hops import Hops
from polyforge.tenancy.callers import Caller, KeyLimits
from polyforge.tenancy.limits.deposits import deposit_now

Complete = Callable[[Job], Awaitable[Reply]]
"""Takes a job through the gateway."""
_encode: Final = msgspec.json.Encoder().encode


class Asker(msgspec.Struct, frozen=True):
    """In whose name questions are asked."""

    caller: Caller
    deadline: float
    """When everything must be over, in loop time."""
    end_user: str = ""
    tags: tuple[str, ...] = ()
    judging: bool = False
    """Whether a guardrail asks: such questions pass no guardrails, and count for no limits but those of money."""


def asker_of(job: Job, *, judging: bool = False) -> Asker:
    """Whoever made a call."""
    return Asker(job.caller, job.deadline, job.request.end_user, job.tags, judging)


def _judge_of(caller: Caller) -> Caller:
    """The caller without limits but that of money: its call holds the others already."""
    limits = caller.limits
    if limits.rpm is limits.tpm is limits.concurrency is None:
        return caller
    return msgspec.structs.replace(caller, limits=KeyLimits(budget=limits.budget, period=limits.period))


class Asking:
    """Asks models. Every failure is a `PolyforgeError`."""

    def __init__(self, complete: Complete, catalog: Catalog, clock: Clock) -> None:
        self._complete = complete
        self._catalog = catalog
        self._clock = clock

    def models(self, asker: Asker) -> "AskedModels":
        """The models as somebody may ask them."""
        return AskedModels(self, asker)

    async def embed(self, asker: Asker, model: str, texts: Sequence[str]) -> EmbeddingResult:
        """A vector for each text; no text may be empty."""
        inputs = list(texts)
        body = _encode({"model": model, "input": inputs, "encoding_format": "float"})
        request = InferenceRequest("embedding", "openai", model, body, output_limit=0, parts=len(inputs), inputs=inputs)
        reply = await self._ask(asker, request)
        result = reply.result if isinstance(reply.result, EmbeddingResult) else _vectors_in(reply)
        if result.rows != len(inputs):
            raise UpstreamFailed("the embedding model answered with another number of vectors")
        return result

    async def moderate(self, asker: Asker, model: str, texts: Sequence[str]) -> list[Moderation]:
        """A judgement of each text."""
        body = openai_moderations.write_request(model, texts)
        reply = await self._ask(asker, openai_moderations.decode_moderation(body))
        try:
            found = openai_moderations.read_results(bytes(reply.body or b""))
        except (ValueError, RecursionError) as error:
            raise UpstreamFailed("the moderation model's answer cannot be read") from error
        if len(found) != len(texts):
            raise UpstreamFailed("the moderation model judged another number of texts")
        return found

    async def _ask(self, asker: Asker, request: InferenceRequest) -> Reply:
        request.end_user = asker.end_user
        model, now = self._catalog.find(request.model), self._clock.now()
        caller = _judge_of(asker.caller) if asker.judging else asker.caller
        job = Job(new_ulid(), caller, request, model, Hops(), now, asker.deadline, tags=asker.tags)
        job.judging, job.deposit = asker.judging, deposit_now()
        return await self._complete(job)


class AskedModels:
    """The models, in somebody's name."""

    def __init__(self, asking: Asking, asker: Asker) -> None:
        self._asking = asking
        self._asker = asker

    async def embed(self, model: str, texts: Sequence[str]) -> EmbeddingResult:
        """A vector for each text; no text may be empty."""
        return await self._asking.embed(self._asker, model, texts)

    async def moderate(self, model: str, texts: Sequence[str]) -> list[Moderation]:
        """A judgement of each text."""
        return await self._asking.moderate(self._asker, model, texts)


def _vectors_in(reply: Reply) -> EmbeddingResult:
    try:
        return openai_embeddings.read_vectors(bytes(reply.body or b""))
    except (ValueError, RecursionError) as error:
        raise UpstreamFailed("the embedding model's answer cannot be read") from error
