"""All SQL of models and their versions."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Table, and_, delete, func, or_, select, update

from polyforge.database.counting import take_number
from polyforge.database.records import RecordEditor, RecordStore
from polyforge.database.sessions import Query, ReadSession, WriteSession
from polyforge.registry.deployments.records import Serving
from polyforge.registry.deployments.tables import model_servings
from polyforge.registry.versions.records import (
    COUNTER,
    LIVE,
    Alias,
    ImportState,
    ModelDeployment,
    ModelImport,
    RegisteredModel,
    Version,
    Watch,
)
from polyforge.registry.versions.tables import (
    model_aliases,
    model_deployments,
    model_imports,
    model_versions,
    model_watches,
    registered_models,
)


class ModelStore(RecordStore):
    """The models of one project."""

    async def page(self, limit: int, after: str | None) -> list[RegisteredModel]:
        """Up to `limit` by name, those after the name `after`; removed ones are not among them."""
        columns = registered_models.c
        where = columns.removed_at.is_(None)
        where = where if after is None else and_(where, columns.name > after)
        return await self._all(registered_models, RegisteredModel, where, columns.name, limit)

    async def find(self, name: str) -> RegisteredModel | None:
        """A model by its name, removed ones too."""
        return await self._first(registered_models, RegisteredModel, registered_models.c.name == name)

    async def by_id(self, model_id: str) -> RegisteredModel | None:
        """A model by its id, removed ones too."""
        return await self._first(registered_models, RegisteredModel, registered_models.c.id == model_id)

    async def versions(self, model_id: str, limit: int, before: int | None = None) -> list[Version]:
        """Up to `limit` versions, newest first, with smaller numbers than `before`; removed ones are not among them."""
        columns = model_versions.c
        where = and_(columns.model_id == model_id, columns.removed_at.is_(None))
        where = where if before is None else and_(where, columns.number < before)
        return await self._all(model_versions, Version, where, columns.number.desc(), limit)

    async def version(self, model_id: str, number: int) -> Version | None:
        """One version, removed ones too."""
        where = and_(model_versions.c.model_id == model_id, model_versions.c.number == number)
        return await self._first(model_versions, Version, where)

    async def live_numbers(self, model_id: str, numbers: Sequence[int]) -> set[int]:
        """Those of the versions that were not removed."""
        columns = model_versions.c

        def refine(query: Query) -> Query:
            return query.where(columns.model_id == model_id, columns.number.in_(numbers), columns.removed_at.is_(None))

        rows = await self._reader(model_versions).all(columns.number, refine=refine)
        return {row["number"] for row in rows}

    async def aliases(self, *model_ids: str) -> list[Alias]:
        """Everything that points at versions of these models, by name."""
        return await self._all(model_aliases, Alias, model_aliases.c.model_id.in_(model_ids), model_aliases.c.alias)

    async def alias(self, model_id: str, alias: str) -> Alias | None:
        """One of them."""
        where = and_(model_aliases.c.model_id == model_id, model_aliases.c.alias == alias)
        return await self._first(model_aliases, Alias, where)

    async def deployments(
        self, model_id: str, limit: int, before: str | None = None, alias: str | None = None
    ) -> list[ModelDeployment]:
        """Up to `limit` of the history, newest first, older than the id `before`."""
        columns = model_deployments.c
        where = columns.model_id == model_id
        where = where if before is None else and_(where, columns.id < before)
        where = where if alias is None else and_(where, columns.alias == alias)
        return await self._all(model_deployments, ModelDeployment, where, columns.id.desc(), limit)

    async def deployment(self, model_id: str, deployment_id: str) -> ModelDeployment | None:
        """One entry of it."""
        where = and_(model_deployments.c.model_id == model_id, model_deployments.c.id == deployment_id)
        return await self._first(model_deployments, ModelDeployment, where)

    async def imports(self, model_id: str, limit: int, before: str | None = None) -> list[ModelImport]:
        """Up to `limit` imports, newest first, older than the id `before`."""
        columns = model_imports.c
        where = columns.model_id == model_id
        where = where if before is None else and_(where, columns.id < before)
        return await self._all(model_imports, ModelImport, where, columns.id.desc(), limit)

    async def model_import(self, model_id: str, import_id: str) -> ModelImport | None:
        """One import."""
        where = and_(model_imports.c.model_id == model_id, model_imports.c.id == import_id)
        return await self._first(model_imports, ModelImport, where)

    async def watch(self, model_id: str) -> Watch | None:
        """What is watched for a model."""
        return await self._first(model_watches, Watch, model_watches.c.model_id == model_id)

    async def servings(self, model_id: str, seen_since: float) -> list[Serving]:
        """How its versions do on each machine that said so since then, by machine."""
        columns = model_servings.c
        where = and_(columns.model_id == model_id, columns.seen_at >= seen_since)
        return await self._all(model_servings, Serving, where, columns.machine)

    async def failed_servings(self, seen_since: float, limit: int) -> list[Serving]:
        """Up to `limit` of what machines could not serve that said so since then."""
        columns = model_servings.c
        where = and_(columns.state == "failed", columns.seen_at >= seen_since)
        return await self._all(model_servings, Serving, where, columns.changed_at.desc(), limit)

    async def names(self, model_ids: Sequence[str]) -> dict[str, str]:
        """Names of models by their ids."""
        found = await self._all(registered_models, RegisteredModel, registered_models.c.id.in_(model_ids))
        return {model.id: model.name for model in found}

    async def count(self, table: Table, where: ColumnElement[bool]) -> int:
        """How many rows of the project match."""

        def refine(query: Query) -> Query:
            return query.where(where)

        row = await self._reader(table).first(func.count().label("n"), refine=refine)
        return row["n"] if row else 0


class ModelEditor(ModelStore, RecordEditor):
    """The same, to be changed by one at a time."""

    async def lock(self) -> None:
        """Wait until nobody else changes models, and keep it so until this transaction ends."""
        await take_number(self._writing, COUNTER)

    async def point(self, alias: Alias) -> None:
        """Let an alias point at a version."""
        columns = model_aliases.c
        where = and_(columns.model_id == alias.model_id, columns.alias == alias.alias)
        if not await self.change(model_aliases, where, msgspec.structs.asdict(alias)):
            await self.add(model_aliases, alias)


class SystemModels:
    """What workers look for in all projects."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def waiting(self, now: float, limit: int) -> list[ModelImport]:
        """Imports that nobody works at, oldest first."""
        query = select(model_imports).where(_is_free(now)).order_by(model_imports.c.id).limit(limit)
        return [ModelImport(**row) for row in await self._session.all(query)]

    async def due(self, now: float, limit: int) -> list[Watch]:
        """Sources that it is time to look at."""
        query = select(model_watches).where(model_watches.c.due_at <= now).order_by(model_watches.c.due_at)
        return [Watch(**row) for row in await self._session.all(query.limit(limit))]

    async def state_of(self, import_id: str) -> ImportState | None:
        """How an import stands."""
        return await self._session.scalar(select(model_imports.c.state).where(model_imports.c.id == import_id))

    async def used(self, artifacts: Sequence[str]) -> set[str]:
        """Those of the artifacts that some version has."""
        columns = model_versions.c
        query = select(columns.artifact).distinct().where(columns.artifact.in_(artifacts), columns.removed_at.is_(None))
        return {row["artifact"] for row in await self._session.all(query)}


