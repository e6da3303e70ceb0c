"""Memberships: who has which role, in one project or in the whole organization."""

import msgspec

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Conflict
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.organizations.granting import granting_of
from polyforge.tenancy.organizations.owners import owned_of, require_owned
from polyforge.tenancy.organizations.records import Membership
from polyforge.tenancy.organizations.service import membership_row
from polyforge.tenancy.organizations.store import (
    GROUPS,
    MAX_MEMBERSHIPS_EACH,
    MEMBERSHIPS,
    PROJECTS,
    OrganizationEditor,
    OrganizationStore,
)
from polyforge.tenancy.organizations.telling import record
from polyforge.tenancy.people.paging import check_cursor, check_id, not_found, page_of
from polyforge.tenancy.people.store import SystemUserStore
from polyforge.tenancy.people.tables import memberships


class NamedMembership(msgspec.Struct, frozen=True):
    """A membership with what its holder is called."""

    membership: Membership
    name: str | None
    email: str | None


class MembershipService:
    """Gives and takes roles, none that permits more than the caller holds at the same place."""

    def __init__(self, database: Database, clock: Clock, recorder: Recorder) -> None:
        self._database = database
        self._clock = clock
        self._recorder = recorder

    async def create(
        self, caller: Caller, kind: str, principal_id: str, role: str, project_id: str | None
    ) -> NamedMembership:
        """Give a role to a user or a group.

        NotFound for a user who is not in the organization, as for one who does not exist: strangers are invited.
        """
        async with self._database.write(_scope(caller)) as session:
            editor = OrganizationEditor(session, _scope(caller))
            await editor.lock()
            await self._require_principal(editor, SystemUserStore(session), caller, kind, principal_id)
            if project_id is not None:
                await editor.rows(PROJECTS).get(project_id)
            (await granting_of(editor, caller)).require_role(role, project_id)
            await _require_room(editor, principal_id, project_id)
            row = membership_row(principal_id, kind, role, project_id, self._clock.now())
            made = await editor.edit(MEMBERSHIPS).add(row)
            named = (await _named(editor, SystemUserStore(session), [made]))[0]
            await record(self._recorder, session, caller, "membership.created", _subject(made), None, made)
        return named

    async def page(
        self, caller: Caller, limit: int, cursor: str | None, principal_id: str | None
    ) -> tuple[list[NamedMembership], str | None]:
        """The organization's memberships, or those of one user or group, newest first."""
        check_cursor(cursor)
        where = [] if principal_id is None else [memberships.c.principal_id == principal_id]
        async with self._database.read(_scope(caller)) as session:
            store = OrganizationStore(session, _scope(caller))
            found, following = page_of(await store.rows(MEMBERSHIPS).page(limit + 1, cursor, *where), limit)
            return await _named(store, SystemUserStore(session), found), following

    async def change(self, caller: Caller, membership_id: str, role: str) -> NamedMembership:
        """The membership with another role; Conflict when it was the last owner's."""
        async with self._database.write(_scope(caller)) as session:
            editor = OrganizationEditor(session, _scope(caller))
            owned = await owned_of(session, [caller.organization_id])
            before = await editor.rows(MEMBERSHIPS).get(membership_id)
            granting = await granting_of(editor, caller)
            granting.require_held(before.role, before.project_id)
            granting.require_role(role, before.project_id)
            after = await editor.edit(MEMBERSHIPS).change(membership_id, {"role": role})
            await require_owned(session, owned)
            named = (await _named(editor, SystemUserStore(session), [after]))[0]
            await record(self._recorder, session, caller, "membership.changed", _subject(after), before, after)
        return named

    async def remove(self, caller: Caller, membership_id: str) -> None:
        """Take a role away; Conflict when it was the last owner's."""
        async with self._database.write(_scope(caller)) as session:
            editor = OrganizationEditor(session, _scope(caller))
            owned = await owned_of(session, [caller.organization_id])
            before = await editor.rows(MEMBERSHIPS).get(membership_id)
            (await granting_of(editor, caller)).require_held(before.role, before.project_id)
            await editor.edit(MEMBERSHIPS).remove(memberships.c.id == membership_id)
            await require_owned(session, owned)
            await record(self._recorder, session, caller, "membership.removed", _subject(before), before, None)

    async def _require_principal(
        self, store: OrganizationStore, people: SystemUserStore, caller: Caller, kind: str, principal_id: str
    ) -> None:
        check_id(principal_id, kind)
        if kind == "group":
            await store.rows(GROUPS).get(principal_id)
        elif await people.by_id(principal_id) is None or not await is_reachable(store, caller, principal_id):
            raise not_found("user", principal_id)


async def is_reachable(store: OrganizationStore, caller: Caller, user_id: str) -> bool:
    """Whether the caller may know of a user: one of the organization, or, for those who see all users, anybody."""
    return caller.may("users:read") or await store.knows(user_id)


async def _require_room(editor: OrganizationEditor, principal_id: str, project_id: str | None) -> None:
    columns = memberships.c
    mine = columns.principal_id == principal_id
    same = columns.project_id.is_(None) if project_id is None else columns.project_id == project_id
    if await editor.rows(MEMBERSHIPS).find(mine, same) is not None:
        raise Conflict("they have a role there already; change that one")
    if await editor.rows(MEMBERSHIPS).reaches(MAX_MEMBERSHIPS_EACH, mine):
        raise Conflict(f"they have {MAX_MEMBERSHIPS_EACH} memberships already, which is the most")


async def _named(store: OrganizationStore, people: SystemUserStore, found: list[Membership]) -> list[NamedMembership]:
    by_user = await people.called([each.principal_id for each in found if each.kind == "user"])
    by_group = await store.group_names([each.principal_id for each in found if each.kind == "group"])
    named: list[NamedMembership] = []
    for each in found:
        email, name = by_user.get(each.principal_id, (None, by_group.get(each.principal_id)))
        named.append(NamedMembership(each, name, email))
    return named


def _subject(membership: Membership) -> Subject:
    return Subject("membership", membership.id, membership.organization_id, membership.project_id)


def _scope(caller: Caller) -> Scope:
    return Scope(caller.organization_id)
