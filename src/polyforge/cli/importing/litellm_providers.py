"""Which of our providers a deployment of LiteLLM's becomes. Source: https://docs.litellm.ai/docs/providers"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from polyforge.cli.importing.findings import Findings, Tree, mapping

REFERENCE: Final = "os.environ/"
_PUBLIC: Final[dict[str, tuple[str, str]]] = {
    "groq": ("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "mistral": ("https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "deepseek": ("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    "together_ai": ("https://api.together.xyz/v1", "TOGETHERAI_API_KEY"),
    "fireworks_ai": ("https://api.fireworks.ai/inference/v1", "FIREWORKS_AI_API_KEY"),
    "openrouter": ("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "perplexity": ("https://api.perplexity.ai", "PERPLEXITYAI_API_KEY"),
    "xai": ("https://api.x.ai/v1", "XAI_API_KEY"),
    "cerebras": ("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    "nvidia_nim": ("https://integrate.api.nvidia.com/v1", "NVIDIA_NIM_API_KEY"),
    "deepinfra": ("https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
    "sambanova": ("https://api.sambanova.ai/v1", "SAMBANOVA_API_KEY"),
    "moonshot": ("https://api.moonshot.ai/v1", "MOONSHOT_API_KEY"),
    "cohere": ("https://api.cohere.ai/compatibility/v1", "COHERE_API_KEY"),
    "cohere_chat": ("https://api.cohere.ai/compatibility/v1", "COHERE_API_KEY"),
}
"""Services that speak OpenAI's API: where, and which variable LiteLLM takes their key from."""
_SERVERS: Final[dict[str, str]] = {
    "openai_like": "openai",
    "custom_openai": "openai",
    "text-completion-openai": "openai",
    "litellm_proxy": "openai",
    "lm_studio": "openai",
    "hosted_vllm": "vllm",
    "ollama": "ollama",
    "ollama_chat": "ollama",
    "llamafile": "llamacpp",
}
"""Servers of one's own that speak it, with the preset for each."""
_OPENAI: Final = re.compile(
    r"gpt-|chatgpt-|o\d(-|$)|text-embedding-|whisper-|tts-|dall-e|omni-moderation|davinci|babbage"
)
_GUESSES: Final = ((_OPENAI, "openai"), (re.compile("claude-"), "anthropic"), (re.compile("gemini-"), "vertex_ai"))
"""What a model without a prefix is taken to be."""
_HEADERS: Final = ("extra_headers", "headers")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Place(NamedTuple):
    """Where a deployment is: a provider of ours by the name that it would like, its settings, and its own model."""

    name: str
    settings: Tree
    model: str


class Missing(Exception):
    """A deployment cannot be taken over; the message says why."""


class Secrets:
    """Turns credentials into references. Keys that are written out are never repeated."""

    def __init__(self, environ: Mapping[str, str], findings: Findings) -> None:
        self._environ = environ
        self._findings = findings
        self._named: dict[str, str] = {}

    def plain(self, value: object, path: str) -> str:
        """What is no secret, looked up where it refers to the environment; Missing when it is not there."""
        text = str(value)
        if not text.startswith(REFERENCE):
            return text
        name = text.removeprefix(REFERENCE)
        if name not in self._environ:
            raise Missing(f"{path} refers to the variable {name}, which is not set here; set it and import again")
        self._findings.changed(path, f"the value of {name} as it is now was taken over")
        return self._environ[name]

    def reference(self, value: object, path: str, usual: str) -> str:
        """`env:NAME` for a secret; `usual` is the variable for one that is written out, numbered if it is taken."""
        text = str(value)
        if text.startswith(REFERENCE) and _VARIABLE.fullmatch(text.removeprefix(REFERENCE)):
            return f"env:{text.removeprefix(REFERENCE)}"
        name = self._name_of(text, usual)
        self._findings.to_do(path, f"a secret is written out in the file; put it into the environment variable {name}")
        return f"env:{name}"

    def _name_of(self, text: str, usual: str) -> str:
        number = 1
        name = usual
        while self._named.setdefault(name, text) != text:
            number += 1
            name = f"{usual}_{number}"
        return name


