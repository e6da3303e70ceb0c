"""Roles that an organization makes for itself, as sets of permissions."""

from collections.abc import Sequence

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Conflict
from polyforge.kernel.ids import new_ulid
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.organizations.granting import granting_of
from polyforge.tenancy.organizations.records import CustomRole
from polyforge.tenancy.organizations.store import (
    INVITATIONS,
    MAX_ROLES,
    MEMBERSHIPS,
    ROLES,
    SERVICE_ACCOUNTS,
    OrganizationEditor,
    OrganizationStore,
)
from polyforge.tenancy.organizations.telling import record
from polyforge.tenancy.people.paging import check_cursor, page_of
from polyforge.tenancy.people.tables import invitations, memberships, roles, service_accounts
from polyforge.tenancy.policy import BUILT_IN_ROLES


class RoleService:
    """Makes, changes and removes an organization's own roles.

    Whoever has a role has what it permits, everywhere that it was given, so a caller makes, changes or removes only
    roles of which they hold every permission in the whole organization.
    """

    def __init__(self, database: Database, clock: Clock, recorder: Recorder) -> None:
        self._database = database
        self._clock = clock
        self._recorder = recorder

    async def create(self, caller: Caller, name: str, permissions: Sequence[str]) -> CustomRole:
        """A new role; Conflict when the name is taken."""
        values = {
            "id": new_ulid(),
            "name": name,
            "permissions": sorted(set(permissions)),
            "created_at": self._clock.now(),
        }
        async with self._database.write(_scope(caller)) as session:
            editor = OrganizationEditor(session, _scope(caller))
            await editor.lock()
            (await granting_of(editor, caller)).require(permissions, None)
            if name in BUILT_IN_ROLES or await editor.rows(ROLES).find(roles.c.name == name) is not None:
                raise Conflict(f"there is a role {name!r} already")
            if await editor.rows(ROLES).reaches(MAX_ROLES):
                raise Conflict(f"the organization has {MAX_ROLES} roles already, which is the most")
            made = await editor.edit(ROLES).add(values)
            await record(self._recorder, session, caller, "role.created", _subject(made), None, made)
        return made

    async def page(self, caller: Caller, limit: int, cursor: str | None) -> tuple[list[CustomRole], str | None]:
        """The organization's own roles, newest first."""
        check_cursor(cursor)
        async with self._database.read(_scope(caller)) as session:
            found = await OrganizationStore(session, _scope(caller)).rows(ROLES).page(limit + 1, cursor)
        return page_of(found, limit)

    async def change(self, caller: Caller, role_id: str, permissions: Sequence[str]) -> CustomRole:
        """The role with other permissions, for everybody who has it."""
        async with self._database.write(_scope(caller)) as session:
            editor = OrganizationEditor(session, _scope(caller))
            await editor.lock()
            before = await editor.rows(ROLES).get(role_id)
            (await granting_of(editor, caller)).require({*before.permissions, *permissions}, None)
            after = await editor.edit(ROLES).change(role_id, {"permissions": sorted(set(permissions))})
            await record(self._recorder, session, caller, "role.changed", _subject(after), before, after)
        return after

    async def remove(self, caller: Caller, role_id: str) -> None:
        """Take a role away; Conflict as long as somebody has it, or is invited to it."""
        async with self._database.write(_scope(caller)) as session:
            editor = OrganizationEditor(session, _scope(caller))
            await editor.lock()
            role = await editor.rows(ROLES).get(role_id)
            (await granting_of(editor, caller)).require(role.permissions, None)
            if await self._is_used(editor, role.name):
                raise Conflict("somebody has this role, or is invited to it; take it away from them first")
            await editor.edit(ROLES).remove(roles.c.id == role_id)
            await record(self._recorder, session, caller, "role.removed", _subject(role), role, None)

    async def _is_used(self, editor: OrganizationEditor, name: str) -> bool:
        columns = invitations.c
        waiting = (columns.role == name) & columns.accepted_at.is_(None) & columns.revoked_at.is_(None)
        return (
            await editor.rows(MEMBERSHIPS).find(memberships.c.role == name) is not None
            or await editor.rows(SERVICE_ACCOUNTS).find(service_accounts.c.role == name) is not None
            or await editor.rows(INVITATIONS).find(waiting, columns.expires_at > self._clock.now()) is not None
        )


def _subject(role: CustomRole) -> Subject:
    return Subject("role", role.id, role.organization_id)


def _scope(caller: Caller) -> Scope:
    return Scope(caller.organization_id)
