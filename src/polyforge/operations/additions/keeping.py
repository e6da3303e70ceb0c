"""Keeping additions: each is built on trial beside everything else, and stored only when all of it works."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from polyforge.database.database import Database
from polyforge.database.sessions import WriteSession
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Conflict, Invalid, NotFound
from polyforge.operations.additions.content import SECTION, Additions, Kind
from polyforge.operations.additions.store import AdditionEditor, AdditionRow, SystemAdditions, gathered
from polyforge.operations.additions.workshop import Workshop
from polyforge.operations.configuration.following import Following
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller

MOST: Final[Mapping[Kind, int]] = {"provider": 100, "model": 1_000}
"""Every process holds them all."""
_TRIES: Final = 10
_encode: Final = msgspec.json.Encoder(order="deterministic").encode


class Shown(msgspec.Struct, frozen=True):
    """What was declared under a name; `row` is None where the file did it."""

    name: str
    content: dict[str, Any]
    row: AdditionRow | None
    error: str | None = None
    """Why it is not in force, though it was added."""


class Keeper:
    """Reads additions, and changes them one at a time."""

    def __init__(
        self, database: Database, clock: Clock, recorder: Recorder, following: Following, workshop: Workshop
    ) -> None:
        self._database = database
        self._clock = clock
        self._recorder = recorder
        self._following = following
        self._workshop = workshop
        self._turn = asyncio.Lock()

    async def declared(self, kind: Kind) -> dict[str, Any]:
        """What the settings declare of a kind, by name, its secrets masked."""
        found = await asyncio.to_thread(self._workshop.declared, self._following.sections)
        return found[SECTION[kind]]

    async def all(self, kind: Kind) -> list[Shown]:
        """Everything of a kind by name, of one name that of the file first."""
        declared = [Shown(name, content, None) for name, content in (await self.declared(kind)).items()]
        added = [self.shown(row) for row in await self.rows() if row.kind == kind]
        return sorted([*declared, *added], key=lambda each: (each.name, each.row is not None))

    async def one(self, kind: Kind, name: str) -> Shown:
        """One of a kind, that of the file first; NotFound when there is none."""
        found = next((each for each in await self.all(kind) if each.name == name), None)
        if found is None:
            raise NotFound(f"there is no {kind} {name!r} that was declared or added")
        return found

    def shown(self, row: AdditionRow) -> Shown:
        """An addition, and whether it is in force."""
        return Shown(row.name, row.value, row, self._following.left_out.get((row.kind, row.name)))

    async def rows(self) -> list[AdditionRow]:
        """Every addition."""
        async with self._database.read() as session:
            return await SystemAdditions(session).rows()

    async def get(self, kind: Kind, name: str) -> AdditionRow:
        """One addition; NotFound when there is none."""
        async with self._database.read() as session:
            found = await SystemAdditions(session).get(kind, name)
        if found is None:
            raise _not_added(kind, name)
        return found

    async def try_out(self, kind: Kind, name: str, content: Any) -> None:
        """Refuse what `put` would: Invalid names the field, Conflict what would not work any more."""
        await self._try(kind, name, gathered(await self.rows()).with_one(kind, name, content))

    async def must_be_added(self, kind: Kind, name: str) -> None:
        """Conflict for one that the settings declare."""
        if name in await self.declared(kind):
            raise Conflict(f"the {kind} {name!r} is declared in polyforge.yaml; change it there", param="name")

    async def put(self, caller: Caller, kind: Kind, name: str, content: Any, *, new: bool) -> AdditionRow:
        """The addition as it now is. Conflict for a new one that is there, NotFound for another that is not."""
        async with self._turn:
            for _ in range(_TRIES):
                rows = await self.rows()
                known = _find(rows, kind, name)
                _check_presence(kind, name, known, new=new)
                if known is None and sum(row.kind == kind for row in rows) >= MOST[kind]:
                    raise Conflict(f"there are {MOST[kind]} added {kind}s, as many as there may be; remove one first")
                await self._try(kind, name, gathered(rows).with_one(kind, name, content))
                row = self._row(caller, kind, name, content, known)
                if await self._changed(caller, rows, known, row):
                    return row
        raise Conflict("others change what is added at the same time; try again")

    async def remove(self, caller: Caller, kind: Kind, name: str) -> AdditionRow:
        """The addition that is no more. Conflict when others need it, which are named; NotFound when there is none."""
        async with self._turn:
            for _ in range(_TRIES):
                rows = await self.rows()
                known = _find(rows, kind, name)
                if known is None:
                    await self.must_be_added(kind, name)
                    raise _not_added(kind, name)
                await self._try_without(kind, name, gathered(rows))
                if await self._changed(caller, rows, known, None):
                    return known
        raise Conflict("others change what is added at the same time; try again")

    async def _try_without(self, kind: Kind, name: str, added: Additions) -> None:
        if kind == "provider" and (users := _users(added, name)):
            raise Conflict(f"the models {', '.join(users)} use the provider {name!r}; change or remove them first")
        await self._try(kind, name, added.with_one(kind, name, None))

    async def _try(self, kind: Kind, name: str, wanted: Additions) -> None:
        left_out = await asyncio.to_thread(self._workshop.trial, self._following.sections, wanted)
        if (reason := left_out.get((kind, name))) is not None:
            raise _invalid(f"{SECTION[kind]}.{name}", reason)
        others = sorted(left_out.keys() - self._following.left_out.keys())
        if others:
            names = ", ".join(f"{other} {its!r}" for other, its in others[:10])
            raise Conflict(f"without it as it is, this would not work any more: {names}; change that first")

    def _row(self, caller: Caller, kind: Kind, name: str, content: Any, known: AdditionRow | None) -> AdditionRow:
        now = self._clock.now()
        return AdditionRow(
            kind=kind,
            name=name,
            content=_encode(content).decode(),
            created_at=known.created_at if known else now,
            created_by=known.created_by if known else caller.key_id,
            changed_at=now,
            changed_by=caller.key_id,
        )

    async def _changed(
        self, caller: Caller, seen: list[AdditionRow], before: AdditionRow | None, after: AdditionRow | None
    ) -> bool:
        """Store a change, unless others changed something since it was tried."""
        async with self._database.write() as session:
            editor = AdditionEditor(session)
            await editor.lock()
            if await editor.rows() != seen:
                return False
            if after is not None:
                await editor.put(after)
            elif before is not None:
                await editor.remove(before.kind, before.name)
            await self._record(session, caller, before, after)
        return True

    async def _record(
        self, session: WriteSession, caller: Caller, before: AdditionRow | None, after: AdditionRow | None
    ) -> None:
        row = after or before
        if row is None:
            return
        verb = "removed" if after is None else "added" if before is None else "changed"
        subject = Subject(row.kind, row.name, caller.organization_id)
        values = [None if each is None else each.value for each in (before, after)]
        await self._recorder.changed(session, caller, "settings", f"{row.kind}.{verb}", subject, *values)


def _find(rows: list[AdditionRow], kind: Kind, name: str) -> AdditionRow | None:
    return next((row for row in rows if (row.kind, row.name) == (kind, name)), None)


def _check_presence(kind: Kind, name: str, known: AdditionRow | None, *, new: bool) -> None:
    if new and known is not None:
        raise Conflict(f"there is a {kind} {name!r} already; PUT changes it", param="name")
    if not new and known is None:
        raise _not_added(kind, name)


def _not_added(kind: Kind, name: str) -> NotFound:
    return NotFound(f"no {kind} {name!r} was added")


def _users(added: Additions, provider: str) -> list[str]:
    return [name for name, model in added.models.items() if provider in providers_of(model)]


def providers_of(model: Mapping[str, Any]) -> list[str]:
    """The providers that a model has deployments at."""
    return [place["provider"] for place in model.get("deployments") or ()]


def _invalid(path: str, reason: str) -> Invalid:
    """A refusal that names the field below `path`, where the reason does."""
    where, colon, what = reason.removeprefix(f"{path}.").partition(": ")
    if reason.startswith(f"{path}.") and colon:
        return Invalid(what, param=where)
    return Invalid(reason.removeprefix(f"{path}: "))
