"""Rates as integers, and what a call comes to: exact in pico-USD, rounded up once to micro-USD."""

from typing import Any, Final

import msgspec

from polyforge.kernel.money import Micros, Usd, ceil_micros, from_usd, picos_of, picos_per_unit
from polyforge.kernel.prices import PriceList, Rates
from polyforge.kernel.usage import NO_USAGE, Usage

DECLARED: Final = "declared"
ESTIMATED: Final = "estimated"
OWN_MACHINES: Final = "own machines"
"""Origin of what nobody charges us for."""
_MILLISECONDS: Final = 1000


class SpecialRates(msgspec.Struct, frozen=True, gc=False):
    """Pico-USD beyond the plain rates (or below them) of tokens of a kind, and of what is not counted in tokens."""

    reasoning: int = 0
    audio_input: int = 0
    audio_output: int = 0
    image_input: int = 0
    image: int = 0
    millisecond: int = 0
    character: int = 0

    def picos(self, usage: Usage) -> int:
        """What they add to the plain rates."""
        return (
            usage.reasoning * self.reasoning
            + usage.audio_input * self.audio_input
            + usage.audio_output * self.audio_output
            + usage.image_input * self.image_input
            + self.picos_of_units(usage)
        )

    def picos_of_units(self, usage: Usage) -> int:
        """What is not counted in tokens."""
        return usage.images * self.image + usage.milliseconds * self.millisecond + usage.characters * self.character

    @property
    def dearest_input(self) -> int:
        """The most that an input token can cost beyond the plain rate."""
        return max(0, self.audio_input, self.image_input)

    @property
    def dearest_output(self) -> int:
        """The most that an output token can cost beyond the plain rate; one that is thought is not heard as well."""
        return max(0, self.reasoning, self.audio_output)


class Tariff(msgspec.Struct, frozen=True, gc=False):
    """Pico-USD per token and micro-USD per call."""

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    per_call: Micros = 0
    origin: str = DECLARED
    """Where the rates come from: `declared`, `estimated`, or an edition of a catalogue."""
    special: SpecialRates | None = None
    above: int = 0
    """Tokens of input from which on this tier is for."""
    tiers: "tuple[Tariff, ...]" = ()
    """What all of a call costs instead once its input is larger, the largest last."""
    batch: "Tariff | None" = None
    """What holds in a batch instead."""

    def price(self, usage: Usage, *, batch: bool = False) -> Micros:
        """What an answered call comes to."""
        tariff = self.batch if batch and self.batch is not None else self
        if tariff.tiers:
            tariff = tariff.tier(usage.input_total)
        picos = (
            usage.input * tariff.input
            + usage.cache_read * tariff.cache_read
            + usage.cache_write * tariff.cache_write
            + usage.output * tariff.output
        )
        if tariff.special is not None:
            picos = max(0, picos + tariff.special.picos(usage))
        return tariff.per_call + ceil_micros(picos)

    def tier(self, input_tokens: int) -> "Tariff":
        """The rates for a prompt of so many tokens."""
        return next((tier for tier in reversed(self.tiers) if input_tokens > tier.above), self)

    def bound(self, input_tokens: int, output_tokens: int, units: Usage = NO_USAGE) -> Micros:
        """The most that a call can come to with at most these tokens and these `units` that are no tokens."""
        if not self.tiers:
            if self.special is not None:
                return _bound(self, input_tokens, output_tokens, units)
            dearest = max(self.input, self.cache_read, self.cache_write)
            return self.per_call + ceil_micros(output_tokens * self.output + input_tokens * dearest)
        return max(_bound(tariff, input_tokens, output_tokens, units) for tariff in self._within(input_tokens))

    def affordable_output(self, input_tokens: int, amount: Micros, units: Usage = NO_USAGE) -> int | None:
        """The most output tokens whose bound stays within `amount`; None: output is free, negative: none fit."""
        dearest = max(_dearest_output(tariff) for tariff in self._within(input_tokens))
        if dearest == 0:
            return None
        left = (amount - self.bound(input_tokens, 0, units)) * 1_000_000
        return left // dearest if left >= 0 else -1

    def _within(self, input_tokens: int) -> "tuple[Tariff, ...]":
        """Every tier that a prompt of at most so many tokens can fall into."""
        return (self, *(tier for tier in self.tiers if input_tokens > tier.above))


def _bound(tariff: Tariff, input_tokens: int, output_tokens: int, units: Usage) -> Micros:
    dearest = max(tariff.input, tariff.cache_read, tariff.cache_write)
    picos = output_tokens * _dearest_output(tariff)
    if tariff.special is not None:
        dearest = max(dearest, tariff.input + tariff.special.dearest_input)
        picos += tariff.special.picos_of_units(units)
    return tariff.per_call + ceil_micros(picos + input_tokens * dearest)


def _dearest_output(tariff: Tariff) -> int:
    return tariff.output if tariff.special is None else tariff.output + tariff.special.dearest_output


FREE: Final = Tariff(origin=OWN_MACHINES)


def tariff_of(prices: PriceList, origin: str = DECLARED) -> Tariff:
    """The rates as integers.

    What is not named of cache and output costs what input does, and tokens of a kind what their like do. What a tier or
    a batch does not name is as without it.
    """
    base = _flat(prices, origin)
    tiers = [
        msgspec.structs.replace(_flat(_overlaid(prices, tier), origin), above=tier.above)
        for tier in sorted(prices.tiers, key=lambda tier: tier.above)
    ]
    batch = None
    if prices.batch is not None:
        batch = tariff_of(_overlaid(msgspec.structs.replace(prices, batch=None), prices.batch), origin)
    return msgspec.structs.replace(base, tiers=tuple(tiers), batch=batch)


def _overlaid(prices: PriceList, by: Rates) -> PriceList:
    """The prices with every rate that `by` names, and its tiers if it has some."""
    named: dict[str, Any] = {name: rate for name in Rates.__struct_fields__ if (rate := getattr(by, name)) is not None}
    if isinstance(by, PriceList) and by.tiers:
        named["tiers"] = by.tiers
    return msgspec.structs.replace(prices, **named)


def _flat(rates: Rates, origin: str) -> Tariff:
    plain = picos_per_unit(_or(rates.input, 0.0))
    output = plain if rates.output is None else picos_per_unit(rates.output)
    special = SpecialRates(
        reasoning=_beyond(rates.reasoning, output),
        audio_input=_beyond(rates.audio_input, plain),
        audio_output=_beyond(rates.audio_output, output),
        image_input=_beyond(rates.image_input, plain),
        image=picos_of(_or(rates.per_image, 0.0)),
        millisecond=-(-picos_of(_or(rates.per_second, 0.0)) // _MILLISECONDS),
        character=picos_of(_or(rates.per_character, 0.0)),
    )
    return Tariff(
        input=plain,
        cache_read=plain if rates.cached_input is None else picos_per_unit(rates.cached_input),
        cache_write=plain if rates.cache_write is None else picos_per_unit(rates.cache_write),
        output=output,
        per_call=from_usd(_or(rates.per_call, 0.0)),
        origin=origin,
        special=None if special == _NOTHING_SPECIAL else special,
    )


def _or(rate: Usd | None, otherwise: Usd) -> Usd:
    return otherwise if rate is None else rate


def _beyond(rate: Usd | None, plain: int) -> int:
    return 0 if rate is None else picos_per_unit(rate) - plain


_NOTHING_SPECIAL: Final = SpecialRates()
