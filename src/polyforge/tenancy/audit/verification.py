"""Verifies the chain of the audit log: whether each event still is what was written, and none is missing or moved."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec
from sqlalchemy import RowMapping
from sqlalchemy.exc import DBAPIError

from polyforge.database.database import Database
from polyforge.tenancy.audit.log import Chain, topic_of
from polyforge.tenancy.audit.store import Mark, SystemAuditStore, event_of

Reason = Literal["changed", "missing", "unreadable", "added"]
Progress = Callable[[int, int], None]
"""Is told how far the verification is, and where the newest event is, in sequence numbers."""

_BATCH: Final = 500


class Fault(msgspec.Struct, frozen=True):
    """The first event that is wrong."""

    sequence: int
    reason: Reason

    @property
    def message(self) -> str:
        """What that means, for people."""
        return _MEANINGS[self.reason].format(self.sequence)


_MEANINGS: Final[dict[Reason, str]] = {
    "changed": "event {} is not what was written, or not after the one before it, or its master key is not configured",
    "missing": "event {} is missing",
    "unreadable": "event {} cannot be read",
    "added": "event {} was put there without being written by the log, or the log was set back to before it",
}


class Verdict(msgspec.Struct, frozen=True):
    """How far a verification came, and what it found."""

    mark: Mark
    """The last event that is right."""
    newest: int
    """The sequence number of the newest event that there must be."""
    checked: int
    complete: bool
    """It came to the end, or to a fault, after which nothing can be said."""
    fault: Fault | None = None


def _unheard(_sequence: int, _newest: int) -> None:
    """The listener of who does not watch."""


class Verifier:
    """Walks the chain in batches; cancel it at any time, and go on from the last mark."""

    def __init__(self, database: Database, chain: Chain) -> None:
        self._database = database
        self._chain = chain

    async def verify(self, start: Mark, most: int, progress: Progress = _unheard) -> Verdict:
        """Check up to `most` events after `start`, which must be in the log itself unless it is the beginning."""
        if start.sequence and (fault := await self._check_start(start)) is not None:
            return Verdict(start, start.sequence, 0, complete=True, fault=fault)
        mark, checked, newest = start, 0, start.sequence
        while checked < most:
            head, rows = await self._read(mark, min(_BATCH, most - checked))
            newest = head.sequence
            if not rows:
                fault = _compare(mark, head)
                return Verdict(mark, newest, checked, complete=True, fault=fault)
            before = mark
            mark, fault = await asyncio.to_thread(self._check, mark, rows)
            checked += mark.sequence - before.sequence
            progress(mark.sequence, newest)
            if fault is not None:
                return Verdict(mark, newest, checked, complete=True, fault=fault)
        return Verdict(mark, newest, checked, complete=False)

    async def _check_start(self, start: Mark) -> Fault | None:
        async with self._database.read() as session:
            found = await SystemAuditStore(session).hash_of(start.sequence)
        if found is None:
            return Fault(start.sequence, "missing")
        return None if found == start.hash else Fault(start.sequence, "changed")

    async def _read(self, mark: Mark, limit: int) -> tuple[Mark, Sequence[RowMapping | None]]:
        """The head, and after it the rows, so that what is committed meanwhile is not taken for a fault.

        None in place of a row that the database cannot give, such as a text that is not UTF-8 any more.
        """
        async with self._database.read() as session:
            head = await SystemAuditStore(session).head()
        try:
            async with self._database.read() as session:
                return head, await SystemAuditStore(session).rows_after(mark.sequence, limit)
        except DBAPIError:
            if limit == 1:
                return head, [None]
        return await self._read(mark, max(1, limit // 10))

    def _check(self, mark: Mark, rows: Sequence[RowMapping | None]) -> tuple[Mark, Fault | None]:
        for row in rows:
            fault = self._check_row(mark, row)
            if row is None or fault is not None:
                return mark, fault
            mark = Mark(row["sequence"], row["hash"])
        return mark, None

    def _check_row(self, mark: Mark, row: RowMapping | None) -> Fault | None:
        expected = mark.sequence + 1
        if row is None:
            return Fault(expected, "unreadable")
        try:
            event = event_of(row)
            linked = msgspec.convert(row["hash"], bytes)
        except msgspec.ValidationError:
            return Fault(expected, "unreadable")
        if event.sequence < 1:
            return Fault(event.sequence, "added")
        if event.sequence != expected:
            return Fault(expected, "missing")
        if row["topic"] != topic_of(event.action) or not self._chain.holds(event, mark.hash, linked):
            return Fault(expected, "changed")
        return None


def _compare(mark: Mark, head: Mark) -> Fault | None:
    """The last event there is, with the newest that there must be."""
    if mark.sequence < head.sequence:
        return Fault(mark.sequence + 1, "missing")
    if mark.sequence > head.sequence:
        return Fault(head.sequence + 1, "added")
    return None if mark.hash == head.hash else Fault(mark.sequence, "changed")
