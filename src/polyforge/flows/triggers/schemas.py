"""What the management API of triggers takes and gives."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from polyforge.flows.triggers.records import (
    KEPT_DAYS,
    MOST_PER_MINUTE,
    USUAL_PER_MINUTE,
    Auth,
    Firing,
    FlowTrigger,
    Kind,
)
from polyforge.flows.triggers.tables import REFERENCE_LENGTH
from polyforge.jobs.schemas import AskerView, Cron, Timezone
from polyforge.kernel.clock import utc
from polyforge.secrets.references import NAME_PATTERN
from polyforge.tenancy.schemas import Name

_FLOW = "Its id or short name, with `@alias` or `@version` where it is not `prod`; what runs is looked up each time."
_CRON = (
    "Minute, hour, day of the month, month, day of the week, as in `0 8 * * 1`. Left out: as the flow's own node says."
)
_ZONE = "A name of the IANA database, as in `Asia/Kolkata`."
_INPUTS = "Values for the inputs of the flow, the same each time; no secrets."
_AUTH = "`signature`: senders sign each delivery (standardwebhooks.com). `bearer`: they send the secret along."
_SIGNED_WITH = "The name of the secret that senders know. Left out: the one that the flow's own node names."
_RATE = f"Runs that it may begin in a minute; {USUAL_PER_MINUTE} where nothing is said."

Reference = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.@-]+$", max_length=REFERENCE_LENGTH)]
SecretName = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
PerMinute = Annotated[int, Field(strict=True, ge=1, le=MOST_PER_MINUTE)]


class NewTriggerBody(BaseModel):
    """Something that is to begin runs of a flow."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind
    title: Name
    flow: Reference = Field(description=_FLOW)
    inputs: dict[str, Any] = Field(default_factory=dict, description=_INPUTS)
    enabled: bool = True
    cron: Cron | None = Field(default=None, description=f"Of a schedule. {_CRON}")
    timezone: Timezone | None = Field(default=None, description=f"Of a schedule. {_ZONE}")
    auth: Auth | None = Field(default=None, description=f"Of a webhook. {_AUTH} Left out: `signature`.")
    secret: SecretName | None = Field(default=None, description=f"Of a webhook. {_SIGNED_WITH}")
    per_minute: PerMinute | None = Field(default=None, description=f"Of a webhook. {_RATE}")


class TriggerChange(BaseModel):
    """What is to be different of a trigger; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    title: Name | None = None
    flow: Reference | None = Field(default=None, description=_FLOW)
    inputs: dict[str, Any] | None = Field(default=None, description=_INPUTS)
    enabled: bool | None = None
    cron: Cron | None = Field(default=None, description=_CRON)
    timezone: Timezone | None = Field(default=None, description=_ZONE)
    auth: Auth | None = Field(default=None, description=_AUTH)
    secret: SecretName | None = Field(default=None, description=_SIGNED_WITH)
    per_minute: PerMinute | None = Field(default=None, description=_RATE)


class FireBody(BaseModel):
    """A try of a trigger."""

    model_config = ConfigDict(extra="forbid")

    body: Any = Field(default=None, description="What a webhook would have been sent.")


class TriggerView(BaseModel):
    """Something that begins runs of a flow. They act as who made or changed it last, as long as they may."""

    id: str
    kind: Kind
    title: str
    flow: str
    flow_id: str
    inputs: dict[str, Any]
    enabled: bool
    asked_by: AskerView
    cron: str | None
    timezone: str | None
    next_at: datetime | None = Field(description="Of a schedule that is on.")
    auth: Auth | None
    secret: str | None = Field(description="The name of the secret, never its value.")
    per_minute: int | None
    url: str | None = Field(description="Where a webhook is called with POST.")
    created_at: datetime
    changed_at: datetime


class TriggerList(BaseModel):
    """The triggers of a project, the newest first."""

    data: list[TriggerView]
    next_cursor: str | None = Field(default=None, description="Always null: all triggers are on one page.")


class FiringView(BaseModel):
    """One time that a trigger fired."""

    id: str
    at: datetime
    delivery: str = Field(description="The sender's id of the delivery, or the job of the schedule.")
    run_id: str | None = Field(description="The run that began; null where none did.")
    error: str | None = Field(description="Why none did.")


class FiringPage(BaseModel):
    """Times that a trigger fired, the newest first."""

    data: list[FiringView] = Field(description=f"Those of the last {KEPT_DAYS} days.")
    next_cursor: str | None = Field(description="Pass it as `cursor` for those before these; null: there are none.")


class FiredView(BaseModel):
    """What came of firing."""

    run_id: str
    repeated: bool = Field(description="Whether the run had begun already, because this delivery came before.")


def view_of(trigger: FlowTrigger, address: str) -> TriggerView:
    """A trigger, where this installation is reached at `address`."""
    asker = trigger.asked_by
    return TriggerView(
        id=trigger.id,
        kind=trigger.kind,
        title=trigger.title,
        flow=trigger.flow,
        flow_id=trigger.flow_id,
        inputs=trigger.inputs,
        enabled=trigger.enabled,
        asked_by=AskerView(id=asker.id, name=asker.name, kind=asker.kind),
        cron=trigger.cron,
        timezone=trigger.timezone,
        next_at=None if trigger.next_at is None else utc(trigger.next_at),
        auth=trigger.auth,
        secret=trigger.secret,
        per_minute=trigger.per_minute,
        url=f"{address}/hooks/{trigger.id}" if trigger.kind == "webhook" else None,
        created_at=utc(trigger.created_at),
        changed_at=utc(trigger.changed_at),
    )


def firing_of(firing: Firing) -> FiringView:
    """One time that it fired."""
    return FiringView(
        id=firing.id, at=utc(firing.at), delivery=firing.delivery, run_id=firing.run_id, error=firing.error
    )
