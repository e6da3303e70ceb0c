"""What providers charge us by the published prices, where nobody declared it."""

from collections.abc import Callable, Mapping
from typing import Protocol

from polyforge.kernel.clock import Clock
from polyforge.ports.price_catalog import PriceCatalog
from polyforge.registry.tariffs import Tariff, tariff_of

LoadCatalog = Callable[[], PriceCatalog]
"""Gives the catalogue, the same at every call. To load one takes time and memory, so nobody does who needs none."""


class Costs(Protocol):
    """Finds costs."""

    def at_provider(self, provider: str, model: str) -> Tariff | None:
        """What one of our providers charges for a model of its own; None where that is not published."""
        ...

    def at_seller(self, seller: str, model: str) -> Tariff | None:
        """What a seller charges that the catalogue knows by name; None where that is not published."""
        ...

    def get_ready(self, provider: str) -> None:
        """Do now what looking up a model of this provider would do at first."""
        ...


class UnknownCosts:
    """Where there is no catalogue."""

    def at_provider(self, provider: str, model: str) -> None:
        """Nothing is published."""

    def at_seller(self, seller: str, model: str) -> None:
        """Nothing is published."""

    def get_ready(self, provider: str) -> None:
        """There is nothing to do."""


class PublishedCosts:
    """Looks costs up. `sellers` are the catalogue's names, or the addresses, of our providers; others have none."""

    def __init__(self, load: LoadCatalog, sellers: Mapping[str, str], clock: Clock) -> None:
        self._load = load
        self._sellers = sellers
        self._clock = clock

    def at_provider(self, provider: str, model: str) -> Tariff | None:
        """By the provider's seller; None for a provider that none is known for."""
        seller = self._sellers.get(provider)
        return None if seller is None else self.at_seller(seller, model)

    def at_seller(self, seller: str, model: str) -> Tariff | None:
        """By the name of the seller."""
        catalogue = self._load()
        found = catalogue.find(seller, model, self._clock.now())
        return None if found is None else tariff_of(found, f"catalogue {catalogue.edition}")

    def get_ready(self, provider: str) -> None:
        """Load the catalogue, if this provider is in need of it."""
        if provider in self._sellers:
            self._load()
