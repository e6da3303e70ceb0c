"""`sequence_batching` of a Triton configuration: which inputs tell a model of its sequences, and with what values.

Only the direct strategy. Instances have no slots of a batch: requests run one by one, and a model tells sequences apart
by the CORRID control or the parameter `sequence_id`. One that asks for no CORRID has one sequence per instance.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from polyforge.dialects import triton_config
from polyforge.dialects.protobuf_schema import Values
from polyforge.kernel.errors import Invalid
from polyforge.kernel.tensors import Datatype, Parameter, Tensor, TensorSpec, pack_strings
from polyforge.ports.model_backend import ModelRequest

DEFAULT_IDLE_MICROSECONDS: Final = 1_000_000
"""As in Triton."""
CORRID: Final = "CONTROL_SEQUENCE_CORRID"
_FLAGS: Final[Mapping[str, str]] = {
    "CONTROL_SEQUENCE_START": "sequence_start",
    "CONTROL_SEQUENCE_END": "sequence_end",
    "CONTROL_SEQUENCE_READY": "",
}
"""Controls that are false or true, by the parameter that says which; READY always is true, for no row is made up."""
_PARAM: Final = "parameters.sequence_id"
_NUMBERS: Final[Mapping[Datatype, str]] = {"UINT64": "<Q", "INT64": "<q", "UINT32": "<I", "INT32": "<i"}


class SequenceControl(msgspec.Struct, frozen=True):
    """What an input tells; of the values for false and true there is one pair."""

    kind: str = "CONTROL_SEQUENCE_START"
    int32_false_true: tuple[int, ...] = ()
    fp32_false_true: tuple[float, ...] = ()
    bool_false_true: tuple[bool, ...] = ()
    data_type: str = "TYPE_INVALID"


class ControlInput(msgspec.Struct, frozen=True):
    """An input that the host fills in."""

    name: str = ""
    control: tuple[SequenceControl, ...] = ()


class SequenceBatching(msgspec.Struct, frozen=True):
    """How a model's sequences are kept."""

    max_sequence_idle_microseconds: int = 0
    control_input: tuple[ControlInput, ...] = ()
    oldest: Values | None = None
    state: tuple[Values, ...] = ()
    iterative_sequence: bool = False

    @property
    def idle_seconds(self) -> float:
        """After which a silent sequence is over."""
        return (self.max_sequence_idle_microseconds or DEFAULT_IDLE_MICROSECONDS) / 1_000_000

    @property
    def names(self) -> frozenset[str]:
        """The inputs that the host fills in."""
        return frozenset(given.name for given in self.control_input)

    @property
    def per_instance(self) -> int | None:
        """How many sequences one instance can tell apart; None: any number."""
        return None if any(given.control[0].kind == CORRID for given in self.control_input) else 1


class _Control:
    """One input that the host fills in, and what its values are."""

    def __init__(self, model: str, given: ControlInput) -> None:
        self.name = given.name
        where = f"sequence_batching of model '{model}': control input '{given.name}'"
        if not given.name or len(given.control) != 1:
            raise _refused(f"{where} must have a name and one control")
        control = given.control[0]
        self._parameter = _FLAGS.get(control.kind, "sequence_id")
        self.datatype: Datatype
        self._pair: Sequence[bytes] = ()
        if control.kind == CORRID:
            self.datatype = triton_config.datatype_of(control.data_type)
            if self.datatype != "BYTES" and self.datatype not in _NUMBERS:
                raise _refused(f"{where} must be TYPE_UINT64, TYPE_INT64, TYPE_UINT32, TYPE_INT32 or TYPE_STRING")
            return
        pairs: dict[Datatype, list[bytes]] = {
            "INT32": [_packed("<i", value, where) for value in control.int32_false_true],
            "FP32": [_packed("<f", value, where) for value in control.fp32_false_true],
            "BOOL": [_packed("<?", value, where) for value in control.bool_false_true],
        }
        said: list[Datatype] = [datatype for datatype, pair in pairs.items() if pair]
        if len(said) != 1 or len(pairs[said[0]]) != 2:  # noqa: PLR2004  false and true
            raise _refused(f"{where} must have one of int32_false_true, fp32_false_true, bool_false_true, two values")
        self.datatype = said[0]
        self._pair = pairs[self.datatype]

    def element(self, parameters: Mapping[str, Parameter]) -> bytes:
        """The value for one row; Invalid when the sequence's name is of another type."""
        if self._pair:
            return self._pair[not self._parameter or parameters.get(self._parameter) is True]
        name = parameters["sequence_id"]
        if self.datatype == "BYTES":
            return pack_strings([str(name).encode()])
        if not isinstance(name, int):
            raise Invalid(f"'sequence_id' must be a number: the model takes {self.datatype}", param=_PARAM)
        try:
            return struct.pack(_NUMBERS[self.datatype], name)
        except struct.error as error:
            raise Invalid(f"'sequence_id' does not fit into {self.datatype}", param=_PARAM) from error


class Controls:
    """What fills in the control inputs of a model; Invalid when the configuration makes no sense."""

    def __init__(self, model: str, batching: SequenceBatching, *, batched: bool) -> None:
        self._controls = [_Control(model, given) for given in batching.control_input]
        self._batched = batched
        if len(batching.names) != len(self._controls):
            raise _refused(f"sequence_batching of model '{model}': a control input is given twice")

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        """The inputs that the engine takes besides those of callers."""
        shape = (-1, 1) if self._batched else (1,)
        return tuple(TensorSpec(control.name, control.datatype, shape) for control in self._controls)

    def told(self, request: ModelRequest) -> ModelRequest:
        """The request with its control inputs; Invalid when its sequence's name is of another type."""
        inputs = dict(request.inputs)
        rows = next((tensor.shape[0] for tensor in inputs.values()), 1) if self._batched else 1
        shape = (rows, 1) if self._batched else (1,)
        for control in self._controls:
            element = control.element(request.parameters)
            inputs[control.name] = Tensor(control.name, control.datatype, shape, element * rows)
        return msgspec.structs.replace(request, inputs=inputs)


def check(model: str, backend: str, batching: SequenceBatching, *, cached: bool) -> None:
    """Invalid says, by its name, what of it the host does not do."""
    refused = {
        "sequence_batching": "only models of backend 'python' keep state" if backend != "python" else "",
        "sequence_batching.oldest": "only the direct strategy is" if batching.oldest is not None else "",
        "sequence_batching.state": "the host keeps no state for models, they keep their own" if batching.state else "",
        "sequence_batching.iterative_sequence": "a request runs once" if batching.iterative_sequence else "",
        "response_cache": "answers of a sequence depend on what came before" if cached else "",
    }
    for param, reason in refused.items():
        if reason:
            raise Invalid(f"'{param}' is not supported for model '{model}': {reason}", param=param)
    Controls(model, batching, batched=True)


def _packed(form: str, value: float, where: str) -> bytes:
    try:
        return struct.pack(form, value)
    except (struct.error, OverflowError) as error:
        raise _refused(f"{where}: {value} is out of range") from error


def _refused(message: str) -> Invalid:
    return Invalid(message, param="sequence_batching.control_input")
