"""Organizations and their projects."""

from typing import Any, Final

from sqlalchemy import ColumnElement

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Conflict, Invalid
from polyforge.kernel.ids import new_ulid
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.defaults import DEFAULT_NAME
from polyforge.tenancy.organizations.records import OWNER, Organization, OwnProject, Project
from polyforge.tenancy.organizations.store import (
    MEMBERSHIPS,
    PROJECTS,
    OrganizationEditor,
    OrganizationStore,
    SystemOrganizationEditor,
    SystemOrganizationStore,
)
from polyforge.tenancy.organizations.telling import record
from polyforge.tenancy.people.callers import Principals
from polyforge.tenancy.people.paging import check_cursor, page_of
from polyforge.tenancy.people.sessions import require_user
from polyforge.tenancy.people.store import SystemUserStore
from polyforge.tenancy.tables import projects

MAX_ORGANIZATIONS: Final = 10_000
MAX_PROJECTS: Final = 1_000


class OrganizationService:
    """Makes organizations, for operators, and projects, for their owners and admins."""

    def __init__(self, database: Database, clock: Clock, recorder: Recorder, principals: Principals) -> None:
        self._database = database
        self._principals = principals
        self._clock = clock
        self._recorder = recorder

    async def create(self, caller: Caller, name: str, owner_id: str | None) -> Organization:
        """A new organization with one project, owned by that user or by the caller."""
        owner_id = owner_id or (caller.key_id if caller.kind == "user" else None)
        if owner_id is None:
            raise Invalid("say who shall own it: a key cannot", param="owner_id")
        made = Organization(new_ulid(), name, self._clock.now())
        async with self._database.write(Scope(made.id)) as session:
            owner = await SystemUserStore(session).by_id(owner_id)
            if owner is None or owner.disabled_at is not None:
                raise Invalid("there is no such user, or the account is disabled", param="owner_id")
            system = SystemOrganizationEditor(session)
            if await system.reach(MAX_ORGANIZATIONS):
                raise Conflict(f"there are {MAX_ORGANIZATIONS} organizations already, which is the most")
            await system.add(made)
            editor = OrganizationEditor(session, Scope(made.id))
            await editor.edit(PROJECTS).add(self._project(DEFAULT_NAME))
            await editor.edit(MEMBERSHIPS).add(membership_row(owner_id, "user", OWNER, None, made.created_at))
            subject = Subject("organization", made.id, made.id)
            await record(self._recorder, session, caller, "organization.created", subject, None, made)
        return made

    async def page(self, limit: int, cursor: str | None) -> tuple[list[Organization], str | None]:
        """All organizations, newest first; for operators."""
        check_cursor(cursor)
        async with self._database.read() as session:
            found = await SystemOrganizationStore(session).page(limit + 1, cursor)
        return page_of(found, limit)

    async def mine(self, caller: Caller) -> Organization:
        """The caller's organization."""
        async with self._database.read(_scope(caller)) as session:
            return await OrganizationStore(session, _scope(caller)).organization()

    async def rename(self, caller: Caller, name: str) -> Organization:
        """The caller's organization under another name."""
        async with self._database.write(_scope(caller)) as session:
            editor = OrganizationEditor(session, _scope(caller))
            await editor.lock()
            before = await editor.organization()
            after = await editor.rename(name)
            subject = Subject("organization", after.id, after.id)
            await record(self._recorder, session, caller, "organization.renamed", subject, before, after)
        return after

    async def create_project(self, caller: Caller, name: str) -> Project:
        """A new project of the caller's organization; Conflict when the name is taken."""
        async with self._database.write(_scope(caller)) as session:
            editor = OrganizationEditor(session, _scope(caller))
            await editor.lock()
            await _require_free(editor, projects.c.name == name)
            if await editor.rows(PROJECTS).reaches(MAX_PROJECTS):
                raise Conflict(f"the organization has {MAX_PROJECTS} projects already, which is the most")
            made = await editor.edit(PROJECTS).add(self._project(name))
            await record(self._recorder, session, caller, "project.created", _subject(made), None, made)
        return made

    async def rename_project(self, caller: Caller, project_id: str, name: str) -> Project:
        """A project under another name; Conflict when it is taken."""
        async with self._database.write(_scope(caller)) as session:
            editor = OrganizationEditor(session, _scope(caller))
            await editor.lock()
            before = await editor.rows(PROJECTS).get(project_id)
            await _require_free(editor, (projects.c.name == name) & (projects.c.id != project_id))
            after = await editor.edit(PROJECTS).change(project_id, {"name": name})
            await record(self._recorder, session, caller, "project.renamed", _subject(after), before, after)
        return after

    async def project(self, caller: Caller, project_id: str) -> Project:
        """One project of the caller's organization."""
        async with self._database.read(_scope(caller)) as session:
            return await OrganizationStore(session, _scope(caller)).rows(PROJECTS).get(project_id)

    async def projects(self, caller: Caller, limit: int, cursor: str | None) -> tuple[list[Project], str | None]:
        """The projects of the caller's organization, newest first."""
        check_cursor(cursor)
        async with self._database.read(_scope(caller)) as session:
            found = await OrganizationStore(session, _scope(caller)).rows(PROJECTS).page(limit + 1, cursor)
        return page_of(found, limit)

    async def projects_of(self, caller: Caller, limit: int, cursor: str | None) -> tuple[list[OwnProject], str | None]:
        """The projects that the caller may work in, of whichever organization, newest first."""
        require_user(caller)
        check_cursor(cursor)
        async with self._database.read() as session:
            store = SystemOrganizationStore(session)
            page, following = page_of(await store.projects_of(caller.key_id, limit + 1, cursor), limit)
            names = await store.names({project.organization_id for project in page})
        places = [(project.organization_id, project.id) for project in page]
        permissions = await self._principals.permissions(caller.key_id, places)
        return [OwnProject(each, names[each.organization_id], permissions[each.id]) for each in page], following

    def _project(self, name: str) -> dict[str, Any]:
        return {"id": new_ulid(), "name": name, "created_at": self._clock.now()}


def membership_row(
    principal_id: str, kind: str, role: str, project_id: str | None, created_at: float
) -> dict[str, Any]:
    """A new membership as it is kept."""
    return {
        "id": new_ulid(),
        "project_id": project_id,
        "kind": kind,
        "principal_id": principal_id,
        "role": role,
        "created_at": created_at,
    }


async def _require_free(editor: OrganizationEditor, taken: ColumnElement[bool]) -> None:
    if await editor.rows(PROJECTS).find(taken) is not None:
        raise Conflict("the organization has a project of this name already")


def _subject(project: Project) -> Subject:
    return Subject("project", project.id, project.organization_id, project.id)


def _scope(caller: Caller) -> Scope:
    return Scope(caller.organization_id)
