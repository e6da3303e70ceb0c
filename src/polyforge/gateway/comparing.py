"""What the same traffic would have cost elsewhere."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from polyforge.gateway.lineup import Lineups
from polyforge.kernel.errors import Invalid, ModelNotFound
from polyforge.kernel.money import Micros
from polyforge.registry.catalog import Catalog
from polyforge.registry.tariffs import Tariff
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.usage.service import UsageService
from polyforge.tenancy.usage.sums import Traffic

MOST_CANDIDATES: Final = 20
_MOST_NAMED: Final = 20


class Candidate(msgspec.Struct, frozen=True):
    """Where the traffic might have gone instead."""

    name: str
    cost: Micros
    """What it would have cost there, as far as it is covered."""
    actual: Micros
    """What the covered traffic did cost."""
    calls: int
    """Calls that are covered: the candidate has a price for them."""
    origins: tuple[str, ...]
    """Where its prices come from."""
    unknown: tuple[str, ...]
    """Models that it has no price for, as the provider calls them."""


class Comparison(msgspec.Struct, frozen=True):
    """Over [since, until), in seconds since the epoch."""

    since: float
    until: float
    traffic: list[Traffic]
    candidates: list[Candidate]


class Comparing:
    """Compares on behalf of a caller, for the traffic of its project."""

    def __init__(self, usage: UsageService, lineups: Lineups) -> None:
        self._usage = usage
        self._lineups = lineups

    async def compare(
        self,
        caller: Caller,
        providers: Sequence[str],
        models: Sequence[str],
        since: datetime | None,
        until: datetime | None,
    ) -> Comparison:
        """The traffic at each of `providers`, model by model of the same name, and all of it at each of `models`.

        A provider is one of ours or a seller of the catalogue of prices; a model is one of ours that the caller may
        use, or `seller/model` of the catalogue. ModelNotFound for another.
        """
        if not 1 <= len(providers) + len(models) <= MOST_CANDIDATES:
            raise Invalid(f"name 1 to {MOST_CANDIDATES} providers and models", param="providers")
        start, end, traffic = await self._usage.traffic(caller, since, until)
        catalog = self._lineups.current.catalog
        # The catalogue of prices may have to be loaded first.
        found = await asyncio.to_thread(_candidates, catalog, caller, providers, models, traffic)
        return Comparison(start, end, traffic, found)


def _candidates(
    catalog: Catalog, caller: Caller, providers: Sequence[str], models: Sequence[str], traffic: Sequence[Traffic]
) -> list[Candidate]:
    asked = [(name, [_at_provider(catalog, name, row.deployment) for row in traffic]) for name in providers]
    asked += [(name, [_of_model(catalog, caller, name)] * len(traffic)) for name in models]
    return [_candidate(name, traffic, tariffs) for name, tariffs in asked]


def _at_provider(catalog: Catalog, name: str, model: str) -> Tariff | None:
    return catalog.costs.at_provider(name, model) or catalog.costs.at_seller(name, model)


def _of_model(catalog: Catalog, caller: Caller, name: str) -> Tariff | None:
    """What the first deployment of a model costs, or what the catalogue says."""
    if caller.may_use(name) and catalog.knows(name):
        return catalog.find(name).deployments[0].cost
    seller, _, model = name.partition("/")
    cost = catalog.costs.at_seller(seller, model)
    if cost is None:
        raise ModelNotFound(
            f"there is no model {name[:200]!r}, and the catalogue of prices has none either", param="models"
        )
    return cost


def _candidate(name: str, traffic: Sequence[Traffic], tariffs: Sequence[Tariff | None]) -> Candidate:
    priced = [(row, tariff) for row, tariff in zip(traffic, tariffs, strict=True) if tariff is not None]
    unknown = [row.deployment for row, tariff in zip(traffic, tariffs, strict=True) if tariff is None]
    return Candidate(
        name,
        cost=sum(worth_of_many(tariff, row) for row, tariff in priced),
        actual=sum(row.cost for row, _ in priced),
        calls=sum(row.calls for row, _ in priced),
        origins=tuple(sorted({tariff.origin for _, tariff in priced})),
        unknown=tuple(unknown[:_MOST_NAMED]),
    )


def worth_of_many(tariff: Tariff, traffic: Traffic) -> Micros:
    """What calls come to whose sum is known: tiers go by the length of one prompt, so the first one is taken."""
    flat = msgspec.structs.replace(tariff, tiers=(), per_call=0)
    return flat.price(traffic.usage) + tariff.per_call * traffic.calls
