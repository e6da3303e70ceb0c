"""Google's models on Vertex AI, with a service account."""

from typing import ClassVar, Final

from typing_extensions import AsyncGenerator

from polyforge.dialects.gemini.errors import decode_error
from polyforge.dialects.gemini.models import vertex_name
from polyforge.dialects.gemini.requests import PARAMETERS
from polyforge.kernel.clock import Clock, SystemClock
from polyforge.ports.provider import Call, Capabilities, Provider, Reply, StreamEvent
from polyforge.ports.secret_source import SecretSource
from polyforge.upstreams.exchanges import Exchange
from polyforge.upstreams.gemini import GeminiChat, VertexEmbeddings
from polyforge.upstreams.vertex import VertexProject, VertexSettings

_PUBLISHER: Final = "google"


class Settings(VertexSettings):
    """One project of Google Cloud."""


class Vertex(Provider):
    """Writes every chat in Gemini's dialect and reads the answers."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        tasks=frozenset({"chat", "completion", "embedding"}),
        dialects=frozenset(),
        parameters=PARAMETERS,
        caller_keys=True,
        seller="google",
    )

    def __init__(self, settings: Settings, connect_timeout: float, clock: Clock | None = None) -> None:
        self._project = VertexProject(settings, connect_timeout, clock or SystemClock())

    async def open(self, secrets: SecretSource) -> None:
        """Follow the key file, where it is one of `secrets`; a token is fetched when the first call needs it."""
        self._project.open(secrets)

    async def close(self) -> None:
        """Let go of connections."""
        await self._project.close()

    async def send(self, call: Call) -> Reply:
        """The whole answer."""
        return await self._project.send(call, vertex_name(call.model, _PUBLISHER), _exchange(call), decode_error)

    def stream(self, call: Call) -> AsyncGenerator[list[StreamEvent]]:
        """The events as they come; UpstreamFailed when the stream ends without its finish."""
        return self._project.stream(call, vertex_name(call.model, _PUBLISHER), _exchange(call), decode_error)

    async def models(self) -> list[str]:
        """The names of Google's models."""
        return await self._project.models(_PUBLISHER)


def _exchange(call: Call) -> Exchange:
    return VertexEmbeddings(call) if call.request.task == "embedding" else GeminiChat(call, call_ids=False)


ADAPTER = Vertex
