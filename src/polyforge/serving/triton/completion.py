"""What a configuration leaves out, from the graph itself; and whether what it says fits the graph.

Follows Triton's auto-completion: inputs and outputs are filled in only when one of the two lists is missing, and a
batch dimension is found only then.
"""

from collections.abc import Sequence

from polyforge.dialects.protobuf_schema import Values
from polyforge.kernel.errors import Invalid
from polyforge.kernel.tensors import TensorSpec
from polyforge.ports.model_backend import Signature
from polyforge.serving.triton.config import ModelConfig, TensorConfig, tensor_values
from polyforge.serving.triton.layout import TritonModel

DEFAULT_MAX_BATCH_SIZE = 4
"""As in Triton (`--backend-config=default-max-batch-size`)."""


def completed(model: TritonModel, signature: Signature) -> TritonModel:
    """The model with what its configuration leaves out; Invalid when it cannot be what the configuration says."""
    config = model.config
    if config.inputs and config.outputs:
        return model
    values: Values = dict(model.values)
    specs = (*signature.inputs, *signature.outputs)
    can_batch = signature.batch_rows > 0 and all(spec.shape[:1] == (-1,) for spec in specs)
    if config.max_batch_size and not can_batch:
        raise Invalid(
            f"autofill failed for model '{model.name}': model does not support batching while non-zero max_batch_size "
            "is specified",
            param="max_batch_size",
        )
    if can_batch:
        values["max_batch_size"] = config.max_batch_size or DEFAULT_MAX_BATCH_SIZE
        if values["max_batch_size"] > 1 and config.sequence_batching is None:
            values.setdefault("dynamic_batching", {})
    for name, given, found in (
        ("input", config.inputs, _asked_of_callers(config, signature)),
        ("output", config.outputs, signature.outputs),
    ):
        if not given:
            values[name] = [tensor_values(spec, batched=can_batch) for spec in found]
    return model.with_values(values)


def check(config: ModelConfig, signature: Signature) -> None:
    """Invalid when the engine's model takes or gives something else than the configuration says."""
    inputs = _asked_of_callers(config, signature)
    if len(config.inputs) != len(inputs):
        names = ", ".join(spec.name for spec in inputs)
        raise Invalid(
            f"unable to load model '{config.name}', configuration expects {len(config.inputs)} inputs, model provides "
            f"{len(inputs)}: {names}",
            param="input",
        )
    _check_tensors(config, config.inputs, inputs, "input")
    _check_tensors(config, config.outputs, signature.outputs, "output")


def check_controls(config: ModelConfig, controls: Sequence[TensorSpec], signature: Signature) -> None:
    """Invalid when the engine's model keeps no state, or has no such inputs for what the host tells it."""
    if not signature.stateful:
        raise Invalid(
            f"unable to load model '{config.name}': it keeps no state; its class must say `stateful = True`",
            param="sequence_batching",
        )
    _check_tensors(config, [_as_configured(spec, config) for spec in controls], signature.inputs, "control input")


def _asked_of_callers(config: ModelConfig, signature: Signature) -> tuple[TensorSpec, ...]:
    """The engine's inputs without those that tell it of sequences."""
    told = config.sequence_batching.names if config.sequence_batching else ()
    return tuple(spec for spec in signature.inputs if spec.name not in told)


def _as_configured(spec: TensorSpec, config: ModelConfig) -> TensorConfig:
    values = tensor_values(spec, batched=config.batched)
    return TensorConfig(spec.name, values["data_type"], tuple(values["dims"]))


def _check_tensors(
    config: ModelConfig, tensors: Sequence[TensorConfig], specs: Sequence[TensorSpec], kind: str
) -> None:
    known = {spec.name: spec for spec in specs}
    for tensor in tensors:
        spec = known.get(tensor.name)
        if spec is None:
            raise Invalid(
                f"unexpected inference {kind} '{tensor.name}', allowed {kind}s are: {', '.join(known)}", param=kind
            )
        if spec.datatype != tensor.datatype:
            raise Invalid(
                f"unable to load model '{config.name}', configuration expects datatype {tensor.data_type} for {kind} "
                f"'{tensor.name}', model provides TYPE_{spec.datatype}",
                param=kind,
            )
        shape = tensor.engine_shape(batched=config.batched)
        if not _compatible(shape, spec.shape):
            raise Invalid(
                f"unable to load model '{config.name}', {kind} '{tensor.name}': the model expects shape "
                f"{list(spec.shape)}, the configuration says {list(shape)}"
                + (", its first dimension being the batch because max_batch_size > 0" if config.batched else ""),
                param=kind,
            )


def _compatible(configured: Sequence[int], actual: Sequence[int]) -> bool:
    if len(configured) != len(actual):
        return False
    return all(-1 in pair or pair[0] == pair[1] for pair in zip(configured, actual, strict=True))