class SystemImports(SystemModels):
    """What workers write of their work in all projects."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)
        self._writer = session

    async def take(self, import_id: str, now: float, until: float) -> bool:
        """Have an import for oneself until then; False when somebody else was quicker."""
        values = {"state": "running", "leased_until": until}
        query = update(model_imports).where(model_imports.c.id == import_id, _is_free(now)).values(values)
        return bool(await self._writer.change(query))

    async def keep(self, import_id: str, known_until: float, values: Mapping[str, Any]) -> bool:
        """Say how far one is, and until when one has it now; False when it was cancelled, or given to somebody else."""
        columns = model_imports.c
        mine = and_(columns.id == import_id, columns.state == "running", columns.leased_until == known_until)
        return bool(await self._writer.change(update(model_imports).where(mine).values(values)))

    async def forget(self, before: float) -> int:
        """Remove imports that were over before then; how many."""
        return await self._writer.change(delete(model_imports).where(model_imports.c.finished_at < before))

    async def postpone(self, model_id: str, known_due: float, values: Mapping[str, Any]) -> bool:
        """Set when a source is looked at next; False when another process did."""
        columns = model_watches.c
        query = update(model_watches).where(columns.model_id == model_id, columns.due_at == known_due)
        return bool(await self._writer.change(query.values(values)))


def _is_free(now: float) -> ColumnElement[bool]:
    columns = model_imports.c
    return and_(columns.state.in_(LIVE), or_(columns.leased_until.is_(None), columns.leased_until < now))
