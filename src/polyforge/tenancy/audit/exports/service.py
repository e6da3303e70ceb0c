"""What operators see of the exports, and what they do about dead letters."""

from collections.abc import Mapping

import msgspec

from polyforge.database.database import Database
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Conflict
from polyforge.tenancy.audit.exports.store import DeadLetter, ExportState, SystemExportEditor, SystemExportStore
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.audit.store import SystemAuditStore
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.people.paging import check_cursor, check_id, not_found, page_of


class Export(msgspec.Struct, frozen=True):
    """An export of the settings and how far it is."""

    name: str
    use: str
    state: ExportState | None
    """None: it never ran."""
    lag: int
    dead_letters: int


class ExportService:
    """Knows the exports of the settings: `uses` are the kinds of their sinks by name."""

    def __init__(self, database: Database, clock: Clock, recorder: Recorder, uses: Mapping[str, str]) -> None:
        self._database = database
        self._clock = clock
        self._recorder = recorder
        self._uses = uses

    async def exports(self) -> list[Export]:
        """Every export of the settings."""
        async with self._database.read() as session:
            newest = (await SystemAuditStore(session).head()).sequence
            store = SystemExportStore(session)
            states = await store.states()
            counts = {name: await store.letter_count(name) for name in self._uses}
        return [_export(name, use, states.get(name), newest, counts[name]) for name, use in self._uses.items()]

    async def letters(self, export: str | None, limit: int, cursor: str | None) -> tuple[list[DeadLetter], str | None]:
        """Up to `limit` dead letters, newest first, and the cursor of the next page, None after the last."""
        check_cursor(cursor)
        async with self._database.read() as session:
            letters = await SystemExportStore(session).letters(export, limit + 1, cursor)
        return page_of(letters, limit)

    async def retry(self, caller: Caller, letter_id: str) -> DeadLetter:
        """Have a dead letter sent again by the process that sends; Conflict when its export is not set any more."""
        check_id(letter_id, "dead letter")
        async with self._database.write() as session:
            editor = SystemExportEditor(session)
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
            told = {"export": letter.export, "sequence": letter.sequence}
            await self._recorder.changed(session, caller, "settings", "audit.dead_letter_retried", subject, None, told)
        return wanted


def _export(name: str, use: str, state: ExportState | None, newest: int, dead_letters: int) -> Export:
    return Export(name, use, state, newest - (state.sequence if state else 0), dead_letters)
