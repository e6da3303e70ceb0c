"""The Open Inference Protocol over HTTP, with Triton's binary tensor extension: pure functions, both ways.

Sources: https://github.com/kserve/open-inference-protocol (inference_rest.md) and Triton's extension_binary_data.md.
A message is a JSON object, or a JSON object followed by the raw tensors in its order; the header
`Inference-Header-Content-Length` then says where the JSON ends. Errors are `{"error": text}`.
"""

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeVar, cast
from urllib.parse import quote

import msgspec
from typing_extensions import Buffer

from polyforge.kernel.errors import Invalid, PolyforgeError
from polyforge.kernel.hosted_names import split_deployed
from polyforge.kernel.tensors import (
    ITEM_BYTES,
    Datatype,
    Parameter,
    Tensor,
    TensorSpec,
    pack_strings,
    unpack_strings,
)

HEADER_LENGTH = "inference-header-content-length"
TOKENS_HEADER = "x-polyforge-tokens"
"""In which our model host says how many tokens a model read, whichever outputs were asked for."""
BROKEN_OFF_HEADER = "x-polyforge-broken-off"
"""In which our model host says of a 503 that what was computing the answer ended, perhaps because of the request."""
JSON_TYPE = "application/json"
BINARY_TYPE = "application/octet-stream"
EXTENSIONS = (
    "classification",
    "sequence",
    "schedule_policy",
    "model_repository",
    "model_repository(unload_dependents)",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "generate",
)
MAX_DEPTH = 100
MAX_DIGITS = 18

STRUCT_CODES: dict[Datatype, str] = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP32": "f",
    "FP64": "d",
}
"""How the `struct` module writes the elements that JSON can hold."""
_ELEMENTS: dict[Datatype, msgspec.json.Decoder[list[Any]]] = {
    "BOOL": msgspec.json.Decoder(list[bool]),
    "FP32": msgspec.json.Decoder(list[float]),
    "FP64": msgspec.json.Decoder(list[float]),
    "BYTES": msgspec.json.Decoder(list[str]),
}
_INTEGERS = msgspec.json.Decoder(list[int])
_ANY_LIST = msgspec.json.Decoder(list[Any])
_encoder = msgspec.json.Encoder()
_T = TypeVar("_T")

_Parameters = dict[str, Parameter]
_Shape = tuple[Annotated[int, msgspec.Meta(ge=0)], ...]


class WireTensor(msgspec.Struct):
    """A tensor as JSON describes it; its elements are in `data`, or follow the JSON."""

    name: str
    shape: _Shape
    datatype: Datatype
    parameters: _Parameters = {}
    data: msgspec.Raw = msgspec.Raw()


class WireRequestedOutput(msgspec.Struct):
    """An output that the caller wants, and how."""

    name: str
    parameters: _Parameters = {}


class WireRequest(msgspec.Struct):
    """The JSON object of an inference request."""

    inputs: list[WireTensor]
    id: str = ""
    parameters: _Parameters = {}
    outputs: list[WireRequestedOutput] = []


class WireResponse(msgspec.Struct):
    """The JSON object of an inference response."""

    model_name: str
    outputs: list[WireTensor]
    model_version: str = ""
    id: str = ""
    parameters: _Parameters = {}


class WireError(msgspec.Struct):
    """The body of every answer that is an error."""

    error: str


class ServerMetadata(msgspec.Struct):
    """What `GET /v2` answers."""

    name: str
    version: str
    extensions: tuple[str, ...] = EXTENSIONS


class ModelMetadata(msgspec.Struct):
    """What `GET /v2/models/{name}` answers."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class WireMetadata(msgspec.Struct):
    """The same as servers of others send it, who leave out what the protocol lets them."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    platform: str | None = None
    versions: tuple[str, ...] | None = None


class IndexEntry(msgspec.Struct):
    """One model in the answer to `POST /v2/repository/index`."""

    name: str
    version: str = ""
    state: str = ""
    reason: str = ""


