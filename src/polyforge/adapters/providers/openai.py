"""OpenAI, and every server that speaks its dialect: vLLM, Ollama, llama.cpp, TGI, other gateways."""

import asyncio
from typing import ClassVar, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator
from typing_extensions import AsyncGenerator

from polyforge.dialects import openai_embeddings
from polyforge.dialects.openai_chat import facts as openai_chat
from polyforge.dialects.openai_errors import decode_error
from polyforge.dialects.openai_models import decode_model_names
from polyforge.egress.deadlines import Deadline
from polyforge.egress.http import Answer, HttpClient
from polyforge.kernel.errors import (
    NotConfigured,
    PolyforgeError,
    RateLimited,
    SettingsError,
    TimedOut,
    UpstreamDenied,
    UpstreamFailed,
    UpstreamRefused,
)
from polyforge.kernel.retry_after import read_retry_after
from polyforge.kernel.sse import DONE, EventSplitter, EventTooLarge, data_of, event_of
from polyforge.kernel.tasks import Task
from polyforge.ports.provider import KEY_HEADER, Call, Capabilities, Provider, Reply, StreamEvent
from polyforge.ports.secret_source import SecretSource, Stop
from polyforge.secrets.references import SecretRef
from polyforge.telemetry.masking import names_secret

OWN_URL: Final = "https://api.openai.com/v1"
_PATHS: Final[dict[Task, str]] = {
    "chat": "/chat/completions",
    "completion": "/completions",
    "embedding": "/embeddings",
}
_MODELS_SECONDS: Final = 10.0
_QUOTA_SECONDS: Final = 60.0
_TAIL_SECONDS: Final = 1.0
_STOPPED: Final = "the upstream stopped in the middle of its answer"
_OK: Final = 200
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
    """Passes bodies through in OpenAI's dialect and reads only their usage and finish."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        tasks=frozenset(_PATHS), dialects=frozenset({"openai"}), caller_keys=True
    )

    def __init__(self, settings: Settings, connect_timeout: float) -> None:
        self._settings = settings
        plain = {name: value for name, value in settings.headers.items() if not names_secret(name)}
        headers = {"content-type": "application/json", **plain}
        self._http = HttpClient(settings.base_url, headers, connect_timeout, settings.max_connections)
        self._secrets: SecretSource | None = None
        self._unwatch: Stop | None = None
        self._authorized = False
        if settings.api_key is None or settings.api_key.name is None:
            self._authorize()
        self._limit_field = settings.output_limit_field or (
            "max_completion_tokens" if settings.base_url.startswith(OWN_URL) else "max_tokens"
        )

    async def open(self, secrets: SecretSource) -> None:
        """Follow the key, where it is one of `secrets`; connections are made when they are needed."""
        key = self._settings.api_key
        if key is not None and key.name is not None:
            self._secrets = secrets
            self._unwatch = secrets.watch(key.name, self._forget_key)

    async def close(self) -> None:
        """Let go of connections."""
        if self._unwatch is not None:
            self._unwatch()
        await self._http.close()

    async def send(self, call: Call) -> Reply:
        """The whole answer, its body as the upstream wrote it."""
        with Deadline(call.deadline, "the upstream did not answer in time"):
            body = await self._whole(self._post(call), call.key is not None)
        return _read_reply(call, body)

    async def stream(self, call: Call) -> AsyncGenerator[list[StreamEvent]]:
        """The events as they come; UpstreamFailed when the stream ends without its finish."""
        answer = self._post(call)
        first_token = min(call.deadline, call.started + call.timeouts.first_token)
        try:
            with Deadline(first_token, "the upstream sent no first token in time") as deadline:
                await answer.open()
                await _check_head(answer, "event-stream", call.key is not None)
                reader = _StreamReader()
                clock, idle = asyncio.get_running_loop().time, call.timeouts.idle
                while not reader.ended:
                    chunk = await answer.chunk()
                    found = reader.finish() if chunk is None else reader.feed(chunk)
                    if found:
                        deadline.pause()
                        yield found
                    if reader.has_content:
                        deadline.when = min(call.deadline, clock() + idle)
                        deadline.message = _STOPPED
                    else:
                        deadline.when = first_token
            await _read_tail(answer)
        finally:
            await answer.close()

    async def models(self) -> list[str]:
        """The names that GET /models lists."""
        if not self._authorized:
            self._authorize()
        with Deadline(Deadline.now() + _MODELS_SECONDS, "the upstream did not list its models in time"):
            body = await self._whole(self._http.get("/models"), brought=False)
        try:
            return decode_model_names(body)
        except ValueError as error:
            raise UpstreamFailed("the upstream's list of models is none") from error

    async def _whole(self, answer: Answer, brought: bool) -> bytes:
        try:
            await answer.open()
            await _check_head(answer, "json", brought)
            return await answer.body(self._settings.max_response_bytes)
        finally:
            await answer.close()

    def _post(self, call: Call) -> Answer:
        request = call.request
        usage = request.stream and not request.wants_usage and self._settings.stream_usage
        limit = None if call.output_limit is None else (self._limit_field, call.output_limit)
        body = openai_chat.rewrite(request.body, model=call.model, include_usage=usage, limit=limit)
        if call.key is not None:
            return self._http.post(_PATHS[request.task], body, call.headers, _bearer(call.key.reveal()))
        if not self._authorized:
            self._authorize()
        return self._http.post(_PATHS[request.task], body, call.headers)

    def _forget_key(self) -> None:
        """Look for the key again before the next call."""
        self._authorized = False

    def _authorize(self) -> None:
        """Put what identifies our account before each call; NotConfigured while its key is missing or no good."""
        settings, key = self._settings, self._settings.api_key
        credentials = {name.lower(): value for name, value in settings.headers.items() if names_secret(name)}
        if key is not None:
            credentials.update(_bearer(key.reveal(self._secrets)))
        if settings.organization is not None:
            credentials["openai-organization"] = settings.organization
        try:
            self._http.authorize(credentials)
        except SettingsError as error:
            if key is None or key.name is None:
                raise
            raise NotConfigured(f"{key} is no key: {error.message}") from error
        self._authorized = True


def _bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def _check_head(answer: Answer, wanted: str, brought: bool) -> None:
    """Raise what an upstream's refusal means; UpstreamFailed when it is not the kind of answer that was asked for.

    `brought`: the caller brought the key.
    """
    if answer.status != _OK:
        raise _refusal(answer, await answer.error_body(), brought)
    kind = answer.header("content-type") or ""
    if wanted not in kind:
        raise UpstreamFailed(f"the upstream answered with {kind[:100] or 'no content type'} instead of {wanted}")


async def _read_tail(answer: Answer) -> None:
    """Read what follows `[DONE]`, normally nothing, because only a connection read to its end can be used again."""
    try:
        with Deadline(Deadline.now() + _TAIL_SECONDS, "the upstream goes on after its end"):
            while await answer.chunk() is not None:
                continue
    except (UpstreamFailed, TimedOut):
        return


def _refusal(answer: Answer, body: bytes, brought: bool) -> PolyforgeError:
    status, said = answer.status, decode_error(body)
    message = said.message or f"the upstream answered with status {status}"
    if status == 429 and said.code == "insufficient_quota":  # noqa: PLR2004
        return RateLimited("the quota at the provider is used up", retry_after=_QUOTA_SECONDS)
    if status == 429:  # noqa: PLR2004
        return RateLimited(message, retry_after=read_retry_after(answer.header))
    if status == 408:  # noqa: PLR2004
        return TimedOut(message)
    if status in (401, 403) and brought:
        return UpstreamRefused(f"the provider refused the key in {KEY_HEADER}", status=status, param=KEY_HEADER)
    if status in (401, 403):
        return UpstreamDenied("the provider refused our credentials; check its api_key")
    if 400 <= status < 500:  # noqa: PLR2004
        return UpstreamRefused(message, status=status, param=said.param, code=said.code)
    return UpstreamFailed(message, retry_after=read_retry_after(answer.header))


def _read_reply(call: Call, body: bytes) -> Reply:
    try:
        if call.request.task == "embedding":
            return Reply(usage=openai_embeddings.read_usage(body), body=body)
        facts = openai_chat.read_reply(body)
    except (ValueError, RecursionError) as error:
        raise UpstreamFailed("the upstream's answer is not what was asked for") from error
    if facts.error:
        raise UpstreamFailed(decode_error(body).message or "the upstream's answer holds no choices")
    return Reply(usage=facts.usage, body=body, finish=facts.finish)


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
            if self.has_content:
                facts = openai_chat.read_later_chunk(data, self._envelope)
            else:
                facts = openai_chat.read_chunk(data)
        except (ValueError, RecursionError) as error:
            raise UpstreamFailed("the upstream sent a malformed chunk") from error
        if facts.error is not None:
            raise UpstreamFailed(decode_error(facts.error).message or "the upstream broke off with an error")
        self._finished = self._finished or facts.finish is not None
        if facts.content and not self.has_content:
            self.has_content = True
            self._envelope = len(data) - facts.size
        return StreamEvent(
            frame, facts.content, facts.usage, usage_only=not facts.choices, finish=facts.finish, size=facts.size
        )

    def _end(self) -> StreamEvent:
        if not self._finished:
            raise UpstreamFailed("the upstream ended its stream without a finish")
        self.ended = True
        return StreamEvent(_DONE_FRAME, end=True)


ADAPTER = OpenAI
