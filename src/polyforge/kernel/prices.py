"""Prices as they are published or declared: rates in USD."""

import msgspec

from polyforge.kernel.money import Usd


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """USD per million tokens, and per call, image, second or character; None: as the rate that it is a kind of."""

    input: Usd | None = None
    cached_input: Usd | None = None
    cache_write: Usd | None = None
    output: Usd | None = None
    reasoning: Usd | None = None
    audio_input: Usd | None = None
    audio_output: Usd | None = None
    image_input: Usd | None = None
    per_call: Usd | None = None
    per_image: Usd | None = None
    per_second: Usd | None = None
    per_character: Usd | None = None


class TierRates(Rates, frozen=True, kw_only=True):
    """What all tokens of a call cost whose prompt has more than `above` tokens; None: as without the tier."""

    above: int


class PriceList(Rates, frozen=True, kw_only=True):
    """Everything that a model's price depends on."""

    tiers: tuple[TierRates, ...] = ()
    batch: "PriceList | None" = None
    """What differs in a batch."""
