"""OpenAI, and every server that speaks its dialect: vLLM, Ollama, llama.cpp, TGI, other gateways."""

from typing import ClassVar, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator
from typing_extensions import AsyncGenerator

from polyforge.dialects import openai_embeddings
from polyforge.dialects.openai_chat import facts, replies, requests
from polyforge.dialects.openai_chat.streams import ChunkReader
from polyforge.dialects.openai_errors import decode_error
from polyforge.dialects.openai_models import decode_model_names
from polyforge.egress.deadlines import Deadline
from polyforge.egress.http import Answer, HttpClient
from polyforge.kernel.errors import UpstreamFailed
from polyforge.kernel.sse import DONE, EventSplitter, EventTooLarge, data_of, event_of
from polyforge.kernel.tasks import Task
from polyforge.ports.provider import Call, Capabilities, Provider, Reply, StreamEvent
from polyforge.ports.secret_source import SecretSource
from polyforge.secrets.references import SecretRef
from polyforge.telemetry.masking import names_secret
from polyforge.upstreams.account import Account, bearer
from polyforge.upstreams.calls import NO_ANSWER, read_stream, read_whole
from polyforge.upstreams.streams import CanonicalStream

OWN_URL: Final = "https://api.openai.com/v1"
_PATHS: Final[dict[Task, str]] = {
    "chat": "/chat/completions",
    "completion": "/completions",
    "embedding": "/embeddings",
}
_MODELS_SECONDS: Final = 10.0
_DONE_FRAME: Final = event_of(DONE)