class IndexRequest(msgspec.Struct):
    """The body of `POST /v2/repository/index`."""

    ready: bool = False


class RepositoryRequest(msgspec.Struct):
    """The body of `POST /v2/repository/models/{name}/load` and `unload`."""

    parameters: dict[str, Any] = {}


class Message(msgspec.Struct, frozen=True, gc=False):
    """A body in parts: its JSON, then raw tensors; `header_length` is None when there are no raw tensors."""

    parts: tuple[Buffer, ...]
    header_length: int | None = None

    @property
    def content_type(self) -> str:
        """The media type to send it as."""
        return JSON_TYPE if self.header_length is None else BINARY_TYPE

    def join(self) -> bytes:
        """The whole body."""
        return b"".join(self.parts)


class InferRequest(msgspec.Struct, frozen=True):
    """A decoded inference request. `outputs` maps each wanted output to whether it is wanted in binary; empty: all.

    `classes` says of which outputs the largest elements are wanted instead, and how many.
    """

    inputs: dict[str, Tensor]
    id: str = ""
    parameters: dict[str, Parameter] = {}
    outputs: dict[str, bool] = {}
    binary: bool = False
    classes: dict[str, int] = {}

    def wants_binary(self, output: str) -> bool:
        """Whether `output` is to be sent as raw bytes."""
        return self.outputs.get(output, self.binary)


class InferResponse(msgspec.Struct, frozen=True):
    """A decoded inference response."""

    model_name: str
    model_version: str
    id: str
    outputs: dict[str, Tensor]


_request_decoder = msgspec.json.Decoder(WireRequest)
_response_decoder = msgspec.json.Decoder(WireResponse)
_index_request_decoder = msgspec.json.Decoder(IndexRequest)
_repository_decoder = msgspec.json.Decoder(RepositoryRequest)
_index_decoder = msgspec.json.Decoder(list[IndexEntry])
_metadata_decoder = msgspec.json.Decoder(WireMetadata)
_error_decoder = msgspec.json.Decoder(WireError)


def model_path(name: str, *rest: str) -> str:
    """The path of a model, with its name quoted, or of the version that it names, and of what is below it."""
    deployed = split_deployed(name)
    if deployed is None:
        return "/".join(("/v2/models", quote(name, safe=""), *rest))
    return "/".join(("/v2/models", deployed[0], "versions", deployed[1], *rest))


# Reading


def header_length_of(value: str | bytes | None, body_length: int) -> int | None:
    """The number in an `Inference-Header-Content-Length` header; Invalid when it cannot be one."""
    if value is None:
        return None
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    if not (text.isascii() and text.isdigit()):
        raise Invalid(
            f"Unable to parse Inference-Header-Content-Length {text!r}",
            param="Inference-Header-Content-Length",
        )
    length = int(text) if len(text) <= MAX_DIGITS else body_length + 1
    if length > body_length:
        raise Invalid(
            f"Inference-Header-Content-Length is {text}, the body has {body_length} bytes",
            param="Inference-Header-Content-Length",
        )
    return length


def decode_request(body: Buffer, header_length: int | None = None) -> InferRequest:
    """An inference request from its body; Invalid names the field that is wrong."""
    view = memoryview(body)
    wire = _decode(_request_decoder, view if header_length is None else view[:header_length])
    tail = view[len(view) if header_length is None else header_length :]
    return InferRequest(
        inputs=decode_tensors(wire.inputs, tail, "input", "inputs"),
        id=wire.id,
        parameters=wire.parameters,
        outputs=_requested(wire),
        binary=_flag(wire.parameters, "binary_data_output", "parameters"),
        classes=_classes(wire),
    )


