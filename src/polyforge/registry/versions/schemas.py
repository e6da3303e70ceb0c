"""What the routes of registered models take and give."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from polyforge.registry.deployments.records import ServingState
from polyforge.registry.versions.configuration import VersionConfiguration
from polyforge.registry.versions.plain_data import Data
from polyforge.registry.versions.records import Action, DeploymentState, ImportState
from polyforge.tenancy.callers import CallerKind

MAX_PAGE: Final = 1_000
LAST_VERSION: Final = 2**31 - 1
MAX_PATTERNS: Final = 100
SHORTEST_WATCH_SECONDS: Final = 10


ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=128)]
"""As in a path: without slashes."""
AliasName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9._-]*$", max_length=64)]
"""Begins with a letter, so that it is never the number of a version."""
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
SourceUrl = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9+.-]*:[^\x00-\x20\x7f]*$", max_length=2_000)]
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
Patterns = Annotated[list[Pattern], Field(max_length=MAX_PATTERNS)]
Text = Annotated[str, StringConstraints(max_length=2_000, pattern=r"^[^\x00]*$")]
Number = Annotated[int, Field(strict=True, ge=1, le=LAST_VERSION)]
Aliases = Annotated[list[AliasName], Field(max_length=20)]


class NewVersion(BaseModel):
    """Where a new version of a model comes from; the model is made if there is none."""

    model_config = ConfigDict(extra="forbid")

    name: ModelName
    source: SourceUrl = Field(
        description="`file:///folder`, `https://host/file#sha256=...`, `hf://org/name@revision`, `s3://bucket/prefix`,"
        " `mlflow:models/name/version`."
    )
    sha256: Digest | None = Field(default=None, description="What the one file at the source must hash to.")
    include: Patterns = Field(default=[], description="Only files whose paths match one of these, as in `onnx/*`.")
    description: Text | None = Field(default=None, description="Of the model.")
    configuration: VersionConfiguration = Field(default=VersionConfiguration(), description="How it is to be run.")
    card: Data = Field(default={}, description="What there is to know of it.")
    metrics: Data = Field(default={}, description="How well it does.")
    promote_to: AliasName | None = Field(default=None, description="The alias to point at it once it is there.")


class ModelChange(BaseModel):
    """What to change of a model; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    description: Text = Field(default="")
    protected: Aliases = Field(
        default=[], description="Aliases that move only once somebody else approves, such as `production`."
    )


class Promotion(BaseModel):
    """Which version an alias is to point at, and why."""

    model_config = ConfigDict(extra="forbid")

    version: Number
    alias: AliasName = "production"
    reason: Text = ""


class Rollback(BaseModel):
    """Which alias is to point at what it pointed at before, and why."""

    model_config = ConfigDict(extra="forbid")

    alias: AliasName = "production"
    reason: Text = ""


class Decision(BaseModel):
    """What to say of an approval or a rejection."""

    model_config = ConfigDict(extra="forbid")

    reason: Text = ""


class NewWatch(BaseModel):
    """A source to look at again and again."""

    model_config = ConfigDict(extra="forbid")

    source: SourceUrl
    include: Patterns = []
    every_seconds: Annotated[int, Field(strict=True, ge=SHORTEST_WATCH_SECONDS, le=30 * 86_400)] = 60
    promote_to: AliasName | None = None


class AliasView(BaseModel):
    """What points at a version."""

    alias: str
    version: int
    changed_at: datetime
    changed_by: str


class RegisteredModelView(BaseModel):
    """A model."""

    id: str
    name: str
    description: str
    protected: list[str]
    last_version: int
    aliases: list[AliasView]
    created_at: datetime
    created_by: str


class RegisteredModelPage(BaseModel):
    """Some models, by name."""

    data: list[RegisteredModelView]
    next_cursor: str | None = Field(description="Pass it as `cursor` for the models after these; null: there are none.")


class ServingView(BaseModel):
    """How a version does on one machine."""

    machine: str
    state: ServingState
    reason: str = Field(description="Why it does not answer there; empty: it does.")
    since: datetime


class VersionView(BaseModel):
    """A version of a model; it never changes."""

    number: int
    artifact: str = Field(description="The SHA-256 of its manifest, which names all its files.")
    bytes: int
    files: int
    source: str
    pinned: str = Field(description="Where exactly it came from.")
    revision: str
    configuration: dict[str, Any]
    signature: dict[str, Any] | None
    card: dict[str, Any]
    metrics: dict[str, Any]
    tuning: dict[str, Any] = Field(description="How it is best run, as it was measured, by kind of machine.")
    aliases: list[str]
    state: ServingState | Literal["idle"] = Field(
        description="How it does on the machines together; `idle`: nothing points at it, so it is served nowhere."
    )
    deployments: list[ServingView]
    created_at: datetime
    created_by: str


class VersionPage(BaseModel):
    """Some versions, newest first."""

    data: list[VersionView]
    next_cursor: str | None


class DeploymentRecord(BaseModel):
    """One change of where an alias points."""

    id: str
    alias: str
    version: int | None = Field(description="null: it points nowhere any more.")
    previous: int | None
    action: Action
    state: DeploymentState
    reason: str
    requested_by: str
    requested_at: datetime
    decided_by: str | None = Field(description="Who approved or rejected it; null: nobody had to.")
    decided_at: datetime | None
    decision: str


class DeploymentPage(BaseModel):
    """Some of the history, newest first."""

    data: list[DeploymentRecord]
    next_cursor: str | None


class ImportView(BaseModel):
    """The making of a version."""

    id: str
    model: str
    source: str
    state: ImportState
    step: str
    bytes_done: int
    bytes_total: int | None
    error: str
    version: int | None
    requested_by: str
    requested_kind: CallerKind
    created_at: datetime
    finished_at: datetime | None


class ImportPage(BaseModel):
    """Some imports, newest first."""

    data: list[ImportView]
    next_cursor: str | None


class WatchView(BaseModel):
    """A source that is looked at again and again."""

    source: str
    include: list[str]
    every_seconds: int
    promote_to: str | None
    revision: str = Field(description="Of what it last made a version; empty: of nothing yet.")
    error: str = Field(description="Why the source could not be looked at; empty: it could.")
    due_at: datetime
