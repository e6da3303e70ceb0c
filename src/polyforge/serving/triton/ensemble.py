"""Ensembles: a graph of models whose tensors go from one to the next inside the host.

Steps run as soon as what they take is there, beside each other where they can. Every step is scheduled, batched and
counted like any request for its model.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from polyforge.kernel.errors import Invalid, PolyforgeError, Unavailable
from polyforge.kernel.tensors import Parameter, Tensor, TensorSpec
from polyforge.ports.model_backend import ModelRequest, Outputs, Signature
from polyforge.serving.triton.config import ENSEMBLE, EnsembleStep, Ensembling
from polyforge.serving.triton.layout import TritonModel

Find = Callable[[str, str | None], Signature]
"""The signature of a version of a model, by default the newest; ModelNotFound, or Unavailable while it is not ready."""

Compute = Callable[[str, str | None, ModelRequest], Awaitable[Outputs]]
"""What a version of a model answers."""


class Ensemble:
    """A model made of others; a backend that is asked through `compute`, never run in a thread.

    Checked when it is loaded: every tensor has one origin, fits where it goes, and there is an order of steps.
    """

    def __init__(self, model: TritonModel, find: Find) -> None:
        self.model = model
        self._find = find
        self._steps: tuple[EnsembleStep, ...] = (model.config.ensemble_scheduling or Ensembling()).step
        self._signature: Signature | None = None

    @property
    def signature(self) -> Signature:
        """What it takes and gives; only after `load`."""
        if self._signature is None:
            raise RuntimeError("the model is not loaded")
        return self._signature

    @property
    def steps(self) -> tuple[EnsembleStep, ...]:
        """What it is made of."""
        return self._steps

    def load(self) -> None:
        """Check it against the models that it is made of, which are loaded; Invalid says what does not fit."""
        config = self.model.config
        _check_plan(self.model, [(step, self._composing(step)) for step in self._steps])
        self._signature = Signature(
            platform=ENSEMBLE,
            inputs=tuple(tensor.spec(batched=config.batched) for tensor in config.inputs),
            outputs=tuple(tensor.spec(batched=config.batched) for tensor in config.outputs),
            batch_rows=1 if config.batched else 0,
            labels=self.model.labels,
            notes=self.model.notes,
            max_rows=config.max_batch_size or None,
        )

    def warm_up(self) -> None:
        """Nothing: the models that it is made of are warm."""

    def run(self, batch: Sequence[ModelRequest]) -> list[Outputs | PolyforgeError]:
        """Not how an ensemble is asked."""
        raise RuntimeError(f"ensemble '{self.model.name}' has no engine; {len(batch)} requests came to it")

    def close(self) -> None:
        """Nothing: it holds nothing of its own."""

    async def compute(self, request: ModelRequest, compute: Compute) -> Outputs:
        """The outputs of one request; the first step that fails ends it, and the error is that step's."""
        tensors: dict[str, Tensor] = dict(request.inputs)
        waiting = list(self._steps)
        running: dict[asyncio.Task[Outputs], EnsembleStep] = {}
        try:
            while waiting or running:
                for step in [step for step in waiting if tensors.keys() >= set(step.input_map.values())]:
                    waiting.remove(step)
                    call = _call(step, tensors, request.parameters, compute)
                    running[asyncio.ensure_future(call)] = step
                if not running:
                    break
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    tensors.update(_renamed(task.result(), running[task].output_map))
                    del running[task]
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        return tuple(self._given(tensors, spec.name) for spec in self.signature.outputs)

    def _given(self, tensors: Mapping[str, Tensor], name: str) -> Tensor:
        """An output; Unavailable when a model was loaded anew since, and does not give it any more."""
        if name not in tensors:
            raise Unavailable(
                f"ensemble '{self.model.name}': '{name}' is given by no step any more: a model that it is made of has"
                " other outputs now; load the ensemble anew"
            )
        return tensors[name]

    def _composing(self, step: EnsembleStep) -> Signature:
        try:
            return self._find(step.model_name, step.version)
        except (Unavailable, Invalid) as error:
            raise Invalid(f"ensemble '{self.model.name}' depends on '{step.model_name}': {error.message}") from error