def decode_raw_request(body: Buffer, inputs: Sequence[TensorSpec], *, has_rows: bool = False) -> InferRequest:
    """A request whose whole body is the model's only input, as one row (`Inference-Header-Content-Length: 0`)."""
    if len(inputs) != 1:
        raise Invalid(
            f"Raw request must only have 1 input (found 1) to be deduced but got {len(inputs)} inputs in the model: "
            + ", ".join(f"'{spec.name}'" for spec in inputs)
        )
    spec = inputs[0]
    shape = spec.shape[1:] if has_rows else spec.shape
    if spec.datatype == "BYTES":
        if len(shape) > 1 or any(extent not in (-1, 1) for extent in shape):
            raise Invalid(f"For BYTE datatype raw input '{spec.name}', the model must have input shape [1]")
        body, shape = pack_strings((bytes(body),)), (1,) * len(shape)
    else:
        shape = _deduced_shape(spec, shape, memoryview(body).nbytes)
    tensor = Tensor(spec.name, spec.datatype, (1, *shape) if has_rows else shape, body)
    return InferRequest(inputs={spec.name: tensor}, binary=True)


def holds_texts(body: bytes, header_length: int | None = None) -> bool:
    """Whether a request may carry strings: it has such inputs, or does not say what it has. Invalid when it is none."""
    if header_length == 0:
        return True
    wire = _decode(_request_decoder, memoryview(body) if header_length is None else memoryview(body)[:header_length])
    return any(tensor.datatype == "BYTES" for tensor in wire.inputs)


def decode_response(body: Buffer, header_length: int | None = None) -> InferResponse:
    """An inference response from its body; Invalid when it is none."""
    view = memoryview(body)
    wire = _decode(_response_decoder, view if header_length is None else view[:header_length])
    tail = view[len(view) if header_length is None else header_length :]
    outputs = decode_tensors(wire.outputs, tail, "output", "outputs")
    return InferResponse(wire.model_name, wire.model_version, wire.id, outputs)


def decode_index_request(body: bytes) -> bool:
    """Whether only ready models are asked for."""
    try:
        return _decode(_index_request_decoder, body).ready
    except Invalid as error:
        if error.param != "ready":
            raise
        raise Invalid("Invalid value for 'ready': expected a boolean", param="ready") from error


def decode_repository_parameters(body: bytes) -> Mapping[str, Any]:
    """The parameters of a load or unload request, files decoded; none for an empty body. Invalid when it is none."""
    if not body:
        return {}
    given = _decode(_repository_decoder, body).parameters
    return {name: _file(name, value) if name.startswith("file:") else value for name, value in given.items()}


def decode_index(body: Buffer) -> list[IndexEntry]:
    """The models that a server lists; Invalid when the body is no such list."""
    return _decode(_index_decoder, body)


def decode_metadata(body: Buffer) -> ModelMetadata:
    """What a server says of a model; Invalid when it does not."""
    wire = _decode(_metadata_decoder, body)
    return ModelMetadata(wire.name, wire.versions or (), wire.platform or "", wire.inputs, wire.outputs)


def decode_error(body: bytes) -> str:
    """The text of an error body, or the start of whatever it is instead."""
    try:
        return _error_decoder.decode(body).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body[:200].decode("utf-8", "replace") or "no reason given"


def check_inputs(
    request: InferRequest,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    model: str,
    *,
    has_rows: bool = True,
) -> int:
    """The number of rows of a request that fits a model; Invalid, in Triton's words, when it does not.

    A model whose first dimensions are no rows (`has_rows` is false) takes every request as one.
    """
    _check_names(request, inputs, model)
    rows = 1
    for place, spec in enumerate(inputs):
        tensor = request.inputs[spec.name]
        if tensor.datatype != spec.datatype:
            raise Invalid(
                f"inference input '{spec.name}' data-type is '{tensor.datatype}', "
                f"but model '{model}' expects '{spec.datatype}'",
                param=spec.name,
            )
        if not spec.admits(tensor):
            raise Invalid(
                f"unexpected shape for input '{spec.name}' for model '{model}'. "
                f"Expected {list(spec.shape)}, got {list(tensor.shape)}",
                param=spec.name,
            )
        size = tensor.shape[0] if has_rows and tensor.shape else 1
        if place and size != rows:
            raise Invalid(
                f"input '{spec.name}' has {size} rows, input '{inputs[0].name}' has {rows}",
                param=spec.name,
            )
        rows = size
    known = {spec.name for spec in outputs}
    for name in request.outputs:
        if name not in known:
            raise Invalid(
                f"unexpected inference output '{name}' for model '{model}'",
                param="outputs",
            )
    return rows


