"""A gateway before scripted providers, and the official clients that call it."""

from collections.abc import Generator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from tests.support.scripted.asks import Caller
from tests.support.scripted.callers import AnthropicMessages, OpenAIChat, OpenAIResponses
from tests.support.scripted.providers import settings_before
from tests.support.scripted.server import ScriptedServer
from tests.support.server import Polyforge, stopping

CALLERS = {make.name: make for make in (OpenAIChat, OpenAIResponses, AnthropicMessages)}
PROVIDERS = ("openai", "anthropic", "bedrock", "gemini")


@contextmanager
def gateway_before(servers: Mapping[str, ScriptedServer], folder: Path, **sections: Any) -> Generator[Polyforge]:
    """A gateway before PROVIDERS, with these sections in its settings."""
    settings = settings_before({name: servers[name] for name in PROVIDERS}) | sections
    with stopping(Polyforge(folder, settings)) as server:
        yield server


@contextmanager
def calling(gateway: Polyforge) -> Generator[Mapping[str, Caller]]:
    """One client of each kind, all with one key."""
    key = gateway.create_key().key
    with ExitStack() as stack:
        yield {name: stack.enter_context(closing(make(gateway.url, key))) for name, make in CALLERS.items()}
