"""People's accounts as operators look after them."""

from typing import Any

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.database.sessions import WriteSession
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Conflict, Denied
from polyforge.kernel.ids import new_ulid
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import ALL, Caller
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID
from polyforge.tenancy.organizations.granting import granting_of
from polyforge.tenancy.organizations.owners import owned_of, require_owned
from polyforge.tenancy.organizations.records import OWNER
from polyforge.tenancy.organizations.service import membership_row
from polyforge.tenancy.organizations.store import MEMBERSHIPS, OrganizationEditor, lock_organizations
from polyforge.tenancy.people.links import LinkService
from polyforge.tenancy.people.paging import check_cursor, check_id, not_found, page_of
from polyforge.tenancy.people.passwords import Passwords
from polyforge.tenancy.people.records import User
from polyforge.tenancy.people.store import SystemSessionEditor, SystemUserEditor, SystemUserStore
from polyforge.tenancy.policy import LEVELS, authorize, covers
from polyforge.tenancy.store import SystemStore

_OPERATING = frozenset(name for name, level in LEVELS.items() if level == "installation")


class UserService:
    """Makes, shows, disables and deletes users."""

    def __init__(
        self, database: Database, clock: Clock, recorder: Recorder, passwords: Passwords, links: LinkService
    ) -> None:
        self._database = database
        self._clock = clock
        self._recorder = recorder
        self._passwords = passwords
        self._links = links

    async def create(
        self, caller: Caller, email: str, name: str, password: str, role: str | None, *, operator: bool
    ) -> User:
        """A new user, with a role in the caller's organization where one is given.

        The first user of all, made with the admin key, is an operator and owns the default organization.
        """
        with self._links.room() as ask_to_verify:
            user = await self._create(caller, email, name, password, role, operator=operator)
            if user.verified_at is None:
                ask_to_verify(user)
        return user

    async def create_first(self, caller: Caller, email: str, name: str, password: str) -> User:
        """The first user of all, for whoever has the admin key; Conflict once there is one."""
        kept = await self._passwords.hash(password, email, name)
        async with self._database.write() as session:
            editor, places = SystemUserEditor(session), OrganizationEditor(session, Scope(DEFAULT_ORGANIZATION_ID))
            await places.lock()
            if await editor.any():
                raise no_longer_first()
            user = await self._add(editor, email, name, kept, operator=True, verified=True)
            await places.edit(MEMBERSHIPS).add(membership_row(user.id, "user", OWNER, None, user.created_at))
            await self._record(session, caller, "user.created", user, None, {**_told(user), "role": OWNER})
        return user

    async def _create(
        self, caller: Caller, email: str, name: str, password: str, role: str | None, *, operator: bool
    ) -> User:
        kept = await self._passwords.hash(password, email, name)
        async with self._database.write() as session:
            editor = SystemUserEditor(session)
            places = OrganizationEditor(session, Scope(caller.organization_id))
            await places.lock()
            first = ALL in caller.scopes and not await editor.any()
            if first:
                operator, role = True, OWNER
                places = OrganizationEditor(session, Scope(DEFAULT_ORGANIZATION_ID))
            elif role is not None:
                authorize(caller, "members:write")
                (await granting_of(places, caller)).require_role(role, None)
            if operator:
                _require_operating(caller)
            user = await self._add(editor, email, name, kept, operator=operator, verified=first)
            if role is not None:
                row = membership_row(user.id, "user", role, None, user.created_at)
                await places.edit(MEMBERSHIPS).add(row)
            await self._record(session, caller, "user.created", user, None, {**_told(user), "role": role})
        return user

    async def get(self, user_id: str) -> User:
        """One user, of whichever organization."""
        check_id(user_id, "user")
        async with self._database.read() as session:
            return _found(await SystemUserStore(session).by_id(user_id), user_id)

    async def page(self, limit: int, cursor: str | None, email: str | None) -> tuple[list[User], str | None]:
        """All users, newest first, or the one with an address."""
        check_cursor(cursor)
        async with self._database.read() as session:
            store = SystemUserStore(session)
            if email is None:
                return page_of(await store.page(limit + 1, cursor), limit)
            user = await store.by_email(email)
        return ([] if user is None else [user]), None

    async def keys_of(self, user_id: str) -> dict[str, int]:
        """How many API keys that a user made still work, by project.

        Keys are their project's and outlast who made them; whoever manages the project's keys decides which to revoke.
        """
        async with self._database.read() as session:
            return await SystemStore(session).usable_by_project(user_id, self._clock.now())

    async def disable(self, caller: Caller, user_id: str) -> User:
        """Shut a user out at once, everywhere; Conflict when it is the caller, or the last owner of an organization."""
        async with self._database.write() as session:
            editor = SystemUserEditor(session)
            await _manageable(editor, caller, user_id)
            owned = await _hold(session, editor, user_id)
            user = await _manageable(editor, caller, user_id)
            if user.disabled_at is not None:
                return user
            now = self._clock.now()
            await editor.change(user_id, {"disabled_at": now})
            await SystemSessionEditor(session).end_all(user_id, now)
            await require_owned(session, owned)
            return await self._changed(session, caller, "user.disabled", user, editor)

    async def enable(self, caller: Caller, user_id: str) -> User:
        """Let a user in again."""
        async with self._database.write() as session:
            editor = SystemUserEditor(session)
            user = await _manageable(editor, caller, user_id)
            if user.disabled_at is None:
                return user
            await editor.change(user_id, {"disabled_at": None})
            return await self._changed(session, caller, "user.enabled", user, editor)

    async def remove(self, caller: Caller, user_id: str) -> None:
        """Delete a user with memberships, sessions and links; Conflict as in `disable`."""
        async with self._database.write() as session:
            editor = SystemUserEditor(session)
            await _manageable(editor, caller, user_id)
            owned = await _hold(session, editor, user_id)
            user = await _manageable(editor, caller, user_id)
            await editor.remove(user_id)
            await require_owned(session, owned)
            await self._record(session, caller, "user.removed", user, _told(user), None)

    async def _add(
        self, editor: SystemUserEditor, email: str, name: str, password: str, *, operator: bool, verified: bool
    ) -> User:
        now = self._clock.now()
        values = {
            "id": new_ulid(),
            "email": email,
            "name": name,
            "password": password,
            "verified_at": now if verified else None,
            "operator": operator,
            "created_at": now,
        }
        if not await editor.add(values):
            raise Conflict("there is a user with this address already")
        return _found(await editor.by_email(email), email)

    async def _changed(
        self, session: WriteSession, caller: Caller, action: str, before: User, editor: SystemUserEditor
    ) -> User:
        after = _found(await editor.by_id(before.id), before.id)
        await self._record(session, caller, action, after, _told(before), _told(after))
        return after

    async def _record(
        self,
        session: WriteSession,
        caller: Caller,
        action: str,
        user: User,
        before: dict[str, Any] | None,
        after: dict[str, Any] | None,
    ) -> None:
        subject = Subject("user", user.id, caller.organization_id)
        await self._recorder.changed(session, caller, "people", action, subject, before, after)


