"""All SQL of flows, of one project each."""

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import and_, func, or_

from polyforge.database.records import RecordEditor, RecordStore
from polyforge.database.sessions import Query
from polyforge.flows.keeping.records import PREFIX, Alias, AliasChange, DraftRow, Flow, VersionInfo, is_flow_id, is_slug
from polyforge.flows.keeping.tables import flow_alias_changes, flow_aliases, flow_drafts, flow_versions, flows
from polyforge.tenancy.history.records import Place

_TABLES: Final = (flow_alias_changes, flow_aliases, flow_versions, flow_drafts)


class FlowStore(RecordStore):
    """The flows of one project."""

    async def find(self, name: str) -> Flow | None:
        """A flow by its id, or one that is not put away by its short name."""
        if is_flow_id(name):
            return await self._first(flows, Flow, flows.c.id == name)
        if not is_slug(name):
            return None
        return await self._first(flows, Flow, and_(flows.c.slug == name, flows.c.archived_at.is_(None)))

    async def page(self, limit: int, after: Place | None, search: str, *, archived: bool) -> list[Flow]:
        """Up to `limit` flows, the latest changed first, with `search` in their names."""
        columns = flows.c
        where = columns.archived_at.is_not(None) if archived else columns.archived_at.is_(None)
        if search:
            named = [
                func.lower(each).contains(search.lower(), autoescape=True) for each in (columns.title, columns.slug)
            ]
            where = and_(where, or_(*named))
        if after is not None:
            earlier = and_(columns.updated_at == after.started_at, columns.id < f"{PREFIX}{after.id}")
            where = and_(where, or_(columns.updated_at < after.started_at, earlier))

        def refine(query: Query) -> Query:
            return query.where(where).order_by(columns.updated_at.desc(), columns.id.desc()).limit(limit)

        return [Flow(**row) for row in await self._reader(flows).all(refine=refine)]

    async def draft(self, flow_id: str) -> DraftRow | None:
        """The draft of a flow."""
        return await self._first(flow_drafts, DraftRow, flow_drafts.c.flow_id == flow_id)

    async def versions(self, flow_id: str, limit: int, before: int | None = None) -> list[VersionInfo]:
        """Up to `limit` versions, newest first, with smaller numbers than `before`."""
        columns = flow_versions.c
        where = columns.flow_id == flow_id
        where = where if before is None else and_(where, columns.number < before)
        return await self._all(flow_versions, VersionInfo, where, columns.number.desc(), limit)

    async def version(self, flow_id: str, version: str) -> VersionInfo | None:
        """One version by its id."""
        columns = flow_versions.c
        return await self._first(
            flow_versions, VersionInfo, and_(columns.flow_id == flow_id, columns.version == version)
        )

    async def numbered(self, flow_id: str, number: int) -> VersionInfo | None:
        """One version by its number."""
        columns = flow_versions.c
        return await self._first(flow_versions, VersionInfo, and_(columns.flow_id == flow_id, columns.number == number))

    async def beginning(self, flow_id: str, prefix: str) -> list[VersionInfo]:
        """Up to two versions whose ids begin so."""
        columns = flow_versions.c
        where = and_(columns.flow_id == flow_id, columns.version.startswith(prefix, autoescape=True))
        return await self._all(flow_versions, VersionInfo, where, columns.number, 2)

    async def content(self, flow_id: str, version: str) -> bytes | None:
        """What a version holds, as it is kept."""
        columns = flow_versions.c

        def refine(query: Query) -> Query:
            return query.where(columns.flow_id == flow_id, columns.version == version)

        row = await self._reader(flow_versions).first(columns.content, refine=refine)
        return None if row is None else row["content"]

    async def kept(self, flow_id: str) -> tuple[int, int]:
        """How many versions a flow has, and of how many bytes."""
        columns = flow_versions.c
        found = (func.count().label("count"), func.coalesce(func.sum(columns.size), 0).label("size"))
        row = await self._reader(flow_versions).first(
            *found, refine=lambda query: query.where(columns.flow_id == flow_id)
        )
        return (0, 0) if row is None else (int(row["count"]), int(row["size"]))

    async def count(self) -> int:
        """How many flows there are, put away ones included."""
        row = await self._reader(flows).first(func.count().label("count"))
        return 0 if row is None else row["count"]

    async def slugs_like(self, slug: str) -> set[str]:
        """The short names in use that begin so."""
        columns = flows.c

        def refine(query: Query) -> Query:
            return query.where(columns.slug.startswith(slug, autoescape=True), columns.archived_at.is_(None))

        return {row["slug"] for row in await self._reader(flows).all(columns.slug, refine=refine)}

    async def aliases(self, *flow_ids: str) -> list[Alias]:
        """Everything that points at versions of these flows, by name."""
        return await self._all(flow_aliases, Alias, flow_aliases.c.flow_id.in_(flow_ids), flow_aliases.c.alias)

    async def alias(self, flow_id: str, alias: str) -> Alias | None:
        """One of them."""
        columns = flow_aliases.c
        return await self._first(flow_aliases, Alias, and_(columns.flow_id == flow_id, columns.alias == alias))

    async def changes(
        self, flow_id: str, limit: int, before: str | None = None, alias: str | None = None
    ) -> list[AliasChange]:
        """Up to `limit` changes of where aliases point, newest first, older than the id `before`."""
        columns = flow_alias_changes.c
        where = columns.flow_id == flow_id
        where = where if before is None else and_(where, columns.id < before)
        where = where if alias is None else and_(where, columns.alias == alias)
        return await self._all(flow_alias_changes, AliasChange, where, columns.id.desc(), limit)


class FlowEditor(FlowStore, RecordEditor):
    """The same, to be changed."""

    async def touch(self, flow_id: str, now: float) -> None:
        """A flow counts as changed now."""
        await self.change(flows, flows.c.id == flow_id, {"updated_at": now})

    async def lock(self, flow_id: str) -> Flow | None:
        """A flow that nobody else changes until this transaction ends."""
        await self.change(flows, flows.c.id == flow_id, {"updated_at": flows.c.updated_at})
        return await self._first(flows, Flow, flows.c.id == flow_id)

    async def hold(self, versions: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those of these versions, by flow, that there are; none of them is removed before this transaction ends."""
        wanted = {flow_id for flow_id, _ in versions}
        # Whoever removes one has changed its flow before. All in one order, so that nobody waits for one another.
        await self._reader(flows).all(
            flows.c.id,
            refine=lambda query: query.where(flows.c.id.in_(wanted)).order_by(flows.c.id).with_for_update(read=True),
        )
        columns = flow_versions.c
        named = and_(columns.flow_id.in_(wanted), columns.version.in_({version for _, version in versions}))
        rows = await self._reader(flow_versions).all(
            columns.flow_id, columns.version, refine=lambda query: query.where(named)
        )
        return {(row["flow_id"], row["version"]) for row in rows}.intersection(versions)

    async def forget(self, flow_id: str) -> None:
        """Remove a flow with everything that belongs to it."""
        for table in _TABLES:
            await self.remove(table, table.c.flow_id == flow_id)
        await self.remove(flows, flows.c.id == flow_id)

    async def trim(self, flow_id: str, most: int) -> None:
        """Let go of the oldest changes of aliases beyond so many."""
        last: Sequence[AliasChange] = await self.changes(flow_id, most)
        if len(last) == most:
            columns = flow_alias_changes.c
            await self.remove(flow_alias_changes, and_(columns.flow_id == flow_id, columns.id < last[-1].id))
