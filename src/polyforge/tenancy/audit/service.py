"""Searching, exporting and verifying the audit log on behalf of a caller."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Final

import msgspec

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Invalid
from polyforge.tenancy.audit.lines import line_of
from polyforge.tenancy.audit.log import FIRST_HASH, Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.audit.search import Search
from polyforge.tenancy.audit.store import AuditStore, Entry, Mark, Page, Place
from polyforge.tenancy.audit.verification import Verdict, Verifier
from polyforge.tenancy.callers import Caller

_BATCH: Final = 500
_WRONG_CURSOR: Final = "the cursor is not one that a verification gave"


class Span(msgspec.Struct, frozen=True):
    """From `since` up to `until`, without it, in seconds since the epoch."""

    since: float
    until: float


class AuditService:
    """The audit log as its readers have it."""

    def __init__(self, database: Database, clock: Clock, recorder: Recorder, verifier: Verifier) -> None:
        self._database = database
        self._clock = clock
        self._recorder = recorder
        self._verifier = verifier

    async def get(self, caller: Caller, event_id: str) -> Entry:
        """One event; NotFound when the organization has none with this id."""
        async with self._database.read(_scope(caller)) as session:
            return await AuditStore(session, _scope(caller)).get(event_id)

    async def page(self, caller: Caller, search: Search, limit: int, cursor: int | None) -> Page:
        """Up to `limit` events of the organization, latest first."""
        async with self._database.read(_scope(caller)) as session:
            return await AuditStore(session, _scope(caller)).page(search, limit, cursor)

    async def begin_export(self, caller: Caller, since: float | None, until: float | None) -> Span:
        """Record that the events of a span of time are about to be read; by default all up to now."""
        span = Span(since or 0.0, self._clock.now() if until is None else until)
        if span.since > span.until:
            raise Invalid("must not be later than `until`", param="since")
        name = f"{_iso(span.since)}/{_iso(span.until)}"
        async with self._database.write(_scope(caller)) as session:
            await self._recorder.read(session, caller, "audit.exported", Subject("audit", name, caller.organization_id))
        return span

    async def lines(self, caller: Caller, span: Span) -> AsyncGenerator[bytes]:
        """The events of a span as lines of JSON, earliest first.

        No transaction lasts longer than a batch, whatever time its reader takes.
        """
        after: Place | None = None
        while True:
            async with self._database.read(_scope(caller)) as session:
                entries = await AuditStore(session, _scope(caller)).between(span.since, span.until, after, _BATCH)
            if entries:
                yield b"".join(line_of(entry) + b"\n" for entry in entries)
            if len(entries) < _BATCH:
                return
            after = Place(entries[-1].event.at, entries[-1].event.sequence)

    async def verify(self, cursor: str | None, limit: int) -> Verdict:
        """Check up to `limit` events of the whole installation, from a mark on."""
        return await self._verifier.verify(Mark() if cursor is None else parse_mark(cursor), limit)


def write_mark(mark: Mark) -> str:
    """A mark as its cursor."""
    return f"{mark.sequence}.{mark.hash.hex()}"


def parse_mark(cursor: str) -> Mark:
    """The mark of a cursor; Invalid when it is none."""
    sequence, _, digits = cursor.partition(".")
    try:
        mark = Mark(int(sequence), bytes.fromhex(digits))
    except ValueError as error:
        raise Invalid(_WRONG_CURSOR, param="cursor") from error
    if not 0 <= mark.sequence < 1 << 63 or len(mark.hash) != len(FIRST_HASH):
        raise Invalid(_WRONG_CURSOR, param="cursor")
    return mark


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _scope(caller: Caller) -> Scope:
    return Scope(caller.organization_id)