class Deployed:
    """The `litellm_params` of one deployment; every parameter that is read is taken."""

    def __init__(self, params: Tree, path: str, secrets: Secrets) -> None:
        self._left = dict(params)
        self._path = path
        self._secrets = secrets

    @property
    def left(self) -> list[str]:
        """Parameters that nobody took."""
        return sorted(self._left)

    def take(self, *names: str) -> Any:
        """The first of these parameters that is there; None without one."""
        found = [self._left.pop(name, None) for name in names]
        return next((value for value in found if value is not None), None)

    def plain(self, *names: str) -> str | None:
        """The same as a text."""
        value = self.take(*names)
        return None if value is None else self._secrets.plain(value, self.path(names[0]))

    def needed(self, variable: str, *names: str) -> str:
        """The same, or else what LiteLLM would find in the environment; Missing when it is not there either."""
        return self.plain(*names) or self._secrets.plain(REFERENCE + variable, self.path(names[0]))

    def secret(self, name: str, usual: str) -> str | None:
        """The same as a reference."""
        value = self.take(name)
        return None if value is None else self._secrets.reference(value, self.path(name), usual)

    def reference(self, value: object, name: str, usual: str) -> str:
        """A secret that was taken, as a reference."""
        return self._secrets.reference(value, self.path(name), usual)

    def has(self, name: str) -> bool:
        """Whether a parameter is there, and not taken yet."""
        return self._left.get(name) is not None

    def path(self, name: str) -> str:
        """Where a parameter stands."""
        return f"{self._path}.{name}"


def place_of(deployed: Deployed) -> Place:
    """The provider and the model of a deployment; Missing when we have none for it."""
    named, given = str(deployed.take("model") or ""), deployed.plain("custom_llm_provider")
    kind, model = _split(named, given)
    if kind in _PUBLIC:
        url, variable = _PUBLIC[kind]
        return _openai(deployed, kind, model, {"base_url": url}, variable)
    if kind in _SERVERS:
        return _server(deployed, kind, model)
    build = _BUILDERS.get(kind)
    if build is None:
        raise Missing(f"there is no counterpart for the provider of {named!r}")
    return build(deployed, model)


def _split(named: str, given: str | None) -> tuple[str, str]:
    prefix, slash, rest = named.partition("/")
    known = prefix in _PUBLIC or prefix in _SERVERS or prefix in _BUILDERS
    if given is not None:
        return given, rest if slash and prefix == given else named
    if slash and known:
        return prefix, rest
    guess = next((kind for pattern, kind in _GUESSES if pattern.match(named)), "")
    return guess, named


def _clean(settings: Mapping[str, object]) -> Tree:
    return {name: value for name, value in settings.items() if value is not None}


def _openai(deployed: Deployed, name: str, model: str, settings: Tree, variable: str) -> Place:
    base_url = deployed.plain("api_base", "base_url")
    headers = mapping(deployed.take(*_HEADERS), deployed.path(_HEADERS[0]))
    own = {
        "base_url": base_url,
        "api_key": deployed.secret("api_key", variable) or f"env:{variable}",
        "organization": deployed.plain("organization"),
        "headers": {name: str(value) for name, value in headers.items()} or None,
    }
    return Place(name, {"use": "openai", **settings, **_clean(own)}, model)


def _own_openai(deployed: Deployed, model: str) -> Place:
    return _openai(deployed, "openai", model, {}, "OPENAI_API_KEY")


def _server(deployed: Deployed, kind: str, model: str) -> Place:
    """A server of one's own; Ollama's address is the one before `/v1`."""
    base_url = deployed.plain("api_base", "base_url")
    if base_url is None and _SERVERS[kind] == "openai":
        raise Missing("it has no api_base")
    if base_url is not None and _SERVERS[kind] == "ollama":
        base_url = f"{base_url.rstrip('/').removesuffix('/v1')}/v1"
    key = deployed.secret("api_key", f"{kind.upper().replace('-', '_')}_API_KEY")
    settings = {"use": "openai", "preset": _SERVERS[kind], "base_url": base_url, "api_key": key}
    return Place(kind.removesuffix("_chat"), _clean(settings), model)


def _azure(deployed: Deployed, model: str) -> Place:
    endpoint = deployed.needed("AZURE_API_BASE", "api_base", "base_url").split("/openai")[0]
    version = deployed.plain("api_version")
    settings = {"endpoint": endpoint, "api_version": version, **_azure_credentials(deployed)}
    return Place("azure", {"use": "azure_openai", **_clean(settings)}, model)


def _azure_credentials(deployed: Deployed) -> Tree:
    """Those of an application in Entra when they are whole, else a key."""
    if all(deployed.has(name) for name in ("tenant_id", "client_id", "client_secret")):
        return {
            "tenant_id": deployed.plain("tenant_id"),
            "client_id": deployed.plain("client_id"),
            "client_secret": deployed.secret("client_secret", "AZURE_CLIENT_SECRET"),
        }
    return {"api_key": deployed.secret("api_key", "AZURE_API_KEY") or "env:AZURE_API_KEY"}


