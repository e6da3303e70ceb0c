"""Azure OpenAI: OpenAI's dialect at addresses of deployments, with keys of the resource or tokens of Entra.

Source: https://learn.microsoft.com/en-us/azure/ai-services/openai/reference and the official client's addresses.
"""

from contextlib import aclosing
from typing import ClassVar, Final, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import AsyncGenerator

from polyforge.dialects.azure_errors import decode_error
from polyforge.dialects.openai_chat.requests import PARAMETERS
from polyforge.egress.addresses import HttpBase, HttpUrl
from polyforge.egress.deadlines import Deadline
from polyforge.egress.http import Answer, HttpClient
from polyforge.kernel.clock import Clock, SystemClock
from polyforge.kernel.errors import Invalid, UpstreamDenied
from polyforge.ports.provider import Call, Capabilities, Provider, Reply, StreamEvent
from polyforge.ports.secret_source import SecretSource
from polyforge.secrets.references import SecretRef
from polyforge.upstreams.account import Account, bearer
from polyforge.upstreams.calls import NO_ANSWER
from polyforge.upstreams.openai_wire import PATHS, LimitField, OpenAIWire
from polyforge.upstreams.settings import (
    DEFAULT_CONNECTIONS,
    DEFAULT_RESPONSE_BYTES,
    MaxConnections,
    MaxResponseBytes,
)
from polyforge.upstreams.tokens import AccessTokens, ClientCredentials

_VERSION: Final = "2024-10-21"
"""The last dated version of the API for which there is general support."""
_GRANTING: Final = "https://login.microsoftonline.com"
_MODELS_SECONDS: Final = 10.0
_LATE: Final = "there was no access token in time"


