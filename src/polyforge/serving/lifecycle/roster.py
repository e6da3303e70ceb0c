"""The models that settings and the registry want on this host: loaded at the start, and followed from then on.

A model that takes the place of another is loaded beside it, then answers, and the other one goes once it has answered
what it was asked. So no request fails, and the host stays ready.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from polyforge.kernel.errors import Invalid
from polyforge.serving.lifecycle.keeping import NO_ROOM, Lifecycle, Upkeep
from polyforge.serving.lifecycle.known import KnownSignatures
from polyforge.serving.lifecycle.memory import folder_bytes
from polyforge.serving.lifecycle.recent import RecentlyUsed
from polyforge.serving.plan import Plan
from polyforge.serving.repository import HostedModel, Repository
from polyforge.serving.served import read_served
from polyforge.serving.sources import ModelSource, registered_sources
from polyforge.telemetry.logs import get_logger

UNLOADED = "unloaded"

_log = get_logger(__name__)
_Key = tuple[str, str]

MakeModel = Callable[[ModelSource], HostedModel]
"""A model of a source, not loaded."""


class Roster:
    """Who is to be served. `declared` stays as it is, `served` is the file of registered models, if there is one.

    One change of the roster at a time; requests go on meanwhile.
    """

    def __init__(
        self,
        declared: Sequence[ModelSource],
        served: Path | None,
        *,
        repository: Repository,
        lifecycle: Lifecycle,
        recent: RecentlyUsed,
        known: KnownSignatures,
        make: MakeModel,
        idle_seconds: float | None,
    ) -> None:
        self._sources: dict[_Key, ModelSource] = {_key(source): source for source in declared}
        self._declared = frozenset(source.name for source in declared)
        self._served = served
        self._repository = repository
        self._lifecycle = lifecycle
        self._recent = recent
        self._known = known
        self._make = make
        self._idle_seconds = idle_seconds
        self._changing = asyncio.Lock()
        self._told = asyncio.Event()

    def source_of(self, model: HostedModel) -> ModelSource | None:
        """Where a model comes from; None for one of a Triton repository."""
        return self._sources.get((model.name, model.version))

    def declares(self, name: str) -> bool:
        """Whether a model of this name stands in the settings."""
        return name in self._declared

    def list_all(self) -> None:
        """Have the repository list the declared models, so that the host is not ready before they are loaded."""
        for source in self._sources.values():
            self._repository.put(self._make(source))

    async def begin(self, starting: Callable[[], None]) -> None:
        """Load every model, what was used last first, as far as the memory goes; `starting` is called before each."""
        async with self._changing:
            await asyncio.to_thread(self._recent.read)
            for source in await self._read_served():
                if not self.declares(source.name):
                    self._sources[_key(source)] = source
                    self._repository.put(self._make(source))
            models = [self._repository.find(*key) for key in self._sources]
            for model in models:
                self._lifecycle.keep(model, await self._upkeep(self._sources[model.name, model.version]))
            self._recent.mark(models)
            await self._lifecycle.begin(self._recent.sorted(models), starting)
            for model in models:
                if model.reason == NO_ROOM:
                    await self._recall(model)

    async def _recall(self, model: HostedModel) -> None:
        signature = await asyncio.to_thread(self._known.find, self._sources[model.name, model.version])
        # Somebody may have asked for it meanwhile.
        if signature is not None and model.reason == NO_ROOM:
            model.recall(signature)

    def refresh(self) -> None:
        """Look into the file of registered models soon: whoever changes it says so."""
        self._told.set()

    async def follow(self) -> None:
        """Until it is cancelled: serve what the file of registered models says, whenever told that it changed."""
        while True:
            await self._told.wait()
            self._told.clear()
            async with self._changing:
                try:
                    await self._change(await self._read_served())
                except Exception:  # noqa: BLE001  what is served goes on being served
                    _log.exception("the registered models could not be followed")

    async def load(self, name: str) -> None:
        """Load a declared model anew from its folder; Invalid when it cannot be, and what answered before goes on."""
        async with self._changing:
            for key, source in self._sources.items():
                if source.name == name:
                    await self._replace(source, self._repository.find(*key))

    async def unload(self, name: str) -> None:
        """Take no more requests for a declared model, answer those that it has, and let go of it."""
        async with self._changing:
            for model in self._repository.versions(name):
                await self._let_go(model)

    async def _read_served(self) -> Sequence[ModelSource]:
        """The registered models; as they were when the file cannot be read."""
        if self._served is None:
            return ()
        try:
            return registered_sources(await asyncio.to_thread(read_served, self._served))
        except Invalid as error:
            _log.error("the registered models stay as they are", reason=error.message)
            return [source for source in self._sources.values() if not self.declares(source.name)]

    async def _change(self, served: Sequence[ModelSource]) -> None:
        wanted = {_key(source): source for source in served if not self.declares(source.name)}
        gone = [key for key in self._sources if key not in wanted and not self.declares(key[0])]
        await asyncio.gather(*map(self._drop, gone), *(self._follow(key, source) for key, source in wanted.items()))

    async def _follow(self, key: _Key, source: ModelSource) -> None:
        known = self._sources.get(key)
        if known == source:
            return
        self._sources[key] = source
        if known is None:
            await self._add(source)
            return
        old = self._repository.find(*key)
        if _computed(known) == _computed(source):
            self._lifecycle.keep_as(old, await self._upkeep(source))
            return
        try:
            await self._replace(source, old)
        except Invalid as error:
            _log.error("a model stays as it is", model=source.name, version=source.version, reason=error.message)

    async def _add(self, source: ModelSource) -> None:
        model = self._make(source)
        self._lifecycle.keep(model, await self._upkeep(source))
        self._repository.put(model)
        await self._lifecycle.load(model)
        if not model.ready:
            _log.error("a model is not served", model=model.name, version=model.version, reason=model.reason)

    async def _replace(self, source: ModelSource, old: HostedModel) -> None:
        fresh = self._make(source)
        self._lifecycle.keep(fresh, await self._upkeep(source))
        await self._lifecycle.load(fresh, instead_of=[old])
        if not fresh.ready and old.ready:
            await self._lifecycle.unload(fresh)
            raise Invalid(f"failed to load '{source.name}': {fresh.reason}")
        self._repository.put(fresh)
        await self._let_go(old)
        if not fresh.ready:
            raise Invalid(f"failed to load '{source.name}': {fresh.reason}")

    async def _drop(self, key: _Key) -> None:
        await asyncio.to_thread(self._known.forget, self._sources.pop(key))
        model = self._repository.find(*key)
        await self._let_go(model)
        self._repository.remove(model)

    async def _let_go(self, model: HostedModel) -> None:
        model.state, model.reason = "UNLOADING", "unloading"
        await self._lifecycle.unload(model)
        model.state, model.reason = "UNAVAILABLE", UNLOADED

    async def _upkeep(self, source: ModelSource) -> Upkeep:
        return Upkeep(
            size=await asyncio.to_thread(folder_bytes, source.folder),
            keep_warm=source.keep_warm,
            idle_seconds=self._idle_seconds if source.idle_seconds is None else source.idle_seconds,
        )


def shape_of(source: ModelSource) -> Callable[[Plan], Plan]:
    """What the settings of a model make of a plan; it raises Invalid when they make no sense."""

    def shape(plan: Plan) -> Plan:
        said: dict[str, Any] = dict(source.plan)
        if source.hints.instances is not None:
            said.setdefault("instances", source.hints.instances)
        if source.hints.batch_rows is not None:
            said.setdefault("batch_rows", source.hints.batch_rows)
        if plan.batch_rows <= 1:
            said.pop("batch_rows", None)
        return _planned(plan, said)

    return shape


def _planned(plan: Plan, said: Mapping[str, Any]) -> Plan:
    try:
        return msgspec.convert({**msgspec.to_builtins(plan), **said}, Plan)
    except msgspec.ValidationError as error:
        raise Invalid(f"the plan of the model is wrong: {error}", param="plan") from error


def _key(source: ModelSource) -> _Key:
    return source.name, source.version


def _computed(source: ModelSource) -> ModelSource:
    """A source without what is changed while it answers."""
    return msgspec.structs.replace(source, keep_warm=False, idle_seconds=None)
