"""Hugging Face: the router of its inference providers, and dedicated Inference Endpoints."""

from typing import ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import AsyncGenerator

from polyforge.dialects.huggingface import check_model_name, decode_error, read_features, write_features
from polyforge.dialects.openai_chat.requests import PARAMETERS
from polyforge.dialects.vectors import texts_of
from polyforge.egress.addresses import HttpBase
from polyforge.egress.deadlines import Deadline
from polyforge.egress.http import Answer, HttpClient
from polyforge.ports.provider import Call, Capabilities, Provider, Reply, StreamEvent
from polyforge.ports.secret_source import SecretSource
from polyforge.secrets.references import SecretRef
from polyforge.upstreams.account import Account, bearer
from polyforge.upstreams.calls import NO_ANSWER, read_whole
from polyforge.upstreams.openai_wire import OpenAIWire
from polyforge.upstreams.settings import (
    DEFAULT_CONNECTIONS,
    DEFAULT_RESPONSE_BYTES,
    MaxConnections,
    MaxResponseBytes,
)

ROUTER: Final = "https://router.huggingface.co"
_MODELS_SECONDS: Final = 10.0


class Settings(BaseModel):
    """One account, for the router, or one of its endpoints."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    api_key: SecretRef | None = Field(
        default=None, description="A token of the account, as `env:NAME`, `file:/path` or `secret:name`."
    )
    endpoint: HttpBase | None = Field(
        default=None,
        description="A dedicated endpoint, as in `https://NAME.REGION.aws.endpoints.huggingface.cloud/v1`;"
        " default: the router.",
    )
    router: HttpBase = Field(default=ROUTER, description="Where the router is.")
    bill_to: str | None = Field(default=None, description="The organization that pays; default: the account itself.")
    max_connections: MaxConnections = DEFAULT_CONNECTIONS
    stream_usage: bool = Field(
        default=True, description="Ask for usage in streams; turn off for an endpoint that refuses it."
    )
    max_response_bytes: MaxResponseBytes = DEFAULT_RESPONSE_BYTES


class HuggingFace(Provider):
    """Passes bodies in OpenAI's dialect through; embeddings at the router are asked for as features."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        tasks=frozenset({"chat", "completion", "embedding"}),
        dialects=frozenset({"openai"}),
        parameters=PARAMETERS,
        caller_keys=True,
    )

    def __init__(self, settings: Settings, connect_timeout: float) -> None:
        self._settings = settings
        headers = {"content-type": "application/json"}
        if settings.bill_to is not None:
            headers["x-hf-bill-to"] = settings.bill_to
        url = settings.endpoint or settings.router
        http = HttpClient(url, headers, connect_timeout, settings.max_connections)
        self._root = "" if settings.endpoint else "/v1"
        self._account = Account(http, settings.api_key, bearer, bearer)
        self._wire = OpenAIWire(
            limit_field="max_tokens",
            stream_usage=settings.stream_usage,
            max_response_bytes=settings.max_response_bytes,
            read_error=decode_error,
        )

    async def open(self, secrets: SecretSource) -> None:
        """Follow the key, where it is one of `secrets`; connections are made when they are needed."""
        self._account.open(secrets)

    async def close(self) -> None:
        """Let go of connections."""
        await self._account.close()

    async def send(self, call: Call) -> Reply:
        """The whole answer, its body as the upstream wrote it where the caller speaks its dialect."""
        with Deadline(call.deadline, NO_ANSWER):
            if call.request.task == "embedding" and self._settings.endpoint is None:
                return await self._features(call)
            return await self._wire.read(self._post(call), call)

    def stream(self, call: Call) -> AsyncGenerator[list[StreamEvent]]:
        """The events as they come; UpstreamFailed when the stream ends without its finish."""
        return self._wire.stream(self._post(call), call)

    async def models(self) -> list[str]:
        """The names of the models that can chat."""
        with Deadline(Deadline.now() + _MODELS_SECONDS, "the upstream did not list its models in time"):
            return await self._wire.models(self._account.get(f"{self._root}/models"))

    def _post(self, call: Call) -> Answer:
        asked = self._wire.ask(call)
        return self._account.post(f"{self._root}{asked.path}", asked.body, asked.headers, call.key)

    async def _features(self, call: Call) -> Reply:
        texts = texts_of(call.request)
        path = f"/hf-inference/models/{check_model_name(call.model)}/pipeline/feature-extraction"
        answer = self._account.post(path, write_features(texts), call.headers, call.key)
        limit = self._settings.max_response_bytes
        body = await read_whole(answer, decode_error, limit, brought=call.key is not None)
        result = read_features(body, texts)
        return Reply(usage=result.usage, result=result)


ADAPTER = HuggingFace
