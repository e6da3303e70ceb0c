"""Groups of people. Being in one is having its roles, so joining and leaving are giving and taking them."""

from typing import Any, Final

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Conflict, NotFound
from polyforge.kernel.ids import new_ulid
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.organizations.granting import granting_of
from polyforge.tenancy.organizations.members import is_reachable
from polyforge.tenancy.organizations.owners import owned_of, require_owned
from polyforge.tenancy.organizations.records import Group
from polyforge.tenancy.organizations.store import (
    GROUPS,
    MAX_GROUPS,
    MAX_MEMBERSHIPS_EACH,
    MEMBERSHIPS,
    OrganizationEditor,
    OrganizationStore,
)
from polyforge.tenancy.organizations.telling import differs, record
from polyforge.tenancy.people.paging import check_cursor, check_id, not_found, page_of
from polyforge.tenancy.people.records import User
from polyforge.tenancy.people.store import SystemUserStore
from polyforge.tenancy.people.tables import groups, memberships

MAX_MEMBERS: Final = 10_000


class GroupService:
    """Makes and removes groups, and puts people into them; only those whose every role the caller could give."""

    def __init__(self, database: Database, clock: Clock, recorder: Recorder) -> None:
        self._database = database
        self._clock = clock
        self._recorder = recorder

    async def create(self, caller: Caller, name: str, external: str | None) -> Group:
        """A new group without roles; Conflict when the name is taken."""
        values = {"id": new_ulid(), "name": name, "external": external, "created_at": self._clock.now()}
        async with self._database.write(_scope(caller)) as session:
            editor = OrganizationEditor(session, _scope(caller))
            await editor.lock()
            await _require_free(editor, name)
            if await editor.rows(GROUPS).reaches(MAX_GROUPS):
                raise Conflict(f"the organization has {MAX_GROUPS} groups already, which is the most")
            made = await editor.edit(GROUPS).add(values)
            await record(self._recorder, session, caller, "group.created", _subject(made), None, made)
        return made

    async def get(self, caller: Caller, group_id: str) -> Group:
        """One group of the caller's organization."""
        async with self._database.read(_scope(caller)) as session:
            return await OrganizationStore(session, _scope(caller)).rows(GROUPS).get(group_id)

    async def page(self, caller: Caller, limit: int, cursor: str | None) -> tuple[list[Group], str | None]:
        """The organization's groups, newest first."""
        check_cursor(cursor)
        async with self._database.read(_scope(caller)) as session:
            found = await OrganizationStore(session, _scope(caller)).rows(GROUPS).page(limit + 1, cursor)
        return page_of(found, limit)

    async def change(self, caller: Caller, group_id: str, values: dict[str, Any]) -> Group:
        """The group with another name, or following another group of the identity provider."""
        async with self._database.write(_scope(caller)) as session:
            editor = OrganizationEditor(session, _scope(caller))
            await editor.lock()
            before = await editor.rows(GROUPS).get(group_id)
            await _require_grantable(editor, caller, group_id)
            if not differs(before, values):
                return before
            if values.get("name", before.name) != before.name:
                await _require_free(editor, values["name"])
            after = await editor.edit(GROUPS).change(group_id, values)
            await record(self._recorder, session, caller, "group.changed", _subject(after), before, after)
        return after

    async def remove(self, caller: Caller, group_id: str) -> None:
        """Take a group away with its roles; Conflict when its members were the last owners."""
        async with self._database.write(_scope(caller)) as session:
            editor = OrganizationEditor(session, _scope(caller))
            owned = await owned_of(session, [caller.organization_id])
            before = await editor.rows(GROUPS).get(group_id)
            await _require_grantable(editor, caller, group_id)
            await editor.edit(MEMBERSHIPS).remove(memberships.c.principal_id == group_id)
            await editor.leave(group_id)
            await editor.edit(GROUPS).remove(groups.c.id == group_id)
            await require_owned(session, owned)
            await record(self._recorder, session, caller, "group.removed", _subject(before), before, None)

    async def members(
        self, caller: Caller, group_id: str, limit: int, cursor: str | None
    ) -> tuple[list[User], str | None]:
        """The people in a group, the newest account first."""
        check_cursor(cursor)
        async with self._database.read(_scope(caller)) as session:
            store = OrganizationStore(session, _scope(caller))
            await store.rows(GROUPS).get(group_id)
            found = await SystemUserStore(session).by_ids(await store.members_of(group_id, limit + 1, cursor))
        return page_of(found, limit)

    async def join(self, caller: Caller, group_id: str, user_id: str) -> None:
        """Put a user of the organization into a group; one who is in it stays."""
        check_id(user_id, "user")
        async with self._database.write(_scope(caller)) as session:
            editor = OrganizationEditor(session, _scope(caller))
            await editor.lock()
            group = await editor.rows(GROUPS).get(group_id)
            known = await SystemUserStore(session).by_id(user_id) is not None
            if not known or not await is_reachable(editor, caller, user_id):
                raise not_found("user", user_id)
            await _require_grantable(editor, caller, group_id)
            if len(await editor.members_of(group_id, MAX_MEMBERS, None)) >= MAX_MEMBERS:
                raise Conflict(f"the group has {MAX_MEMBERS} members already, which is the most")
            if await editor.join(group_id, user_id):
                told = {"user_id": user_id}
                await self._recorder.changed(session, caller, "people", "group.joined", _subject(group), None, told)

    async def leave(self, caller: Caller, group_id: str, user_id: str) -> None:
        """Take a user out of a group; Conflict when the last owner would go with them."""
        check_id(user_id, "user")
        async with self._database.write(_scope(caller)) as session:
            editor = OrganizationEditor(session, _scope(caller))
            owned = await owned_of(session, [caller.organization_id])
            group = await editor.rows(GROUPS).get(group_id)
            await _require_grantable(editor, caller, group_id)
            if not await editor.leave(group_id, user_id):
                raise NotFound("there is no such user in the group")
            await require_owned(session, owned)
            told = {"user_id": user_id}
            await self._recorder.changed(session, caller, "people", "group.left", _subject(group), told, None)


async def _require_free(editor: OrganizationEditor, name: str) -> None:
    if await editor.rows(GROUPS).find(groups.c.name == name) is not None:
        raise Conflict("the organization has a group of this name already")


async def _require_grantable(editor: OrganizationEditor, caller: Caller, group_id: str) -> None:
    granting = await granting_of(editor, caller)
    for held in await editor.rows(MEMBERSHIPS).page(MAX_MEMBERSHIPS_EACH, None, memberships.c.principal_id == group_id):
        granting.require_held(held.role, held.project_id)


def _subject(group: Group) -> Subject:
    return Subject("group", group.id, group.organization_id)


def _scope(caller: Caller) -> Scope:
    return Scope(caller.organization_id)
