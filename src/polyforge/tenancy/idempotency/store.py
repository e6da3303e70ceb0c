"""All SQL of requests with a key. `IdempotentStore` and `IdempotentEditor` see those of one project."""

from collections.abc import Collection, Mapping
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import text, update

from polyforge.database.scopes import Scope, ScopedReader, ScopedWriter
from polyforge.database.sessions import ReadSession, WriteSession
from polyforge.tenancy.idempotency.tables import idempotent_requests

State = Literal["running", "kept", "large"]
_COLUMNS: Final = tuple(column.name for column in idempotent_requests.c)
_CLAIM: Final = text(
    f"INSERT INTO idempotent_requests ({', '.join(_COLUMNS)}) VALUES ({', '.join(f':{name}' for name in _COLUMNS)})"  # noqa: S608  # names of columns
    " ON CONFLICT (id) DO NOTHING"
)


class IdempotentRow(msgspec.Struct, frozen=True):
    """What is known of a key."""

    request: bytes
    state: State
    owner: str
    lease_until: float
    sealed: bytes
    expires_at: float


class IdempotentStore:
    """The keys of one project."""

    def __init__(self, session: ReadSession, scope: Scope) -> None:
        self._rows = ScopedReader(session, scope, idempotent_requests)

    async def find(self, id_: str) -> IdempotentRow | None:
        """What is known of a key, None where nothing is."""
        columns = idempotent_requests.c
        wanted = [columns[name] for name in IdempotentRow.__struct_fields__]
        row = await self._rows.first(*wanted, refine=lambda query: query.where(columns.id == id_))
        return None if row is None else IdempotentRow(**row)


class IdempotentEditor(IdempotentStore):
    """The same keys, to be taken and answered."""

    def __init__(self, session: WriteSession, scope: Scope) -> None:
        super().__init__(session, scope)
        self._session = session
        self._scope = scope
        self._writer = ScopedWriter(session, scope, idempotent_requests)

    async def claim(self, values: Mapping[str, Any]) -> bool:
        """Take a key that nobody has; whether that worked."""
        owned = {"organization_id": self._scope.organization_id, "project_id": self._scope.project_id}
        return await self._session.change(_CLAIM.bindparams(**values, **owned)) > 0

    async def take_over(self, id_: str, now: float, values: Mapping[str, Any]) -> bool:
        """Take a key from an attempt that is no longer alive; whether it is not."""
        columns = idempotent_requests.c
        dead = (columns.id == id_) & (columns.state == "running") & (columns.lease_until <= now)
        return await self._writer.update(dead, values) > 0

    async def answer(self, id_: str, owner: str, values: Mapping[str, Any]) -> bool:
        """Keep what came of an attempt; whether the key was still its."""
        columns = idempotent_requests.c
        return await self._writer.update((columns.id == id_) & (columns.owner == owner), values) > 0

    async def release(self, id_: str, owner: str) -> None:
        """Let go of a key whose attempt came to nothing."""
        columns = idempotent_requests.c
        await self._writer.delete((columns.id == id_) & (columns.owner == owner) & (columns.state == "running"))

    async def expire(self, id_: str, now: float) -> None:
        """Let go of a key whose time is over."""
        columns = idempotent_requests.c
        await self._writer.delete((columns.id == id_) & (columns.expires_at <= now))


class SystemIdempotent:
    """The keys of all projects, for keeping attempts alive."""

    def __init__(self, session: WriteSession) -> None:
        self._session = session

    async def renew(self, owners: Collection[str], lease_until: float) -> None:
        """These attempts are still alive."""
        columns = idempotent_requests.c
        running = columns.owner.in_(sorted(owners)) & (columns.state == "running")
        await self._session.change(update(idempotent_requests).where(running).values(lease_until=lease_until))
