"""Triggers as the rest of the house sees them."""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from polyforge.jobs.records import AskedBy

Kind = Literal["schedule", "webhook"]
Auth = Literal["signature", "bearer"]
"""How senders prove who they are: they sign each body with the secret, or send the secret along."""

TRIGGER_PREFIX: Final = "trig_"
JOB_KIND: Final = "flow.trigger"
"""The kind of job that a schedule makes."""
MAX_TRIGGERS: Final = 500
"""Of one project."""
MAX_INPUT_BYTES: Final = 64 * 1024
USUAL_PER_MINUTE: Final = 60
MOST_PER_MINUTE: Final = 600
KEPT_DAYS: Final = 30
"""How long it is known when a trigger fired; a delivery that comes again within that time begins nothing."""


class FlowTrigger(msgspec.Struct, frozen=True, kw_only=True):
    """A trigger. Its runs act as who made or changed it last, as long as they may."""

    id: str
    organization_id: str
    project_id: str
    kind: Kind
    title: str
    flow: str
    """`FLOW`, `FLOW@ALIAS` or `FLOW@VERSION-ID`: what runs is looked up each time."""
    flow_id: str
    inputs: dict[str, Any]
    """For the inputs of the flow, the same each time."""
    enabled: bool
    asked_by: AskedBy
    cron: str | None
    timezone: str | None
    schedule_id: str | None
    """What makes its jobs, in the room of jobs."""
    auth: Auth | None
    secret: str | None
    """The name of the secret of a webhook."""
    per_minute: int | None
    created_at: float
    changed_at: float
    next_at: float | None = None
    """Of a schedule that is on."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a trigger shall be. What is None follows from the flow, or does not concern its kind."""

    kind: Kind
    title: str
    flow: str
    inputs: Mapping[str, Any] = {}
    enabled: bool = True
    cron: str | None = None
    timezone: str | None = None
    auth: Auth | None = None
    secret: str | None = None
    per_minute: int | None = None


class Firing(msgspec.Struct, frozen=True, kw_only=True):
    """One time that a trigger fired."""

    id: str
    trigger_id: str
    delivery: str
    at: float
    run_id: str | None
    """The run that began; None where none did."""
    error: str | None
    """Why none did."""


class Fired(msgspec.Struct, frozen=True):
    """What came of firing."""

    run_id: str
    repeated: bool
    """Whether the run had begun already."""
