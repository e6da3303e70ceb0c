"""Every provider that is scripted, and one gateway before them all."""

import contextlib
from collections.abc import Callable, Generator, Mapping
from typing import Any

from tests.support.scripted.anthropic import Anthropic
from tests.support.scripted.azure_openai import AzureOpenAI
from tests.support.scripted.bedrock import Bedrock
from tests.support.scripted.gemini import Gemini, GeminiServer
from tests.support.scripted.huggingface import HuggingFace
from tests.support.scripted.lambda_function import LambdaFunction, LambdaServer
from tests.support.scripted.openai import OpenAI
from tests.support.scripted.sagemaker import SageMaker
from tests.support.scripted.scenarios import ScriptedProvider
from tests.support.scripted.server import ScriptedServer
from tests.support.scripted.vertex import Vertex, VertexAnthropic, VertexServer

PROVIDERS: tuple[ScriptedProvider, ...] = (
    OpenAI(),
    Anthropic(),
    Bedrock(),
    SageMaker(),
    LambdaFunction(),
    AzureOpenAI(),
    HuggingFace(),
    Gemini(),
    Vertex(),
    VertexAnthropic(),
)
_SERVERS: Mapping[str, Callable[[], ScriptedServer]] = {
    "gemini": GeminiServer,
    "lambda_function": LambdaServer,
    "vertex": lambda: VertexServer(Vertex()),
    "vertex_anthropic": lambda: VertexServer(VertexAnthropic()),
}
"""Of those that do more than answer chats."""


@contextlib.contextmanager
def all_serving() -> Generator[Mapping[str, ScriptedServer]]:
    """A scripted server for each provider, by the provider's name, while the block lasts."""
    with contextlib.ExitStack() as running:
        servers: dict[str, ScriptedServer] = {}
        for provider in PROVIDERS:
            make = _SERVERS.get(provider.name)
            server = servers[provider.name] = ScriptedServer(provider) if make is None else make()
            server.start()
            running.callback(server.stop)
        yield servers


def settings_before(servers: Mapping[str, ScriptedServer], **gateway: Any) -> dict[str, Any]:
    """The settings of a gateway in which `provider/scenario` is the model; `gateway` as that section takes it."""
    return {
        "providers": {name: server.settings() for name, server in servers.items()},
        "models": {f"{name}/*": {"deployments": [{"provider": name}]} for name in servers},
        "gateway": {"attempts": 1, "cooldown_seconds": 0, **gateway},
    }
