"""A model behind the Open Inference Protocol on another server: Triton, KServe, MLServer or another of our hosts.

What the server says of the model is its signature. Requests are sent as they come: whether its answers depend on what
is computed together only the server knows, and it batches by itself. Tensors travel in binary where the server can.
"""

from pydantic import Field

from polyforge.adapters.model_backends.engine.remote import (
    Description,
    RemoteModel,
    RemoteSettings,
    in_order,
    not_there,
)
from polyforge.dialects import oip
from polyforge.egress.oip_client import OipClient
from polyforge.kernel.errors import ModelNotFound
from polyforge.ports.model_backend import ModelRequest, Outputs

NOTE = "computed on another server, to which requests are sent as they come"


class Settings(RemoteSettings):
    """Where a model is served, and how it is called."""

    binary: bool = Field(
        default=True, description="Tensors in binary, Triton's extension; off for servers that take JSON alone."
    )


class RemoteOip(RemoteModel[Settings]):
    """One model of one server. `load` asks what it takes and gives; parameters of requests go along."""

    note = NOTE

    async def _describe(self, client: OipClient) -> Description:
        settings = self._settings
        try:
            found = await client.metadata(
                settings.model, version=settings.version, seconds=settings.answer_seconds, headers=self._headers()
            )
        except ModelNotFound as error:
            raise not_there(error) from error
        return Description(found.platform or "remote", found.inputs, found.outputs)

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
                headers=self._headers(),
            )
        except ModelNotFound as error:
            raise not_there(error) from error
        return in_order(self.signature.outputs, answer.outputs)


ADAPTER = RemoteOip
