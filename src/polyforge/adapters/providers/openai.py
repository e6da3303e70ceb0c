"""OpenAI, and every server that speaks its dialect: vLLM, Ollama, llama.cpp, TGI, other gateways."""

from typing import ClassVar, Final

import msgspec
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import AsyncGenerator

from polyforge.egress.addresses import HttpBase
from polyforge.egress.deadlines import Deadline
from polyforge.egress.http import Answer, HttpClient
from polyforge.ports.provider import Call, Capabilities, Provider, Reply, StreamEvent
from polyforge.ports.secret_source import SecretSource
from polyforge.telemetry.masking import names_secret
from polyforge.upstreams.account import Account, bearer
from polyforge.upstreams.calls import NO_ANSWER
from polyforge.upstreams.openai_presets import PRESETS, Preset, PresetName
from polyforge.upstreams.openai_wire import PATHS, LimitField, OpenAIWire
from polyforge.upstreams.settings import (
    DEFAULT_CONNECTIONS,
    DEFAULT_RESPONSE_BYTES,
    ApiKey,
    Headers,
    MaxConnections,
    MaxResponseBytes,
)

_MODELS_SECONDS: Final = 10.0


class Settings(BaseModel):
    """One account or server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: PresetName = Field(
        default="openai", description="The kind of server; what follows from it is in docs/how-to/providers.md."
    )
    base_url: HttpBase | None = Field(
        default=None,
        description="Where the API begins, with its version, as in `http://host:8000/v1`; default: the preset's.",
    )
    api_key: ApiKey = None
    organization: str | None = Field(default=None, description="Value of the `OpenAI-Organization` header.")
    headers: Headers = {}
    max_connections: MaxConnections = DEFAULT_CONNECTIONS
    output_limit_field: LimitField | None = Field(
        default=None,
        description="How an output limit is spelled; default: `max_completion_tokens` at OpenAI, else `max_tokens`.",
    )
    stream_usage: bool | None = Field(
        default=None, description="Ask for usage in streams, if the server does not refuse it; default: the preset's."
    )
    max_response_bytes: MaxResponseBytes = DEFAULT_RESPONSE_BYTES


class OpenAI(Provider):
    """Passes bodies in OpenAI's dialect through and reads only their usage and finish; writes and reads others."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        tasks=frozenset(PATHS),
        dialects=frozenset({"openai"}),
        parameters=PRESETS["openai"].parameters,
        caller_keys=True,
        seller="openai",
    )

    def __init__(self, settings: Settings, connect_timeout: float) -> None:
        self._settings = settings
        plain = {name: value for name, value in settings.headers.items() if not names_secret(name)}
        headers = {"content-type": "application/json", **plain}
        preset, url = PRESETS[settings.preset], settings.base_url or PRESETS[settings.preset].base_url
        http = HttpClient(url, headers, connect_timeout, settings.max_connections)
        self._account = Account(http, settings.api_key, self._credentials, bearer)
        self._wire = OpenAIWire(
            limit_field=settings.output_limit_field or _limit_field(preset, url),
            stream_usage=preset.stream_usage if settings.stream_usage is None else settings.stream_usage,
            max_response_bytes=settings.max_response_bytes,
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
            return await self._wire.read(self._post(call), call)

    def stream(self, call: Call) -> AsyncGenerator[list[StreamEvent]]:
        """The events as they come; UpstreamFailed when the stream ends without its finish."""
        return self._wire.stream(self._post(call), call)

    async def models(self) -> list[str]:
        """The names that GET /models lists."""
        with Deadline(Deadline.now() + _MODELS_SECONDS, "the upstream did not list its models in time"):
            return await self._wire.models(self._account.get("/models"))

    def _post(self, call: Call) -> Answer:
        asked = self._wire.ask(call)
        return self._account.post(asked.path, asked.body, asked.headers, call.key)

    def _credentials(self, key: str | None) -> dict[str, str]:
        """What identifies our account: the key, and those headers of the settings that are secrets too."""
        settings = self._settings
        secret = {name.lower(): value for name, value in settings.headers.items() if names_secret(name)}
        credentials = {**secret, **bearer(key)}
        if settings.organization is not None:
            credentials["openai-organization"] = settings.organization
        return credentials


def _limit_field(preset: Preset, url: str) -> LimitField:
    """A preset is only a guess where another address is set: nearly all servers know the older name."""
    return preset.limit_field if url.startswith(preset.base_url) else "max_tokens"


def _of_preset(name: PresetName) -> Capabilities:
    """Nobody sells what people run themselves, so no published prices hold."""
    return msgspec.structs.replace(OpenAI.capabilities, parameters=PRESETS[name].parameters, seller=None)


class VLLM(OpenAI):
    """vLLM."""

    capabilities: ClassVar[Capabilities] = _of_preset("vllm")


class Ollama(OpenAI):
    """Ollama."""

    capabilities: ClassVar[Capabilities] = _of_preset("ollama")


class LlamaCpp(OpenAI):
    """The server of llama.cpp."""

    capabilities: ClassVar[Capabilities] = _of_preset("llamacpp")


class TGI(OpenAI):
    """Text Generation Inference."""

    capabilities: ClassVar[Capabilities] = _of_preset("tgi")


_KINDS: Final[dict[PresetName, type[OpenAI]]] = {
    "openai": OpenAI,
    "vllm": VLLM,
    "ollama": Ollama,
    "llamacpp": LlamaCpp,
    "tgi": TGI,
}


def build(settings: Settings, connect_timeout: float) -> OpenAI:
    """The provider of the preset."""
    return _KINDS[settings.preset](settings, connect_timeout)


ADAPTER = build
