"""What the registry knows of models."""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

ImportState = Literal["queued", "running", "done", "failed", "cancelled"]
DeploymentState = Literal["waiting", "done", "rejected", "superseded"]
Action = Literal["promoted", "rolled_back", "removed"]
LIVE: Final = ("queued", "running")
"""States of imports that are not over."""
COUNTER: Final = "models"
"""Of which changes of models hold the lock."""

Data = Mapping[str, Any]


class RegisteredModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model of a project; its versions and what points at them are rows of their own."""

    id: str
    organization_id: str
    project_id: str
    name: str
    description: str
    protected: list[str]
    last_version: int
    created_by: str
    created_at: float
    removed_at: float | None


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One version: nothing of it ever changes but what was measured of it, and it may be removed."""

    id: str
    organization_id: str
    project_id: str
    model_id: str
    number: int
    artifact: str
    bytes: int
    files: int
    source: str
    pinned: str
    revision: str
    configuration: Data
    signature: Data | None
    card: Data
    metrics: Data
    created_by: str
    created_at: float
    removed_at: float | None
    fetching: Data | None = None
    tuning: Data | None = None


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """A name that points at a version, such as `production`."""

    model_id: str
    alias: str
    organization_id: str
    project_id: str
    version: int
    deployment_id: str
    changed_at: float
    changed_by: str


class ModelDeployment(msgspec.Struct, frozen=True, kw_only=True):
    """One change of where an alias points, or the wish for one that somebody has to approve."""

    id: str
    organization_id: str
    project_id: str
    model_id: str
    alias: str
    version: int | None
    previous: int | None
    action: Action
    state: DeploymentState
    reason: str
    requested_by: str
    requested_user: str
    requested_at: float
    decided_by: str | None = None
    decided_at: float | None = None
    decision: str = ""


class ModelImport(msgspec.Struct, frozen=True, kw_only=True):
    """The making of a version: fetch, verify, look at, and write down."""

    id: str
    organization_id: str
    project_id: str
    model_id: str
    source: str
    sha256: str | None
    include: list[str]
    trusted: bool
    configuration: Data
    card: Data
    metrics: Data
    promote_to: str | None
    state: ImportState
    step: str
    bytes_done: int
    bytes_total: int | None
    error: str
    version: int | None
    requested_by: str
    requested_name: str
    requested_kind: str
    requested_user: str
    created_at: float
    leased_until: float | None
    finished_at: float | None


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """A source that is looked at again and again: what is new there becomes a version."""

    model_id: str
    organization_id: str
    project_id: str
    source: str
    include: list[str]
    trusted: bool
    promote_to: str | None
    every_seconds: int
    revision: str
    seen: str
    error: str
    created_by: str
    created_name: str
    created_kind: str
    created_user: str
    created_at: float
    due_at: float
