"""All SQL of what is published, of one project each."""

from msgspec.structs import asdict
from sqlalchemy import ColumnElement, and_, func, or_, true

from polyforge.database.scopes import Scope, ScopedReader, ScopedWriter
from polyforge.database.sessions import Query, ReadSession, WriteSession
from polyforge.flows.publishing.records import Publication
from polyforge.flows.publishing.tables import flow_publications

_COLUMNS = flow_publications.c
Place = tuple[str, str]
"""A flow's id and an alias."""


class PublicationStore:
    """What a project publishes."""

    def __init__(self, session: ReadSession, scope: Scope) -> None:
        self._reader = ScopedReader(session, scope, flow_publications)

    async def of_flow(self, flow_id: str) -> list[Publication]:
        """What is published of one flow, by alias; a flow has few aliases."""
        return await self._all(_COLUMNS.flow_id == flow_id)

    async def find(self, flow_id: str, alias: str) -> Publication | None:
        """Whether an alias is published, and as what."""
        found = await self._all(_is(flow_id, alias))
        return found[0] if found else None

    async def tools(self, limit: int, after: Place | None) -> list[Publication]:
        """Up to `limit` that agents may call, in a fixed order, those after a place."""
        return await self._all(and_(_COLUMNS.tool.is_(True), _after(after)), limit)

    async def count(self) -> int:
        """How much is published."""
        row = await self._reader.first(func.count().label("count"))
        return 0 if row is None else row["count"]

    async def _all(self, where: ColumnElement[bool], limit: int | None = None) -> list[Publication]:
        def refine(query: Query) -> Query:
            return query.where(where).order_by(_COLUMNS.flow_id, _COLUMNS.alias).limit(limit)

        wanted = [_COLUMNS[name] for name in Publication.__struct_fields__]
        return [Publication(**row) for row in await self._reader.all(*wanted, refine=refine)]


class PublicationEditor(PublicationStore):
    """The same, to be changed."""

    def __init__(self, session: WriteSession, scope: Scope) -> None:
        super().__init__(session, scope)
        self._writer = ScopedWriter(session, scope, flow_publications)

    async def put(self, publication: Publication) -> None:
        """Publish an alias so from now on."""
        values = asdict(publication)
        if not await self._writer.update(_is(publication.flow_id, publication.alias), values):
            await self._writer.insert(values)

    async def remove(self, flow_id: str, alias: str) -> None:
        """Publish an alias no more."""
        await self._writer.delete(_is(flow_id, alias))


def _is(flow_id: str, alias: str) -> ColumnElement[bool]:
    return and_(_COLUMNS.flow_id == flow_id, _COLUMNS.alias == alias)


def _after(place: Place | None) -> ColumnElement[bool]:
    if place is None:
        return true()
    flow_id, alias = place
    return or_(_COLUMNS.flow_id > flow_id, and_(_COLUMNS.flow_id == flow_id, _COLUMNS.alias > alias))
