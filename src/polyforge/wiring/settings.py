"""The one settings tree, and the one place that reads the environment and polyforge.yaml.

Sources, later ones win: defaults, polyforge.yaml, `POLYFORGE_<SECTION>__<NAME>`, the command line.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from polyforge.batch.batches.settings import BatchSettings
from polyforge.batch.files.settings import FileSettings
from polyforge.database.events.settings import EventSettings
from polyforge.database.settings import DatabaseSettings
from polyforge.egress.settings import EgressSettings
from polyforge.flows.settings import FlowSettings
from polyforge.gateway.settings import GatewaySettings
from polyforge.guardrails.rules import OnError
from polyforge.jobs.settings import JobSettings
from polyforge.kernel.errors import SettingsError
from polyforge.ports.guardrail import Action, Stage
from polyforge.registry.artifacts.settings import ArtifactSettings
from polyforge.registry.caching import ModelCacheSettings
from polyforge.registry.catalog import LOCAL
from polyforge.registry.settings import ModelSettings
from polyforge.secrets.references import SecretRef
from polyforge.secrets.settings import SecretsSettings
from polyforge.serving.settings import ServingSettings
from polyforge.telemetry.settings import TelemetrySettings
from polyforge.tenancy.history.settings import RequestSettings
from polyforge.tenancy.idempotency.settings import IdempotencySettings
from polyforge.tenancy.limits.settings import LimitSettings
from polyforge.tenancy.people.sign_on.settings import PROVIDER_NAME, IdentityProviderSettings
from polyforge.tenancy.responses.settings import ResponseSettings
from polyforge.tokens.settings import TokenSettings

PREFIX = "POLYFORGE_"
PLAIN_VARIABLES = {"POLYFORGE_CONFIG", "POLYFORGE_DATA", "POLYFORGE_ADMIN_KEY"}
DEFAULT_FILE = Path("polyforge.yaml")
MAX_FILE_BYTES = 4 * 1024 * 1024
QUOTED = re.compile(r"'(?!<)[^']{2,}'")
"""What the YAML parser repeats of a file, which may be a secret; not the names of its own tokens."""
ADAPTER_NAME = re.compile(r"^[a-z][a-z0-9_]*$")
EXPORT_NAME = re.compile(r"^[a-z0-9][a-z0-9_-]{0,63}$")

Tree = dict[str, Any]
Origins = dict[str, str]
"""From the dotted path of a setting to where its value came from."""


class Chosen(BaseModel):
    """A choice of adapter: `use` names it, the other keys are that adapter's own settings."""

    model_config = ConfigDict(extra="allow", frozen=True)

    use: str = Field(description="The adapter's name.")

    @field_validator("use")
    @classmethod
    def _is_a_name(cls, use: str) -> str:
        if not ADAPTER_NAME.match(use):
            raise ValueError("must be lower-case letters, digits and underscores")
        return use


class CacheSettings(Chosen):
    """Where answers are kept to be given again, and which. Nothing is kept unless a model or `default` says so."""

    use: str = Field(default="memory", description="The adapter's name: `memory` of each worker, or `redis`.")
    default: ModelCacheSettings | None = Field(
        default=None, description="For every model that has no `cache` of its own."
    )
    max_entry_bytes: int = Field(
        default=1024 * 1024, ge=1024, le=64 * 1024 * 1024, description="Largest answer that is kept."
    )


class GuardrailSettings(Chosen):
    """A rule over what may be said to models and by them."""

    on: tuple[Stage, ...] = Field(
        default=("input", "output"), min_length=1, description="Judge what is asked, what is answered, or both."
    )
    action: Action = Field(
        default="block",
        description="What to do about a find: refuse the call, `mask` it, hide it from the model behind `pseudonyms`"
        " that the caller never sees, or only `flag` it in the log.",
    )
    on_error: OnError = Field(default="block", description="What becomes of a call that it could not judge.")
    timeout_seconds: float = Field(default=5.0, gt=0, le=60, description="How long one judgement may take.")
    always: bool = Field(default=False, description="Whether every call has to pass it, whatever its model names.")


