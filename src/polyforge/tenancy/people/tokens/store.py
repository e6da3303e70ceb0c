"""All SQL of tokens. It runs before anybody is known to call, so nothing here is scoped to a tenant."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, RowMapping, and_, delete, func, insert, select, update

from polyforge.database.counting import take_number
from polyforge.database.sessions import ReadSession, WriteSession
from polyforge.tenancy.people.tables import refresh_tokens, service_accounts, signing_keys
from polyforge.tenancy.tables import projects

SIGNING_KEYS = "signing_keys"
"""The generation that is taken to keep others from making signing keys at the same time."""


class RefreshToken(msgspec.Struct, frozen=True):
    """One refresh token, of which the hash is kept."""

    id: str
    family: str
    kind: str
    principal_id: str
    project_id: str
    hash: bytes
    created_at: float
    expires_at: float
    used_at: float | None
    ended_at: float | None


class SystemTokens:
    """Refresh tokens and service accounts, for finding out who brings one."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def by_hash(self, hash_: bytes) -> RefreshToken | None:
        """The refresh token with this hash."""
        row = await self._session.first(select(refresh_tokens).where(refresh_tokens.c.hash == hash_))
        return _token_of(row) if row else None

    async def newest_of(self, family: str) -> RefreshToken | None:
        """The latest token of a family."""
        columns = refresh_tokens.c
        query = select(refresh_tokens).where(columns.family == family).order_by(columns.id.desc()).limit(1)
        row = await self._session.first(query)
        return _token_of(row) if row else None

    async def family_lives(self, family: str, now: float) -> bool:
        """Whether a family has a token that is not expired, and none that was ended.

        One ended token ends them all, so that a token which is being exchanged while its family ends does not outlive
        it in its successor.
        """
        columns = refresh_tokens.c
        query = select(func.count().label("tokens"), func.count(columns.ended_at).label("ended"))
        row = await self._session.first(query.where(columns.family == family, columns.expires_at > now))
        return row is not None and row["tokens"] > 0 and row["ended"] == 0

    async def families_of(self, principal_id: str, now: float) -> list[str]:
        """The families of somebody that live, oldest first."""
        columns = refresh_tokens.c
        query = select(columns.family).where(columns.principal_id == principal_id, columns.used_at.is_(None))
        rows = await self._session.all(query.where(columns.ended_at.is_(None), columns.expires_at > now))
        return sorted(row["family"] for row in rows)

    async def service_account(self, account_id: str) -> RowMapping | None:
        """The service account with this id."""
        return await self._session.first(select(service_accounts).where(service_accounts.c.id == account_id))

    async def organization_of(self, project_id: str) -> str:
        """The organization of a project, empty for one that is gone."""
        query = select(projects.c.organization_id).where(projects.c.id == project_id)
        return await self._session.scalar(query) or ""


class SystemTokenEditor(SystemTokens):
    """The same tokens, to be used and ended."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)
        self._writer = session

    async def add(self, token: RefreshToken) -> None:
        """A new refresh token."""
        await self._writer.change(insert(refresh_tokens).values(msgspec.structs.asdict(token)))

    async def use(self, token_id: str, now: float) -> bool:
        """Use a token up; False when somebody else was first, or it has been ended."""
        columns = refresh_tokens.c
        unused = (columns.id == token_id) & columns.used_at.is_(None) & columns.ended_at.is_(None)
        return await self._writer.change(update(refresh_tokens).where(unused).values(used_at=now)) == 1

    async def end_family(self, family: str, now: float) -> int:
        """End all tokens of a family; how many were not ended yet."""
        return await end_tokens(self._writer, refresh_tokens.c.family == family, now)

    async def forget_used(self, family: str, before: float) -> None:
        """Remove the tokens of a family that were used before a time."""
        columns = refresh_tokens.c
        await self._writer.change(delete(refresh_tokens).where(columns.family == family, columns.used_at < before))

    async def forget_expired(self, principal_id: str, now: float) -> None:
        """Remove the tokens of somebody that time has ended."""
        columns = refresh_tokens.c
        over = (columns.principal_id == principal_id) & (columns.expires_at <= now)
        await self._writer.change(delete(refresh_tokens).where(over))


async def end_tokens(session: WriteSession, which: ColumnElement[bool], now: float) -> int:
    """End refresh tokens; how many were not ended yet.

    They are locked first, by a statement of its own: the one that a rotation which is under way puts in the place of
    another can be seen by the next statement only.
    """
    living = and_(which, refresh_tokens.c.ended_at.is_(None))
    await session.all(select(refresh_tokens.c.id).where(living).order_by(refresh_tokens.c.id).with_for_update())
    return await session.change(update(refresh_tokens).where(living).values(ended_at=now))


class SystemSigningKeys:
    """The keys that sign access tokens."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def usable(self) -> Sequence[RowMapping]:
        """Those that are not retired, oldest first."""
        query = select(signing_keys).where(signing_keys.c.retired_at.is_(None))
        return await self._session.all(query.order_by(signing_keys.c.created_at, signing_keys.c.id))


class SystemSigningKeyEditor(SystemSigningKeys):
    """The same keys, to be made and retired."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)
        self._writer = session

    async def lock(self) -> None:
        """Wait until nobody else makes keys, and keep it so until this transaction ends."""
        await take_number(self._writer, SIGNING_KEYS)

    async def add(self, values: Mapping[str, Any]) -> None:
        """A new key."""
        await self._writer.change(insert(signing_keys).values(values))

    async def retire(self, ids: Sequence[str], now: float) -> None:
        """These keys verify nothing any more."""
        await self._writer.change(update(signing_keys).where(signing_keys.c.id.in_(ids)).values(retired_at=now))


def _token_of(row: RowMapping) -> RefreshToken:
    values: dict[str, Any] = dict(row)
    return RefreshToken(**values)