def _check_names(request: InferRequest, inputs: Sequence[TensorSpec], model: str) -> None:
    expected = [spec.name for spec in inputs]
    for name in request.inputs:
        if name not in expected:
            raise Invalid(
                f"unexpected inference input '{name}' for model '{model}'",
                param="inputs",
            )
    missing = [name for name in expected if name not in request.inputs]
    if missing:
        got = ",".join(f"'{name}'" for name in request.inputs)
        lacks = ",".join(f"'{name}'" for name in missing)
        raise Invalid(
            f"expected {len(expected)} inputs but got {len(request.inputs)} inputs for model '{model}'. "
            f"Got input(s) [{got}], but missing required input(s) [{lacks}]. Please provide all required input(s).",
            param="inputs",
        )


# Writing


def encode_request(
    inputs: Iterable[Tensor],
    *,
    request_id: str = "",
    parameters: dict[str, Parameter] | None = None,
    binary: bool = True,
) -> Message:
    """An inference request with every tensor in binary, both ways; or all in JSON, which every server takes."""
    raw: list[Buffer] = []
    head: dict[str, Any] = {"inputs": [_describe(tensor, binary=binary, raw=raw) for tensor in inputs]}
    if binary:
        head["parameters"] = {**(parameters or {}), "binary_data_output": True}
    elif parameters:
        head["parameters"] = parameters
    if request_id:
        head["id"] = request_id
    return _message(head, raw)


def encode_response(model: str, version: str, request: InferRequest, outputs: Iterable[Tensor]) -> Message:
    """The answer to `request`: the outputs that it wants, each in the form it wants; echoes its id."""
    raw: list[Buffer] = []
    wanted = [tensor for tensor in outputs if not request.outputs or tensor.name in request.outputs]
    described = [_describe(tensor, binary=request.wants_binary(tensor.name), raw=raw) for tensor in wanted]
    head: dict[str, Any] = {
        "model_name": model,
        "model_version": version,
        "outputs": described,
    }
    if request.id:
        head["id"] = request.id
    return _message(head, raw)


def encode_error(error: PolyforgeError) -> bytes:
    """The body of an error."""
    return _encoder.encode({"error": error.message})


def encode_json(value: object) -> bytes:
    """Any of this module's metadata structures, as JSON."""
    return _encoder.encode(value)


def _message(head: dict[str, Any], raw: list[Buffer]) -> Message:
    text = _encoder.encode(head)
    return Message((text, *raw), len(text)) if raw else Message((text,))


def _describe(tensor: Tensor, *, binary: bool, raw: list[Buffer]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": tensor.name,
        "shape": tensor.shape,
        "datatype": tensor.datatype,
    }
    if binary:
        data = memoryview(tensor.data).cast("B")
        described["parameters"] = {"binary_data_size": data.nbytes}
        raw.append(data)
    else:
        described["data"] = elements_of(tensor)
    return described


def elements_of(tensor: Tensor) -> list[Any]:
    """The elements as JSON has them, flat; Invalid for those that JSON cannot hold."""
    if tensor.datatype == "BYTES":
        try:
            return [value.decode() for value in unpack_strings(tensor.data, tensor.count)]
        except UnicodeDecodeError as error:
            raise Invalid(f"output '{tensor.name}' is not UTF-8; ask for it as binary data") from error
    code = STRUCT_CODES.get(tensor.datatype)
    if code is None:
        raise Invalid(
            f"sending {tensor.datatype} data via JSON is not supported, output '{tensor.name}'; ask for binary data"
        )
    return list(struct.unpack(f"<{tensor.count}{code}", memoryview(tensor.data).cast("B")))


# Shared by both directions


