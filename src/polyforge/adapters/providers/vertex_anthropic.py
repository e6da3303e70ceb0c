"""Anthropic's models on Vertex AI, with a service account.

Source: https://docs.claude.com/en/api/claude-on-vertex-ai.
"""

from typing import ClassVar, Final

import msgspec
from pydantic import Field
from typing_extensions import AsyncGenerator

from polyforge.dialects import anthropic_errors
from polyforge.dialects.anthropic_messages import replies, requests
from polyforge.dialects.anthropic_messages.streams import EventReader
from polyforge.dialects.anthropic_messages.thinking import ThinkingStyle
from polyforge.dialects.gemini import errors as google_errors
from polyforge.dialects.gemini.models import vertex_name
from polyforge.dialects.upstream_error import UpstreamError
from polyforge.kernel.clock import Clock, SystemClock
from polyforge.kernel.errors import Unsupported
from polyforge.ports.provider import Call, Capabilities, Provider, Reply, StreamEvent
from polyforge.ports.secret_source import SecretSource
from polyforge.upstreams.calls import StreamReader
from polyforge.upstreams.streams import CanonicalStream
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
    """Writes every chat as Anthropic's Messages, the model being in the address and the version in the body."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        tasks=frozenset({"chat", "completion"}),
        dialects=frozenset(),
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
        if call.chat is None:
            raise Unsupported("this provider does not speak the dialect of the request")
        stream = call.request.stream
        self.method = "streamRawPredict" if stream else "rawPredict"
        fields = requests.write_fields(call.chat, call.model, stream, settings.default_max_tokens, settings.thinking)
        self.body = _encode({"anthropic_version": settings.version, **fields})

    def read(self, body: bytes) -> Reply:
        """A whole answer; UpstreamFailed when it is none."""
        result = replies.read_reply(body)
        return Reply(usage=result.usage, result=result, finish=result.choices[0].finish)

    def reader(self) -> StreamReader:
        """What reads a streamed one."""
        return CanonicalStream(EventReader())


def _read_error(body: bytes) -> UpstreamError:
    """Of Anthropic's models, or of Google's servers before them."""
    said = google_errors.decode_error(body)
    return said if said.code is not None else anthropic_errors.decode_error(body)


ADAPTER = VertexAnthropic
