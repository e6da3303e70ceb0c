"""What a correction says."""

import msgspec

from polyforge.kernel.money import Micros


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """What the calls of a key came to beyond, or below, what was written down."""

    id: str
    key_id: str
    period_start: int
    """First second of the budget period that it counts in; 0 for a budget without one."""
    record_id: str | None
    """The call that it is about; None: a period as a whole."""
    model: str
    """Empty where it is about no model."""
    at: float
    """The time that it is about, in seconds since the epoch."""
    cost_micros: Micros
    price_micros: Micros
    reason: str
    created_at: float
    created_by: str


class CorrectedTotal(msgspec.Struct, frozen=True):
    """All corrections of a key in a period."""

    key_id: str
    period_start: int
    price: Micros