def _decode(decoder: msgspec.json.Decoder[_T], text: Buffer, where: str = "") -> _T:
    try:
        return decoder.decode(cast(bytes, text))
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at ")
        field = where or path.strip("`").removeprefix("$.") or None
        raise Invalid(f"{field}: {reason}" if field else reason, param=field) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"failed to parse the JSON: {error}", param=where or None) from error
    except RecursionError as error:
        raise Invalid(
            f"JSON nesting depth exceeds maximum allowed limit ({MAX_DEPTH})",
            param=where or None,
        ) from error


def decode_tensors(wires: list[WireTensor], tail: memoryview, kind: str, path: str) -> dict[str, Tensor]:
    """Tensors by name, their elements from the JSON or from `tail`, all of which they use; Invalid if they do not."""
    tensors: dict[str, Tensor] = {}
    for place, wire in enumerate(wires):
        where = f"{path}[{place}]"
        if wire.name in tensors:
            raise Invalid(f"{kind} '{wire.name}' is given twice", param=where)
        _refuse_unsupported(wire, kind, where)
        size = _binary_size(wire, where)
        if size is None:
            data: Buffer = _from_json(wire, kind, where)
        else:
            data, tail = _take(wire, tail, size, kind, where)
        tensors[wire.name] = Tensor(wire.name, wire.datatype, wire.shape, data)
    if tail.nbytes:
        raise Invalid(f"unexpected additional input data: {tail.nbytes} bytes after the last {kind}")
    return tensors


def _refuse_unsupported(wire: WireTensor, kind: str, where: str) -> None:
    if "shared_memory_region" in wire.parameters:
        raise Invalid(
            f"{kind} '{wire.name}': shared memory regions are not supported",
            param=f"{where}.parameters",
        )


def _binary_size(wire: WireTensor, where: str) -> int | None:
    size = wire.parameters.get("binary_data_size")
    if size is None:
        return None
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise Invalid(
            f"'binary_data_size' of '{wire.name}' must be a non-negative integer",
            param=f"{where}.parameters.binary_data_size",
        )
    if bytes(wire.data):
        raise Invalid(
            f"'{wire.name}' has both 'data' and 'binary_data_size'",
            param=f"{where}.data",
        )
    return size


def _take(wire: WireTensor, tail: memoryview, size: int, kind: str, where: str) -> tuple[memoryview, memoryview]:
    if size > tail.nbytes:
        raise Invalid(
            f"unexpected end of data for {kind} '{wire.name}': expecting {size} bytes, {tail.nbytes} are left",
            param=f"{where}.parameters.binary_data_size",
        )
    data = tail[:size]
    check_data(wire.name, wire.datatype, math.prod(wire.shape), data, kind, where)
    return data, tail[size:]


def check_data(name: str, datatype: Datatype, count: int, data: memoryview, kind: str, where: str) -> None:
    """Invalid when raw bytes are not so many elements."""
    if datatype == "BYTES":
        _check_strings(name, data, count, where)
    elif data.nbytes != count * ITEM_BYTES[datatype]:
        raise Invalid(
            f"unexpected total byte size {data.nbytes} for {kind} '{name}', expecting {count * ITEM_BYTES[datatype]}",
            param=where,
        )


def _check_strings(name: str, data: memoryview, count: int, where: str) -> None:
    found = at = 0
    size = data.nbytes
    while at < size and at + 4 <= size:
        at += 4 + int.from_bytes(data[at : at + 4], "little")
        found += 1
    if at != size:
        raise Invalid(f"incomplete string data for inference input '{name}'", param=where)
    if found != count:
        raise Invalid(
            f"unexpected number of string elements {found} for inference input '{name}', expecting {count}",
            param=where,
        )


