"""The catalogue of the library `genai-prices`, as it is installed: it is never asked to look for newer prices.

Its look-ups are not used where they remember every name that they are asked for, because callers choose names.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import genai_prices
import msgspec
from genai_prices.data import providers
from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices
from pydantic import BaseModel, ConfigDict

from polyforge.kernel.money import Usd
from polyforge.kernel.prices import PriceList, TierRates
from polyforge.ports.price_catalog import PriceCatalog

_RATES: Final = {
    "input": ("input_mtok", 1),
    "cached_input": ("cache_read_mtok", 1),
    "cache_write": ("cache_write_mtok", 1),
    "output": ("output_mtok", 1),
    "reasoning": ("output_reasoning_mtok", 1),
    "audio_input": ("input_audio_mtok", 1),
    "audio_output": ("output_audio_mtok", 1),
    "image_input": ("input_image_mtok", 1),
    "per_call": ("requests_kcount", 1_000),
    "per_second": ("audio_hours", 3_600),
    "per_character": ("input_mchars", 1_000_000),
}
"""From our names to the library's, and how many units its price is for where ours is for one."""
_OUTPUT_IMAGES: Final = "output_image_mtok"
_LONGEST_NAME: Final = 256
_HOURS: Final = 24
_BATCH: Final = {"processing": "batch"}


class Settings(BaseModel):
    """Nothing to set."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GenaiPrices(PriceCatalog):
    """Prices of some two thousand models of some fifty sellers."""

    def __init__(self, settings: Settings) -> None:
        del settings
        self._providers: Sequence[Provider] = providers
        self._by_id = {provider.id: provider for provider in providers}

    @property
    def edition(self) -> str:
        """The library and its version."""
        return f"genai-prices {genai_prices.__version__}"

    def find(self, seller: str, model: str, at: float) -> PriceList | None:
        """What a seller charges; the dearest of the next day where it depends on the time."""
        provider = self._by_id.get(seller) or self._at(seller)
        if provider is None or len(model) > _LONGEST_NAME:
            return None
        found = provider.find_model(model, all_providers=list(self._providers))
        if found is None:
            return None
        standard = _dearest(found, at, {})
        if all(getattr(standard, name) is None for name, _ in _RATES.values()):
            return None
        listed, batch = _price_list(standard), _price_list(_dearest(found, at, _BATCH))
        return listed if batch == listed else msgspec.structs.replace(listed, batch=batch)

    def _at(self, address: str) -> Provider | None:
        """Whose API lies at an address."""
        if "://" not in address:
            return None
        return next((provider for provider in self._providers if re.match(provider.api_pattern, address)), None)


def _dearest(model: ModelInfo, at: float, context: dict[str, str]) -> ModelPrice:
    if isinstance(model.prices, ModelPrice):
        return model.get_prices(datetime.fromtimestamp(at, UTC), context)
    hours = (datetime.fromtimestamp(at, UTC) + timedelta(hours=hour) for hour in range(_HOURS))
    return max((model.get_prices(hour, context) for hour in hours), key=_of_both)


def _of_both(prices: ModelPrice) -> Usd:
    return _base(prices.input_mtok) + _base(prices.output_mtok)


def _base(price: Decimal | TieredPrices | None) -> Decimal:
    if price is None:
        return Decimal(0)
    return price.base if isinstance(price, TieredPrices) else price


def _price_list(prices: ModelPrice) -> PriceList:
    starts = sorted(
        {tier.start for price in vars(prices).values() if isinstance(price, TieredPrices) for tier in price.tiers}
    )
    tiers = tuple(TierRates(above=start, **_rates(prices, start)) for start in starts)
    return PriceList(**_rates(prices, 0), tiers=tiers)


def _rates(prices: ModelPrice, above: int) -> dict[str, Any]:
    """The rates of calls with more than `above` input tokens."""
    rates: dict[str, Any] = {}
    for ours, (theirs, units) in _RATES.items():
        price = _for(getattr(prices, theirs), above)
        rates[ours] = None if price is None else price / units
    # Tokens of images made are not told apart from other output: all of it costs what the dearer of the two does.
    drawn = _for(getattr(prices, _OUTPUT_IMAGES), above)
    output = _for(prices.output_mtok, above) or Decimal(0)
    rates["output"] = output if drawn is None else max(output, drawn)
    return rates


def _for(price: Decimal | TieredPrices | None, above: int) -> Decimal | None:
    if not isinstance(price, TieredPrices):
        return price
    return next((tier.price for tier in reversed(price.tiers) if above >= tier.start), price.base)


ADAPTER = GenaiPrices
