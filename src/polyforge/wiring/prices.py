"""Published prices: which catalogue, for which providers, and only if somebody needs it."""

from collections.abc import Callable, Mapping
from functools import cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from polyforge.kernel.clock import Clock
from polyforge.ports.price_catalog import PriceCatalog
from polyforge.ports.provider import Provider
from polyforge.registry.costs import Costs, PublishedCosts, UnknownCosts
from polyforge.wiring import adapters
from polyforge.wiring.settings import Chosen, Settings


def costs_of(settings: Settings, providers: Mapping[str, Provider], clock: Clock) -> Costs:
    """What finds the costs that nobody declared."""
    if settings.prices is None:
        return UnknownCosts()
    return PublishedCosts(_loader(settings.prices), _sellers(settings, providers), clock)


def _loader(chosen: Chosen) -> Callable[[], PriceCatalog]:
    """Loads the catalogue at its first call: it costs a tenth of a second and some 15 MB."""

    @cache
    def load() -> PriceCatalog:
        adapter, adapter_settings = adapters.find("price_catalogs", "prices", chosen)
        return adapter(adapter_settings)

    return load


def _sellers(settings: Settings, providers: Mapping[str, Provider]) -> dict[str, str]:
    """Whose prices hold for each provider: those of whoever has its API at the address that was set, else its own."""
    sellers: dict[str, str] = {}
    for name, chosen in settings.providers.items():
        address = (chosen.model_extra or {}).get("base_url")
        if not isinstance(address, str):
            if (seller := providers[name].capabilities.seller) is not None:
                sellers[name] = seller
        elif _is_public(address):
            sellers[name] = address
    return sellers


def _is_public(address: str) -> bool:
    """Whether a seller could be there: it has a name with a dot."""
    host = urlsplit(address).hostname or ""
    try:
        ip_address(host)
    except ValueError:
        return "." in host
    return False
