"""Where runs write: their events, their long outputs, results for later runs; what they ask of people."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Final

import msgspec

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.flows.document import Json
from polyforge.flows.facilities.store import MemoryEditor
from polyforge.flows.running.notes import NewEvent, Page
from polyforge.flows.running.records import APPROVAL_PREFIX, FINISHED, Decision, Question, Site
from polyforge.flows.running.sealing import Seals
from polyforge.flows.running.store import Move, RunEditor, RunStore
from polyforge.flows.running.tables import flow_runs
from polyforge.jobs.notes import storable
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import NotFound
from polyforge.kernel.ids import new_ulid
from polyforge.ports.objects import ObjectStore
from polyforge.tenancy.callers import Caller

_DAY_SECONDS: Final = 86_400
_PIECE: Final = 1 << 20
_PAGES: Final = 50
"""Runs whose events one transaction writes."""
_encode: Final = msgspec.json.Encoder().encode


def scope_of(caller: Caller) -> Scope:
    """Where a caller's runs lie."""
    return Scope(caller.organization_id, caller.project_id)


class _Waiting(msgspec.Struct):
    """A page that is to be written."""

    scope: Scope
    run_id: str
    page: Page
    written: asyncio.Future[Sequence[int]]


class RunPages:
    """Where all runs of a worker write their events, and how they stand: what waits goes into one transaction.

    A database has room for few transactions at once, SQLite for one, and each run would want ten a second.
    """

    def __init__(self, database: Database, seals: Seals) -> None:
        self._database = database
        self._seals = seals
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None

    def of(self, scope: Scope, run_id: str) -> "PagesOfRun":
        """Where one run writes."""
        return PagesOfRun(self, scope, run_id)

    async def write(self, scope: Scope, run_id: str, page: Page) -> Sequence[int]:
        """Write a page with those of others; the numbers of its events."""
        waiting = _Waiting(scope, run_id, page, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write_all(), name="events of runs")
        return await waiting.written

    async def _write_all(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:_PAGES], self._waiting[_PAGES:]
            for scope in dict.fromkeys(each.scope for each in group):
                await self._settle(scope, [each for each in group if each.scope == scope])

    async def _settle(self, scope: Scope, group: list[_Waiting]) -> None:
        """Write the pages of a project, and tell each what came of it."""
        try:
            last = await self._write_group(scope, group)
        except Exception as error:  # noqa: BLE001 - it is whoever waits for the page that deals with it
            for each in group:
                _fail(each, error)
            return
        for each in group:
            first = last.get(each.run_id)
            if first is None:
                _fail(each, NotFound(f"there is no run {each.run_id!r} any more"))
            elif not each.written.done():
                each.written.set_result(range(first + 1, first + 1 + len(each.page.events)))

    async def _write_group(self, scope: Scope, group: list[_Waiting]) -> Mapping[str, int]:
        """Write pages of different runs of a project; the numbers of the last events that they had, where they are."""
        async with self._database.write(scope) as session:
            editor = RunEditor(session, scope, self._seals)
            last = await editor.last_seqs([each.run_id for each in group])
            found = [each for each in group if each.run_id in last]
            if not found:
                return last
            await editor.add_events([row for each in found for row in _numbered(each, last[each.run_id])])
            await editor.move([_moved(each, last[each.run_id]) for each in found])
            for each in found:
                await editor.remove_events(each.run_id, each.page.removed)
                if each.page.ending is not None:
                    await editor.change(each.run_id, each.page.ending, flow_runs.c.state.not_in(FINISHED))
                    await editor.withdraw(each.run_id)
        return last


class PagesOfRun:
    """Where one run writes. It has one page written at a time."""

    def __init__(self, pages: RunPages, scope: Scope, run_id: str) -> None:
        self._pages = pages
        self._scope = scope
        self._run_id = run_id

    async def write(self, page: Page) -> Sequence[int]:
        """Add events and take some away; how it ended, where it did."""
        return await self._pages.write(self._scope, self._run_id, page)


