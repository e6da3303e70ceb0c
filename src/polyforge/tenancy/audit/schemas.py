"""What the API of the audit log takes and gives."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from polyforge.tenancy.audit.verification import Reason

MOST_VERIFIED = 100_000
"""Most events that one request verifies."""
MARK_LENGTH = 90


class AuditEventView(BaseModel):
    """One thing that happened."""

    id: str
    sequence: int = Field(description="Its number in the whole installation, from 1, without gaps.")
    at: datetime
    organization_id: str
    project_id: str | None
    actor_kind: str = Field(description="key, user, service or system.")
    actor_id: str
    actor_name: str
    address: str = Field(description="Where the request came from.")
    agent: str = Field(description="What the client called itself.")
    request_id: str | None
    action: str = Field(description="As in `key.revoked`.")
    resource_kind: str
    resource_id: str
    before: Any = Field(description="What it was before, secrets masked; null: there was nothing.")
    after: Any = Field(description="What it is since, secrets masked; null: there is nothing any more.")
    hash: str = Field(description="HMAC-SHA-256 over the event and the hash of the one before, in hexadecimal.")


class AuditEventPage(BaseModel):
    """Some events, latest first."""

    data: list[AuditEventView]
    next_cursor: str | None = Field(
        description="Pass it as `cursor` for the events before these; null: there are none. A page that looks for "
        "several things at once may have fewer events than asked for, or none, and yet a cursor."
    )


class Verification(BaseModel):
    """What to verify."""

    model_config = ConfigDict(extra="forbid")

    cursor: Annotated[str, Field(max_length=MARK_LENGTH)] | None = Field(
        default=None, description="Go on from here, which an earlier answer gave; default: from the first event."
    )
    limit: Annotated[int, Field(strict=True, ge=1, le=MOST_VERIFIED)] = Field(
        default=20_000, description="Most events to check in this request."
    )


class FaultView(BaseModel):
    """The first event that is wrong."""

    sequence: int
    reason: Reason
    message: str


class VerdictView(BaseModel):
    """How far a verification came, and what it found."""

    checked: int = Field(description="Events found right by this request.")
    sequence: int = Field(description="The last event that is right.")
    newest: int = Field(description="The newest event that there must be.")
    complete: bool = Field(description="Nothing is left to check; else go on with the cursor.")
    fault: FaultView | None = Field(description="null: everything checked is as it was written.")
    cursor: str = Field(
        description="Stands for the last event that is right. Kept elsewhere, it proves later that this event is still "
        "there as it is now."
    )


class ExportView(BaseModel):
    """How far an export is."""

    name: str
    use: str = Field(description="The kind of its sink.")
    sequence: int = Field(description="The sink has every event up to this one, but for the dead letters.")
    lag: int = Field(description="Events that it does not have yet.")
    failures: int = Field(description="Tries that failed since the last that did not.")
    error: str | None = Field(description="What the last try failed with; null: it did not.")
    retry_at: datetime | None = Field(description="When it is tried again.")
    changed_at: datetime | None
    dead_letters: int = Field(description="Events that it refused for good; counted up to 10,000.")


class ExportList(BaseModel):
    """Every export of the settings."""

    data: list[ExportView]


class DeadLetterView(BaseModel):
    """An event that a sink refused for good."""

    id: str
    export: str
    sequence: int
    reason: str
    at: datetime
    wanted_at: datetime | None = Field(description="When somebody asked to send it again.")


class DeadLetterPage(BaseModel):
    """Some dead letters, newest first."""

    data: list[DeadLetterView]
    next_cursor: str | None
