"""All SQL of forgetting a person, within one project."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, Select, Table, select

from polyforge.database.scopes import Scope, ScopedReader, ScopedWriter
from polyforge.database.sessions import ReadSession, WriteSession
from polyforge.tenancy.conversations.tables import conversations
from polyforge.tenancy.erasing.records import Erased, Person
from polyforge.tenancy.history.records import END, Place, Which
from polyforge.tenancy.history.store import HistoryStore, within
from polyforge.tenancy.history.tables import request_feedback
from polyforge.tenancy.payloads.records import hash_of
from polyforge.tenancy.payloads.tables import request_payloads
from polyforge.tenancy.tables import usage_records, usage_series

PAGE: Final = 500
_ALL: Final = Which()
_records = usage_records.c
Rename = Callable[[str], str]
"""From the name of an end user to what stands there instead."""


class PersonStore:
    """What a project's ledger has of a person."""

    def __init__(self, session: ReadSession, scope: Scope, person: Person) -> None:
        self._history = HistoryStore(session, scope)
        self._records = ScopedReader(session, scope, usage_records)
        self._person = person

    async def page(self, after: Place | None) -> tuple[Sequence[RowMapping], Place | None]:
        """The person's rows on the next page of the ledger, and where to go on; None: there are no more."""
        end = await self._history.end(_ALL, after)
        mine = _records.end_user == self._person.name
        if self._person.kind == "user":
            mine = _records.user_id == self._person.name

        def refine(query: Select[Any]) -> Select[Any]:
            query = query.where(*within(_ALL, after, end), mine)
            return query.order_by(_records.started_at.desc(), _records.id.desc()).limit(PAGE)

        rows = await self._records.all(_records.id, _records.started_at, _records.end_user, refine=refine)
        if len(rows) < PAGE:
            return rows, end
        return rows, Place(rows[-1]["started_at"], rows[-1]["id"])


class PersonEditor:
    """What a project knows of a person, to be taken away a page at a time."""

    def __init__(self, session: WriteSession, scope: Scope, person: Person) -> None:
        self._session = session
        self._scope = scope
        self._person = person

    async def forget(self, rows: Sequence[RowMapping], following: Place | None, rename: Rename) -> Erased:
        """Take a page of payloads and feedback away, and names off these rows; what was done, and where to go on."""
        payloads = await self._delete(request_payloads, self._payloads())
        heard = await self._remove_feedback([row["id"] for row in rows])
        is_user = self._person.kind == "user"
        said = await self._remove_said() if is_user else 0
        saved = await self._remove_saved() if is_user else 0
        requests = await self._rename(rows, rename)
        if following is None and PAGE in (payloads, said, saved):
            following = END
        return Erased(requests, payloads, heard + said, saved, place=following)

    async def rename_series(self, after: str, rename: Rename) -> str | None:
        """Take the next page of names after one off the series, of which the sums stay; the last, None: no more."""
        series, columns = ScopedWriter(self._session, self._scope, usage_series), usage_series.c
        mine = columns.end_user == self._person.name
        if self._person.kind == "user":
            mine = columns.user_id == self._person.name

        def refine(query: Select[Any]) -> Select[Any]:
            return query.where(mine, columns.end_user > after).distinct().order_by(columns.end_user).limit(PAGE)

        names = [row["end_user"] for row in await series.all(columns.end_user, refine=refine)]
        for name in names:
            await series.update(mine & (columns.end_user == name), {"end_user": rename(name)})
        return names[-1] if len(names) == PAGE else None

    async def _rename(self, rows: Sequence[RowMapping], rename: Rename) -> int:
        ids: dict[str, list[str]] = defaultdict(list)
        for row in rows:
            if row["end_user"] and rename(row["end_user"]) != row["end_user"]:
                ids[row["end_user"]].append(row["id"])
        records = ScopedWriter(self._session, self._scope, usage_records)
        changed = 0
        for name, those in ids.items():
            changed += await records.update(_records.id.in_(those), {"end_user": rename(name)})
        return changed

    async def _remove_feedback(self, request_ids: Sequence[str]) -> int:
        """What was said of these requests."""
        feedback = ScopedWriter(self._session, self._scope, request_feedback)
        return await feedback.delete(request_feedback.c.request_id.in_(request_ids))

    async def _remove_said(self) -> int:
        """A page of what a user said of anybody's requests."""
        return await self._delete(request_feedback, request_feedback.c.given_by == self._person.name)

    async def _remove_saved(self) -> int:
        """A page of the conversations that a user saved."""
        return await self._delete(conversations, conversations.c.owner_id == self._person.name)

    async def _delete(self, table: Table, mine: ColumnElement[bool]) -> int:
        """Remove a page of rows."""
        columns = table.c
        own = (columns.organization_id == self._scope.organization_id) & (columns.project_id == self._scope.project_id)
        page = select(columns.id).where(own, mine).limit(PAGE)
        return await ScopedWriter(self._session, self._scope, table).delete(columns.id.in_(page))

    def _payloads(self) -> ColumnElement[bool]:
        columns = request_payloads.c
        if self._person.kind == "user":
            return columns.user_id == self._person.name
        return columns.end_user_hash == hash_of(self._person.name)
