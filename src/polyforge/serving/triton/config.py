"""A model's configuration in Triton's repository: what of it the host follows, what it leaves out, what it refuses.

Followed: whatever decides what a model takes, gives and is. Left out, and noted: settings that only steer speed on
devices and engines. Refused: whatever would change answers if it were left out.
"""

import math
from collections.abc import Iterable

import msgspec

from polyforge.dialects import triton_config
from polyforge.dialects.protobuf_schema import Values
from polyforge.kernel.errors import Invalid
from polyforge.kernel.tensors import Datatype, TensorSpec
from polyforge.serving.triton import sequencing
from polyforge.serving.triton.sequencing import SequenceBatching

ENSEMBLE = "ensemble"
MAX_WARM_UPS = 1000
"""How often one warm-up sample is run at most."""


class Reshape(msgspec.Struct, frozen=True):
    """The shape that the engine sees instead of `dims`."""

    shape: tuple[int, ...] = ()


class TensorConfig(msgspec.Struct, frozen=True):
    """An input or output; `dims` are without the dimension of the batch."""

    name: str = ""
    data_type: str = "TYPE_INVALID"
    dims: tuple[int, ...] = ()
    reshape: Reshape | None = None
    label_filename: str = ""
    optional: bool = False
    is_shape_tensor: bool = False
    allow_ragged_batch: bool = False
    is_non_linear_format_io: bool = False

    @property
    def datatype(self) -> Datatype:
        """The protocol's name of its type."""
        return triton_config.datatype_of(self.data_type)

    def spec(self, *, batched: bool) -> TensorSpec:
        """What callers see."""
        return TensorSpec(self.name, self.datatype, ((-1,) if batched else ()) + self.dims)

    def engine_shape(self, *, batched: bool) -> tuple[int, ...]:
        """What the engine sees."""
        return ((-1,) if batched else ()) + (self.dims if self.reshape is None else self.reshape.shape)


class QueuePolicy(msgspec.Struct, frozen=True):
    """How long and how many may wait; 0 is without a limit."""

    timeout_action: str = "REJECT"
    default_timeout_microseconds: int = 0
    allow_timeout_override: bool = False
    max_queue_size: int = 0


class DynamicBatching(msgspec.Struct, frozen=True):
    """Whether and how waiting requests are put together."""

    preferred_batch_size: tuple[int, ...] = ()
    max_queue_delay_microseconds: int = 0
    preserve_ordering: bool = False
    priority_levels: int = 0
    default_priority_level: int = 0
    default_queue_policy: QueuePolicy = QueuePolicy()
    priority_queue_policy: dict[int, QueuePolicy] = {}


class InstanceGroup(msgspec.Struct, frozen=True):
    """How many instances, and where."""

    kind: str = "KIND_AUTO"
    count: int = 0
    passive: bool = False


class Latest(msgspec.Struct, frozen=True):
    """The newest so many versions."""

    num_versions: int = 0


class Specific(msgspec.Struct, frozen=True):
    """These versions."""

    versions: tuple[int, ...] = ()


class VersionPolicy(msgspec.Struct, frozen=True):
    """Which versions of those that are there are served."""

    latest: Latest | None = None
    all: Values | None = None
    specific: Specific | None = None

    def chosen(self, available: Iterable[int]) -> tuple[int, ...]:
        """The versions to serve, lowest first."""
        versions = sorted(available)
        if self.all is not None:
            return tuple(versions)
        if self.specific is not None:
            return tuple(version for version in versions if version in self.specific.versions)
        number = (self.latest.num_versions if self.latest else 0) or 1
        return tuple(versions[-number:])


class EnsembleStep(msgspec.Struct, frozen=True):
    """One model of an ensemble; both maps lead from its own names to the ensemble's. Version -1 is the newest."""

    model_name: str = ""
    model_version: int = 0
    input_map: dict[str, str] = {}
    output_map: dict[str, str] = {}
    model_namespace: str = ""

    @property
    def version(self) -> str | None:
        """The version to ask for."""
        return str(self.model_version) if self.model_version > 0 else None


class Ensembling(msgspec.Struct, frozen=True):
    """The steps of an ensemble, in any order."""

    step: tuple[EnsembleStep, ...] = ()


class WarmUpInput(msgspec.Struct, frozen=True):
    """Where one input of a warm-up sample comes from; zeros when nothing else is said."""

    data_type: str = "TYPE_INVALID"
    dims: tuple[int, ...] = ()
    zero_data: bool = False
    random_data: bool | None = None
    input_data_file: str | None = None


class WarmUp(msgspec.Struct, frozen=True):
    """A sample request that is run before the model is ready."""

    name: str = ""
    batch_size: int = 0
    inputs: dict[str, WarmUpInput] = {}
    count: int = 0


class ResponseCache(msgspec.Struct, frozen=True):
    """Whether answers may be given again."""

    enable: bool = False


class _StringValue(msgspec.Struct, frozen=True):
    string_value: str = ""