def _from_json(wire: WireTensor, kind: str, where: str) -> bytes:
    text = bytes(wire.data)
    if not text:
        raise Invalid(
            f"{kind} '{wire.name}' has neither 'data' nor binary data",
            param=f"{where}.data",
        )
    code = STRUCT_CODES.get(wire.datatype)
    if code is None and wire.datatype != "BYTES":
        raise Invalid(
            f"receiving {wire.datatype} data via JSON is not supported. Please use the binary data format "
            f"for {kind} {wire.name}",
            param=f"{where}.data",
        )
    count = math.prod(wire.shape)
    values = _flat_values(wire, text, where)
    if len(values) != count:
        raise Invalid(
            f"unexpected number of elements {len(values)} for {kind} '{wire.name}' "
            f"of shape {list(wire.shape)}, expecting {count}",
            param=f"{where}.data",
        )
    if code is None:
        return pack_strings([value.encode() for value in values])
    try:
        return struct.pack(f"<{count}{code}", *values)
    except (struct.error, OverflowError) as error:
        raise Invalid(
            f"{kind} '{wire.name}': a value does not fit {wire.datatype}",
            param=f"{where}.data",
        ) from error


def _flat_values(wire: WireTensor, text: bytes, where: str) -> list[Any]:
    """The elements of `data`, which is flat or nested."""
    try:
        return _ELEMENTS.get(wire.datatype, _INTEGERS).decode(text)
    except msgspec.ValidationError:
        nested = _decode(_ANY_LIST, text, f"{where}.data")
    for _ in wire.shape[1:]:
        if not all(isinstance(part, list) for part in nested):
            break
        nested = [item for part in nested for item in part]
    try:
        return msgspec.convert(nested, _list_type(wire.datatype))
    except msgspec.ValidationError as error:
        raise Invalid(f"{where}.data: {error}", param=f"{where}.data") from error


def _list_type(datatype: Datatype) -> Any:
    if datatype == "BYTES":
        return list[str]
    if datatype == "BOOL":
        return list[bool]
    return list[float] if datatype in ("FP32", "FP64") else list[int]


def _requested(wire: WireRequest) -> dict[str, bool]:
    default = _flag(wire.parameters, "binary_data_output", "parameters")
    outputs: dict[str, bool] = {}
    for place, output in enumerate(wire.outputs):
        where = f"outputs[{place}]"
        if "shared_memory_region" in output.parameters:
            raise Invalid(
                f"output '{output.name}': shared memory regions are not supported",
                param=f"{where}.parameters",
            )
        outputs[output.name] = (
            _flag(output.parameters, "binary_data", f"{where}.parameters")
            if "binary_data" in output.parameters
            else default
        )
    return outputs


def _classes(wire: WireRequest) -> dict[str, int]:
    counts = {
        output.name: class_count(output.name, output.parameters, f"outputs[{place}].parameters")
        for place, output in enumerate(wire.outputs)
    }
    return {name: count for name, count in counts.items() if count}


def _file(name: str, value: Any) -> bytes:
    try:
        return msgspec.convert(value, bytes)
    except msgspec.ValidationError as error:
        raise Invalid(f"{name}: must be in base64", param=f"parameters.{name}") from error


def class_count(output: str, parameters: Mapping[str, Parameter], where: str) -> int:
    """How many classes an output's `classification` parameter asks for; 0 when there is none."""
    count = parameters.get("classification", 0)
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise Invalid(f"output '{output}': 'classification' must be a number of classes", param=where)
    return count


def _flag(parameters: _Parameters, name: str, where: str) -> bool:
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise Invalid(f"'{name}' must be true or false", param=f"{where}.{name}")
    return value


def _deduced_shape(spec: TensorSpec, shape: Sequence[int], size: int) -> tuple[int, ...]:
    free = [place for place, extent in enumerate(shape) if extent == -1]
    if len(free) > 1:
        raise Invalid(
            f"The shape of the raw input '{spec.name}' can not be deduced because there are more than one "
            "variable-sized dimension"
        )
    fixed = math.prod(extent for extent in shape if extent != -1) * ITEM_BYTES[spec.datatype]
    count = size // fixed if fixed else 0
    if (free and count * fixed != size) or (not free and fixed != size):
        raise Invalid(f"unexpected total byte size {size} for raw input '{spec.name}'")
    return tuple(count if extent == -1 else extent for extent in shape)