class TlsSettings(BaseModel):
    """A certificate for HTTPS."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cert: Path = Field(description="PEM file of the certificate chain.")
    key: Path = Field(description="PEM file of the private key.")


class ServerSettings(BaseModel):
    """Where and how the gateway listens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8080, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    grpc_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="Port of the Open Inference Protocol over gRPC, on the same address; `null`: none. Needs"
        " `polyforge[grpc]`.",
    )
    workers: int = Field(
        default=0, ge=0, le=64, description="Gateway processes; 0: one up to two cores, else half the cores, at most 8."
    )
    behind_proxy: bool = Field(
        default=False, description="A proxy in front ends TLS; allows a non-loopback address without it."
    )
    tls: TlsSettings | None = Field(default=None, description="Certificate and key for HTTPS.")
    drain_seconds: float = Field(
        default=30.0, ge=0, description="How long in-flight work may take to finish at SIGTERM."
    )

    def worker_count(self) -> int:
        """How many gateway processes to run on this machine."""
        if self.workers:
            return self.workers
        cores = os.cpu_count() or 1
        return 1 if cores <= 2 else min(8, cores // 2)  # noqa: PLR2004


class PeopleSettings(BaseModel):
    """How people sign in, and how they hear from us."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    public_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$",
        description="Where people reach this installation, for the links in e-mails; default: where it listens.",
    )
    notifier: Chosen = Field(
        default=Chosen(use="outbox"), description="What brings e-mails: `outbox` writes files, `smtp` sends them."
    )
    identity_providers: dict[str, IdentityProviderSettings] = Field(
        default_factory=dict, description="OpenID Connect providers to sign in with, by name."
    )

    @field_validator("identity_providers")
    @classmethod
    def _are_named(cls, providers: dict[str, IdentityProviderSettings]) -> dict[str, IdentityProviderSettings]:
        for name in providers:
            if not PROVIDER_NAME.fullmatch(name):
                raise ValueError(f"{name[:40]!r} must be 1 to 32 of a-z, 0-9, `_` and `-`")
        return providers


class AuditSettings(BaseModel):
    """Where audit events are sent to, beside the database."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    exports: dict[str, Chosen] = Field(
        default_factory=dict, description="Sinks by name. Each gets every event from the first on, at least once."
    )

    @field_validator("exports")
    @classmethod
    def _have_names(cls, exports: dict[str, Chosen]) -> dict[str, Chosen]:
        return _named(exports)


class LogSettings(BaseModel):
    """Where the log of requests is sent to: their facts and numbers, never what was asked or answered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    exports: dict[str, Chosen] = Field(
        default_factory=dict, description="Sinks by name. Each gets every request from then on, at least once."
    )

    @field_validator("exports")
    @classmethod
    def _have_names(cls, exports: dict[str, Chosen]) -> dict[str, Chosen]:
        return _named(exports)


def _named(exports: dict[str, Chosen]) -> dict[str, Chosen]:
    for name in exports:
        if not EXPORT_NAME.match(name):
            raise ValueError(f"{name[:70]!r} must be 1 to 64 of a-z, 0-9, `_` and `-`")
    return exports


class Settings(BaseModel):
    """Everything that can be set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: Path = Field(default=Path("polyforge-data"), description="Folder for everything that must survive a restart.")
    admin_key: SecretRef | None = Field(
        default=None, description="The bootstrap admin key; default: generated in the data folder."
    )
    server: ServerSettings = Field(default_factory=ServerSettings)
    gateway: GatewaySettings = Field(default_factory=GatewaySettings)
    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    events: EventSettings = Field(default_factory=EventSettings)
    secrets: SecretsSettings = Field(default_factory=SecretsSettings)
    egress: EgressSettings = Field(default_factory=EgressSettings)
    audit: AuditSettings = Field(default_factory=AuditSettings)
    logs: LogSettings = Field(default_factory=LogSettings)
    telemetry: TelemetrySettings = Field(default_factory=TelemetrySettings)
    serving: ServingSettings = Field(default_factory=ServingSettings)
    jobs: JobSettings = Field(default_factory=JobSettings)
    artifacts: ArtifactSettings = Field(default_factory=ArtifactSettings)
    model_sources: dict[str, Chosen] = Field(
        default_factory=dict,
        description="How models are fetched, by what their addresses begin with: `file`, `https`, `hf`, `s3`, `gs`,"
        " `az`, `mlflow`. What is not named is as its adapter has it.",
    )
    people: PeopleSettings = Field(default_factory=PeopleSettings)
    responses: ResponseSettings = Field(default_factory=ResponseSettings)
    requests: RequestSettings = Field(default_factory=RequestSettings)
    idempotency: IdempotencySettings = Field(default_factory=IdempotencySettings)
    tokens: TokenSettings = Field(default_factory=TokenSettings)
    cache: CacheSettings = Field(default_factory=CacheSettings)
    objects: Chosen = Field(
        default=Chosen(use="folder"),
        description="Where files and what jobs make are kept: a `folder`, `s3`, `gs`, `az`, or `memory` for trials.",
    )
    files: FileSettings = Field(default_factory=FileSettings)
    batches: BatchSettings = Field(default_factory=BatchSettings)
    flows: FlowSettings = Field(default_factory=FlowSettings)
    providers: dict[str, Chosen] = Field(default_factory=dict, description="Upstream services by name.")
    models: dict[str, ModelSettings] = Field(default_factory=dict, description="Names that callers use.")
    limits: dict[str, LimitSettings] = Field(
        default_factory=dict, description="Limits by name: how much may be used, by whom and of what."
    )
    shared_limits: Chosen | None = Field(
        default=None,
        description="Where several machines share limits, as in `redis`; `null`: each has them for itself.",
    )
    guardrails: dict[str, GuardrailSettings] = Field(
        default_factory=dict, description="Rules by name, in the order in which calls pass them."
    )
    prices: Chosen | None = Field(
        default=Chosen(use="genai_prices"),
        description="Published prices, for deployments whose cost is not declared; `null`: none.",
    )

    @model_validator(mode="after")
    def _refers_to_what_exists(self) -> "Settings":
        for name, model in self.models.items():
            for guardrail in model.guardrails:
                if guardrail not in self.guardrails:
                    known = ", ".join(sorted(self.guardrails)) or "none"
                    raise ValueError(f"models.{name}: no guardrail {guardrail!r}; declared: {known}")
            for deployment in model.deployments:
                if deployment.provider not in self.providers and deployment.provider != LOCAL:
                    known = ", ".join(sorted(self.providers)) or "none"
                    raise ValueError(f"models.{name}: no provider {deployment.provider!r}; declared: {known}")
        return self