class _TransactionPolicy(msgspec.Struct, frozen=True):
    decoupled: bool = False


class ModelConfig(
    msgspec.Struct, frozen=True, rename={"inputs": "input", "outputs": "output", "warm_ups": "model_warmup"}
):
    """The part of a configuration that the host follows."""

    name: str = ""
    platform: str = ""
    backend: str = ""
    max_batch_size: int = 0
    inputs: tuple[TensorConfig, ...] = ()
    outputs: tuple[TensorConfig, ...] = ()
    version_policy: VersionPolicy = VersionPolicy()
    dynamic_batching: DynamicBatching | None = None
    sequence_batching: SequenceBatching | None = None
    ensemble_scheduling: Ensembling | None = None
    instance_group: tuple[InstanceGroup, ...] = ()
    default_model_filename: str = ""
    parameters: dict[str, _StringValue] = {}
    warm_ups: tuple[WarmUp, ...] = ()
    response_cache: ResponseCache = ResponseCache()
    model_transaction_policy: _TransactionPolicy = _TransactionPolicy()

    @property
    def batched(self) -> bool:
        """Whether the first dimension of every tensor counts rows."""
        return self.max_batch_size > 0

    @property
    def instances(self) -> int | None:
        """How many engine sessions it asks for; None when it does not say."""
        return sum(max(1, group.count) for group in self.instance_group if not group.passive) or None

    @property
    def settings(self) -> dict[str, str]:
        """The engine's own settings, `parameters`, by name."""
        return {name: parameter.string_value for name, parameter in self.parameters.items()}

    @property
    def platform_name(self) -> str:
        """What the model's metadata call its platform."""
        if self.platform:
            return self.platform
        return "onnxruntime_onnx" if self.backend == "onnxruntime" else self.backend


def read(values: Values) -> ModelConfig:
    """The configuration as the host follows it; Invalid says what it does not do, or what contradicts itself."""
    config = msgspec.convert(values, ModelConfig)
    _refuse(values, config)
    for place, kind in ((config.inputs, "input"), (config.outputs, "output")):
        _check_tensors(place, kind)
    if config.max_batch_size < 0:
        raise Invalid(f"'max_batch_size' must be non-negative value for {config.name}", param="max_batch_size")
    _check_batching(config)
    for sample in config.warm_ups:
        _check_warm_up(sample, config)
    return config


def notes(values: Values) -> tuple[str, ...]:
    """What the configuration asks for and the host leaves out, because it changes no answer."""
    found = [text for name, text in _LEFT_OUT.items() if values.get(name)]
    groups: list[Values] = values.get("instance_group", [])
    if any(group.get("kind") == "KIND_GPU" or group.get("gpus") for group in groups):
        found.append("instance_group: runs on the device of the host's engine, not on GPUs that it names")
    if any(
        group.get(name) for group in groups for name in ("rate_limiter", "secondary_devices", "profile", "host_policy")
    ):
        found.append("instance_group: rate_limiter, secondary_devices, profile and host_policy are not followed")
    batching = values.get("dynamic_batching", {})
    if batching.get("max_queue_delay_microseconds"):
        found.append("dynamic_batching: max_queue_delay_microseconds is not followed: no request waits for a batch")
    sequences: Values = values.get("sequence_batching", {})
    direct: Values = sequences.get("direct", {})
    if direct.get("max_queue_delay_microseconds") or direct.get("minimum_slot_utilization"):
        found.append("sequence_batching: requests of sequences run one by one, so there is no batch to wait for")
    return tuple(found)


_LEFT_OUT = {
    "optimization": "optimization: the engine's own choices hold; accelerators are chosen by what is installed",
    "metric_tags": "metric_tags: metrics carry the model and its version",
    "model_metrics": "model_metrics: histograms have the host's own buckets",
    "cc_model_filenames": "cc_model_filenames: there is one file for every device",
    "runtime": "runtime: the host's own",
}

_REFUSED = {
    "batch_input": "inputs made from the batch are not supported",
    "batch_output": "outputs cut by the batch are not supported",
    "model_operations": "libraries with operations of their own are not loaded",
    "model_repository_agents": "repository agents are not run",
}


def _refuse(values: Values, config: ModelConfig) -> None:
    for name, reason in _REFUSED.items():
        if values.get(name) is not None and values[name] != []:
            raise Invalid(f"'{name}' is not supported for model '{config.name}': {reason}", param=name)
    if config.model_transaction_policy.decoupled and config.backend != "python":
        raise Invalid(
            f"'model_transaction_policy' is not supported for model '{config.name}': its engine gives one answer "
            "per request",
            param="model_transaction_policy",
        )
    if config.sequence_batching is not None:
        sequencing.check(config.name, config.backend, config.sequence_batching, cached=config.response_cache.enable)