def _numbered(waiting: _Waiting, last: int) -> Iterator[tuple[str, int, NewEvent]]:
    for place, event in enumerate(waiting.page.events, last + 1):
        yield waiting.run_id, place, event


def _moved(waiting: _Waiting, last: int) -> Move:
    page = waiting.page
    return Move(waiting.run_id, last + len(page.events), page.cost, page.state)


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.written.done():
        waiting.written.set_exception(error)


class RunApprovals:
    """Where runs ask people."""

    def __init__(self, database: Database, clock: Clock, seals: Seals) -> None:
        self._database = database
        self._clock = clock
        self._seals = seals

    async def ask(self, site: Site, question: Question) -> str:
        """Have something decided; what was asked before a kill is not asked again."""
        scope, now = scope_of(site.caller), self._clock.now()
        async with self._database.write(scope) as session:
            editor = RunEditor(session, scope, self._seals)
            asked = await editor.asked(site.run_id, question.node, question.path)
            if asked is not None:
                return asked
            approval_id = f"{APPROVAL_PREFIX}{new_ulid()}"
            await editor.add_approval(
                {
                    "id": approval_id,
                    "run_id": site.run_id,
                    "node": question.node,
                    "path": question.path,
                    "flow_id": site.flow_id,
                    "flow_name": site.flow_name,
                    "question": storable(question.text),
                    "form": question.form,
                    "shown": question.shown,
                    "assignees": list(question.assignees),
                    "state": "pending",
                    "asked_at": now,
                    "expires_at": now + question.seconds,
                }
            )
        return approval_id

    async def close(self, site: Site, approval_id: str) -> Decision:
        """What came of it: what somebody said, and else that nobody did."""
        scope = scope_of(site.caller)
        async with self._database.write(scope) as session:
            editor = RunEditor(session, scope, self._seals)
            await editor.decide(approval_id, "expired", decided_at=self._clock.now())
            found = await editor.approval(approval_id)
        if found is None:
            raise NotFound(f"there is no approval {approval_id!r} any more")
        return Decision(found.state, found.answers or {}, found.reason or "")


class RunValues:
    """Where the long outputs of nodes lie: below their run, under the hash of what they are."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    async def keep(self, site: Site, data: bytes) -> str:
        """Keep bytes."""
        name = hashlib.sha256(data).hexdigest()
        key = f"{prefix_of(site.caller.project_id, site.run_id)}{name}"
        if await self._objects.stat(key) is None:
            await self._objects.put(key, _pieces(data))
        return name

    async def load(self, site: Site, name: str) -> bytes:
        """The bytes."""
        pieces = list[bytes]()
        async with aclosing(self._objects.get(f"{prefix_of(site.caller.project_id, site.run_id)}{name}")) as content:
            async for piece in content:
                pieces.append(piece)
        return b"".join(pieces)


class RunResults:
    """Results of nodes for later runs."""

    def __init__(self, database: Database, clock: Clock, days: float, seals: Seals) -> None:
        self._database = database
        self._clock = clock
        self._seals = seals
        self._seconds = days * _DAY_SECONDS

    async def find(self, caller: Caller, key: str) -> dict[str, Json] | None:
        """The outputs that are kept under a key."""
        scope = scope_of(caller)
        async with self._database.read(scope) as session:
            return await RunStore(session, scope, self._seals).result(key, self._clock.now())

    async def keep(self, caller: Caller, key: str, outputs: Mapping[str, Json]) -> None:
        """Keep outputs."""
        scope, now = scope_of(caller), self._clock.now()
        async with self._database.write(scope) as session:
            editor = MemoryEditor(session, scope, self._database.dialect, self._seals)
            await editor.keep(key, _encode(outputs).decode(), now, now + self._seconds, caller.user_id)


def prefix_of(project_id: str, run_id: str) -> str:
    """What the keys of the objects of a run begin with."""
    return f"{project_id}/flow-runs/{run_id}/"


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), _PIECE):
        yield data[start : start + _PIECE]
