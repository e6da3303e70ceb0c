"""All SQL of what machines serve."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import and_, delete, exists, func, insert, or_, select, update

from polyforge.database.counting import generations, take_number
from polyforge.database.sessions import ReadSession, WriteSession
from polyforge.registry.deployments.records import Serving, WantedModel, wanted_of
from polyforge.registry.deployments.tables import model_servings
from polyforge.registry.versions.records import COUNTER, RegisteredModel, Version
from polyforge.registry.versions.tables import model_aliases, model_versions, registered_models

_ASKED: Final = 500


class SystemDeployments:
    """What a machine reads of all projects."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def generation(self) -> int:
        """A number that rises with every change of models."""
        query = select(generations.c.value).where(generations.c.name == COUNTER)
        return await self._session.scalar(query) or 0

    async def wanted(self, limit: int) -> list[WantedModel]:
        """The models with versions that are to answer, for at most so many versions, the oldest models first."""
        aliases: dict[str, dict[str, int]] = defaultdict(dict)
        for row in await self._session.all(select(model_aliases)):
            aliases[row["model_id"]][row["alias"]] = row["version"]
        versions: dict[str, dict[int, Version]] = defaultdict(dict)
        for row in await self._session.all(_candidates(limit)):
            versions[row["model_id"]][row["number"]] = Version(**row)
        models: list[RegisteredModel] = []
        for ids in _portions(sorted(versions)):
            query = select(registered_models).where(registered_models.c.id.in_(ids))
            models += [RegisteredModel(**row) for row in await self._session.all(query)]
        return [found for each in models if (found := _wanted(each, aliases[each.id], versions[each.id])).versions]

    async def live(self, version_ids: Sequence[str]) -> set[str]:
        """Those of the versions that were not removed."""
        columns, found = model_versions.c, set[str]()
        for ids in _portions(version_ids):
            query = select(columns.id).where(columns.id.in_(ids), columns.removed_at.is_(None))
            found |= {row["id"] for row in await self._session.all(query)}
        return found

    async def of_machine(self, machine: str) -> list[Serving]:
        """What a machine said last."""
        query = select(model_servings).where(model_servings.c.machine == machine)
        return [Serving(**row) for row in await self._session.all(query)]


class TuningEditor:
    """What machines write of what they measured."""

    def __init__(self, session: WriteSession) -> None:
        self._session = session

    async def add(self, version_id: str, measured: Mapping[str, Any]) -> None:
        """Keep what was measured on some kinds of machines beside what was on others."""
        await take_number(self._session, COUNTER)
        mine = model_versions.c.id == version_id
        known: Mapping[str, Any] = await self._session.scalar(select(model_versions.c.tuning).where(mine)) or {}
        await self._session.change(update(model_versions).where(mine).values(tuning={**known, **measured}))


class ServingEditor:
    """What a machine writes of itself."""

    def __init__(self, session: WriteSession) -> None:
        self._session = session

    async def put(self, serving: Serving) -> None:
        """How a version does there now."""
        values = msgspec.structs.asdict(serving)
        if not await self._session.change(update(model_servings).where(_same(serving)).values(values)):
            await self._session.change(insert(model_servings).values(values))

    async def remove(self, serving: Serving) -> None:
        """It is no longer there."""
        await self._session.change(delete(model_servings).where(_same(serving)))

    async def seen(self, machine: str, now: float) -> None:
        """The machine is there."""
        query = update(model_servings).where(model_servings.c.machine == machine).values(seen_at=now)
        await self._session.change(query)

    async def forget(self, before: float) -> None:
        """Machines that said nothing since then are gone."""
        await self._session.change(delete(model_servings).where(model_servings.c.seen_at < before))


def _same(serving: Serving) -> Any:
    columns = model_servings.c
    return and_(columns.version_id == serving.version_id, columns.machine == serving.machine)


def _candidates(limit: int) -> Any:
    """Versions that an alias points at, and the newest of each model."""
    columns, newest = model_versions.c, model_versions.alias("newest")
    top = select(func.max(newest.c.number)).where(newest.c.model_id == columns.model_id, newest.c.removed_at.is_(None))
    pointed = exists().where(model_aliases.c.model_id == columns.model_id, model_aliases.c.version == columns.number)
    which = or_(pointed, columns.number == top.scalar_subquery())
    live = exists().where(registered_models.c.id == columns.model_id, registered_models.c.removed_at.is_(None))
    query = select(model_versions).where(columns.removed_at.is_(None), live, which)
    return query.order_by(columns.model_id, columns.number).limit(limit)


def _wanted(model: RegisteredModel, aliases: Mapping[str, int], versions: Mapping[int, Version]) -> WantedModel:
    numbers, default = wanted_of(model, aliases, max(versions))
    return WantedModel(model, aliases, {number: versions[number] for number in numbers if number in versions}, default)


def _portions(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + _ASKED] for start in range(0, len(ids), _ASKED)]