async def _call(
    step: EnsembleStep, tensors: Mapping[str, Tensor], parameters: Mapping[str, Parameter], compute: Compute
) -> Outputs:
    inputs = {own: msgspec.structs.replace(tensors[shared], name=own) for own, shared in step.input_map.items()}
    return await compute(step.model_name, step.version, ModelRequest(inputs, parameters))


def _renamed(outputs: Outputs, names: Mapping[str, str]) -> dict[str, Tensor]:
    return {
        names[tensor.name]: msgspec.structs.replace(tensor, name=names[tensor.name])
        for tensor in outputs
        if tensor.name in names
    }


def _check_plan(model: TritonModel, steps: Sequence[tuple[EnsembleStep, Signature]]) -> None:
    config = model.config
    if not steps:
        raise Invalid(f"ensemble '{model.name}' has no steps", param="ensemble_scheduling")
    known = {tensor.name: tensor.spec(batched=config.batched) for tensor in config.inputs}
    for step, signature in steps:
        _check_step(model, step, signature)
        for own, shared in step.output_map.items():
            if shared in known:
                raise Invalid(f"ensemble '{model.name}': ensemble tensor '{shared}' is given by more than one step")
            known[shared] = _named(signature.outputs, own, step, model)
    for step, signature in steps:
        for own, shared in step.input_map.items():
            _check_fit(model, shared, known, _named(signature.inputs, own, step, model))
    for tensor in config.outputs:
        _check_fit(model, tensor.name, known, tensor.spec(batched=config.batched))
    _check_order(model, [step for step, _ in steps], {tensor.name for tensor in config.inputs})


def _check_step(model: TritonModel, step: EnsembleStep, signature: Signature) -> None:
    missing = [spec.name for spec in signature.inputs if spec.name not in step.input_map]
    if missing:
        raise Invalid(
            f"ensemble '{model.name}': in step of model '{step.model_name}', the input '{missing[0]}' is not mapped"
        )
    rows = model.config.max_batch_size
    if rows and signature.max_rows is not None and signature.max_rows < rows:
        raise Invalid(
            f"ensemble '{model.name}' allows maximum batch size {rows}, but it contains model '{step.model_name}' "
            f"which only allows maximum batch size to be {signature.max_rows}",
            param="max_batch_size",
        )


def _named(specs: Sequence[TensorSpec], name: str, step: EnsembleStep, model: TritonModel) -> TensorSpec:
    for spec in specs:
        if spec.name == name:
            return spec
    raise Invalid(f"ensemble '{model.name}': '{name}' is no tensor of model '{step.model_name}'")


def _check_fit(model: TritonModel, shared: str, known: Mapping[str, TensorSpec], wanted: TensorSpec) -> None:
    given = known.get(shared)
    if given is None:
        raise Invalid(f"ensemble '{model.name}': ensemble tensor '{shared}' is given by no step")
    if given.datatype != wanted.datatype:
        raise Invalid(
            f"ensemble '{model.name}': ensemble tensor '{shared}': inconsistent data type: {given.datatype} is given, "
            f"{wanted.datatype} is inferred from '{wanted.name}'"
        )
    fits = len(given.shape) == len(wanted.shape) and all(
        -1 in pair or pair[0] == pair[1] for pair in zip(given.shape, wanted.shape, strict=True)
    )
    if not fits:
        raise Invalid(
            f"ensemble '{model.name}': ensemble tensor '{shared}': inconsistent shape: {list(given.shape)} is given, "
            f"{list(wanted.shape)} is inferred from '{wanted.name}'"
        )


def _check_order(model: TritonModel, steps: list[EnsembleStep], ready: set[str]) -> None:
    waiting = list(steps)
    while waiting:
        able = [step for step in waiting if ready >= set(step.input_map.values())]
        if not able:
            names = ", ".join(step.model_name for step in waiting)
            raise Invalid(f"ensemble '{model.name}': circular dependency between its steps: {names}")
        for step in able:
            waiting.remove(step)
            ready |= set(step.output_map.values())
