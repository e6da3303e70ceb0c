"""Anthropic's Messages API, and every server that speaks it."""

from typing import ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import AsyncGenerator

from polyforge.dialects.anthropic_errors import decode_error
from polyforge.dialects.anthropic_messages import facts, requests
from polyforge.dialects.anthropic_messages.thinking import ThinkingStyle
from polyforge.dialects.anthropic_models import decode_model_names
from polyforge.egress.addresses import HttpBase
from polyforge.egress.deadlines import Deadline
from polyforge.egress.http import Answer, HttpClient
from polyforge.kernel.errors import UpstreamFailed
from polyforge.kernel.tasks import Task
from polyforge.kernel.usage import NO_USAGE
from polyforge.ports.provider import Call, Capabilities, Provider, Reply, StreamEvent
from polyforge.ports.secret_source import SecretSource
from polyforge.telemetry.masking import names_secret
from polyforge.upstreams.account import Account
from polyforge.upstreams.anthropic_wire import NOT_ASKED, reader_of, reply_of
from polyforge.upstreams.calls import NO_ANSWER, read_stream, read_whole
from polyforge.upstreams.settings import (
    DEFAULT_CONNECTIONS,
    DEFAULT_RESPONSE_BYTES,
    ApiKey,
    Headers,
    MaxConnections,
    MaxResponseBytes,
)

OWN_URL: Final = "https://api.anthropic.com/v1"
BETA: Final = "anthropic-beta"
_PATHS: Final[dict[Task, str]] = {
    "chat": "/messages",
    "completion": "/messages",
    "tokenization": "/messages/count_tokens",
}
_MODELS_PATH: Final = "/models?limit=1000"
_MODELS_SECONDS: Final = 10.0


class Settings(BaseModel):
    """One account or server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: HttpBase = Field(default=OWN_URL, description="Where the API begins, with its version.")
    api_key: ApiKey = None
    version: str = Field(default="2023-06-01", description="Value of the `anthropic-version` header.")
    betas: tuple[str, ...] = Field(
        default=(), description="Values of the `anthropic-beta` header, beside those that a caller sends."
    )
    headers: Headers = {}
    max_connections: MaxConnections = DEFAULT_CONNECTIONS
    default_max_tokens: int = Field(
        default=requests.DEFAULT_LIMIT,
        ge=1,
        description="Output limit to ask for where a caller of another dialect asked for none; the API wants one.",
    )
    thinking: ThinkingStyle = Field(
        default="auto",
        description="How models are told to think: `adaptive` by effort, `budget` by tokens, `auto` by their name.",
    )
    max_response_bytes: MaxResponseBytes = DEFAULT_RESPONSE_BYTES


class Anthropic(Provider):
    """Passes Messages bodies through and reads only their usage and stop reason; writes and reads others."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        tasks=frozenset(_PATHS),
        dialects=frozenset({"anthropic"}),
        parameters=requests.PARAMETERS,
        caller_keys=True,
        seller="anthropic",
    )

    def __init__(self, settings: Settings, connect_timeout: float) -> None:
        self._settings = settings
        plain = {name: value for name, value in settings.headers.items() if not names_secret(name)}
        headers = {"content-type": "application/json", "anthropic-version": settings.version, **plain}
        http = HttpClient(settings.base_url, headers, connect_timeout, settings.max_connections)
        self._account = Account(http, settings.api_key, self._credentials, _api_key)

    async def open(self, secrets: SecretSource) -> None:
        """Follow the key, where it is one of `secrets`; connections are made when they are needed."""
        self._account.open(secrets)

    async def close(self) -> None:
        """Let go of connections."""
        await self._account.close()

    async def send(self, call: Call) -> Reply:
        """The whole answer, its body as the upstream wrote it where the caller speaks its dialect."""
        with Deadline(call.deadline, NO_ANSWER):
            answer, limit = self._post(call), self._settings.max_response_bytes
            body = await read_whole(answer, decode_error, limit, brought=call.key is not None)
        return _read_count(body) if call.request.task == "tokenization" else reply_of(call, body)

    def stream(self, call: Call) -> AsyncGenerator[list[StreamEvent]]:
        """The events as they come; UpstreamFailed when the stream ends without `message_stop`."""
        return read_stream(self._post(call), call, reader_of(call), decode_error)

    async def models(self) -> list[str]:
        """The names that GET /models lists, at most a thousand."""
        with Deadline(Deadline.now() + _MODELS_SECONDS, "the upstream did not list its models in time"):
            body = await read_whole(self._account.get(_MODELS_PATH), decode_error, self._settings.max_response_bytes)
        try:
            return decode_model_names(body)
        except (ValueError, RecursionError) as error:
            raise UpstreamFailed("the upstream's list of models is none") from error

    def _post(self, call: Call) -> Answer:
        return self._account.post(_PATHS[call.request.task], self._body(call), self._headers(call), call.key)

    def _headers(self, call: Call) -> dict[str, str]:
        """The caller's headers, its betas together with ours."""
        asked = call.headers.get(BETA)
        betas = ",".join((*self._settings.betas, *([asked] if asked else ())))
        return {**call.headers, BETA: betas} if betas else dict(call.headers)

    def _body(self, call: Call) -> bytes:
        request, settings = call.request, self._settings
        if call.chat is None:
            limit = None if request.task == "tokenization" else call.output_limit
            return facts.rewrite(request.body, model=call.model, limit=limit)
        return requests.write_chat(
            call.chat,
            model=call.model,
            stream=request.stream,
            default_limit=settings.default_max_tokens,
            thinking_style=settings.thinking,
        )

    def _credentials(self, key: str | None) -> dict[str, str]:
        """What identifies our account: the key, and those headers of the settings that are secrets too."""
        secret = {name.lower(): value for name, value in self._settings.headers.items() if names_secret(name)}
        return {**secret, **_api_key(key)}


def _api_key(key: str | None) -> dict[str, str]:
    return {} if key is None else {"x-api-key": key}


def _read_count(body: bytes) -> Reply:
    try:
        facts.read_count(body)
    except (ValueError, RecursionError) as error:
        raise UpstreamFailed(NOT_ASKED) from error
    return Reply(usage=NO_USAGE, body=body)


ADAPTER = Anthropic
