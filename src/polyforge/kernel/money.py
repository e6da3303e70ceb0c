"""Money as integer micro-USD, so that sums are exact; rounding happens once per call, upwards."""

from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal

MICROS_PER_USD = 1_000_000

Micros = int
"""A signed amount in millionths of a US dollar."""

Usd = float | Decimal
"""An amount of dollars as people write it down."""


def from_usd(usd: Usd | str) -> Micros:
    """The nearest whole micro-USD of an amount in dollars; ValueError when it is not finite."""
    amount = usd if isinstance(usd, Decimal) else Decimal(str(usd))
    if not amount.is_finite():
        raise ValueError(f"{usd} is not an amount of money")
    return int((amount * MICROS_PER_USD).to_integral_value(rounding=ROUND_HALF_EVEN))


def to_usd(micros: Micros) -> float:
    """Dollars, for people and JSON; never for sums."""
    return micros / MICROS_PER_USD


def picos_of(usd: Usd) -> int:
    """Whole pico-USD, rounded up."""
    return int((Decimal(str(usd)) * 1_000_000_000_000).to_integral_value(rounding=ROUND_CEILING))


def picos_per_unit(usd_per_million: Usd) -> int:
    """A rate in USD per million units as whole pico-USD per unit, so that products are exact.

    USD per million units is the same number as micro-USD per unit; one micro-USD is a million pico-USD.
    """
    return int((Decimal(str(usd_per_million)) * 1_000_000).to_integral_value(rounding=ROUND_CEILING))


def ceil_micros(pico_usd: int) -> Micros:
    """Whole micro-USD, rounded up: a call that costs anything is never free."""
    return -(-pico_usd // 1_000_000)
