"""What the management API of corrections takes and gives."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from polyforge.tenancy.schemas import MAX_BUDGET_USD, Moment

Change = Annotated[float, Field(strict=True, ge=-MAX_BUDGET_USD, le=MAX_BUDGET_USD, allow_inf_nan=False)]
Id = Annotated[str, StringConstraints(max_length=26)]


class NewCorrection(BaseModel):
    """What a call, or the calls of a key in a period, came to beyond what was written down."""

    model_config = ConfigDict(extra="forbid")

    record_id: Id | None = Field(default=None, description="The usage record of a call: its request id.")
    key_id: Id | None = Field(default=None, description="The key, to correct a budget period as a whole.")
    at: Moment | None = Field(default=None, description="With `key_id`: a time in that period; default: now.")
    cost_change_usd: Change = Field(default=0.0, description="What to add to the cost; negative takes away.")
    price_change_usd: Change = Field(default=0.0, description="What to add to the price; negative takes away.")
    reason: Annotated[str, StringConstraints(min_length=1, max_length=500, strip_whitespace=True)] = Field(
        description="Why; it stands in the audit log."
    )

    @model_validator(mode="after")
    def _is_about_one_thing(self) -> "NewCorrection":
        if (self.record_id is None) == (self.key_id is None):
            raise ValueError("needs either record_id or key_id")
        if self.record_id is not None and self.at is not None:
            raise ValueError("at goes with key_id")
        return self


class CorrectionView(BaseModel):
    """An entry of the ledger that corrects others."""

    id: str
    record_id: str | None
    key_id: str
    model: str | None
    at: datetime = Field(description="The time that it is about.")
    cost_change_usd: float
    price_change_usd: float
    reason: str
    created_at: datetime
    created_by: str


class CorrectionPage(BaseModel):
    """Some corrections, newest first."""

    data: list[CorrectionView]
    next_cursor: str | None = Field(description="Pass it as `cursor` for those after these; null: there are none.")
