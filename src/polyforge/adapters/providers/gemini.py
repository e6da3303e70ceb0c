"""Google's Gemini API, with the keys of Google AI Studio."""

from typing import ClassVar, Final
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import AsyncGenerator

from polyforge.dialects.gemini.errors import decode_error
from polyforge.dialects.gemini.models import gemini_name, read_models
from polyforge.dialects.gemini.requests import PARAMETERS
from polyforge.egress.addresses import HttpBase
from polyforge.egress.deadlines import Deadline
from polyforge.egress.http import Answer, HttpClient
from polyforge.ports.provider import Call, Capabilities, Provider, Reply, StreamEvent
from polyforge.ports.secret_source import SecretSource
from polyforge.upstreams.account import Account
from polyforge.upstreams.calls import NO_ANSWER, read_stream, read_whole
from polyforge.upstreams.exchanges import Exchange
from polyforge.upstreams.gemini import GeminiChat, GeminiEmbeddings
from polyforge.upstreams.settings import (
    DEFAULT_CONNECTIONS,
    DEFAULT_RESPONSE_BYTES,
    ApiKey,
    MaxConnections,
    MaxResponseBytes,
)

_MODELS_SECONDS: Final = 10.0
_MOST_PAGES: Final = 10
_PAGE_SIZE: Final = 1000


class Settings(BaseModel):
    """One project's key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: HttpBase = Field(
        default="https://generativelanguage.googleapis.com/v1beta",
        description="Where the API begins, with its version.",
    )
    api_key: ApiKey = None
    max_connections: MaxConnections = DEFAULT_CONNECTIONS
    max_response_bytes: MaxResponseBytes = DEFAULT_RESPONSE_BYTES


class Gemini(Provider):
    """Writes every chat in Gemini's dialect and reads the answers."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        tasks=frozenset({"chat", "completion", "embedding"}),
        dialects=frozenset(),
        parameters=PARAMETERS,
        caller_keys=True,
        seller="google",
    )

    def __init__(self, settings: Settings, connect_timeout: float) -> None:
        self._settings = settings
        headers = {"content-type": "application/json"}
        http = HttpClient(settings.base_url, headers, connect_timeout, settings.max_connections)
        self._account = Account(http, settings.api_key, _key_header, _key_header)

    async def open(self, secrets: SecretSource) -> None:
        """Follow the key, where it is one of `secrets`; connections are made when they are needed."""
        self._account.open(secrets)

    async def close(self) -> None:
        """Let go of connections."""
        await self._account.close()

    async def send(self, call: Call) -> Reply:
        """The whole answer."""
        exchange = _exchange(call)
        with Deadline(call.deadline, NO_ANSWER):
            answer, limit = self._post(call, exchange), self._settings.max_response_bytes
            return exchange.read(await read_whole(answer, decode_error, limit, brought=call.key is not None))

    def stream(self, call: Call) -> AsyncGenerator[list[StreamEvent]]:
        """The events as they come; UpstreamFailed when the stream ends without its finish."""
        exchange = _exchange(call)
        return read_stream(self._post(call, exchange), call, exchange.reader(), decode_error)

    async def models(self) -> list[str]:
        """The names that GET /models lists, on all its pages."""
        names: list[str] = []
        page: str | None = ""
        with Deadline(Deadline.now() + _MODELS_SECONDS, "the upstream did not list its models in time"):
            for _ in range(_MOST_PAGES):
                path = f"/models?pageSize={_PAGE_SIZE}" + (f"&pageToken={quote(page, safe='')}" if page else "")
                body = await read_whole(self._account.get(path), decode_error, self._settings.max_response_bytes)
                more, page = read_models(body)
                names += more
                if page is None:
                    break
        return names

    def _post(self, call: Call, exchange: Exchange) -> Answer:
        path = f"/{gemini_name(call.model)}:{exchange.method}"
        return self._account.post(path, exchange.body, call.headers, call.key)


def _exchange(call: Call) -> Exchange:
    if call.request.task == "embedding":
        return GeminiEmbeddings(call, gemini_name(call.model))
    return GeminiChat(call, call_ids=True)


def _key_header(key: str | None) -> dict[str, str]:
    return {} if key is None else {"x-goog-api-key": key}


ADAPTER = Gemini
