"""A model behind the Open Inference Protocol on another server: Triton, KServe, MLServer or another of our hosts.

What the server says of the model is its signature. Requests are sent as they come: whether its answers depend on what
is computed together only the server knows, and it batches by itself. Tensors travel in binary where the server can.
"""

from collections.abc import Sequence

from pydantic import Field

from polyforge.adapters.model_backends.engine.remote import (
    LoopThread,
    RemoteSettings,
    check_specs,
    in_order,
    not_there,
    rows_of,
    together,
)
from polyforge.dialects import oip
from polyforge.egress.oip_client import OipClient
from polyforge.kernel.errors import ModelNotFound, PolyforgeError
from polyforge.ports.model_backend import ModelRequest, Outputs, Signature

NOTE = "computed on another server, to which requests are sent as they come"


class Settings(RemoteSettings):
    """Where a model is served, and how it is called."""

    binary: bool = Field(
        default=True, description="Tensors in binary, Triton's extension; off for servers that take JSON alone."
    )


class RemoteOip:
    """One model of one server. `load` asks what it takes and gives; parameters of requests go along."""

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
            found = self._loop.wait_for(self._metadata(self._client))
            check_specs(found.inputs, found.outputs)
        except BaseException:
            self.close()
            raise
        self._signature = Signature(
            platform=found.platform or "remote",
            inputs=found.inputs,
            outputs=found.outputs,
            batch_rows=rows_of(found.inputs, found.outputs),
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

    async def _metadata(self, client: OipClient) -> oip.ModelMetadata:
        settings = self._settings
        try:
            return await client.metadata(
                settings.model, version=settings.version, seconds=settings.answer_seconds, headers=settings.headers()
            )
        except ModelNotFound as error:
            raise not_there(error) from error

    async def _ask(self, client: OipClient, request: ModelRequest) -> Outputs:
        settings = self._settings
        message = oip.encode_request(
            request.inputs.values(), parameters=dict(request.parameters), binary=settings.binary
        )
        try:
            answer = await client.infer(
                settings.model,
                message,
                version=settings.version,
                seconds=settings.answer_seconds,
                headers=settings.headers(),
            )
        except ModelNotFound as error:
            raise not_there(error) from error
        return in_order(self.signature.outputs, answer.outputs)


ADAPTER = RemoteOip
