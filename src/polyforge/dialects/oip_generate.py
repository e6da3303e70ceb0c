"""Triton's generate extension: an inference as one flat JSON object, both ways. Pure functions.

Source: https://github.com/triton-inference-server/server (extension_generate.md). Fields that are inputs of the model
are tensors, of one element or a list of them; all others are parameters, as are those in `parameters`.
"""

import math
from collections.abc import Sequence
from typing import Any, cast

import msgspec

from polyforge.dialects import oip
from polyforge.dialects.oip import elements_of
from polyforge.kernel.errors import Invalid, PolyforgeError
from polyforge.kernel.tensors import Parameter, Tensor, TensorSpec

EVENT_TYPE = "text/event-stream; charset=utf-8"


def decode_generate(body: bytes, inputs: Sequence[TensorSpec], *, has_rows: bool) -> oip.InferRequest:
    """The inference that a generate request stands for, one row; Invalid names the field that is wrong."""
    document = _object(body)
    specs = {spec.name: spec for spec in inputs}
    parameters: dict[str, Parameter] = {}
    wires: list[oip.WireTensor] = []
    request_id = document.pop("id", "")
    nested: Any = {} if "parameters" in specs else document.pop("parameters", {})
    if not isinstance(nested, dict):
        raise Invalid("parameters: must be an object", param="parameters")
    for name, value in [*cast(dict[str, Any], nested).items(), *document.items()]:
        spec = specs.get(name)
        if spec is not None:
            wires.append(_tensor(spec, value, has_rows=has_rows))
        elif isinstance(value, bool | int | float | str):
            parameters[name] = value
        else:
            raise Invalid(
                f"{name}: no input of the model, and no parameter: those are strings, numbers and booleans", param=name
            )
    tensors = oip.decode_tensors(wires, memoryview(b""), "input", "inputs")
    return oip.InferRequest(tensors, str(request_id), parameters)


def encode_generated(model: str, version: str, request_id: str, outputs: Sequence[Tensor]) -> bytes:
    """The answer as one flat object: an output of one element is that element, any other a flat list."""
    fields: dict[str, Any] = {"id": request_id} if request_id else {}
    fields |= {"model_name": model, "model_version": version}
    for tensor in outputs:
        elements = elements_of(tensor)
        fields[tensor.name] = elements[0] if len(elements) == 1 else elements
    return oip.encode_json(fields)


def event(data: bytes) -> bytes:
    """One server-sent event."""
    return b"data: " + data + b"\n\n"


def error_event(error: PolyforgeError) -> bytes:
    """An error after the stream has begun, when the status is out."""
    return event(oip.encode_error(error))


def _object(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"failed to parse the request JSON buffer: {error}") from error


def _tensor(spec: TensorSpec, value: Any, *, has_rows: bool) -> oip.WireTensor:
    values: list[Any] = cast(list[Any], value) if isinstance(value, list) else [value]
    if any(isinstance(item, list | dict) for item in values):
        raise Invalid(f"{spec.name}: must be one element or a flat list of them", param=spec.name)
    shape = _fitted(spec.shape[1:] if has_rows else spec.shape, len(values))
    return oip.WireTensor(
        spec.name, (1, *shape) if has_rows else shape, spec.datatype, {}, msgspec.Raw(msgspec.json.encode(values))
    )


def _fitted(shape: Sequence[int], count: int) -> tuple[int, ...]:
    """The shape that so many elements take: the first free dimension holds them, further free ones are 1."""
    fixed = math.prod(extent for extent in shape if extent != -1)
    free = iter([count // fixed if fixed else 0])
    return tuple(next(free, 1) if extent == -1 else extent for extent in shape)