class Settings(BaseModel):
    """One resource, with its key or an application of Entra."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: HttpBase = Field(description="Where the resource is, as in `https://NAME.openai.azure.com`.")
    style: Literal["deployments", "v1"] = Field(
        default="deployments", description="Which API: that of dated versions, with deployments in its paths, or v1."
    )
    api_version: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9-]{1,40}$",
        description=f"Version of the API; default: {_VERSION} with `style: deployments`, and none with `v1`.",
    )
    api_key: SecretRef | None = Field(default=None, description="A key of the resource; instead of `client_secret`.")
    tenant_id: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9.-]{1,100}$", description="Tenant of the application in Entra."
    )
    client_id: str | None = Field(default=None, description="Id of the application in Entra.")
    client_secret: SecretRef | None = Field(default=None, description="Secret of the application in Entra.")
    scope: str = Field(
        default="https://cognitiveservices.azure.com/.default", description="What tokens of Entra are asked for."
    )
    token_url: HttpUrl | None = Field(
        default=None,
        description="Where tokens of Entra are fetched; default: the tenant's address in the public cloud.",
    )
    max_connections: MaxConnections = DEFAULT_CONNECTIONS
    output_limit_field: LimitField = Field(
        default="max_completion_tokens", description="How an output limit is spelled; older models know `max_tokens`."
    )
    stream_usage: bool = Field(
        default=True, description="Ask for usage in streams; turn off for versions of the API before 2024-09."
    )
    max_response_bytes: MaxResponseBytes = DEFAULT_RESPONSE_BYTES

    @model_validator(mode="after")
    def _has_one_credential(self) -> "Settings":
        application = (self.tenant_id, self.client_id, self.client_secret)
        if self.api_key is None and None in application:
            raise ValueError("give api_key, or tenant_id, client_id and client_secret")
        if self.api_key is not None and application != (None, None, None):
            raise ValueError("give api_key or an application of Entra, not both")
        return self


class AzureOpenAI(Provider):
    """Passes bodies in OpenAI's dialect through; writes and reads others."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        tasks=frozenset(PATHS) - {"moderation"},
        dialects=frozenset({"openai"}),
        parameters=PARAMETERS,
        caller_keys=True,
        seller="azure",
    )

    def __init__(self, settings: Settings, connect_timeout: float, clock: Clock | None = None) -> None:
        self._settings = settings
        headers = {"content-type": "application/json"}
        self._http = HttpClient(settings.endpoint, headers, connect_timeout, settings.max_connections)
        self._account = Account(self._http, settings.api_key, _key_header, _key_header)
        self._tokens = _tokens(settings, clock or SystemClock(), connect_timeout)
        self._shown = ""
        """The token that is sent with each call now."""
        version = settings.api_version or (_VERSION if settings.style == "deployments" else None)
        self._query = "" if version is None else f"?api-version={version}"
        self._wire = OpenAIWire(
            limit_field=settings.output_limit_field,
            stream_usage=settings.stream_usage,
            max_response_bytes=settings.max_response_bytes,
            read_error=decode_error,
        )

    async def open(self, secrets: SecretSource) -> None:
        """Follow the key, where it is one of `secrets`; a token is fetched when the first call needs it."""
        self._account.open(secrets)
        if self._tokens is not None:
            self._tokens.open(secrets)

    async def close(self) -> None:
        """Let go of connections."""
        if self._tokens is not None:
            await self._tokens.close()
        await self._account.close()

    async def send(self, call: Call) -> Reply:
        """The whole answer, its body as the upstream wrote it where the caller speaks its dialect."""
        with Deadline(call.deadline, NO_ANSWER):
            if self._tokens is None or call.key is not None:
                return await self._wire.read(self._post(call), call)
            await self._authorize(self._tokens)
            try:
                return await self._wire.read(self._post(call), call)
            except UpstreamDenied:
                self._tokens.refused()
                raise

    def stream(self, call: Call) -> AsyncGenerator[list[StreamEvent]]:
        """The events as they come; UpstreamFailed when the stream ends without its finish."""
        if self._tokens is None or call.key is not None:
            return self._wire.stream(self._post(call), call)
        return self._stream_with_token(self._tokens, call)

    async def models(self) -> list[str]:
        """The names of the models that the resource could deploy; what its deployments are called, it does not tell."""
        with Deadline(Deadline.now() + _MODELS_SECONDS, "the upstream did not list its models in time"):
            if self._tokens is not None:
                await self._authorize(self._tokens)
            root = "/openai/v1" if self._settings.style == "v1" else "/openai"
            return await self._wire.models(self._account.get(f"{root}/models{self._query}"))

    async def _stream_with_token(self, tokens: AccessTokens, call: Call) -> AsyncGenerator[list[StreamEvent]]:
        with Deadline(min(call.deadline, call.started + call.timeouts.first_token), _LATE):
            await self._authorize(tokens)
        try:
            async with aclosing(self._wire.stream(self._post(call), call)) as events:
                async for batch in events:
                    yield batch
        except UpstreamDenied:
            tokens.refused()
            raise

    async def _authorize(self, tokens: AccessTokens) -> None:
        token = await tokens.token()
        if token != self._shown:
            self._http.authorize(bearer(token))
            self._shown = token

    def _post(self, call: Call) -> Answer:
        asked = self._wire.ask(call)
        root = "/openai/v1"
        if self._settings.style == "deployments":
            if not call.model.strip("."):
                raise Invalid("model: no deployment can be called that", param="model")
            root = f"/openai/deployments/{quote(call.model, safe='')}"
        return self._account.post(f"{root}{asked.path}{self._query}", asked.body, asked.headers, call.key)


def _tokens(settings: Settings, clock: Clock, connect_timeout: float) -> AccessTokens | None:
    if settings.client_secret is None or settings.client_id is None:
        return None
    url = settings.token_url or f"{_GRANTING}/{settings.tenant_id}/oauth2/v2.0/token"
    grant = ClientCredentials(settings.client_id, settings.scope)
    return AccessTokens(url, settings.client_secret, grant, clock, connect_timeout)


def _key_header(key: str | None) -> dict[str, str]:
    return {} if key is None else {"api-key": key}


ADAPTER = AzureOpenAI