async def _hold(session: WriteSession, editor: SystemUserEditor, user_id: str) -> list[str]:
    """Those of a user's organizations that have an owner; there, and of the user, nobody changes anything any more.

    Conflict when the user came into another organization meanwhile: to lock that one now, after the user, could leave
    two waiting for each other.
    """
    places = await editor.organizations(user_id)
    await lock_organizations(session, places)
    await editor.locked(user_id)
    if not set(await editor.organizations(user_id)) <= set(places):
        raise Conflict("what this user may do was changed just now; try again")
    return await owned_of(session, places)


async def _manageable(editor: SystemUserEditor, caller: Caller, user_id: str) -> User:
    """The user, unless the caller may not look after them; Conflict when it is the caller."""
    check_id(user_id, "user")
    user = _found(await editor.by_id(user_id), user_id)
    if user.id == caller.key_id:
        raise Conflict("this is your own account; another operator has to do it")
    if user.operator:
        _require_operating(caller)
    return user


def no_longer_first() -> Conflict:
    """What is said to who would be the first user, and is not."""
    return Conflict("there is a user already: sign in, or ask an operator for an account")


def _require_operating(caller: Caller) -> None:
    missing = covers(caller, _OPERATING)
    if missing is not None:
        raise Denied(f"you lack {missing!r}, so you cannot make or manage an operator")


def _found(user: User | None, wanted: str) -> User:
    if user is None:
        raise not_found("user", wanted)
    return user


def _told(user: User) -> dict[str, Any]:
    """What the audit log keeps of a user."""
    return {
        "email": user.email,
        "name": user.name,
        "operator": user.operator,
        "verified_at": user.verified_at,
        "disabled_at": user.disabled_at,
    }
