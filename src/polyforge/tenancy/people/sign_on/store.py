"""All SQL of single sign-on. It runs before anybody is known to call, so nothing here is scoped to a tenant."""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import RowMapping, delete, insert, select, update

from polyforge.database.sessions import ReadSession, WriteSession
from polyforge.kernel.ids import encode
from polyforge.tenancy.people.tables import identities, sign_ons


class SignOn(msgspec.Struct, frozen=True):
    """A sign-on that was begun here."""

    nonce: str
    verifier: str
    return_to: str


class SystemSignOnEditor:
    """Sign-ons that have begun."""

    def __init__(self, session: WriteSession) -> None:
        self._writer = session

    async def add(self, values: Mapping[str, Any]) -> None:
        """Begin one."""
        await self._writer.change(insert(sign_ons).values(values))

    async def use(self, hash_: bytes, provider: str, now: float) -> SignOn | None:
        """The sign-on of a state; None when it is not this provider's, too old, or was used before."""
        columns = sign_ons.c
        open_ = (columns.hash == hash_) & (columns.provider == provider) & columns.used_at.is_(None)
        used = update(sign_ons).where(open_, columns.expires_at > now).values(used_at=now)
        row = await self._writer.returning(used.returning(columns.nonce, columns.verifier, columns.return_to))
        return SignOn(row["nonce"], row["verifier"], row["return_to"]) if row else None

    async def forget(self, before: float) -> None:
        """Remove those that began before a time; their ids tell when that was."""
        await self._writer.change(delete(sign_ons).where(sign_ons.c.id < encode(int(before * 1000) << 80)))


class SystemIdentities:
    """Who is whom at the identity providers."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def user_of(self, issuer: str, subject: str) -> str | None:
        """The id of the user that a provider's subject is."""
        columns = identities.c
        query = select(columns.user_id).where(columns.issuer == issuer, columns.subject == subject)
        row: RowMapping | None = await self._session.first(query)
        return row["user_id"] if row else None

    async def is_linked(self, user_id: str, issuer: str) -> bool:
        """Whether a user is somebody at this provider already."""
        columns = identities.c
        query = select(columns.subject).where(columns.user_id == user_id, columns.issuer == issuer).limit(1)
        return await self._session.first(query) is not None


class SystemIdentityEditor(SystemIdentities):
    """The same, to be added to."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)
        self._writer = session

    async def add(self, issuer: str, subject: str, user_id: str, now: float) -> None:
        """From now on this subject is this user."""
        row = {"issuer": issuer, "subject": subject, "user_id": user_id, "created_at": now}
        await self._writer.change(insert(identities).values(row))