def _anthropic(deployed: Deployed, model: str) -> Place:
    base_url = deployed.plain("api_base", "base_url")
    settings = {
        "base_url": None if base_url is None else f"{base_url.rstrip('/').removesuffix('/v1')}/v1",
        "api_key": deployed.secret("api_key", "ANTHROPIC_API_KEY") or "env:ANTHROPIC_API_KEY",
    }
    return Place("anthropic", {"use": "anthropic", **_clean(settings)}, model)


def _gemini(deployed: Deployed, model: str) -> Place:
    settings = {
        "base_url": deployed.plain("api_base", "base_url"),
        "api_key": deployed.secret("api_key", "GEMINI_API_KEY") or "env:GEMINI_API_KEY",
    }
    return Place("gemini", {"use": "gemini", **_clean(settings)}, model)


def _vertex(deployed: Deployed, model: str) -> Place:
    settings = {
        "use": "vertex_anthropic" if model.startswith("claude") else "vertex",
        "project": deployed.needed("VERTEXAI_PROJECT", "vertex_project", "vertex_ai_project"),
        "location": deployed.plain("vertex_location", "vertex_ai_location") or "us-central1",
        "credentials": _google_credentials(deployed),
    }
    return Place("vertex-claude" if model.startswith("claude") else "vertex", settings, model)


def _google_credentials(deployed: Deployed) -> str:
    """LiteLLM takes a path or the JSON itself; without either, Google's own variable holds a path."""
    given = deployed.take("vertex_credentials", "vertex_ai_credentials")
    if given is None:
        return f"file:{deployed.needed('GOOGLE_APPLICATION_CREDENTIALS', 'vertex_credentials')}"
    text = str(given)
    if text.startswith(REFERENCE) or text.lstrip().startswith("{"):
        return deployed.reference(text, "vertex_credentials", "VERTEX_CREDENTIALS")
    return f"file:{text}"


def _aws(deployed: Deployed) -> Tree:
    keyed = deployed.has("aws_access_key_id")
    settings = {
        "region": deployed.plain("aws_region_name", "region_name"),
        "endpoint": deployed.plain("aws_bedrock_runtime_endpoint", "aws_sagemaker_runtime_endpoint", "api_base"),
        "access_key_id": deployed.secret("aws_access_key_id", "AWS_ACCESS_KEY_ID"),
        "secret_access_key": deployed.secret("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY"),
        "session_token": deployed.secret("aws_session_token", "AWS_SESSION_TOKEN") if keyed else None,
    }
    return _clean(settings)


def _bedrock(deployed: Deployed, model: str) -> Place:
    for route in _BEDROCK_ROUTES:
        model = model.removeprefix(route)
    settings = {"use": "bedrock", **_aws(deployed)}
    key = deployed.secret("api_key", "AWS_BEARER_TOKEN_BEDROCK")
    return Place("bedrock", {**settings, **_clean({"api_key": key})}, model)


def _sagemaker(deployed: Deployed, model: str) -> Place:
    return Place("sagemaker", {"use": "sagemaker", "format": "inputs", **_aws(deployed)}, model)


def _sagemaker_chat(deployed: Deployed, model: str) -> Place:
    return Place("sagemaker", {"use": "sagemaker", "format": "openai", **_aws(deployed)}, model)


def _huggingface(deployed: Deployed, model: str) -> Place:
    endpoint = deployed.plain("api_base", "base_url")
    settings = {
        "endpoint": None if endpoint is None else f"{endpoint.rstrip('/').removesuffix('/v1')}/v1",
        "api_key": deployed.secret("api_key", "HF_TOKEN") or "env:HF_TOKEN",
    }
    return Place("huggingface", {"use": "huggingface", **_clean(settings)}, model)


_BEDROCK_ROUTES: Final = ("converse/", "converse_like/", "invoke/")
_BUILDERS: Final[dict[str, Callable[[Deployed, str], Place]]] = {
    "openai": _own_openai,
    "azure": _azure,
    "anthropic": _anthropic,
    "gemini": _gemini,
    "vertex_ai": _vertex,
    "bedrock": _bedrock,
    "sagemaker": _sagemaker,
    "sagemaker_chat": _sagemaker_chat,
    "huggingface": _huggingface,
}
