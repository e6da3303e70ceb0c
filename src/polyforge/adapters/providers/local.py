"""Our own model host as a provider, over the Open Inference Protocol on a Unix socket.

Requests of that protocol are passed on as they are; of the others it answers those for embeddings.
"""

import asyncio
import struct
from typing import ClassVar, get_args

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import AsyncGenerator

from polyforge.dialects import oip
from polyforge.egress.oip_client import OipClient
from polyforge.kernel.errors import Invalid, Unsupported, UpstreamFailed
from polyforge.kernel.tasks import EmbeddingResult, InferenceRequest, Task, TensorRequest
from polyforge.kernel.tensors import Parameter, Tensor, TensorSpec, pack_strings
from polyforge.kernel.usage import Usage
from polyforge.ports.provider import Call, Capabilities, Reply, StreamEvent
from polyforge.ports.secret_source import SecretSource
from polyforge.upstreams.oip_forwarding import Forwarding

VECTORS = TensorSpec("embedding", "FP32", (-1, -1))
TOKENS = TensorSpec("tokens", "INT32", (-1,))
LIST_SECONDS = 5.0


class Settings(BaseModel):
    """How to reach the model host; wiring fills it in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    socket: str = Field(description="Path of the host's Unix socket.")
    max_texts: int = Field(default=2048, ge=1, description="Most texts in one request.")
    timeout_seconds: float = Field(default=60.0, gt=0, description="How long one request may take.")
    max_answer_bytes: int = Field(default=64 * 1024 * 1024, ge=1024, description="Largest answer that is taken.")
    max_connections: int = Field(default=256, ge=1, description="Most connections to the host from one process.")


class LocalProvider:
    """Has the model host answer. For embeddings, inputs that are token ids are refused."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        tasks=frozenset(get_args(Task)), dialects=frozenset({"oip"}), free=True
    )

    def __init__(self, settings: Settings) -> None:
        self._max_texts = settings.max_texts
        self._seconds = settings.timeout_seconds
        self._client = OipClient(
            settings.socket,
            max_connections=settings.max_connections,
            max_response_bytes=settings.max_answer_bytes,
        )
        self._forwarding = Forwarding(self._client, settings.timeout_seconds)

    async def open(self, secrets: SecretSource) -> None:
        """Nothing to do: connections are made when they are needed, and the host may come later."""

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.close()

    async def send(self, call: Call) -> Reply:
        """The answer as the host gives it; or the vectors of texts, and as usage the tokens that the model read."""
        if isinstance(call.request, TensorRequest):
            return await self._forwarding.send(call, call.request)
        if call.request.task != "embedding":
            raise Unsupported("this model is called over the Open Inference Protocol, at /v2/models", param="model")
        texts = _texts(call.request, self._max_texts)
        tensor = Tensor("text", "BYTES", (len(texts),), pack_strings(texts))
        parameters: dict[str, Parameter] = {}
        if call.request.dimensions is not None:
            parameters["dimensions"] = call.request.dimensions
        message = oip.encode_request((tensor,), request_id=call.request_id, parameters=parameters)
        seconds = min(self._seconds, call.deadline - asyncio.get_running_loop().time())
        response = await self._client.infer(call.model, message, seconds=seconds)
        result = _result(response, len(texts))
        return Reply(usage=result.usage, result=result)

    async def stream(self, call: Call) -> AsyncGenerator[list[StreamEvent]]:
        """The answer as the host gives it; vectors do not stream."""
        if not isinstance(call.request, TensorRequest):
            raise Invalid("embeddings cannot be streamed; leave `stream` out", param="stream")
        events = self._forwarding.stream(call, call.request)
        try:
            async for batch in events:
                yield batch
        finally:
            await events.aclose()

    async def models(self) -> list[str]:
        """The names of the models that the host serves now."""
        entries = await self._client.index(seconds=LIST_SECONDS)
        return [entry.name for entry in entries if entry.state == "READY"]


def _texts(request: InferenceRequest, limit: int) -> list[bytes]:
    inputs = request.inputs
    if not inputs:
        raise Invalid("input: must not be empty", param="input")
    if len(inputs) > limit:
        raise Invalid(f"input: at most {limit} texts in one request, got {len(inputs)}", param="input")
    texts: list[bytes] = []
    for place, text in enumerate(inputs):
        if not isinstance(text, str):
            raise Invalid("input: this model takes texts, not token ids", param="input")
        if not text:
            raise Invalid(f"input[{place}]: must not be an empty string", param="input")
        texts.append(_utf8(text, place))
    return texts


def _utf8(text: str, place: int) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise Invalid(f"input[{place}]: holds half of a surrogate pair", param="input") from error


def _result(response: oip.InferResponse, rows: int) -> EmbeddingResult:
    vectors = response.outputs.get(VECTORS.name)
    tokens = response.outputs.get(TOKENS.name)
    if vectors is None or not VECTORS.admits(vectors) or vectors.shape[0] != rows:
        raise UpstreamFailed(f"the model host answered without an FP32 tensor `embedding` of {rows} rows")
    if tokens is None or not TOKENS.admits(tokens) or tokens.shape[0] != rows:
        raise UpstreamFailed(f"the model host answered without an INT32 tensor `tokens` of {rows} counts")
    usage = Usage(input=sum(struct.unpack(f"<{rows}i", tokens.data)))
    return EmbeddingResult(data=vectors.data, rows=rows, dimensions=vectors.shape[1], usage=usage)


ADAPTER = LocalProvider