class Settings(BaseModel):
    """One account or server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str = Field(
        default=OWN_URL, description="Where the API begins, with its version, as in `http://host:8000/v1`."
    )
    api_key: SecretRef | None = Field(
        default=None, description="`env:NAME`, `file:/path` or `secret:name`; none sends no key."
    )
    organization: str | None = Field(default=None, description="Value of the `OpenAI-Organization` header.")
    headers: dict[str, str] = Field(default_factory=dict, description="More headers to send with each call.")
    max_connections: int = Field(default=1000, ge=1, description="Most calls at once per gateway process.")
    output_limit_field: Literal["max_tokens", "max_completion_tokens"] | None = Field(
        default=None,
        description="How an output limit is spelled; default: `max_completion_tokens` at OpenAI, else `max_tokens`.",
    )
    stream_usage: bool = Field(
        default=True, description="Ask for usage in streams; turn off for a server that refuses it."
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


class OpenAI(Provider):
    """Passes bodies in OpenAI's dialect through and reads only their usage and finish; writes and reads others."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        tasks=frozenset(_PATHS),
        dialects=frozenset({"openai"}),
        parameters=requests.PARAMETERS,
        caller_keys=True,
        seller="openai",
    )

    def __init__(self, settings: Settings, connect_timeout: float) -> None:
        self._settings = settings
        plain = {name: value for name, value in settings.headers.items() if not names_secret(name)}
        headers = {"content-type": "application/json", **plain}
        http = HttpClient(settings.base_url, headers, connect_timeout, settings.max_connections)
        self._account = Account(http, settings.api_key, self._credentials, bearer)
        self._limit_field = settings.output_limit_field or (
            "max_completion_tokens" if settings.base_url.startswith(OWN_URL) else "max_tokens"
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
            answer, limit = self._post(call), self._settings.max_response_bytes
            body = await read_whole(answer, decode_error, limit, brought=call.key is not None)
        if call.chat is None:
            return _read_reply(call, body)
        result = replies.read_reply(body)
        return Reply(usage=result.usage, result=result, finish=result.choices[0].finish)

    def stream(self, call: Call) -> AsyncGenerator[list[StreamEvent]]:
        """The events as they come; UpstreamFailed when the stream ends without its finish."""
        reader = _StreamReader() if call.chat is None else CanonicalStream(ChunkReader())
        return read_stream(self._post(call), call, reader, decode_error)

    async def models(self) -> list[str]:
        """The names that GET /models lists."""
        with Deadline(Deadline.now() + _MODELS_SECONDS, "the upstream did not list its models in time"):
            body = await read_whole(self._account.get("/models"), decode_error, self._settings.max_response_bytes)
        try:
            return decode_model_names(body)
        except ValueError as error:
            raise UpstreamFailed("the upstream's list of models is none") from error

    def _post(self, call: Call) -> Answer:
        return self._account.post(_PATHS[call.request.task], self._body(call), call.headers, call.key)

    def _body(self, call: Call) -> bytes:
        request = call.request
        if call.chat is not None:
            return requests.write_chat(
                call.chat, model=call.model, stream=request.stream, limit_field=self._limit_field
            )
        usage = request.stream and not request.wants_usage and self._settings.stream_usage
        limit = None if call.output_limit is None else (self._limit_field, call.output_limit)
        return facts.rewrite(request.body, model=call.model, include_usage=usage, limit=limit)

    def _credentials(self, key: str | None) -> dict[str, str]:
        """What identifies our account: the key, and those headers of the settings that are secrets too."""
        settings = self._settings
        secret = {name.lower(): value for name, value in settings.headers.items() if names_secret(name)}
        credentials = {**secret, **bearer(key)}
        if settings.organization is not None:
            credentials["openai-organization"] = settings.organization
        return credentials


def _read_reply(call: Call, body: bytes) -> Reply:
    try:
        if call.request.task == "embedding":
            return Reply(usage=openai_embeddings.read_usage(body), body=body)
        found = facts.read_reply(body)
    except (ValueError, RecursionError) as error:
        raise UpstreamFailed("the upstream's answer is not what was asked for") from error
    if found.error:
        raise UpstreamFailed(decode_error(body).message or "the upstream's answer holds no choices")
    return Reply(usage=found.usage, body=body, finish=found.finish)


class _StreamReader:
    """Turns arriving bytes into events and knows how far the stream has come."""

    def __init__(self) -> None:
        self._splitter = EventSplitter()
        self._finished = False
        self._envelope = 0
        self.has_content = False
        self.ended = False

    def feed(self, chunk: bytes) -> list[StreamEvent]:
        """The events that these bytes complete; UpstreamFailed when one is malformed or an error."""
        try:
            frames = self._splitter.feed(chunk)
        except EventTooLarge as error:
            raise UpstreamFailed(f"the upstream's stream is broken: {error}") from error
        events: list[StreamEvent] = []
        for frame in frames:
            events.append(self._read(frame))
            if self.ended:
                break
        return events

    def finish(self) -> list[StreamEvent]:
        """The end of a stream whose connection closed: fine after a finish, even where `[DONE]` was forgotten."""
        if not self._finished or self._splitter.rest.strip():
            raise UpstreamFailed("the upstream's stream broke off before its end")
        self.ended = True
        return [StreamEvent(_DONE_FRAME, end=True)]

    def _read(self, frame: bytes) -> StreamEvent:
        data = data_of(frame)
        if data is None:
            return StreamEvent(frame)
        if data.startswith(DONE):
            return self._end()
        try:
            found = facts.read_later_chunk(data, self._envelope) if self.has_content else facts.read_chunk(data)
        except (ValueError, RecursionError) as error:
            raise UpstreamFailed("the upstream sent a malformed chunk") from error
        if found.error is not None:
            raise UpstreamFailed(decode_error(found.error).message or "the upstream broke off with an error")
        self._finished = self._finished or found.finish is not None
        if found.content and not self.has_content:
            self.has_content = True
            self._envelope = len(data) - found.size
        return StreamEvent(
            frame, found.content, found.usage, usage_only=not found.choices, finish=found.finish, size=found.size
        )

    def _end(self) -> StreamEvent:
        if not self._finished:
            raise UpstreamFailed("the upstream ended its stream without a finish")
        self.ended = True
        return StreamEvent(_DONE_FRAME, end=True)


ADAPTER = OpenAI
