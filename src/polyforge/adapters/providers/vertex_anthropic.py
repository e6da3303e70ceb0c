"""Anthropic's models on Vertex AI, with a service account.

Source: https://docs.claude.com/en/api/claude-on-vertex-ai.
"""

from typing import ClassVar, Final

import msgspec
from pydantic import Field
from typing_extensions import AsyncGenerator

from polyforge.dialects import anthropic_errors
from polyforge.dialects.anthropic_messages import facts, requests
from polyforge.dialects.anthropic_messages.thinking import ThinkingStyle
from polyforge.dialects.gemini import errors as google_errors
from polyforge.dialects.gemini.models import vertex_name
from polyforge.dialects.upstream_error import UpstreamError
from polyforge.kernel.clock import Clock, SystemClock
from polyforge.ports.provider import Call, Capabilities, Provider, Reply, StreamEvent
from polyforge.ports.secret_source import SecretSource
from polyforge.upstreams.anthropic_wire import reader_of, reply_of
from polyforge.upstreams.calls import StreamReader
from polyforge.upstreams.vertex import VertexProject, VertexSettings

_PUBLISHER: Final = "anthropic"
_encode: Final = msgspec.json.Encoder().encode


class Settings(VertexSettings):
    """One project of Google Cloud in which Anthropic's models are enabled."""

    version: str = Field(default="vertex-2023-10-16", description="Value of `anthropic_version` in each body.")
    default_max_tokens: int = Field(
        default=requests.DEFAULT_LIMIT,
        ge=1,
        description="Output limit to ask for where a caller asked for none; the API wants one.",
    )
    thinking: ThinkingStyle = Field(
        default="auto",
        description="How models are told to think: `adaptive` by effort, `budget` by tokens, `auto` by their name.",
    )


class VertexAnthropic(Provider):
    """Passes Messages bodies through, but for the model, which is in the address, and the version; writes others."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        tasks=frozenset({"chat", "completion"}),
        dialects=frozenset({"anthropic"}),
        parameters=requests.PARAMETERS,
        caller_keys=True,
        seller="google",
    )

    def __init__(self, settings: Settings, connect_timeout: float, clock: Clock | None = None) -> None:
        self._settings = settings
        self._project = VertexProject(settings, connect_timeout, clock or SystemClock())

    async def open(self, secrets: SecretSource) -> None:
        """Follow the key file, where it is one of `secrets`; a token is fetched when the first call needs it."""
        self._project.open(secrets)

    async def close(self) -> None:
        """Let go of connections."""
        await self._project.close()

    async def send(self, call: Call) -> Reply:
        """The whole answer."""
        exchange = _Messages(call, self._settings)
        return await self._project.send(call, vertex_name(call.model, _PUBLISHER), exchange, _read_error)

    def stream(self, call: Call) -> AsyncGenerator[list[StreamEvent]]:
        """The events as they come; UpstreamFailed when the stream ends without `message_stop`."""
        exchange = _Messages(call, self._settings)
        return self._project.stream(call, vertex_name(call.model, _PUBLISHER), exchange, _read_error)

    async def models(self) -> list[str]:
        """The names of Anthropic's models."""
        return await self._project.models(_PUBLISHER)


class _Messages:
    """A chat as Messages."""

    def __init__(self, call: Call, settings: Settings) -> None:
        self.method = "streamRawPredict" if call.request.stream else "rawPredict"
        self.body = _write(call, settings)
        self._call = call

    def read(self, body: bytes) -> Reply:
        """A whole answer; UpstreamFailed when it is none."""
        return reply_of(self._call, body)

    def reader(self) -> StreamReader:
        """What reads a streamed one."""
        return reader_of(self._call)


def _write(call: Call, settings: Settings) -> bytes:
    request = call.request
    if call.chat is None:
        return facts.rewrite_without_model(request.body, version=settings.version, limit=call.output_limit)
    fields = requests.write_fields(
        call.chat, call.model, request.stream, settings.default_max_tokens, settings.thinking
    )
    return _encode({"anthropic_version": settings.version, **fields})


def _read_error(body: bytes) -> UpstreamError:
    """Of Anthropic's models, or of Google's servers before them."""
    said = google_errors.decode_error(body)
    return said if said.code is not None else anthropic_errors.decode_error(body)


ADAPTER = VertexAnthropic
