"""A backend behind a Triton configuration: the engine computes, the configuration says what callers see of it."""

from collections.abc import Generator, Mapping, Sequence
from typing import cast

import msgspec

from polyforge.kernel.errors import Invalid, PolyforgeError
from polyforge.kernel.tensors import Parameter, Tensor
from polyforge.ports.model_backend import (
    ModelBackend,
    ModelRequest,
    Outputs,
    ProcessBackend,
    ProcessFacts,
    Signature,
    StreamingBackend,
)
from polyforge.serving.plan import Plan
from polyforge.serving.triton import completion
from polyforge.serving.triton.config import TensorConfig
from polyforge.serving.triton.layout import TritonModel
from polyforge.serving.triton.planning import planned
from polyforge.serving.triton.sequencing import Controls
from polyforge.serving.triton.warm_up import sample_request

MAX_BATCH_ROWS_UNSAID = 1
WARM_UP_SEQUENCE: Mapping[str, Parameter] = {"sequence_id": 1, "sequence_start": True, "sequence_end": True}
"""Of a model that keeps state, before anybody else asks it."""


class ConfiguredBackend:
    """One version of a model: gives it the shapes, outputs, batch size, labels and warm-up of its configuration.

    `model` is complete after `load`. An engine that cannot compute rows together stays as it is whatever is configured.
    """

    def __init__(self, model: TritonModel, engine: ModelBackend) -> None:
        self.model = model
        self._engine = engine
        self._signature: Signature | None = None
        self._controls: Controls | None = None

    @property
    def signature(self) -> Signature:
        """What callers see; only after `load`."""
        if self._signature is None:
            raise RuntimeError("the model is not loaded")
        return self._signature

    def load(self) -> None:
        """Load the engine and fit the configuration to it; Invalid says where they differ."""
        self._engine.load()
        found = self._engine.signature
        self.model = completion.completed(self.model, found)
        config = self.model.config
        completion.check(config, found)
        if config.sequence_batching is not None:
            self._controls = Controls(config.name, config.sequence_batching, batched=config.batched)
            completion.check_controls(config, self._controls.specs, found)
        if config.model_transaction_policy.decoupled and not found.streams:
            raise Invalid(
                f"unable to load model '{config.name}': it is to be decoupled, and its class has no `stream`",
                param="model_transaction_policy",
            )
        self._signature = self._seen(found)

    def shaped(self, plan: Plan) -> Plan:
        """The plan with what the configuration says of it; only after `load`."""
        return planned(self.model.config, plan)

    def warm_up(self) -> None:
        """Run the engine's own sample, then each of the configuration's; Invalid says which one failed."""
        self._engine.warm_up()
        for sample in self.model.config.warm_ups:
            request = sample_request(self.model, sample)
            if self.signature.stateful:
                request = msgspec.structs.replace(request, parameters=WARM_UP_SEQUENCE)
            for _ in range(max(1, sample.count)):
                (answer,) = self.run([request])
                if isinstance(answer, PolyforgeError):
                    raise Invalid(f"model_warmup '{sample.name}' failed: {answer.message}", param="model_warmup")

    def run(self, batch: Sequence[ModelRequest]) -> list[Outputs | PolyforgeError]:
        """The outputs that the configuration names, in its shapes."""
        if self._controls is None:
            return self._run(batch)
        answers: list[Outputs | PolyforgeError] = []
        for request in batch:
            try:
                answers += self._run([self._controls.told(request)])
            except Invalid as error:
                answers.append(error)
        return answers

    def stream(self, request: ModelRequest) -> Generator[Outputs]:
        """The answers to one request in the shapes of the configuration; only where the signature says `streams`."""
        for outputs in cast(StreamingBackend, self._engine).stream(self._to_engine(request)):
            yield self._to_caller(outputs)

    @property
    def processes(self) -> ProcessFacts | None:
        """The processes of the engine; None when it has none."""
        return self._engine.processes if isinstance(self._engine, ProcessBackend) else None

    @property
    def back_in(self) -> float | None:
        """Seconds until the engine's processes are expected to answer, while none is there; else None."""
        return self._engine.back_in if isinstance(self._engine, ProcessBackend) else None

    def close(self) -> None:
        """Let go of the engine."""
        self._engine.close()

    def _run(self, batch: Sequence[ModelRequest]) -> list[Outputs | PolyforgeError]:
        answers = self._engine.run([self._to_engine(request) for request in batch])
        return [answer if isinstance(answer, PolyforgeError) else self._to_caller(answer) for answer in answers]

    def _seen(self, found: Signature) -> Signature:
        config = self.model.config
        batched = config.batched
        batch_rows = min(found.batch_rows, config.max_batch_size)
        if batched and config.dynamic_batching is None:
            batch_rows = MAX_BATCH_ROWS_UNSAID
        sequences = config.sequence_batching
        return msgspec.structs.replace(
            found,
            platform=config.platform_name,
            inputs=tuple(tensor.spec(batched=batched) for tensor in config.inputs),
            outputs=tuple(tensor.spec(batched=batched) for tensor in config.outputs),
            batch_rows=max(1, batch_rows) if batched else 0,
            labels={**found.labels, **self.model.labels},
            notes=(*found.notes, *self.model.notes),
            max_rows=config.max_batch_size if batched else None,
            independent_rows=batched and (found.independent_rows or found.batch_rows > 1),
            sequence_idle_seconds=sequences.idle_seconds if sequences else found.sequence_idle_seconds,
            sequences_per_instance=sequences.per_instance if sequences else found.sequences_per_instance,
            spreads=False,
        )

    def _to_engine(self, request: ModelRequest) -> ModelRequest:
        reshaped = [tensor for tensor in self.model.config.inputs if tensor.reshape is not None]
        if not reshaped:
            return request
        inputs = dict(request.inputs)
        for tensor in reshaped:
            inputs[tensor.name] = self._reshaped(inputs[tensor.name], tensor, to_engine=True)
        return msgspec.structs.replace(request, inputs=inputs)

    def _to_caller(self, outputs: Outputs) -> Outputs:
        given = {tensor.name: tensor for tensor in outputs}
        return tuple(
            given[tensor.name]
            if tensor.reshape is None
            else self._reshaped(given[tensor.name], tensor, to_engine=False)
            for tensor in self.model.config.outputs
        )

    def _reshaped(self, given: Tensor, tensor: TensorConfig, *, to_engine: bool) -> Tensor:
        batched = self.model.config.batched
        seen, engine = tensor.spec(batched=batched).shape, tensor.engine_shape(batched=batched)
        source, target = (seen, engine) if to_engine else (engine, seen)
        return msgspec.structs.replace(given, shape=_filled(target, source, given.shape))


def _filled(target: Sequence[int], source: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """`target` with its free dimensions taken, in order, from those that `shape` has where `source` is free."""
    free = (extent for wanted, extent in zip(source, shape, strict=True) if wanted == -1)
    return tuple(next(free) if extent == -1 else extent for extent in target)
