"""A model of TensorFlow Serving, over its REST API: the signature of the SavedModel is the model's.

Requests are sent as they come: TensorFlow Serving batches by itself where it is told to.
"""

from typing import Any

import numpy as np
from pydantic import Field

from polyforge.adapters.model_backends.engine.arrays import DTYPES, array_of
from polyforge.adapters.model_backends.engine.remote import (
    Description,
    RemoteModel,
    RemoteSettings,
    in_order,
    not_there,
    rows_of,
)
from polyforge.dialects import tensorflow_serving as wire
from polyforge.egress.oip_client import OK, OipAnswer, OipClient
from polyforge.kernel.errors import Invalid, ModelNotFound, PolyforgeError, TimedOut, Unavailable, UpstreamFailed
from polyforge.kernel.tensors import Tensor, TensorSpec, pack_strings, unpack_strings
from polyforge.ports.model_backend import ModelRequest, Outputs

PLATFORM = "tensorflow_savedmodel"
"""Triton's name for it."""
NOTE = "computed by TensorFlow Serving, to which requests are sent as they come"
_JSON = {"content-type": "application/json"}


class Settings(RemoteSettings):
    """Where a model is served, and how it is called."""

    signature: str = Field(
        default="serving_default", min_length=1, max_length=256, description="The signature of the SavedModel."
    )
    form: wire.Form = Field(
        default="columnar",
        description="How tensors travel: all of each, or `rows`, for models whose tensors all have a row per case.",
    )


class TensorflowServing(RemoteModel[Settings]):
    """One signature of one model of one server. Parameters of requests mean nothing to it."""

    note = NOTE

    async def _describe(self, client: OipClient) -> Description:
        settings = self._settings
        path = wire.model_path(settings.model, settings.version, "/metadata")
        answer = await client.ask(path, headers=self._headers(), seconds=settings.answer_seconds)
        if answer.status != OK:
            raise _error_of(answer)
        inputs, outputs = wire.decode_metadata(answer.body, settings.signature)
        if settings.form == "rows" and not rows_of(inputs, outputs):
            raise Invalid("form: a tensor of this model has no row per case; use `columnar`", param="form")
        return Description(PLATFORM, inputs, outputs)

    async def _ask(self, client: OipClient, request: ModelRequest) -> Outputs:
        settings = self._settings
        columns = {name: _nested(tensor) for name, tensor in request.inputs.items()}
        body = wire.encode_request(columns, settings.signature, settings.form)
        path = wire.model_path(settings.model, settings.version, ":predict")
        headers = {**self._headers(), **_JSON}
        answer = await client.ask(path, body, headers, seconds=settings.answer_seconds)
        if answer.status != OK:
            raise _error_of(answer)
        outputs = self.signature.outputs
        try:
            found = wire.decode_response(answer.body, outputs, settings.form)
            return in_order(outputs, {spec.name: _tensor(spec, found[spec.name]) for spec in outputs})
        except (Invalid, ValueError, TypeError, OverflowError) as error:
            raise UpstreamFailed(f"TensorFlow Serving's answer is not what its metadata says: {error}") from error


def _nested(tensor: Tensor) -> Any:
    """The elements as nested lists, strings as bytes; Invalid when its data does not fit its shape."""
    if tensor.datatype != "BYTES":
        return array_of(tensor).tolist()
    array = np.empty(tensor.count, object)
    try:
        array[:] = unpack_strings(tensor.data, tensor.count)
    except ValueError as error:
        raise Invalid(f"{tensor.name}: {error}", param=tensor.name) from error
    return array.reshape(tensor.shape).tolist()


def _tensor(spec: TensorSpec, nested: Any) -> Tensor:
    """ValueError and its kin when the lists do not have the tensor's form."""
    array = np.array(nested, DTYPES[spec.datatype])
    if not array.size:
        array = array.reshape(tuple(max(0, size) for size in spec.shape))
    if len(array.shape) != len(spec.shape):
        raise ValueError(f"{spec.name} has shape {list(array.shape)}")
    if spec.datatype != "BYTES":
        return Tensor(spec.name, spec.datatype, array.shape, array.tobytes())
    strings = array.reshape(-1).tolist()
    if not all(isinstance(string, bytes) for string in strings):
        raise ValueError(f"{spec.name} holds what is no string")
    return Tensor(spec.name, spec.datatype, array.shape, pack_strings(strings))


def _error_of(answer: OipAnswer) -> PolyforgeError:
    message = wire.decode_error(answer.body)
    match answer.status:
        case 404:
            return not_there(ModelNotFound(message))
        case 400:
            return Invalid(message, param="inputs")
        case 503:
            return Unavailable(message, retry_after=answer.retry_seconds)
        case 504:
            return TimedOut(message)
        case status:
            return UpstreamFailed(f"TensorFlow Serving answered {status}: {message}")


ADAPTER = TensorflowServing
