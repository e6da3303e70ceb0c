"""Rates as integers, and what a call comes to: exact in pico-USD, rounded up once to micro-USD."""

import msgspec

from polyforge.kernel.money import Micros, ceil_micros, from_usd, picos_per_unit
from polyforge.kernel.usage import Usage
from polyforge.registry.settings import Prices


class Tariff(msgspec.Struct, frozen=True, gc=False):
    """Pico-USD per token and micro-USD per call. `estimated` marks rates that nobody declared."""

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    per_call: Micros = 0
    estimated: bool = False

    def price(self, usage: Usage) -> Micros:
        """What an answered call comes to."""
        picos = (
            usage.input * self.input
            + usage.cache_read * self.cache_read
            + usage.cache_write * self.cache_write
            + usage.output * self.output
        )
        return self.per_call + ceil_micros(picos)

    def bound(self, input_tokens: int, output_tokens: int) -> Micros:
        """The most that a call with at most these tokens can come to."""
        dearest = max(self.input, self.cache_read, self.cache_write)
        return self.per_call + ceil_micros(input_tokens * dearest + output_tokens * self.output)

    def affordable_output(self, input_tokens: int, amount: Micros) -> int | None:
        """The most output tokens whose bound stays within `amount`; None: output is free, negative: none fit."""
        if self.output == 0:
            return None
        left = (amount - self.bound(input_tokens, 0)) * 1_000_000
        return left // self.output if left >= 0 else -1


FREE = Tariff()


def tariff_of(prices: Prices, estimated: bool = False) -> Tariff:
    """The declared rates; what is not named of cache and output costs what input does, or nothing with `per_call`."""
    rate = prices.input or 0.0
    cached = prices.cached_input if prices.cached_input is not None else rate
    written = prices.cache_write if prices.cache_write is not None else rate
    output = prices.output if prices.output is not None else rate
    return Tariff(
        input=picos_per_unit(rate),
        cache_read=picos_per_unit(cached),
        cache_write=picos_per_unit(written),
        output=picos_per_unit(output),
        per_call=from_usd(prices.per_call or 0.0),
        estimated=estimated,
    )
