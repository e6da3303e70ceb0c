"""What serves the declared models, in one piece, so that it can be swapped while requests run.

A request runs on the lineup that it began on to its end: that one's catalog, providers and health. So a swap disturbs
nobody, and the numbers of deployments, which another catalog gives to others, never meet.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Final

import msgspec

from polyforge.gateway.health import Health
from polyforge.gateway.service import Gateway
from polyforge.guardrails.rules import Rulebook
from polyforge.kernel.tasks import InferenceRequest
from polyforge.ports.provider import Provider
from polyforge.ports.secret_source import SecretSource
from polyforge.registry.catalog import Catalog, Deployment, Model
from polyforge.registry.tariffs import FREE
from polyforge.telemetry.logs import get_logger

_LOOK_SECONDS: Final = 0.1
_log = get_logger(__name__)

Place = tuple[bytes, str]
"""The digest of a provider's settings, and the provider's own name of a model."""


class Lineup:
    """One version of the declared models, with the providers behind them and the gateway over them.

    `digests` tell the settings of one provider from those of another, and from what they are in another lineup.
    """

    __slots__ = ("_digests", "_health", "_providers", "calls", "catalog", "gateway", "rulebook")

    def __init__(
        self,
        catalog: Catalog,
        providers: Mapping[str, Provider],
        digests: Mapping[str, bytes],
        health: Health,
        rulebook: Rulebook,
        gateway: Gateway,
    ) -> None:
        self.catalog = catalog
        self.gateway = gateway
        self.calls = 0
        """Requests that run on it; whoever begins one counts it, and no more when it has ended."""
        self._providers = providers
        self._digests = digests
        self._health = health
        self.rulebook = rulebook
        """The guardrails that its requests pass."""

    @property
    def health(self) -> Health:
        """How its deployments do."""
        return self._health

    def provider(self, name: str) -> Provider | None:
        """One of the providers; None when there is none of this name."""
        return self._providers.get(name)

    def counting(self, model: Model, request: InferenceRequest) -> Model | None:
        """The model where its providers count the tokens of a request, which costs nothing; None where none does."""
        places = [place for place in model.deployments if self._counts(place, request)]
        free = [msgspec.structs.replace(place, cost=FREE, price=FREE) for place in places]
        return msgspec.structs.replace(model, deployments=tuple(free)) if free else None

    def _counts(self, place: Deployment, request: InferenceRequest) -> bool:
        able = self._providers[place.provider].capabilities
        return request.task in able.tasks and request.dialect in able.dialects

    def cooling(self, now: float) -> set[tuple[str, str]]:
        """Provider and model of each deployment that is left alone now."""
        return {
            (place.provider, place.model)
            for place in self._deployments()
            if self._health.cooling_until(place.index) > now
        }

    def cooldowns(self) -> dict[Place, float]:
        """Until when each place is left alone; a time in the past where it is not."""
        found: dict[Place, float] = {}
        for deployment in self._deployments():
            place = self._place(deployment)
            found[place] = max(self._health.cooling_until(deployment.index), found.get(place, 0.0))
        return found

    def inherit(self, cooldowns: Mapping[Place, float]) -> None:
        """Leave alone what an earlier lineup did, where it is the same place."""
        for deployment in self._deployments():
            self._health.cool_until(deployment.index, cooldowns.get(self._place(deployment), 0.0))

    def _deployments(self) -> Iterator[Deployment]:
        for model in self.catalog.listed():
            yield from model.deployments

    def _place(self, deployment: Deployment) -> Place:
        return self._digests[deployment.provider], deployment.model

    async def open(self, secrets: SecretSource) -> None:
        """Get ready to serve."""
        self._health.open()
        await self.rulebook.open(secrets)
        for provider in self._providers.values():
            await provider.open(secrets)

    async def close(self) -> None:
        """Let go of everything."""
        for provider in self._providers.values():
            await provider.close()
        await self.rulebook.close()
        self._health.close()


Prepare = Callable[[Lineup], Awaitable[None]]
"""Does what else must be done before requests may run on a lineup that is open."""


class Lineups:
    """The lineup that new requests run on, and those before it until their last request has ended."""

    def __init__(self, first: Lineup, secrets: SecretSource, prepare: Prepare) -> None:
        self.current = first
        self._secrets = secrets
        self._prepare = prepare
        self._retiring: dict[asyncio.Task[None], Lineup] = {}

    async def open(self) -> None:
        """Open the first."""
        await self.current.open(self._secrets)

    async def swap(self, lineup: Lineup) -> None:
        """Have new requests run on `lineup` from now on. When it cannot be opened, nothing changes."""
        try:
            await lineup.open(self._secrets)
            await self._prepare(lineup)
            lineup.inherit(self.current.cooldowns())
        except BaseException:
            await lineup.close()
            raise
        earlier, self.current = self.current, lineup
        task = asyncio.create_task(_retire(earlier), name="retiring lineup")
        self._retiring[task] = earlier
        task.add_done_callback(self._forget)

    async def close(self) -> None:
        """Close them all, whatever still runs."""
        retiring = dict(self._retiring)
        for task in retiring:
            task.cancel()
        await asyncio.gather(*retiring, return_exceptions=True)
        for lineup in (*retiring.values(), self.current):
            await lineup.close()

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._retiring.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("an earlier lineup could not be closed", reason=repr(error))


async def _retire(lineup: Lineup) -> None:
    """Every request has a deadline, so this ends; to look now and then costs requests nothing."""
    while lineup.calls:  # noqa: ASYNC110 - see above
        await asyncio.sleep(_LOOK_SECONDS)
    await lineup.close()
