"""The port to published prices: what sellers charge for their models, known without asking anybody over the network."""

from typing import Protocol

from polyforge.kernel.prices import PriceList


class PriceCatalog(Protocol):
    """Published prices. Constructing reads what it needs; nothing afterwards does I/O."""

    @property
    def edition(self) -> str:
        """Which edition of which catalogue it is, for whoever wants to know where a price comes from."""
        ...

    def find(self, seller: str, model: str, at: float) -> PriceList | None:
        """What a seller charges for a model from `at` on, in seconds since the epoch; None for what is not listed.

        `seller` is a name of the catalogue's, or the address of an API; `model` is the seller's own name. Where a price
        depends on the time of day, it is the dearest.
        """
        ...
