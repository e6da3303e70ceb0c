"""What the management API of keys takes and gives."""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from polyforge.kernel.sizes import NAME_LENGTH
from polyforge.tenancy.callers import ALL, DEFAULT_SCOPES, Period
from polyforge.tenancy.policy import PERMISSIONS

MAX_RPM = 10_000_000
MAX_TPM = 1_000_000_000_000
MAX_CONCURRENCY = 1_000_000
MAX_BUDGET_USD = 1e9
MAX_MODELS = 1_000
MAX_PAGE = 1_000
MAX_GRACE_SECONDS = 30 * 86_400

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _printable(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("must not contain control characters")
    return text


def _pattern(name: str) -> str:
    if "*" in name[:-1]:
        raise ValueError("may have one `*`, as its last character")
    return name


def _scope(scope: str) -> str:
    if scope != ALL and scope not in PERMISSIONS:
        raise ValueError(f"is not one of {', '.join(sorted(PERMISSIONS))}, *")
    return scope


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("must lie between the years 1 and 9999 in UTC") from error


Moment = Annotated[datetime, AfterValidator(_utc)]
"""A date and time in ISO 8601; one without an offset is UTC."""
Name = Annotated[str, StringConstraints(min_length=1, max_length=NAME_LENGTH), AfterValidator(_printable)]
ModelPattern = Annotated[Name, AfterValidator(_pattern)]
ScopeName = Annotated[str, StringConstraints(max_length=32), AfterValidator(_scope)]
Models = Annotated[list[ModelPattern], Field(min_length=1, max_length=MAX_MODELS)]
Rpm = Annotated[int, Field(strict=True, ge=1, le=MAX_RPM)]
Tpm = Annotated[int, Field(strict=True, ge=1, le=MAX_TPM)]
Concurrency = Annotated[int, Field(strict=True, ge=1, le=MAX_CONCURRENCY)]
BudgetUsd = Annotated[float, Field(strict=True, ge=0, le=MAX_BUDGET_USD, allow_inf_nan=False)]


class KeyLimitsBody(BaseModel):
    """What a key may use; what is left out is without limit."""

    model_config = ConfigDict(extra="forbid")

    models: Models | None = Field(default=None, description="Names it may use, `prefix/*` for many; default: all.")
    budget_usd: BudgetUsd | None = Field(default=None, description="Most that its calls may be priced per period.")
    budget_period: Period = Field(
        default="total", description="When the budget starts again, in UTC; weeks begin on Monday."
    )
    rpm: Rpm | None = Field(default=None, description="Requests per minute.")
    tpm: Tpm | None = Field(default=None, description="Tokens per minute, input and output.")
    concurrency: Concurrency | None = Field(default=None, description="Requests in flight at once.")
    expires_at: Moment | None = Field(default=None, description="When it stops working.")


class NewKey(KeyLimitsBody):
    """A key to make."""

    name: Name = Field(description="What it is for.")
    scopes: Annotated[list[ScopeName], Field(min_length=1, max_length=len(PERMISSIONS) + 1)] = Field(
        default=list(DEFAULT_SCOPES), description="What it may do; never more than the key that makes it."
    )


class KeyChanges(KeyLimitsBody):
    """What to change about a key: what is left out stays, null takes a limit away."""

    name: Name = Field(default_factory=str, description="What it is for.")


class Rotation(BaseModel):
    """How to replace a secret."""

    model_config = ConfigDict(extra="forbid")

    grace_seconds: Annotated[int, Field(strict=True, ge=0, le=MAX_GRACE_SECONDS)] = Field(
        default=0, description="How long the old secret works beside the new one."
    )


class KeyView(BaseModel):
    """A key without its secret."""

    id: str
    name: str
    prefix: str = Field(description="The first characters of the secret.")
    scopes: list[str]
    models: list[str] | None
    budget_usd: float | None
    budget_period: Period
    rpm: int | None
    tpm: int | None
    concurrency: int | None
    expires_at: datetime | None
    created_at: datetime
    created_by: str | None = Field(description="Id of the user, the service account or the key that made it.")
    revoked_at: datetime | None


class IssuedKey(KeyView):
    """A key with its secret, which is shown this once."""

    key: str = Field(description="The secret. It is not kept and cannot be shown again.")


class KeyPage(BaseModel):
    """Some keys, newest first."""

    data: list[KeyView]
    next_cursor: str | None = Field(description="Pass it as `cursor` for the keys after these; null: there are none.")
