"""Opening payloads, on behalf of a caller and within its project."""

import asyncio

import msgspec

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import NotFound, Unavailable
from polyforge.secrets.sealing import MasterKeys, Unsealable
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.payloads.records import Payload, unseal
from polyforge.tenancy.payloads.store import PayloadRow, PayloadStore


class Opened(msgspec.Struct, frozen=True):
    """A payload that somebody may read now."""

    row: PayloadRow
    payload: Payload


class PayloadService:
    """Opens payloads, and has every opening in the audit log before anybody reads a word."""

    def __init__(self, database: Database, clock: Clock, recorder: Recorder, master: MasterKeys) -> None:
        self._database = database
        self._clock = clock
        self._recorder = recorder
        self._master = master

    async def open(self, caller: Caller, request_id: str) -> Opened:
        """The payload of one of the project's requests; NotFound where none is kept."""
        scope = Scope(caller.organization_id, caller.project_id)
        async with self._database.read(scope) as session:
            row = await PayloadStore(session, scope).find(request_id.replace("\0", ""), self._clock.now())
        if row is None:
            raise NotFound(f"there is no payload of the request {request_id[:40]!r}")
        try:
            payload = await asyncio.to_thread(unseal, self._master, scope, row.id, row.sealed)
        except Unsealable as error:
            raise Unavailable(f"the payload cannot be opened: {error}") from error
        async with self._database.write() as session:
            subject = Subject("request", row.id, scope.organization_id, scope.project_id)
            await self._recorder.read(session, caller, "payload.opened", subject)
        return Opened(row, payload)
