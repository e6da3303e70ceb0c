"""The SQL of people and of their ways in.

People belong to the installation, not to a tenant, so these stores have no scope: services give a person's rows to that
person, and to operators, only.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, delete, insert, literal, or_, select, update
from sqlalchemy.exc import IntegrityError

from polyforge.database.sessions import ReadSession, WriteSession
from polyforge.tenancy.conversations.tables import conversations
from polyforge.tenancy.people.records import IDLE_SECONDS, NOBODY, Session, User, session_of, user_of
from polyforge.tenancy.people.tables import (
    group_members,
    identities,
    links,
    memberships,
    refresh_tokens,
    sessions,
    users,
)
from polyforge.tenancy.people.tokens.store import end_tokens
from polyforge.tenancy.tables import organizations, projects


def holders_of(user_id: str) -> CompoundSelect[tuple[str]]:
    """Who may hold what a user holds: the user, and the user's groups.

    For `principal_id IN`. PostgreSQL would go through every membership there is to find either of two that an OR names.
    """
    alone = select(literal(user_id, users.c.id.type))
    return alone.union_all(select(group_members.c.group_id).where(group_members.c.user_id == user_id))


class SystemUserStore:
    """Everybody who has an account."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def by_id(self, user_id: str) -> User | None:
        """The user with this id."""
        return await self._one(users.c.id == user_id)

    async def by_email(self, email: str) -> User | None:
        """The user with this address, which is in lower case."""
        return await self._one(users.c.email == email)

    async def any(self) -> bool:
        """Whether there is a user at all."""
        return await self._session.first(select(users.c.id).limit(1)) is not None

    async def page(self, limit: int, before: str | None) -> list[User]:
        """Up to `limit` users, newest first, older than the id `before`."""
        query = select(users).order_by(users.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(users.c.id < before)
        return [user_of(row) for row in await self._session.all(query)]

    async def by_ids(self, user_ids: Sequence[str]) -> list[User]:
        """Some users, the newest account first."""
        query = select(users).where(users.c.id.in_(user_ids)).order_by(users.c.id.desc())
        return [user_of(row) for row in await self._session.all(query)]

    async def called(self, user_ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """The addresses and names of some users, by id."""
        if not user_ids:
            return {}
        query = select(users.c.id, users.c.email, users.c.name).where(users.c.id.in_(user_ids))
        return {row["id"]: (row["email"], row["name"]) for row in await self._session.all(query)}

    async def has_come_from(self, user_id: str | None, address: str) -> bool:
        """Whether the user has signed in from this address; costs the same when there is no user."""
        columns = sessions.c
        query = select(columns.id).where(columns.user_id == (user_id or NOBODY), columns.address == address).limit(1)
        return await self._session.first(query) is not None

    async def organizations(self, user_id: str) -> list[str]:
        """The ids of the organizations in which the user has a membership, alone or through a group."""
        mine = memberships.c.principal_id.in_(holders_of(user_id))
        query = select(memberships.c.organization_id).where(mine).distinct().order_by(memberships.c.organization_id)
        return [row["organization_id"] for row in await self._session.all(query)]

    async def _one(self, which: ColumnElement[bool]) -> User | None:
        row = await self._session.first(select(users).where(which))
        return user_of(row) if row else None


class SystemPlaceStore:
    """What organizations and projects are called, whoever's they are."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def names(self, organization_id: str, project_id: str) -> tuple[str, str] | None:
        """What an organization and one of its projects are called."""
        same = (projects.c.organization_id == organizations.c.id) & (projects.c.id == project_id)
        query = select(organizations.c.name, projects.c.name.label("project_name"))
        row = await self._session.first(
            query.select_from(organizations).join(projects, same).where(organizations.c.id == organization_id)
        )
        return None if row is None else (row["name"], row["project_name"])


class SystemUserEditor(SystemUserStore):
    """The same, to be changed."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)
        self._writer = session

    async def locked(self, user_id: str) -> User | None:
        """One user, whom nobody else changes before this transaction ends."""
        row = await self._session.first(select(users).where(users.c.id == user_id).with_for_update())
        return user_of(row) if row else None

    async def add(self, values: Mapping[str, Any]) -> bool:
        """Add a user; False when the address is taken, after which the transaction can only be given up."""
        row: dict[str, Any] = {"totp": None, "totp_step": 0, "recovery": [], "disabled_at": None, **values}
        try:
            await self._writer.change(insert(users).values(row))
        except IntegrityError:
            return False
        return True

    async def change(self, user_id: str, values: Mapping[str, Any]) -> None:
        """Set columns of a user."""
        await self._writer.change(update(users).where(users.c.id == user_id).values(values))

    async def change_password(self, user_id: str, before: str, after: str) -> None:
        """Keep a password in another form, unless it has been changed meanwhile."""
        same = update(users).where(users.c.id == user_id, users.c.password == before)
        await self._writer.change(same.values(password=after))

    async def take_step(self, user_id: str, step: int) -> bool:
        """Use a time step of the second factor; False when it, or a later one, was used before."""
        unused = update(users).where(users.c.id == user_id, users.c.totp_step < step)
        return await self._writer.change(unused.values(totp_step=step)) == 1

    async def remove(self, user_id: str) -> None:
        """Take a user away with everything that is only theirs."""
        direct = (memberships.c.principal_id == user_id) & (memberships.c.kind == "user")
        await self._writer.change(delete(memberships).where(direct))
        for table in (group_members, identities, links, sessions):
            await self._writer.change(delete(table).where(table.c.user_id == user_id))
        await self._writer.change(delete(refresh_tokens).where(refresh_tokens.c.principal_id == user_id))
        await self._writer.change(delete(conversations).where(conversations.c.owner_id == user_id))
        await self._writer.change(delete(users).where(users.c.id == user_id))


class SystemSessionStore:
    """Sessions, by their hashes and by their users."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def by_hash(self, hash_: bytes) -> tuple[Session, User] | None:
        """A session, and whose it is."""
        row = await self._session.first(select(sessions).where(sessions.c.hash == hash_))
        if row is None:
            return None
        user = await SystemUserStore(self._session).by_id(row["user_id"])
        return None if user is None else (session_of(row), user)

    async def page(self, user_id: str, now: float, limit: int, before: str | None) -> list[Session]:
        """Up to `limit` sessions of a user that have not ended, newest first."""
        query = select(sessions).where(*_going_on(user_id, now)).order_by(sessions.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(sessions.c.id < before)
        return [session_of(row) for row in await self._session.all(query)]


class SystemSessionEditor(SystemSessionStore):
    """The same, to be begun and ended."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)
        self._writer = session

    async def add(self, values: Mapping[str, Any]) -> None:
        """Begin a session."""
        await self._writer.change(insert(sessions).values(values))

    async def change(self, session_id: str, values: Mapping[str, Any]) -> None:
        """Set columns of a session."""
        await self._writer.change(update(sessions).where(sessions.c.id == session_id).values(values))

    async def end(self, user_id: str, session_id: str, now: float) -> bool:
        """End one session of a user; False when there is none of this id that goes on."""
        one = update(sessions).where(*_going_on(user_id, now), sessions.c.id == session_id)
        return await self._writer.change(one.values(ended_at=now)) == 1

    async def end_all(self, user_id: str, now: float, *, but: str | None = None) -> int:
        """End a user's sessions, and refresh tokens with them, but for the session `but`; how many sessions."""
        every = update(sessions).where(*_going_on(user_id, now), sessions.c.id != (but or NOBODY))
        ended = await self._writer.change(every.values(ended_at=now))
        # After the sessions, which `hold` keeps until the tokens that it is held for can be seen.
        await end_tokens(self._writer, refresh_tokens.c.principal_id == user_id, now)
        return ended

    async def hold(self, user_id: str, session_id: str, now: float) -> bool:
        """Whether a session of a user goes on; if so, nobody ends it before this transaction ends."""
        one = select(sessions.c.id).where(*_going_on(user_id, now), sessions.c.id == session_id)
        return await self._writer.first(one.with_for_update()) is not None

    async def trim(self, user_id: str, keep: int, forget_before: float) -> None:
        """Keep a user's newest sessions, and those that began after a time even when they have ended."""
        mine = select(sessions.c.id).where(sessions.c.user_id == user_id).order_by(sessions.c.id.desc())
        surplus = sessions.c.id.in_(mine.offset(keep).limit(keep))
        over = sessions.c.expires_at < forget_before
        await self._writer.change(delete(sessions).where(sessions.c.user_id == user_id, or_(surplus, over)))


def _going_on(user_id: str, now: float) -> list[ColumnElement[bool]]:
    columns = sessions.c
    awake = columns.seen_at > now - IDLE_SECONDS
    return [columns.user_id == user_id, columns.ended_at.is_(None), columns.expires_at > now, awake]


class SystemLinkStore:
    """Single-use links."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def user_of(self, purpose: str, hash_: bytes, now: float) -> str | None:
        """Whose link it is, as long as it may be used."""
        return await self._session.scalar(select(links.c.user_id).where(*_usable(purpose, hash_, now)))


class SystemLinkEditor(SystemLinkStore):
    """The same, to be made and used."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)
        self._writer = session

    async def add(self, values: Mapping[str, Any]) -> None:
        """Make a link; earlier ones of the same user and purpose no longer work."""
        same = (links.c.user_id == values["user_id"]) & (links.c.purpose == values["purpose"])
        await self._writer.change(delete(links).where(same))
        await self._writer.change(insert(links).values(values))

    async def void(self, user_id: str) -> None:
        """No link of a user works any more."""
        await self._writer.change(delete(links).where(links.c.user_id == user_id))

    async def use(self, purpose: str, hash_: bytes, now: float) -> str | None:
        """Whose link it is; from now on it cannot be used again."""
        used = update(links).where(*_usable(purpose, hash_, now)).values(used_at=now)
        row = await self._writer.returning(used.returning(links.c.user_id))
        return row["user_id"] if row else None


def _usable(purpose: str, hash_: bytes, now: float) -> list[ColumnElement[bool]]:
    columns = links.c
    return [columns.hash == hash_, columns.purpose == purpose, columns.used_at.is_(None), columns.expires_at > now]
