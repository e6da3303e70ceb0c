"""All SQL of triggers.

`TriggerStore` and `TriggerEditor` are built for a project. `SystemTriggers` is for calls from outside, of which nobody
knows yet whom they concern.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import RowMapping, Select, and_, select

from polyforge.database.scopes import Scope, ScopedReader, ScopedWriter
from polyforge.database.sessions import ReadSession, WriteSession
from polyforge.flows.triggers.records import Firing, FlowTrigger
from polyforge.flows.triggers.tables import flow_trigger_firings, flow_triggers
from polyforge.jobs.records import AskedBy

_triggers: Final = flow_triggers.c
_firings: Final = flow_trigger_firings.c
_OF_TRIGGER: Final = frozenset(FlowTrigger.__struct_fields__) & frozenset(flow_triggers.c.keys())


class TriggerStore:
    """The triggers of one project."""

    def __init__(self, session: ReadSession, scope: Scope) -> None:
        self._rows = ScopedReader(session, scope, flow_triggers)
        self._fired = ScopedReader(session, scope, flow_trigger_firings)

    async def all(self, limit: int, flow_id: str | None = None) -> list[FlowTrigger]:
        """Up to `limit` triggers, the newest first."""

        def refine(query: Select[Any]) -> Select[Any]:
            query = query if flow_id is None else query.where(_triggers.flow_id == flow_id)
            return query.order_by(_triggers.id.desc()).limit(limit)

        return [_trigger_of(row) for row in await self._rows.all(refine=refine)]

    async def find(self, trigger_id: str) -> FlowTrigger | None:
        """One of them."""
        row = await self._rows.first(refine=lambda query: query.where(_triggers.id == trigger_id))
        return None if row is None else _trigger_of(row)

    async def firings(self, trigger_id: str, limit: int, before: str | None) -> list[Firing]:
        """Up to `limit` times that a trigger fired, the newest first, older than the id `before`."""

        def refine(query: Select[Any]) -> Select[Any]:
            query = query if before is None else query.where(_firings.id < before)
            return query.where(_firings.trigger_id == trigger_id).order_by(_firings.id.desc()).limit(limit)

        return [_firing_of(row) for row in await self._fired.all(refine=refine)]


class TriggerEditor(TriggerStore):
    """The same triggers, to be changed and fired."""

    def __init__(self, session: WriteSession, scope: Scope) -> None:
        super().__init__(session, scope)
        self._editor = ScopedWriter(session, scope, flow_triggers)
        self._firing = ScopedWriter(session, scope, flow_trigger_firings)

    async def locked(self, trigger_id: str) -> FlowTrigger | None:
        """One trigger, which nobody else changes or fires until the transaction ends."""
        row = await self._rows.first(refine=lambda query: query.where(_triggers.id == trigger_id).with_for_update())
        return None if row is None else _trigger_of(row)

    async def add(self, values: Mapping[str, Any]) -> None:
        """Have one."""
        await self._editor.insert(values)

    async def change(self, trigger_id: str, values: Mapping[str, Any]) -> None:
        """Set columns of one."""
        await self._editor.update(_triggers.id == trigger_id, values)

    async def remove(self, trigger_id: str) -> None:
        """Take one away, and what is known of when it fired."""
        await self._firing.delete(_firings.trigger_id == trigger_id)
        await self._editor.delete(_triggers.id == trigger_id)

    async def delivered(self, trigger_id: str, delivery: str) -> Firing | None:
        """The time that a delivery came before."""
        same = and_(_firings.trigger_id == trigger_id, _firings.delivery == delivery)
        row = await self._fired.first(refine=lambda query: query.where(same))
        return None if row is None else _firing_of(row)

    async def since(self, trigger_id: str, at: float, most: int) -> list[float]:
        """When a trigger fired after a moment, the earliest first; up to `most` times."""
        later = and_(_firings.trigger_id == trigger_id, _firings.at > at)
        rows = await self._fired.all(
            _firings.at, refine=lambda query: query.where(later).order_by(_firings.at).limit(most)
        )
        return [row["at"] for row in rows]

    async def fire(self, values: Mapping[str, Any]) -> None:
        """Note that a trigger fires."""
        await self._firing.insert(values)

    async def settle(self, firing_id: str, run_id: str | None, error: str | None) -> None:
        """Note what came of it."""
        await self._firing.update(_firings.id == firing_id, {"run_id": run_id, "error": error})


class SystemTriggers:
    """Triggers by id alone, for those who then ask for a proof."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def find(self, trigger_id: str) -> FlowTrigger | None:
        """One of any project."""
        row = await self._session.first(select(flow_triggers).where(_triggers.id == trigger_id))
        return None if row is None else _trigger_of(row)


def _trigger_of(row: RowMapping) -> FlowTrigger:
    values: dict[str, Any] = {name: row[name] for name in _OF_TRIGGER}
    values["inputs"] = msgspec.json.decode(row["inputs"], type=dict[str, Any])
    values["asked_by"] = msgspec.json.decode(row["asked_by"], type=AskedBy)
    return FlowTrigger(**values)


def _firing_of(row: RowMapping) -> Firing:
    return Firing(**{name: row[name] for name in Firing.__struct_fields__})
