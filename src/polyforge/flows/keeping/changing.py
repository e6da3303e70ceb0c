"""What every change of a flow has in common: its transaction, its lock, and what is told of it."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.database.sessions import WriteSession
from polyforge.flows.keeping.contents import Desk
from polyforge.flows.keeping.records import Flow
from polyforge.flows.keeping.store import FlowEditor, FlowStore
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Conflict
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.people.paging import not_found

COUNTER: Final = "flows"
"""Of which changes of short names hold the lock."""


class Needed(Protocol):
    """Whoever may need a flow, or a version of one, to stay."""

    async def why(self, caller: Caller, flow_id: str, version: str | None) -> str | None:
        """What keeps it from being taken away, in words that say what to do; None: nothing.

        Without a version it is about the flow being put away, after which it is not resolved any more.
        """
        ...

    async def why_any(self, caller: Caller, flow_id: str) -> str | None:
        """The same for a flow and all of its versions, before they are removed for ever."""
        ...


class Tools(msgspec.Struct, frozen=True):
    """What the services of flows work with."""

    database: Database
    clock: Clock
    recorder: Recorder
    desk: Desk


class Looking(NamedTuple):
    """A transaction that looks at one flow."""

    store: FlowStore
    flow: Flow


class Change(NamedTuple):
    """A transaction that changes one flow, which nobody else changes meanwhile."""

    session: WriteSession
    editor: FlowEditor
    flow: Flow
    now: float


def scope_of(caller: Caller) -> Scope:
    """The caller's project."""
    return Scope(caller.organization_id, caller.project_id)


@asynccontextmanager
async def looking(tools: Tools, caller: Caller, name: str) -> AsyncGenerator[Looking]:
    """A transaction on a flow of the caller's project; NotFound without it."""
    scope = scope_of(caller)
    async with tools.database.read(scope) as session:
        store = FlowStore(session, scope)
        yield Looking(store, found(await store.find(name), name))


@asynccontextmanager
async def changing(tools: Tools, caller: Caller, name: str) -> AsyncGenerator[Change]:
    """A transaction that changes a flow; NotFound without it, Conflict for one that is put away."""
    scope, now = scope_of(caller), tools.clock.now()
    async with tools.database.write(scope) as session:
        editor = FlowEditor(session, scope)
        known = found(await editor.find(name), name)
        flow = found(await editor.lock(known.id), name)
        refuse_archived(flow)
        yield Change(session, editor, flow, now)


async def tell(
    tools: Tools,
    caller: Caller,
    change: Change,
    action: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> None:
    """For the audit log and the events: what was done to a flow, which is changed now. Last in its transaction."""
    flow = change.flow
    await change.editor.touch(flow.id, change.now)
    subject = Subject("flow", flow.id, flow.organization_id, flow.project_id)
    named = {"flow": flow.slug}
    await tools.recorder.changed(
        change.session,
        caller,
        "flows",
        action,
        subject,
        None if before is None else {**named, **before},
        None if after is None else {**named, **after},
    )


def found(flow: Flow | None, name: str) -> Flow:
    """The flow; NotFound without one."""
    if flow is None:
        raise not_found("flow", name)
    return flow


def refuse_archived(flow: Flow) -> None:
    """Conflict for a flow that is put away."""
    if flow.archived_at is not None:
        raise Conflict(f"the flow {flow.slug!r} is put away; restore it first: POST /api/v1/flows/{flow.id}/restore")
