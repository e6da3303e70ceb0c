"""TensorFlow Serving's REST API: pure functions, both ways. https://www.tensorflow.org/tfx/serving/api_rest

A predict request is columnar (`inputs`: all of each tensor) or in rows (`instances`: all tensors of each row); a single
input or output has no name on the way. Strings are JSON strings, or `{"b64": ...}` where they are no text. Its numbers
may be `NaN`, `Infinity` and `-Infinity`, which JSON does not have.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeVar, cast
from urllib.parse import quote

import msgspec

from polyforge.kernel.errors import Invalid
from polyforge.kernel.tensors import Datatype, TensorSpec

Form = Literal["columnar", "rows"]
MAX_DIMENSIONS: Final = 16
_DATATYPES: Final[Mapping[str, Datatype]] = {
    "DT_BOOL": "BOOL",
    "DT_UINT8": "UINT8",
    "DT_UINT16": "UINT16",
    "DT_UINT32": "UINT32",
    "DT_UINT64": "UINT64",
    "DT_INT8": "INT8",
    "DT_INT16": "INT16",
    "DT_INT32": "INT32",
    "DT_INT64": "INT64",
    "DT_HALF": "FP16",
    "DT_FLOAT": "FP32",
    "DT_DOUBLE": "FP64",
    "DT_STRING": "BYTES",
}
_T = TypeVar("_T")


class _Dimension(msgspec.Struct):
    size: str | int = "0"


class _Shape(msgspec.Struct):
    dim: list[_Dimension] = []
    unknown_rank: bool = False


class _Tensor(msgspec.Struct):
    dtype: str
    tensor_shape: _Shape = msgspec.field(default_factory=_Shape)


class _Signature(msgspec.Struct):
    inputs: dict[str, _Tensor] = {}
    outputs: dict[str, _Tensor] = {}


class _Signatures(msgspec.Struct):
    signature_def: dict[str, _Signature]


class _Described(msgspec.Struct):
    signature_def: _Signatures


class _Metadata(msgspec.Struct):
    metadata: _Described


class _Error(msgspec.Struct):
    error: str


_metadata_decoder = msgspec.json.Decoder(_Metadata)
_error_decoder = msgspec.json.Decoder(_Error)


def model_path(model: str, version: str | None, tail: str) -> str:
    """The path of a model, and of what is said of it or asked of it: `/metadata` or `:predict`."""
    middle = "" if version is None else f"/versions/{version}"
    return f"/v1/models/{quote(model, safe='')}{middle}{tail}"


def decode_metadata(body: bytes, signature: str) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """What a signature of the model takes and gives; Invalid when there is none, or when it cannot be served."""
    try:
        known = _metadata_decoder.decode(body).metadata.signature_def.signature_def
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"what the server says of the model is no metadata: {error}") from error
    found = known.get(signature)
    if found is None:
        names = ", ".join(sorted(known))[:300] or "none"
        raise Invalid(f"the model has no signature {signature!r}; it has {names}", param="signature")
    return _specs(found.inputs), _specs(found.outputs)


def encode_request(columns: Mapping[str, Any], signature: str, form: Form) -> bytes:
    """The body of a predict request, from what each input holds as nested lists; bytes stand for strings."""
    head = {"signature_name": signature}
    alone = next(iter(columns.values())) if len(columns) == 1 else None
    if form == "columnar":
        return _encode({**head, "inputs": dict(columns) if alone is None else alone})
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return _encode({**head, "instances": rows if alone is None else alone})


def decode_response(body: bytes, outputs: Sequence[TensorSpec], form: Form) -> dict[str, Any]:
    """What each output holds as nested lists, strings as bytes; Invalid when the body does not have all of them."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"the answer is no JSON: {error}") from error
    key = "outputs" if form == "columnar" else "predictions"
    if not isinstance(answer, dict) or key not in answer:
        raise Invalid(f"the answer has no {key!r}")
    given = cast(dict[str, Any], answer)[key]
    if len(outputs) == 1 and not isinstance(given, dict):
        return {outputs[0].name: _strings(given)}
    columns: Any = cast(Any, _columns(given, outputs) if form == "rows" else given)
    found = cast(dict[str, Any], columns) if isinstance(columns, dict) else {}
    names = [spec.name for spec in outputs]
    if any(name not in found for name in names):
        raise Invalid(f"the answer does not have the outputs {', '.join(names)[:300]}")
    return {name: _strings(found[name]) for name in names}


def decode_error(body: bytes) -> str:
    """The text of an error body, or the start of whatever it is instead."""
    try:
        return _error_decoder.decode(body).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body[:200].decode("utf-8", "replace") or "no reason given"


def _columns(rows: Any, outputs: Sequence[TensorSpec]) -> dict[str, list[Any]]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in cast(list[Any], rows)):
        raise Invalid("the answer's predictions are not a row of named outputs each")
    known = cast(list[dict[str, Any]], rows)
    return {spec.name: [row[spec.name] for row in known] for spec in outputs if all(spec.name in row for row in known)}


def _specs(tensors: Mapping[str, _Tensor]) -> tuple[TensorSpec, ...]:
    return tuple(_spec(name, tensor) for name, tensor in sorted(tensors.items()))


def _spec(name: str, tensor: _Tensor) -> TensorSpec:
    datatype = _DATATYPES.get(tensor.dtype)
    if datatype is None:
        raise Invalid(f"tensor {name!r} is a {tensor.dtype[:40]}, which cannot travel")
    dimensions = tensor.tensor_shape.dim
    if tensor.tensor_shape.unknown_rank or len(dimensions) > MAX_DIMENSIONS:
        raise Invalid(f"tensor {name!r} does not say how many dimensions it has, or has more than {MAX_DIMENSIONS}")
    try:
        sizes = [int(dimension.size) for dimension in dimensions]
    except ValueError as error:
        raise Invalid(f"tensor {name!r} has a dimension that is no number") from error
    return TensorSpec(name, datatype, tuple(max(-1, size) for size in sizes))


def _encode(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, default=_string, separators=(",", ":")).encode()


def _string(value: Any) -> Any:
    if not isinstance(value, bytes):
        raise TypeError(f"{type(value).__name__} cannot travel")
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def _strings(value: Any) -> Any:
    """The same with strings as bytes, those in base64 too."""
    if isinstance(value, list):
        return [_strings(each) for each in cast(list[Any], value)]
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, dict):
        return value
    packed: Any = cast(dict[str, Any], value).get("b64")
    try:
        return base64.b64decode(packed, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise Invalid("a string of the answer is not in base64") from error
