"""What operators see of the export of the log of requests, and what they do about dead letters."""

from collections.abc import Mapping

import msgspec

from polyforge.database.database import Database
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Conflict
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.people.paging import check_cursor, check_id, not_found, page_of
from polyforge.tenancy.request_logs.store import LogDeadLetter, LogExportState, SystemLogEditor, SystemLogStore


class LogExport(msgspec.Struct, frozen=True):
    """An export of the settings and how far it is."""

    name: str
    use: str
    state: LogExportState | None
    """None: it never ran."""
    newest: int
    """The number of the newest batch."""
    dead_letters: int


class LogExportService:
    """Knows the exports of the settings: `uses` are the kinds of their sinks by name."""

    def __init__(self, database: Database, clock: Clock, recorder: Recorder, uses: Mapping[str, str]) -> None:
        self._database = database
        self._clock = clock
        self._recorder = recorder
        self._uses = uses

    async def exports(self) -> list[LogExport]:
        """Every export of the settings."""
        async with self._database.read() as session:
            store = SystemLogStore(session)
            newest = await store.newest()
            return [
                LogExport(name, use, await store.state(name), newest, await store.letter_count(name))
                for name, use in self._uses.items()
            ]

    async def letters(
        self, export: str | None, limit: int, cursor: str | None
    ) -> tuple[list[LogDeadLetter], str | None]:
        """Up to `limit` dead letters, newest first, and the cursor of the next page, None after the last."""
        check_cursor(cursor)
        async with self._database.read() as session:
            letters = await SystemLogStore(session).letters(export, limit + 1, cursor)
        return page_of(letters, limit)

    async def retry(self, caller: Caller, letter_id: str) -> LogDeadLetter:
        """Have a dead letter sent again by the process that sends; Conflict when its export is not set any more."""
        check_id(letter_id, "dead letter")
        async with self._database.write() as session:
            editor = SystemLogEditor(session)
            letter = await editor.letter(letter_id)
            if letter is None:
                raise not_found("dead letter", letter_id)
            if letter.export not in self._uses:
                raise Conflict(f"the settings have no export {letter.export!r} any more")
            if letter.wanted_at is not None:
                return letter
            wanted = msgspec.structs.replace(letter, wanted_at=self._clock.now())
            await editor.want(wanted)
            subject = Subject("dead_letter", letter_id, caller.organization_id)
            told = {"export": letter.export, "request": letter.request_id}
            await self._recorder.noted(session, caller, "request_log.dead_letter_retried", subject, told)
        return wanted