def load(
    config: Path | None = None, overrides: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
) -> tuple[Settings, Origins]:
    """The effective settings and where each came from; SettingsError names the path of a wrong one."""
    environ = os.environ if environ is None else environ
    path = config_path(config, environ)
    tree = parse(read_file(path), path) if path else {}
    return compose(tree, f"file {path}", overrides, environ)


def compose(
    declared: Mapping[str, Any],
    origin: str,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> tuple[Settings, Origins]:
    """What follows from what a file declares, the environment and the command line; SettingsError as for `load`."""
    environ = os.environ if environ is None else environ
    tree: Tree = {}
    origins: Origins = {}
    _merge(tree, dict(declared), origin, origins)
    _merge(tree, _from_environment(environ), "environment", origins)
    _merge(tree, dict(overrides or {}), "command line", origins)
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        raise SettingsError(explain(error)) from error
    return settings, origins


def config_path(named: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Where the settings file should be; None when none is named and the default one is not there."""
    if named is not None:
        return named
    if path := environ.get("POLYFORGE_CONFIG"):
        return Path(path)
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def read_file(path: Path) -> str:
    """The text of a settings file; SettingsError when it cannot be read."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise SettingsError(f"{path} has more than {MAX_FILE_BYTES} bytes")
        return path.read_text()
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not UTF-8") from error


def parse(text: str, path: Path) -> Tree:
    """What the text of a settings file declares; SettingsError, which repeats nothing of it, when it is no YAML."""
    try:
        content: object = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not YAML{_place_of(error)}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"{path} must hold settings by name, not a {type(content).__name__}")
    return cast(Tree, content)


def _place_of(error: yaml.YAMLError) -> str:
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    if mark is None:
        return ""
    what = QUOTED.sub("'...'", cast(yaml.MarkedYAMLError, error).problem or "it cannot be read")
    return f": line {mark.line + 1}, column {mark.column + 1}: {what}"


def _from_environment(environ: Mapping[str, str]) -> Tree:
    tree: Tree = {}
    if data := environ.get("POLYFORGE_DATA"):
        tree["data"] = data
    if environ.get("POLYFORGE_ADMIN_KEY"):
        tree["admin_key"] = "env:POLYFORGE_ADMIN_KEY"
    for name, value in environ.items():
        if not name.startswith(PREFIX) or name in PLAIN_VARIABLES or "__" not in name:
            continue
        *parents, leaf = name.removeprefix(PREFIX).lower().split("__")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[leaf] = _parse_scalar(name, value)
    return tree


def _parse_scalar(name: str, value: str) -> object:
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise SettingsError(f"{name} is not a YAML value: {error}") from error


def _merge(into: Tree, source: Tree, origin: str, origins: Origins, path: str = "") -> None:
    for key, value in source.items():
        here = f"{path}.{key}" if path else str(key)
        current = into.get(key)
        if isinstance(value, dict) and isinstance(current, dict):
            _merge(cast(Tree, current), cast(Tree, value), origin, origins, here)
        elif isinstance(value, dict):
            into[key] = {}
            _merge(cast(Tree, into[key]), cast(Tree, value), origin, origins, here)
        else:
            into[key] = value
            origins[here] = origin


def explain(error: ValidationError) -> str:
    """One line per problem, each beginning with the path of the setting."""
    lines: list[str] = []
    for problem in error.errors(include_url=False, include_input=False):
        path = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "there is no such setting"
        lines.append(f"{path}: {message}" if path else message)
    return "\n".join(lines)