def _check_tensors(tensors: tuple[TensorConfig, ...], kind: str) -> None:
    seen: set[str] = set()
    for place, tensor in enumerate(tensors):
        where = f"{kind}[{place}]"
        if not tensor.name:
            raise Invalid(f"model {kind} must specify 'name'", param=where)
        if tensor.name in seen:
            raise Invalid(f"model {kind} '{tensor.name}' is given twice", param=where)
        seen.add(tensor.name)
        _check_tensor(tensor, kind, where)


def _check_tensor(tensor: TensorConfig, kind: str, where: str) -> None:
    if tensor.data_type == "TYPE_INVALID":
        raise Invalid(f"model {kind} '{tensor.name}' must specify 'data_type'", param=where)
    if not tensor.dims:
        raise Invalid(f"model {kind} '{tensor.name}' must specify 'dims'", param=where)
    if any(extent < 1 and extent != -1 for extent in tensor.dims):
        raise Invalid(
            f"model {kind} '{tensor.name}' dimension must be integer >= 1, or -1 to indicate a variable-size dimension",
            param=where,
        )
    for flag in ("is_shape_tensor", "allow_ragged_batch", "is_non_linear_format_io", "optional"):
        if getattr(tensor, flag):
            raise Invalid(f"'{flag}' of model {kind} '{tensor.name}' is not supported", param=where)
    if tensor.reshape is not None:
        _check_reshape(tensor, tensor.reshape.shape, kind, where)


def _check_reshape(tensor: TensorConfig, shape: tuple[int, ...], kind: str, where: str) -> None:
    """Variable dimensions keep their order, and what lies between them keeps its size."""
    if any(extent < 1 and extent != -1 for extent in shape):
        raise Invalid(f"model {kind} '{tensor.name}' reshape dimensions must be integer >= 1, or -1", param=where)
    if _spans(tensor.dims) != _spans(shape):
        raise Invalid(f"model {kind} '{tensor.name}' has different size for dims and reshape", param=where)


def _spans(shape: tuple[int, ...]) -> list[int]:
    spans: list[list[int]] = [[]]
    for extent in shape:
        if extent == -1:
            spans.append([])
        else:
            spans[-1].append(extent)
    return [math.prod(span) for span in spans]


def _check_batching(config: ModelConfig) -> None:
    batching = config.dynamic_batching
    if batching is None:
        return
    if any(not 0 < size <= config.max_batch_size for size in batching.preferred_batch_size) and config.inputs:
        raise Invalid(
            f"dynamic batching preferred size must be positive and <= max batch size for {config.name}",
            param="dynamic_batching.preferred_batch_size",
        )
    levels = batching.priority_levels
    if levels and not 0 < batching.default_priority_level <= levels:
        raise Invalid(
            f"default priority level must be in range [1, {levels}] for {config.name}",
            param="dynamic_batching.default_priority_level",
        )
    if any(not 0 < level <= levels for level in batching.priority_queue_policy):
        raise Invalid(
            f"priority queue policy must have priority level in range [1, {levels}] for {config.name}",
            param="dynamic_batching.priority_queue_policy",
        )
    if batching.preserve_ordering:
        _check_ordering(config, batching)


def _check_ordering(config: ModelConfig, batching: DynamicBatching) -> None:
    if batching.priority_levels > 1:
        raise Invalid(
            f"Only one priority level is allowed when 'preserve_ordering' is true for {config.name}",
            param="dynamic_batching.priority_levels",
        )
    policies = (batching.default_queue_policy, *batching.priority_queue_policy.values())
    if any(policy.default_timeout_microseconds and policy.timeout_action == "DELAY" for policy in policies):
        raise Invalid(
            "Queue policy can not have DELAY as timeout action when 'preserve_ordering' is true for " + config.name,
            param="dynamic_batching.default_queue_policy",
        )


def _check_warm_up(sample: WarmUp, config: ModelConfig) -> None:
    where = f"model_warmup '{sample.name}'"
    if not sample.inputs:
        raise Invalid(f"{where} of model '{config.name}' has no inputs", param="model_warmup")
    if sample.batch_size > max(1, config.max_batch_size) and config.inputs:
        raise Invalid(f"{where}: batch_size must be at most {max(1, config.max_batch_size)}", param="model_warmup")
    if sample.count > MAX_WARM_UPS:
        raise Invalid(f"{where}: count must be at most {MAX_WARM_UPS}", param="model_warmup")
    for name, given in sample.inputs.items():
        if any(extent < 1 for extent in given.dims) or given.data_type == "TYPE_INVALID":
            raise Invalid(f"{where}: input '{name}' needs a data_type and dims >= 1", param="model_warmup")


def tensor_values(spec: TensorSpec, *, batched: bool) -> Values:
    """An input or output as configuration, from what the engine says of it."""
    dims = list(spec.shape[1:] if batched else spec.shape)
    values: Values = {"name": spec.name, "data_type": triton_config.data_type_of(spec.datatype), "dims": dims or [1]}
    if not dims and batched:
        values["reshape"] = {"shape": []}
    return values
