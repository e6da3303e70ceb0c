"""Vertex AI: the address of a project's models, and calls with the token of a service account.

Source: https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest and, for the addresses,
https://cloud.google.com/vertex-ai/generative-ai/docs/learn/locations.
"""

from contextlib import aclosing
from typing import Final
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import AsyncGenerator

from polyforge.dialects.gemini.errors import decode_error as decode_google_error
from polyforge.dialects.gemini.models import read_models
from polyforge.egress.addresses import HttpBase, HttpUrl
from polyforge.egress.deadlines import Deadline
from polyforge.egress.http import Answer, HttpClient
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import UpstreamDenied
from polyforge.ports.provider import Call, Reply, StreamEvent
from polyforge.ports.secret_source import SecretSource
from polyforge.secrets.references import SecretRef
from polyforge.upstreams.account import bearer
from polyforge.upstreams.calls import NO_ANSWER, ReadError, read_stream, read_whole
from polyforge.upstreams.exchanges import Exchange
from polyforge.upstreams.service_accounts import ServiceAccount
from polyforge.upstreams.settings import (
    DEFAULT_CONNECTIONS,
    DEFAULT_RESPONSE_BYTES,
    MaxConnections,
    MaxResponseBytes,
)
from polyforge.upstreams.tokens import AccessTokens

_GRANTING: Final = "https://oauth2.googleapis.com/token"
_MULTI_REGIONS: Final = frozenset({"us", "eu"})
_MODELS_SECONDS: Final = 10.0
_MOST_PAGES: Final = 10
_LATE: Final = "there was no access token in time"


class VertexSettings(BaseModel):
    """One project of Google Cloud."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    project: str = Field(pattern=r"^[a-z0-9.:-]{1,100}$", description="Id or number of the project.")
    location: str = Field(
        default="global", pattern=r"^[a-z0-9-]{1,40}$", description="Region, multi-region (`us`, `eu`) or `global`."
    )
    credentials: SecretRef = Field(
        description="JSON key file of a service account, as `file:/path`, `env:NAME` or `secret:name`."
    )
    token_url: HttpUrl = Field(
        default=_GRANTING, description="Where access tokens are fetched; what the key file says of it is not used."
    )
    base_url: HttpBase | None = Field(
        default=None, description="Where Vertex AI is reached, without a version; default: the location's own address."
    )
    max_connections: MaxConnections = DEFAULT_CONNECTIONS
    max_response_bytes: MaxResponseBytes = DEFAULT_RESPONSE_BYTES

    @property
    def address(self) -> str:
        """Where the location is reached."""
        if self.base_url is not None:
            return self.base_url
        if self.location == "global":
            return "https://aiplatform.googleapis.com"
        if self.location in _MULTI_REGIONS:
            return f"https://aiplatform.{self.location}.rep.googleapis.com"
        return f"https://{self.location}-aiplatform.googleapis.com"


class VertexProject:
    """Calls models of one project. A token is fetched when the first call needs it."""

    def __init__(self, settings: VertexSettings, connect_timeout: float, clock: Clock) -> None:
        self._settings = settings
        headers = {"content-type": "application/json"}
        self._http = HttpClient(settings.address, headers, connect_timeout, settings.max_connections)
        grant = ServiceAccount(settings.token_url)
        self._tokens = AccessTokens(settings.token_url, settings.credentials, grant, clock, connect_timeout)
        self._shown = ""
        """The token that is sent with each call now."""

    def open(self, secrets: SecretSource) -> None:
        """Follow the key file, where it is one of `secrets`."""
        self._tokens.open(secrets)

    async def close(self) -> None:
        """Let go of connections."""
        await self._tokens.close()
        await self._http.close()

    async def send(self, call: Call, name: str, exchange: Exchange, read_error: ReadError) -> Reply:
        """The whole answer of the model `name`, which stands in its collection."""
        with Deadline(call.deadline, NO_ANSWER):
            await self._authorize(call)
            answer, limit = self._post(call, name, exchange), self._settings.max_response_bytes
            try:
                body = await read_whole(answer, read_error, limit, brought=call.key is not None)
            except UpstreamDenied:
                self._tokens.refused()
                raise
        return exchange.read(body)

    async def stream(
        self, call: Call, name: str, exchange: Exchange, read_error: ReadError
    ) -> AsyncGenerator[list[StreamEvent]]:
        """Its events as they come; UpstreamFailed when the stream ends without its finish."""
        with Deadline(min(call.deadline, call.started + call.timeouts.first_token), _LATE):
            await self._authorize(call)
        answer = self._post(call, name, exchange)
        try:
            async with aclosing(read_stream(answer, call, exchange.reader(), read_error)) as events:
                async for batch in events:
                    yield batch
        except UpstreamDenied:
            self._tokens.refused()
            raise

    async def models(self, publisher: str) -> list[str]:
        """The names of a publisher's models that Vertex AI lists, on all pages."""
        names: list[str] = []
        page: str | None = ""
        headers = {"x-goog-user-project": self._settings.project}
        with Deadline(Deadline.now() + _MODELS_SECONDS, "the upstream did not list its models in time"):
            await self._authorize(None)
            for _ in range(_MOST_PAGES):
                token = f"?pageToken={quote(page, safe='')}" if page else ""
                answer = self._http.get(f"/v1beta1/publishers/{publisher}/models{token}", headers)
                body = await read_whole(answer, decode_google_error, self._settings.max_response_bytes)
                more, page = read_models(body)
                names += more
                if page is None:
                    break
        return names

    async def _authorize(self, call: Call | None) -> None:
        """See to a token, unless the caller brought one of its own."""
        if call is not None and call.key is not None:
            return
        token = await self._tokens.token()
        if token != self._shown:
            self._http.authorize(bearer(token))
            self._shown = token

    def _post(self, call: Call, name: str, exchange: Exchange) -> Answer:
        settings = self._settings
        path = f"/v1/projects/{settings.project}/locations/{settings.location}/{name}:{exchange.method}"
        brought = None if call.key is None else bearer(call.key.reveal())
        return self._http.post(path, exchange.body, call.headers, brought)
