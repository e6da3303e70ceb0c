"""The `limits` section of the settings: limits that are declared, and read-only over the API."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from polyforge.kernel.ids import encode
from polyforge.kernel.money import from_usd
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID
from polyforge.tenancy.limits.records import ANY, Limit, Measure, SubjectKind
from polyforge.tenancy.limits.windows import check_window
from polyforge.tenancy.schemas import MAX_BUDGET_USD

LONGEST_SUBJECT: Final = 256
MOST_THRESHOLDS: Final = 10
MOST_AMOUNT: Final = 1e15
EVERYBODY: Final = "*"
_ID_BYTES: Final = 10

Window = Annotated[str, Field(max_length=24), AfterValidator(check_window)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Shares = Annotated[list[Share], Field(max_length=MOST_THRESHOLDS)]
SubjectId = Annotated[str, Field(min_length=1, max_length=LONGEST_SUBJECT)]
Amount = Annotated[float, Field(ge=0, le=MOST_AMOUNT, allow_inf_nan=False)]


class LimitSettings(BaseModel):
    """One limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: SubjectKind = Field(description="What it is on.")
    subject_id: SubjectId = Field(default=ANY, description="Its id or name; `*`: each of the kind has it for itself.")
    measure: Measure = Field(description="What is counted; money in USD.")
    amount: Amount = Field(description="How much there may be in a window.")
    window: Window | None = Field(
        default=None,
        description="`minute`, `hour`, `day`, `week`, `month`, `total` or `rolling:<seconds>`; none for `concurrency`.",
    )
    thresholds: Shares = Field(default=[], description="Shares of the amount, each told of once in a window.")
    hard: bool = Field(default=True, description="Whether calls stop at it; else it only tells.")
    organization: str = Field(
        default=DEFAULT_ORGANIZATION_ID, description="Id of the organization whose calls count; `*`: everybody's."
    )
    project: str | None = Field(default=None, description="Id of the project whose calls count; default: all.")

    @model_validator(mode="after")
    def _fits(self) -> "LimitSettings":
        check_limit(self.measure, self.amount, self.window, self.thresholds)
        if self.organization == EVERYBODY and self.project is not None:
            raise ValueError("project needs its organization")
        return self


class Misfit(ValueError):
    """Parts of a limit that do not go together; `field` is the one to change."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def check_limit(measure: Measure, amount: float, window: str | None, thresholds: Sequence[float]) -> None:
    """Misfit when the parts of a limit do not go together."""
    if (window is None) != (measure == "concurrency"):
        raise Misfit("window", "window must be given, but for concurrency, which is counted at every moment")
    if measure == "concurrency" and thresholds:
        raise Misfit("thresholds", "thresholds do not go with concurrency")
    if measure == "money" and amount > MAX_BUDGET_USD:
        raise Misfit("amount", f"amount must be at most {MAX_BUDGET_USD:g} USD")
    if measure != "money" and amount != int(amount):
        raise Misfit("amount", f"amount must be a whole number of {measure}")


def units_of(measure: Measure, amount: float) -> int:
    """An amount as it is counted: money in micro-USD."""
    return from_usd(amount) if measure == "money" else int(amount)


def declared_limits(settings: Mapping[str, LimitSettings]) -> list[Limit]:
    """The limits that settings declare, by name."""
    return [_limit_of(name, declared) for name, declared in settings.items()]


def _limit_of(name: str, declared: LimitSettings) -> Limit:
    organization = None if declared.organization == EVERYBODY else declared.organization
    return Limit(
        id=encode(int.from_bytes(blake2b(name.encode(), digest_size=_ID_BYTES).digest())),
        name=name,
        organization_id=organization,
        project_id=declared.project,
        subject=declared.subject,
        subject_id=declared.subject_id,
        measure=declared.measure,
        amount=units_of(declared.measure, declared.amount),
        window=declared.window or "",
        thresholds=tuple(sorted(set(declared.thresholds))),
        hard=declared.hard,
        declared=True,
    )
