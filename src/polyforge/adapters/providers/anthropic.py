"""Anthropic's Messages API, and every server that speaks it."""

from typing import ClassVar, Final
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator
from typing_extensions import AsyncGenerator

from polyforge.dialects.anthropic_errors import broken_off, decode_error
from polyforge.dialects.anthropic_messages import facts, replies, requests
from polyforge.dialects.anthropic_messages.streams import EventReader
from polyforge.dialects.anthropic_messages.thinking import ThinkingStyle
from polyforge.dialects.anthropic_messages.usage import WireUsage, merged, read_usage
from polyforge.dialects.anthropic_models import decode_model_names
from polyforge.egress.deadlines import Deadline
from polyforge.egress.http import Answer, HttpClient
from polyforge.kernel.errors import UpstreamFailed
from polyforge.kernel.sse import data_of
from polyforge.kernel.tasks import Task
from polyforge.kernel.usage import NO_USAGE
from polyforge.ports.provider import Call, Capabilities, Provider, Reply, StreamEvent
from polyforge.ports.secret_source import SecretSource
from polyforge.secrets.references import SecretRef
from polyforge.telemetry.masking import names_secret
from polyforge.upstreams.account import Account
from polyforge.upstreams.calls import NO_ANSWER, read_stream, read_whole
from polyforge.upstreams.streams import CanonicalStream, PassedEvents

OWN_URL: Final = "https://api.anthropic.com/v1"
BETA: Final = "anthropic-beta"
_PATHS: Final[dict[Task, str]] = {
    "chat": "/messages",
    "completion": "/messages",
    "tokenization": "/messages/count_tokens",
}
_MODELS_PATH: Final = "/models?limit=1000"
_MODELS_SECONDS: Final = 10.0
_NOT_ASKED: Final = "the upstream's answer is not what was asked for"


class Settings(BaseModel):
    """One account or server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str = Field(default=OWN_URL, description="Where the API begins, with its version.")
    api_key: SecretRef | None = Field(
        default=None, description="`env:NAME`, `file:/path` or `secret:name`; none sends no key."
    )
    version: str = Field(default="2023-06-01", description="Value of the `anthropic-version` header.")
    betas: tuple[str, ...] = Field(
        default=(), description="Values of the `anthropic-beta` header, beside those that a caller sends."
    )
    headers: dict[str, str] = Field(default_factory=dict, description="More headers to send with each call.")
    max_connections: int = Field(default=1000, ge=1, description="Most calls at once per gateway process.")
    default_max_tokens: int = Field(
        default=requests.DEFAULT_LIMIT,
        ge=1,
        description="Output limit to ask for where a caller of another dialect asked for none; the API wants one.",
    )
    thinking: ThinkingStyle = Field(
        default="auto",
        description="How models are told to think: `adaptive` by effort, `budget` by tokens, `auto` by their name.",
    )
    max_response_bytes: int = Field(
        default=64 * 1024 * 1024, ge=1024, description="Largest answer that is not streamed."
    )

    @field_validator("base_url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an http:// or https:// address")
        return url


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
        if call.request.task == "tokenization":
            return _read_count(body)
        if call.chat is None:
            return _read_reply(body)
        result = replies.read_reply(body)
        return Reply(usage=result.usage, result=result, finish=result.choices[0].finish)

    def stream(self, call: Call) -> AsyncGenerator[list[StreamEvent]]:
        """The events as they come; UpstreamFailed when the stream ends without `message_stop`."""
        reader = _StreamReader() if call.chat is None else CanonicalStream(EventReader())
        return read_stream(self._post(call), call, reader, decode_error)

    async def models(self) -> list[str]:
        """The names that GET /models lists, at most a thousand."""
        with Deadline(Deadline.now() + _MODELS_SECONDS, "the upstream did not list its models in time"):
            body = await read_whole(self._account.get(_MODELS_PATH), decode_error, self._settings.max_response_bytes)
        try:
            return decode_model_names(body)
        except ValueError as error:
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


def _read_reply(body: bytes) -> Reply:
    try:
        found = facts.read_reply(body)
    except (ValueError, RecursionError) as error:
        raise UpstreamFailed(_NOT_ASKED) from error
    if found.error:
        raise UpstreamFailed(decode_error(body).message or _NOT_ASKED)
    return Reply(usage=found.usage, body=body, finish=found.finish)


def _read_count(body: bytes) -> Reply:
    try:
        facts.read_count(body)
    except (ValueError, RecursionError) as error:
        raise UpstreamFailed(_NOT_ASKED) from error
    return Reply(usage=NO_USAGE, body=body)


class _StreamReader(PassedEvents):
    """Hands on events as they came, and knows how far the stream has come."""

    def __init__(self) -> None:
        super().__init__()
        self._usage: WireUsage | None = None
        self._finished = False

    def finish(self) -> list[StreamEvent]:
        """The connection has closed: too early, since a stream ends with an event of its own."""
        raise UpstreamFailed("the upstream's stream broke off before its end")

    def _read(self, frame: bytes) -> StreamEvent:
        data = data_of(frame)
        if data is None:
            return StreamEvent(frame)
        try:
            found = facts.read_event(data)
        except (ValueError, RecursionError) as error:
            raise UpstreamFailed("the upstream sent a malformed event") from error
        if found.kind == "error":
            raise broken_off(data)
        if found.usage is not None:
            self._usage = merged(self._usage, found.usage)
        self._finished = self._finished or found.finish is not None
        self.has_content = self.has_content or found.content
        if found.kind == "message_stop":
            return self._end(frame)
        return StreamEvent(frame, found.content, finish=found.finish, size=found.size)

    def _end(self, frame: bytes) -> StreamEvent:
        if not self._finished:
            raise UpstreamFailed("the upstream ended its stream without a stop reason")
        self.ended = True
        return StreamEvent(frame, usage=read_usage(self._usage), end=True)


ADAPTER = Anthropic
