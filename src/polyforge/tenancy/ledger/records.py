"""What is written down about one call."""

from typing import Final, Literal

import msgspec

from polyforge.kernel.money import Micros
from polyforge.kernel.tasks import Task
from polyforge.kernel.usage import NO_USAGE, Usage

Status = Literal["ok", "error", "cancelled", "interrupted", "refused"]
"""`error`: the caller got one; `cancelled`: the caller hung up; `interrupted`: the gateway died during the call;
`refused`: there was no call, the request was turned away before."""
Cached = Literal["", "exact", "semantic", "idempotent"]
"""How an answer came from what was kept: the same request, one that means the same, or one that was sent again."""
CORRECTION: Final = "correction"
"""Stands where the status of a call does, in rows that are no calls but correct what calls came to."""
REFUSED: Final = "refused"
"""The status of a request that never became a call: such rows are in no sum."""


class Balance(msgspec.Struct, frozen=True):
    """What the calls of a key were priced in a period, and what that was corrected by afterwards."""

    spent: Micros = 0
    corrected: Micros = 0


NOTHING_SPENT: Final = Balance()


class UsageRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One row of the ledger: who called what, what it used, cost and was priced."""

    id: str
    """The request id, a ULID."""
    key_id: str
    organization_id: str
    project_id: str
    task: Task | Literal[""]
    """Empty where a request was refused before it could be read."""
    model: str
    provider: str
    deployment: str
    """The provider's own name of the model."""
    status: Status
    http_status: int
    started_at: float
    """Seconds since the epoch."""
    duration_ms: int
    period_start: int
    """First second of the budget period that the price counts in; 0 for a budget without one."""
    usage: Usage = NO_USAGE
    cost: Micros = 0
    price: Micros = 0
    stream: bool = False
    # What a journal of an earlier version lacks comes last, with a default.
    user_id: str = ""
    """The user who called or who made the key; empty for a key that is nobody's."""
    end_user: str = ""
    """Whom the caller asked for, as the caller names them."""
    tags: str = ""
    """What the caller labelled the call with, as in `app=chat,team=red`, sorted."""
    cached: Cached = ""
    """Empty where the answer was made for this call."""
    saved: Micros = 0
    """What the call would have cost, had its answer not been kept from an earlier one."""
    error: str = ""
    """Code of the error that the caller got."""
    details: bytes | None = None
    """How it went, as `tenancy.ledger.details` writes it."""


class Hold(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a call holds of a limit, beside its key's own."""

    slot: str
    """Name of the limit's slot in the shared counters."""
    measure: str
    """`requests`, `tokens` or `money`."""
    window: int
    reserved: int

    def worth(self, record: UsageRecord) -> int:
        """What a call that was settled counts for."""
        if self.measure == "money":
            return record.price
        if self.measure == "tokens":
            return 0 if record.cached else record.usage.total
        return 1


class Intent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A call that is about to be made, with the most it may be priced; written before anything is sent upstream."""

    id: str
    key_id: str
    organization_id: str
    project_id: str
    task: Task
    model: str
    started_at: float
    period_start: int
    slot: str
    """Name of the key's slot in the shared counters; empty for a key without limits."""
    reserved: Micros = 0
    stream: bool = False
    user_id: str = ""
    end_user: str = ""
    tags: str = ""
    holds: tuple[Hold, ...] = ()

    def interrupted(self, now: float) -> UsageRecord:
        """The ledger row of a call whose end nobody saw: priced at what was reserved."""
        return UsageRecord(
            id=self.id,
            key_id=self.key_id,
            organization_id=self.organization_id,
            project_id=self.project_id,
            task=self.task,
            model=self.model,
            provider="",
            deployment="",
            status="interrupted",
            http_status=0,
            started_at=self.started_at,
            duration_ms=max(0, int((now - self.started_at) * 1000)),
            period_start=self.period_start,
            cost=self.reserved,
            price=self.reserved,
            stream=self.stream,
            user_id=self.user_id,
            end_user=self.end_user,
            tags=self.tags,
        )
