"""Where runs write: their events, their long outputs, results for later runs; what they ask of people."""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

import msgspec

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.flows.document import Json
from polyforge.flows.facilities.store import MemoryEditor
from polyforge.flows.running.notes import Page
from polyforge.flows.running.records import APPROVAL_PREFIX, FINISHED, Decision, Question, Site
from polyforge.flows.running.store import RunEditor, RunStore
from polyforge.flows.running.tables import flow_runs
from polyforge.jobs.notes import storable
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import NotFound
from polyforge.kernel.ids import new_ulid
from polyforge.ports.objects import ObjectStore
from polyforge.tenancy.callers import Caller

_DAY_SECONDS: Final = 86_400
_PIECE: Final = 1 << 20
_encode: Final = msgspec.json.Encoder().encode


def scope_of(caller: Caller) -> Scope:
    """Where a caller's runs lie."""
    return Scope(caller.organization_id, caller.project_id)


class RunPages:
    """Where the events of one run are written, with how it stands."""

    def __init__(self, database: Database, scope: Scope, run_id: str) -> None:
        self._database = database
        self._scope = scope
        self._run_id = run_id

    async def write(self, page: Page) -> Sequence[int]:
        """Add events and take some away; how it ended, where it did."""
        async with self._database.write(self._scope) as session:
            editor = RunEditor(session, self._scope)
            last = await editor.last_seq(self._run_id)
            if last is None:
                raise NotFound(f"there is no run {self._run_id!r} any more")
            await editor.add_events(self._run_id, last + 1, page.events)
            await editor.remove_events(self._run_id, page.removed)
            values: dict[str, Any] = {"last_seq": last + len(page.events), "cost_micros": page.cost}
            await editor.change(self._run_id, values)
            moving = flow_runs.c.state.not_in(FINISHED)
            await editor.change(self._run_id, page.ending or {"state": page.state}, moving)
            if page.ending is not None:
                await editor.withdraw(self._run_id)
        return range(last + 1, last + 1 + len(page.events))


class RunApprovals:
    """Where runs ask people."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def ask(self, site: Site, question: Question) -> str:
        """Have something decided; what was asked before a kill is not asked again."""
        scope, now = scope_of(site.caller), self._clock.now()
        async with self._database.write(scope) as session:
            editor = RunEditor(session, scope)
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
            editor = RunEditor(session, scope)
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

    def __init__(self, database: Database, clock: Clock, days: float) -> None:
        self._database = database
        self._clock = clock
        self._seconds = days * _DAY_SECONDS

    async def find(self, caller: Caller, key: str) -> dict[str, Json] | None:
        """The outputs that are kept under a key."""
        scope = scope_of(caller)
        async with self._database.read(scope) as session:
            return await RunStore(session, scope).result(key, self._clock.now())

    async def keep(self, caller: Caller, key: str, outputs: Mapping[str, Json]) -> None:
        """Keep outputs."""
        scope, now = scope_of(caller), self._clock.now()
        async with self._database.write(scope) as session:
            editor = MemoryEditor(session, scope, self._database.dialect)
            await editor.keep(key, _encode(outputs).decode(), now, now + self._seconds)


def prefix_of(project_id: str, run_id: str) -> str:
    """What the keys of the objects of a run begin with."""
    return f"{project_id}/flow-runs/{run_id}/"


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), _PIECE):
        yield data[start : start + _PIECE]
