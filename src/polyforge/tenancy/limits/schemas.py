"""What the management API of limits takes and gives."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from polyforge.tenancy.limits.records import ANY, Measure, SubjectKind
from polyforge.tenancy.limits.settings import MOST_AMOUNT, Amount, Shares, SubjectId, Window
from polyforge.tenancy.schemas import MAX_BUDGET_USD, Name

Id = Annotated[str, Field(max_length=26)]
AmountUsd = Annotated[float, Field(ge=0, le=MAX_BUDGET_USD, allow_inf_nan=False)]
Added = Annotated[float, Field(strict=True, gt=0, le=MOST_AMOUNT, allow_inf_nan=False)]
_SUBJECT = "Whose counter; needed where each subject has one of its own."


class _NewRule(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Name = Field(description="What it is for; no other limit of the organization has this name.")
    subject: SubjectKind = Field(description="What it is on.")
    subject_id: SubjectId = Field(default=ANY, description="Its id or name; `*`: each of the kind has it for itself.")
    project_id: Id | None = Field(default=None, description="Only calls in this project count; default: in all.")
    thresholds: Shares = Field(default=[], description="Shares of the amount, each told of once in a window.")
    hard: bool = Field(default=True, description="Whether calls stop at it; else it only tells.")


class NewLimit(_NewRule):
    """A limit to set."""

    measure: Measure = Field(description="What is counted.")
    amount: Amount = Field(description="How much there may be in a window; money in USD.")
    window: Window | None = Field(
        default=None,
        description="`minute`, `hour`, `day`, `week`, `month`, `total` or `rolling:<seconds>`; none for `concurrency`.",
    )


class NewBudget(_NewRule):
    """A limit on money to set."""

    amount_usd: AmountUsd = Field(description="How much may be spent in a window.")
    window: Window = Field(default="month", description="As for limits.")

    def as_limit(self) -> NewLimit:
        """The same as a limit."""
        rest = self.model_dump(exclude={"amount_usd"})
        return NewLimit(**rest, measure="money", amount=self.amount_usd)


class LimitChanges(BaseModel):
    """What to change about a limit: what is left out stays. What it counts stays in any case: set another for that."""

    model_config = ConfigDict(extra="forbid")

    name: Name = Field(default_factory=str)
    amount: Amount = Field(default=0.0, description="How much there may be in a window; money in USD.")
    thresholds: Shares = []
    hard: bool = True


class BudgetChanges(BaseModel):
    """A budget as it shall be from now on; what it counts stays."""

    model_config = ConfigDict(extra="forbid")

    amount_usd: AmountUsd = Field(description="How much may be spent in a window.")
    thresholds: Shares = []
    hard: bool = True


class Reset(BaseModel):
    """Which counter to begin again."""

    model_config = ConfigDict(extra="forbid")

    subject_id: SubjectId | None = Field(default=None, description=_SUBJECT)


class TopUp(BaseModel):
    """What to add to the window under way."""

    model_config = ConfigDict(extra="forbid")

    amount: Added = Field(description="Money in USD.")
    subject_id: SubjectId | None = Field(default=None, description=_SUBJECT)


class Transfer(BaseModel):
    """What to give from one limit on money to another, in the windows under way."""

    model_config = ConfigDict(extra="forbid")

    to: Id = Field(description="The id of the other limit.")
    amount: Added = Field(description="In USD; not more than is left.")
    subject_id: SubjectId | None = Field(default=None, description=_SUBJECT)
    to_subject_id: SubjectId | None = Field(default=None, description=_SUBJECT)


class UseView(BaseModel):
    """How a limit stands."""

    used: float = Field(description="With what calls under way may still come to; money in USD.")
    allowed: float = Field(description="The amount, with what was added to this window.")
    left: float
    percent: float = Field(description="Of what is allowed.")
    starts_again: datetime | None = Field(
        description="When all of it counts no more; null: never, or for calls under way."
    )


class SubjectUse(BaseModel):
    """What one subject has used of a limit that each has for itself, by the ledger, in whole hours."""

    subject_id: str
    used: float
    percent: float


class LimitView(BaseModel):
    """A limit, and how it stands."""

    id: str
    name: str
    declared: bool = Field(description="Whether it stands in polyforge.yaml, and can be changed only there.")
    organization_id: str | None = Field(description="Whose calls count; null: everybody's.")
    project_id: str | None
    subject: SubjectKind
    subject_id: str
    measure: Measure
    amount: float = Field(description="Money in USD.")
    window: str | None
    thresholds: list[float]
    hard: bool
    created_at: datetime | None
    created_by: str | None
    use: UseView | None = Field(description="Null where each subject has a counter of its own.")
    subjects: list[SubjectUse] | None = Field(
        default=None, description="Of one limit with many counters: who used most."
    )


class LimitPage(BaseModel):
    """Some limits, newest first, the declared ones last."""

    data: list[LimitView]
    next_cursor: str | None = Field(description="Pass it as `cursor` for those after these; null: there are none.")
