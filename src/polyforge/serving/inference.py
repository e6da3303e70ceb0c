"""One request for a model, whatever protocol it came by: checked, computed, and its classes picked out."""

import asyncio
import struct
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Final, cast

import msgspec

from polyforge.dialects import oip
from polyforge.dialects.oip_classification import classified
from polyforge.kernel.errors import Cancelled, Invalid, PolyforgeError, TimedOut
from polyforge.kernel.tensors import Parameter, TensorSpec
from polyforge.ports.model_backend import ModelRequest, Outputs, Signature, StreamingBackend
from polyforge.serving.lifecycle.keeping import Lifecycle
from polyforge.serving.repository import HostedModel, Repository
from polyforge.serving.scheduler import BackendBroke, Gone, Scheduler
from polyforge.serving.streaming import Streams
from polyforge.serving.triton.ensemble import Ensemble
from polyforge.serving.work import MICROSECONDS, number_of

TOKENS: Final = "tokens"


class Call(msgspec.Struct, frozen=True):
    """How long a request may still take, by the event loop's clock, and whether its caller is there."""

    deadline: float
    gone: Gone

    @property
    def remaining(self) -> float:
        """Seconds left; TimedOut when there are none."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimedOut("Request timeout expired")
        return left


class Answered(msgspec.Struct, frozen=True):
    """What came of a request."""

    outputs: Outputs
    tokens: int | None
    """What its model read of text, where the model says so in an output `tokens` of one count per row."""


class Inference:
    """Answers requests for the models of a repository, ensembles included."""

    def __init__(
        self,
        repository: Repository,
        scheduler: Scheduler,
        *,
        max_rows: int,
        timeout: float,
        lifecycle: Lifecycle | None = None,
    ) -> None:
        self._repository = repository
        self._lifecycle = lifecycle
        self._scheduler = scheduler
        self._max_rows = max_rows
        self._timeout = timeout
        self._streams = Streams()

    async def answer(self, model: HostedModel, request: oip.InferRequest, gone: Gone) -> "Answered":
        """The outputs that a request asks for, in the model's order, and how many tokens it came to.

        Invalid in Triton's words when it does not fit the model, Unavailable when the model does not answer or too many
        wait, TimedOut, Cancelled when the caller is gone, BackendBroke when the backend failed unforeseen.
        """
        began = time.monotonic()
        if not model.resident:
            model = await self.awake(model)
        model.used = began
        signature = model.signature
        rows = self._checked(model.name, signature, request)
        # What a model's queue makes of a caller's `timeout` is the scheduler's business; an ensemble has no queue.
        asked = self._timeout_of(request.parameters)
        call = Call(began + (asked if isinstance(model.backend, Ensemble) else self._timeout), gone)
        outputs = await self._compute(model, ModelRequest(request.inputs, request.parameters), rows, call)
        return _answered(request, signature, outputs)

    async def stream(self, model: HostedModel, request: oip.InferRequest, gone: Gone) -> AsyncGenerator["Answered"]:
        """Every answer to a request as it comes; the one answer of a model that does not stream.

        Raises what `answer` does, also after some answers. Each answer may take as long as a request may.
        """
        if not model.resident:
            model = await self.awake(model)
        signature = model.signature
        if not signature.streams:
            yield await self.answer(model, request, gone)
            return
        model.used = time.monotonic()
        rows = self._checked(model.name, signature, request)
        within = self._timeout_of(request.parameters)
        asked = ModelRequest(request.inputs, request.parameters)
        backend = cast(StreamingBackend, model.backend)
        ended = self._scheduler.occupy(model)
        started = time.monotonic_ns()
        try:
            async with aclosing(
                self._streams.answers(backend, asked, within=within, gone=gone, ended=ended)
            ) as answers:
                async for outputs in answers:
                    yield _answered(request, signature, outputs)
        except (PolyforgeError, BackendBroke) as error:
            _count_failure(model, error, started)
            raise
        _count(model, rows, started)

    async def awake(self, model: HostedModel, within: float | None = None) -> HostedModel:
        """The model, or what took its place meanwhile, in memory if it can be; Unavailable when that takes too long."""
        if model.resident or self._lifecycle is None:
            return model
        return await self._lifecycle.awake(model, within=self._timeout if within is None else within)

    def _checked(self, name: str, signature: Signature, request: oip.InferRequest) -> int:
        has_rows = signature.batch_rows > 0
        rows = oip.check_inputs(request, signature.inputs, signature.outputs, name, has_rows=has_rows)
        limit = self._max_rows if signature.max_rows is None else min(signature.max_rows, self._max_rows)
        if rows > limit:
            raise Invalid(
                f"inference request batch-size must be <= {limit} for '{name}'", param=_first(signature.inputs)
            )
        return rows

    def _timeout_of(self, parameters: Mapping[str, Parameter]) -> float:
        asked = number_of(parameters, "timeout")
        return min(self._timeout, asked / MICROSECONDS) if asked else self._timeout

    async def _compute(self, model: HostedModel, request: ModelRequest, rows: int, call: Call) -> Outputs:
        if isinstance(model.backend, Ensemble):
            return await self._compute_ensemble(model, model.backend, request, rows, call)
        return await self._scheduler.infer(model, request, rows=rows, within=call.remaining, gone=call.gone)

    async def _compute_ensemble(
        self, model: HostedModel, ensemble: Ensemble, request: ModelRequest, rows: int, call: Call
    ) -> Outputs:
        started = time.monotonic_ns()
        # One watcher for all steps: only one may listen for the end of the connection.
        watcher = asyncio.ensure_future(call.gone())
        steps = Call(call.deadline, lambda: asyncio.shield(watcher))

        async def step(name: str, version: str | None, request: ModelRequest) -> Outputs:
            return await self._step(name, version, request, steps)

        async def compute() -> Outputs:
            outputs = await ensemble.compute(request, step)
            _count(model, rows, started)
            return outputs

        try:
            parts = self._parts(ensemble) if model.plan.cached and self._scheduler.caches else []
            if not parts or any(part.signature.stateful for part in parts):
                return await compute()
            return await self._scheduler.cached(model, request, compute, parts)
        except (PolyforgeError, BackendBroke) as error:
            _count_failure(model, error, started)
            raise
        finally:
            watcher.cancel()

    def _parts(self, ensemble: Ensemble) -> list[HostedModel]:
        """The models that an ensemble is made of, those of the ensembles in it too; ModelNotFound when one is gone."""
        parts: dict[HostedModel, None] = {}
        ensembles = [ensemble]
        while ensembles:
            for step in ensembles.pop().steps:
                part = self._repository.find(step.model_name, step.version)
                if part not in parts and isinstance(part.backend, Ensemble):
                    ensembles.append(part.backend)
                parts[part] = None
        return list(parts)

    async def _step(self, name: str, version: str | None, request: ModelRequest, call: Call) -> Outputs:
        model = await self.awake(self._repository.find(name, version), call.remaining)
        model.used = time.monotonic()
        asked = oip.InferRequest(dict(request.inputs), parameters=dict(request.parameters))
        rows = self._checked(name, model.signature, asked)
        return await self._compute(model, request, rows, call)


def _answered(request: oip.InferRequest, signature: Signature, outputs: Outputs) -> Answered:
    wanted = [tensor for tensor in outputs if not request.outputs or tensor.name in request.outputs]
    if request.classes:
        wanted = [
            classified(tensor, count, signature.labels.get(tensor.name, ()), has_rows=signature.batch_rows > 0)
            if (count := request.classes.get(tensor.name))
            else tensor
            for tensor in wanted
        ]
    return Answered(tuple(wanted), _tokens_of(outputs))


def _count(model: HostedModel, rows: int, started_ns: int) -> None:
    counters = model.statistics
    counters.rows += rows
    counters.runs += 1
    counters.succeeded += 1
    counters.success_ns += time.monotonic_ns() - started_ns
    counters.last_ms = time.time_ns() // 1_000_000


def _count_failure(model: HostedModel, error: PolyforgeError | BackendBroke, started_ns: int) -> None:
    counters = model.statistics
    if isinstance(error, Cancelled):
        counters.cancelled += 1
        return
    counters.failed += 1
    counters.fail_ns += time.monotonic_ns() - started_ns


def _tokens_of(outputs: Outputs) -> int | None:
    for tensor in outputs:
        if tensor.name == TOKENS and tensor.datatype == "INT32" and len(tensor.shape) == 1:
            return sum(struct.unpack(f"<{tensor.count}i", tensor.data))
    return None


def _first(specs: tuple[TensorSpec, ...]) -> str | None:
    return specs[0].name if specs else None
