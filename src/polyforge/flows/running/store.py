"""All SQL of runs, of one project each."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

import msgspec
from sqlalchemy import BindParameter, ColumnElement, RowMapping, and_, bindparam, case, or_, true

from polyforge.database.scopes import Scope, ScopedReader, ScopedWriter
from polyforge.database.sessions import Query, ReadSession, WriteSession
from polyforge.flows.running.frames import Done
from polyforge.flows.running.notes import NewEvent, Said
from polyforge.flows.running.records import (
    FINISHED,
    UNFINISHED,
    Approval,
    ApprovalState,
    FlowRun,
    RunError,
    RunEvent,
    RunState,
    StoredOutputs,
    Trigger,
)
from polyforge.flows.running.sealing import OF_APPROVALS, OF_EVENTS, OF_RESULTS, OF_RUNS, Kind, Seals, event_id
from polyforge.flows.running.tables import flow_approvals, flow_results, flow_run_events, flow_runs
from polyforge.kernel.money import Micros

_runs: Final = flow_runs.c
_events: Final = flow_run_events.c
_approvals: Final = flow_approvals.c
_ROWS: Final = 100
"""Rows that one statement adds."""
MOST_TAKEN: Final = 64 * 1024 * 1024
"""Bytes of results that a run takes over from another."""
_encode: Final = msgspec.json.Encoder().encode
_JSON: Final = frozenset(
    {"pinned", "inputs", "outputs", "error", "trigger_outputs", "targets", "form", "shown", "assignees", "answers"}
)
_ONCE: Final = ("node.token", "node.log")


class RunFilter(msgspec.Struct, frozen=True):
    """Which runs; empty: all."""

    flow_id: str | None = None
    states: tuple[RunState, ...] = ()
    trigger_id: str | None = None


class Move(msgspec.Struct, frozen=True):
    """How a run stands by now."""

    run_id: str
    last_seq: int
    cost: Micros
    state: RunState


class RunStore:
    """The runs of one project."""

    def __init__(self, session: ReadSession, scope: Scope, seals: Seals) -> None:
        self._session = session
        self._scope = scope
        self._seals = seals

    async def find(self, run_id: str) -> FlowRun | None:
        """One run."""
        row = await self._rows().first(refine=lambda query: query.where(_runs.id == run_id))
        return None if row is None else self._run_of(row)

    async def keyed(self, key: str) -> tuple[FlowRun, str] | None:
        """The run that was asked for with a key, and what else was asked."""
        row = await self._rows().first(refine=lambda query: query.where(_runs.idempotency_key == key))
        return None if row is None else (self._run_of(row), str(row["request"]))

    async def page(self, limit: int, before: str | None, which: RunFilter) -> list[FlowRun]:
        """Up to `limit` runs, newest first."""

        def refine(query: Query) -> Query:
            query = query.where(*_conditions(which))
            query = query if before is None else query.where(_runs.id < before)
            return query.order_by(_runs.id.desc()).limit(limit)

        return [self._run_of(row) for row in await self._rows().all(refine=refine)]

    async def reaches(self, states: Sequence[RunState], most: int) -> bool:
        """Whether so many are in one of these states."""
        last = await self._rows().first(
            _runs.id, refine=lambda query: query.where(_runs.state.in_(states)).offset(most - 1).limit(1)
        )
        return last is not None

    async def taking(self, flow_id: str, version: str | None) -> str | None:
        """The id of a run that is not over and takes a version, or any, as its own or as that of a sub-flow."""
        own = and_(_runs.flow_id == flow_id, true() if version is None else _runs.version == version)
        pair = _encode((flow_id, version or "")).decode()[1:-1]
        called = _runs.pinned.contains(pair if version is not None else pair[:-1], autoescape=True)

        def refine(query: Query) -> Query:
            return query.where(_runs.state.in_(UNFINISHED), or_(own, called)).limit(1)

        row = await self._rows().first(_runs.id, refine=refine)
        return None if row is None else row["id"]

    async def events(self, run_id: str, after: int, limit: int) -> list[RunEvent]:
        """Up to `limit` events of a run that come after the event `after`."""
        rows = await self._event_rows().all(
            refine=lambda query: (
                query.where(_events.run_id == run_id, _events.seq > after).order_by(_events.seq).limit(limit)
            ),
        )
        return [self._event_of(run_id, row) for row in rows]

    async def said(self, run_id: str) -> Said:
        """What was written of a run."""
        columns = (_events.seq, _events.type, _events.node, _events.path)
        mine = _events.run_id == run_id
        rows = await self._event_rows().all(*columns, refine=lambda query: query.where(mine))
        tokens: dict[tuple[str, str], list[int]] = {}
        for row in rows:
            if row["type"] == "node.token":
                tokens.setdefault((row["node"], row["path"]), []).append(row["seq"])
        once = frozenset((row["type"], row["node"], row["path"]) for row in rows if row["type"] not in _ONCE)
        return Said(len(rows), once, {place: tuple(seqs) for place, seqs in tokens.items()})

    async def results(self, run_id: str) -> dict[str, Done]:
        """What came of the steps of a run, by their names, as far as it was written; a bounded part of very much."""
        found, last, room = dict[str, Done](), 0, MOST_TAKEN
        while room > 0:
            rows = await self._finished(run_id, last)
            for row in rows:
                last, room = row["seq"], room - len(row["payload"])
                payload = self._payload(run_id, row)
                done = msgspec.convert(payload, Done)
                if "key" in payload and done.error is None and (done.outputs is not None or done.stored is not None):
                    found[payload["key"]] = done
            if len(rows) < _ROWS:
                break
        return found

    async def _finished(self, run_id: str, after: int) -> Sequence[RowMapping]:
        mine = and_(_events.run_id == run_id, _events.type == "node.finished", _events.seq > after)
        return await self._event_rows().all(
            _events.seq, _events.payload, refine=lambda query: query.where(mine).order_by(_events.seq).limit(_ROWS)
        )

    async def approval(self, approval_id: str) -> Approval | None:
        """One approval."""
        row = await self._approval_rows().first(refine=lambda query: query.where(_approvals.id == approval_id))
        return None if row is None else self._approval_of(row)

    async def approvals(
        self, limit: int, before: str | None, states: Sequence[ApprovalState], run_id: str | None
    ) -> list[Approval]:
        """Up to `limit` approvals, newest first."""

        def refine(query: Query) -> Query:
            query = query if not states else query.where(_approvals.state.in_(states))
            query = query if run_id is None else query.where(_approvals.run_id == run_id)
            query = query if before is None else query.where(_approvals.id < before)
            return query.order_by(_approvals.id.desc()).limit(limit)

        return [self._approval_of(row) for row in await self._approval_rows().all(refine=refine)]

    async def asked(self, run_id: str, node: str, path: str) -> str | None:
        """The approval that a node asked for in a round."""
        same = and_(_approvals.run_id == run_id, _approvals.node == node, _approvals.path == path)
        row = await self._approval_rows().first(_approvals.id, refine=lambda query: query.where(same))
        return None if row is None else row["id"]

    async def result(self, key: str, now: float) -> dict[str, Any] | None:
        """The outputs that are kept for later runs under a key."""
        columns = flow_results.c
        row = await ScopedReader(self._session, self._scope, flow_results).first(
            columns.outputs, refine=lambda query: query.where(columns.id == key, columns.expires_at > now)
        )
        if row is None:
            return None
        text = self._seals.open(self._scope, "flow result", key, OF_RESULTS, row["outputs"])
        return msgspec.json.decode(text, type=dict[str, Any])

    def _run_of(self, row: RowMapping) -> FlowRun:
        values: dict[str, Any] = {name: row[name] for name in _OWN_OF_RUN}
        told = self._opened("flow run", OF_RUNS, row)
        values["pinned"] = msgspec.json.decode(row["pinned"], type=dict[str, dict[str, tuple[str, str]]])
        values["inputs"] = msgspec.json.decode(told["inputs"] or "{}")
        values["outputs"] = _outputs_of(told["outputs"])
        values["error"] = None if row["error"] is None else msgspec.json.decode(row["error"], type=RunError)
        values["targets"] = None if row["targets"] is None else msgspec.json.decode(row["targets"])
        kind: Any = row["trigger_kind"]
        values["trigger"] = Trigger(kind, row["trigger_id"], msgspec.json.decode(told["trigger_outputs"] or "{}"))
        return FlowRun(**values)

    def _event_of(self, run_id: str, row: RowMapping) -> RunEvent:
        return RunEvent(row["seq"], row["at"], row["type"], row["node"], row["path"], self._payload(run_id, row))

    def _payload(self, run_id: str, row: RowMapping) -> dict[str, Any]:
        text = self._seals.open(self._scope, "flow event", event_id(run_id, row["seq"]), OF_EVENTS, row["payload"])
        return msgspec.json.decode(text)

    def _approval_of(self, row: RowMapping) -> Approval:
        values: dict[str, Any] = {name: row[name] for name in _OWN_OF_APPROVAL}
        told = self._opened("approval", OF_APPROVALS, row)
        texts = {"form": row["form"], "assignees": row["assignees"], **told}
        values |= {name: None if text is None else msgspec.json.decode(text) for name, text in texts.items()}
        return Approval(**values)

    def _opened(self, kind: Kind, names: Iterable[str], row: RowMapping) -> dict[str, str | None]:
        """Sealed columns of a row as they were before."""
        texts = {name: row[name] for name in names}
        return {
            name: None if text is None else self._seals.open(self._scope, kind, row["id"], name, text)
            for name, text in texts.items()
        }

    def _rows(self) -> ScopedReader:
        return ScopedReader(self._session, self._scope, flow_runs)

    def _event_rows(self) -> ScopedReader:
        return ScopedReader(self._session, self._scope, flow_run_events)

    def _approval_rows(self) -> ScopedReader:
        return ScopedReader(self._session, self._scope, flow_approvals)


class RunEditor(RunStore):
    """The same, to be changed."""

    def __init__(self, session: WriteSession, scope: Scope, seals: Seals) -> None:
        super().__init__(session, scope, seals)
        self._writer = session

    async def add(self, values: Mapping[str, Any]) -> None:
        """Have a run."""
        await ScopedWriter(self._writer, self._scope, flow_runs).insert(
            self._kept("flow run", values["id"], OF_RUNS, values)
        )

    async def change(self, run_id: str, values: Mapping[str, Any], *where: ColumnElement[bool]) -> bool:
        """Set columns of a run, under some conditions; whether it was there."""
        writer = ScopedWriter(self._writer, self._scope, flow_runs)
        kept = self._kept("flow run", run_id, OF_RUNS, values)
        return await writer.update(and_(_runs.id == run_id, *where), kept) == 1

    async def last_seqs(self, run_ids: Sequence[str]) -> dict[str, int]:
        """The number of the last event of each run that is there; nobody else adds one before the transaction ends."""
        rows = await self._rows().all(
            _runs.id,
            _runs.last_seq,
            refine=lambda query: query.where(_runs.id.in_(run_ids)).order_by(_runs.id).with_for_update(),
        )
        return {row["id"]: row["last_seq"] for row in rows}

    async def add_events(self, events: Sequence[tuple[str, int, NewEvent]]) -> None:
        """Add events of runs, with their numbers."""
        rows = [self._event_row(*each) for each in events]
        if rows:
            await ScopedWriter(self._writer, self._scope, flow_run_events).insert_many(rows)

    async def move(self, moves: Sequence[Move]) -> None:
        """Say how runs stand; those that are over keep their state."""
        to_state: BindParameter[str] = bindparam("to_state")
        # An IN cannot be run for many rows at once.
        over = or_(*(_runs.state == each for each in FINISHED))
        state = case((over, _runs.state), else_=to_state)
        values: dict[str, Any] = {"last_seq": bindparam("to_seq"), "cost_micros": bindparam("to_cost"), "state": state}
        rows = [
            {"which": each.run_id, "to_seq": each.last_seq, "to_cost": each.cost, "to_state": each.state}
            for each in moves
        ]
        await ScopedWriter(self._writer, self._scope, flow_runs).update_many(
            _runs.id == bindparam("which"), values, rows
        )

    async def end(self, run_id: str, values: Mapping[str, Any], event: NewEvent) -> None:
        """End a run that is not over, with its last event; nobody has to decide for it any more."""
        last = (await self.last_seqs([run_id])).get(run_id, 0)
        if await self.change(run_id, {**values, "last_seq": last + 1}, _runs.state.in_(UNFINISHED)):
            await self.add_events([(run_id, last + 1, event)])
            await self.withdraw(run_id)

    async def remove_events(self, run_id: str, seqs: Sequence[int]) -> None:
        """Take some events away."""
        writer = ScopedWriter(self._writer, self._scope, flow_run_events)
        for start in range(0, len(seqs), _ROWS):
            await writer.delete(and_(_events.run_id == run_id, _events.seq.in_(seqs[start : start + _ROWS])))

    async def add_approval(self, values: Mapping[str, Any]) -> None:
        """Have something decided."""
        await ScopedWriter(self._writer, self._scope, flow_approvals).insert(
            self._kept("approval", values["id"], OF_APPROVALS, values)
        )

    async def change_approvals(self, where: ColumnElement[bool], values: Mapping[str, Any]) -> int:
        """Set columns of approvals as they are kept; of how many."""
        return await ScopedWriter(self._writer, self._scope, flow_approvals).update(where, values)

    async def withdraw(self, run_id: str) -> None:
        """Nobody has to decide for this run any more."""
        await self.change_approvals(
            and_(_approvals.run_id == run_id, _approvals.state == "pending"), {"state": "withdrawn"}
        )

    async def reopen(self, run_id: str) -> None:
        """What was withdrawn is to be decided after all."""
        await self.change_approvals(
            and_(_approvals.run_id == run_id, _approvals.state == "withdrawn"), {"state": "pending"}
        )

    async def decide(self, approval_id: str, state: ApprovalState, **values: Any) -> bool:
        """Settle an approval that is pending; whether it was."""
        pending = and_(_approvals.id == approval_id, _approvals.state == "pending")
        kept = self._kept("approval", approval_id, OF_APPROVALS, values)
        return await self.change_approvals(pending, {"state": state, **kept}) == 1

    def _kept(self, kind: Kind, id_: str, sealed: Iterable[str], values: Mapping[str, Any]) -> dict[str, Any]:
        """Values as they are kept: some are JSON, and some of these sealed."""
        kept = encoded(values)
        for name in sealed:
            if kept.get(name) is not None:
                kept[name] = self._seals.seal(self._scope, kind, id_, name, kept[name])
        return kept

    def _event_row(self, run_id: str, seq: int, event: NewEvent) -> dict[str, Any]:
        payload = self._seals.seal(self._scope, "flow event", event_id(run_id, seq), OF_EVENTS, event.payload)
        return {"run_id": run_id, "seq": seq, **msgspec.structs.asdict(event), "payload": payload}


def encoded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values with the JSON that some of them are kept as."""
    return {
        name: _encode(value).decode() if name in _JSON and value is not None else value
        for name, value in values.items()
    }


def _conditions(which: RunFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if which.flow_id is not None:
        found.append(_runs.flow_id == which.flow_id)
    if which.states:
        found.append(_runs.state.in_(which.states))
    if which.trigger_id is not None:
        found.append(_runs.trigger_id == which.trigger_id)
    return found


_OWN_OF_RUN: Final = frozenset(FlowRun.__struct_fields__) & frozenset(flow_runs.c.keys()) - _JSON
_OWN_OF_APPROVAL: Final = frozenset(Approval.__struct_fields__) & frozenset(flow_approvals.c.keys()) - _JSON


def _outputs_of(text: str | None) -> Any:
    if text is None:
        return None
    found = cast("dict[str, Any]", msgspec.json.decode(text))
    return msgspec.convert(found, StoredOutputs) if "$stored" in found else found
