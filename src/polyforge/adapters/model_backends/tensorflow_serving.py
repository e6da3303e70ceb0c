"""A model of TensorFlow Serving, over its REST API: the signature of the SavedModel is the model's.

Requests are sent as they come: TensorFlow Serving batches by itself where it is told to.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field

from polyforge.adapters.model_backends.engine.arrays import DTYPES, array_of
from polyforge.adapters.model_backends.engine.remote import (
    LoopThread,
    RemoteSettings,
    check_specs,
    in_order,
    not_there,
    rows_of,
    together,
)
from polyforge.dialects import tensorflow_serving as wire
from polyforge.egress.oip_client import OK, OipAnswer, OipClient
from polyforge.kernel.errors import Invalid, ModelNotFound, PolyforgeError, TimedOut, Unavailable, UpstreamFailed
from polyforge.kernel.tensors import Tensor, TensorSpec, pack_strings, unpack_strings
from polyforge.ports.model_backend import ModelRequest, Outputs, Signature

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


class TensorflowServing:
    """One signature of one model of one server. Parameters of requests mean nothing to it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = LoopThread()
        self._client: OipClient | None = None
        self._signature: Signature | None = None

    @property
    def signature(self) -> Signature:
        """What the model takes and gives; only after `load`."""
        if self._signature is None:
            raise RuntimeError("the model is not loaded")
        return self._signature

    def load(self) -> None:
        """Ask the server; Unavailable, TimedOut or UpstreamFailed as it answers, Invalid for what cannot be served."""
        settings = self._settings
        self._client = OipClient(
            base_url=settings.url, max_connections=settings.instances, max_response_bytes=settings.max_response_bytes
        )
        self._loop.start()
        try:
            inputs, outputs = self._loop.wait_for(self._metadata(self._client))
            check_specs(inputs, outputs)
            has_rows = rows_of(inputs, outputs)
            if settings.form == "rows" and not has_rows:
                raise Invalid("form: a tensor of this model has no row per case; use `columnar`", param="form")
        except BaseException:
            self.close()
            raise
        self._signature = Signature(
            platform=PLATFORM,
            inputs=inputs,
            outputs=outputs,
            batch_rows=has_rows,
            instances=settings.instances,
            elsewhere=True,
            notes=(NOTE,),
        )

    def warm_up(self) -> None:
        """Ask once more, so that there is a connection."""
        if self._client is not None:
            self._loop.wait_for(self._metadata(self._client))

    def run(self, batch: Sequence[ModelRequest]) -> list[Outputs | PolyforgeError]:
        """What the server answers to every request, or what it says is wrong with it."""
        client = self._client
        if client is None:
            raise RuntimeError("the model is not loaded")
        return self._loop.wait_for(together([self._ask(client, request) for request in batch]))

    def close(self) -> None:
        """Hang up."""
        client, self._client = self._client, None
        if client is not None:
            self._loop.wait_for(client.close())
            self._loop.stop()

    async def _metadata(self, client: OipClient) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        settings = self._settings
        path = wire.model_path(settings.model, settings.version, "/metadata")
        answer = await client.ask(path, headers=settings.headers(), seconds=settings.answer_seconds)
        if answer.status != OK:
            raise _error_of(answer)
        return wire.decode_metadata(answer.body, settings.signature)

    async def _ask(self, client: OipClient, request: ModelRequest) -> Outputs:
        settings = self._settings
        columns = {name: _nested(tensor) for name, tensor in request.inputs.items()}
        body = wire.encode_request(columns, settings.signature, settings.form)
        path = wire.model_path(settings.model, settings.version, ":predict")
        headers = {**settings.headers(), **_JSON}
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
