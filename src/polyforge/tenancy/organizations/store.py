"""The SQL of organizations and of who may do what in them.

The stores built for a scope see nothing else. Those named System are for what stands above one organization, for what
happens before there is a caller, and for what follows a person into every organization.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from msgspec import structs
from sqlalchemy import ColumnElement, RowMapping, Select, Table, and_, insert, select, update

from polyforge.database.scopes import Scope, ScopedReader, ScopedWriter
from polyforge.database.sessions import ReadSession, WriteSession
from polyforge.tenancy.organizations.records import (
    OWNER,
    CustomRole,
    Group,
    Invitation,
    Membership,
    Organization,
    Project,
    ServiceAccount,
)
from polyforge.tenancy.people.paging import check_id, not_found
from polyforge.tenancy.people.store import holders_of
from polyforge.tenancy.people.tables import (
    group_members,
    groups,
    invitations,
    memberships,
    roles,
    service_accounts,
    users,
)
from polyforge.tenancy.tables import organizations, projects

Record = TypeVar("Record", Project, Group, CustomRole, Membership, ServiceAccount, Invitation)

MAX_ROLES = 100
"""Of one organization's own."""
MAX_MEMBERSHIPS_EACH = 200
"""Of one user or group in one organization."""
MAX_GROUPS = 1_000


@dataclass(frozen=True)
class Kind(Generic[Record]):
    """One kind of thing: where it is kept, and what it is called."""

    table: Table
    record: type[Record]
    noun: str


PROJECTS = Kind(projects, Project, "project")
GROUPS = Kind(groups, Group, "group")
ROLES = Kind(roles, CustomRole, "role")
MEMBERSHIPS = Kind(memberships, Membership, "membership")
INVITATIONS = Kind(invitations, Invitation, "invitation")
SERVICE_ACCOUNTS = Kind(service_accounts, ServiceAccount, "service account")


class Rows(Generic[Record]):
    """The things of one kind that belong to a scope."""

    def __init__(self, session: ReadSession, scope: Scope, kind: Kind[Record]) -> None:
        self._reader = ScopedReader(session, scope, kind.table)
        self._columns = kind.table.c
        self._kind = kind

    async def get(self, id_: str) -> Record:
        """One of them; NotFound when it does not exist or belongs to somebody else."""
        check_id(id_, self._kind.noun)
        found = await self.find(self._columns.id == id_)
        if found is None:
            raise not_found(self._kind.noun, id_)
        return found

    async def find(self, *where: ColumnElement[bool]) -> Record | None:
        """The oldest that matches, or None."""
        row = await self._reader.first(refine=lambda query: query.where(*where).order_by(self._columns.id).limit(1))
        return None if row is None else self._kind.record(**dict(row))

    async def page(self, limit: int, before: str | None, *where: ColumnElement[bool]) -> list[Record]:
        """Up to `limit` that match, newest first, older than the id `before`."""

        def refine(query: Select[Any]) -> Select[Any]:
            if before is not None:
                query = query.where(self._columns.id < before)
            return query.where(*where).order_by(self._columns.id.desc()).limit(limit)

        return [self._kind.record(**dict(row)) for row in await self._reader.all(refine=refine)]

    async def reaches(self, most: int, *where: ColumnElement[bool]) -> bool:
        """Whether there are `most` or more that match; reads no more of them than that."""
        rows = await self._reader.all(self._columns.id, refine=lambda query: query.where(*where).limit(most))
        return len(rows) >= most


class EditableRows(Rows[Record]):
    """The same, to be changed."""

    def __init__(self, session: WriteSession, scope: Scope, kind: Kind[Record]) -> None:
        super().__init__(session, scope, kind)
        self._writer = ScopedWriter(session, scope, kind.table)

    async def add(self, values: Mapping[str, Any]) -> Record:
        """A new one."""
        await self._writer.insert(values)
        return await self.get(values["id"])

    async def change(self, id_: str, values: Mapping[str, Any]) -> Record:
        """The same one after the change."""
        await self._writer.update(self._columns.id == id_, values)
        return await self.get(id_)

    async def remove(self, *where: ColumnElement[bool]) -> int:
        """Take away those that match; how many."""
        return await self._writer.delete(and_(*where))


class OrganizationStore:
    """What one organization is made of."""

    def __init__(self, session: ReadSession, scope: Scope) -> None:
        self._session = session
        self._scope = scope
        self._members = ScopedReader(session, scope, group_members)

    def rows(self, kind: Kind[Record]) -> Rows[Record]:
        """Its things of one kind."""
        return Rows(self._session, self._scope, kind)

    async def organization(self) -> Organization:
        """The organization itself."""
        query = select(organizations).where(organizations.c.id == self._scope.organization_id)
        row = await self._session.first(query)
        if row is None:
            raise not_found("organization", self._scope.organization_id)
        return Organization(**dict(row))

    async def permissions_by_role(self) -> dict[str, list[str]]:
        """What the organization's own roles permit, by name."""
        return {role.name: role.permissions for role in await self.rows(ROLES).page(MAX_ROLES, None)}

    async def roles_everywhere(self, user_id: str) -> list[str]:
        """The roles that a user holds in the whole organization, alone or through a group."""
        held = memberships.c.principal_id.in_(holders_of(user_id))
        most = MAX_MEMBERSHIPS_EACH * MAX_GROUPS
        found = await self.rows(MEMBERSHIPS).page(most, None, held, memberships.c.project_id.is_(None))
        return [membership.role for membership in found]

    async def knows(self, user_id: str) -> bool:
        """Whether the user belongs to the organization, through a membership or a group."""
        if await self.rows(MEMBERSHIPS).find(memberships.c.principal_id == user_id) is not None:
            return True
        mine = group_members.c.user_id == user_id
        return await self._members.first(refine=lambda query: query.where(mine).limit(1)) is not None

    async def members_of(self, group_id: str, limit: int, before: str | None) -> list[str]:
        """Ids of up to `limit` users of a group, the newest account first."""
        column = group_members.c.user_id

        def refine(query: Select[Any]) -> Select[Any]:
            if before is not None:
                query = query.where(column < before)
            return query.where(group_members.c.group_id == group_id).order_by(column.desc()).limit(limit)

        return [row["user_id"] for row in await self._members.all(column, refine=refine)]

    async def group_names(self, group_ids: Sequence[str]) -> dict[str, str]:
        """Names of groups by id."""
        if not group_ids:
            return {}
        found = await self.rows(GROUPS).page(len(group_ids), None, groups.c.id.in_(group_ids))
        return {group.id: group.name for group in found}


class OrganizationEditor(OrganizationStore):
    """The same, to be changed."""

    def __init__(self, session: WriteSession, scope: Scope) -> None:
        super().__init__(session, scope)
        self._writer = session
        self._people = ScopedWriter(session, scope, group_members)

    def edit(self, kind: Kind[Record]) -> EditableRows[Record]:
        """Its things of one kind, to be changed."""
        return EditableRows(self._writer, self._scope, kind)

    async def lock(self) -> None:
        """Wait until nobody else changes who may do what here, and keep it so until this transaction ends."""
        await lock_organizations(self._writer, [self._scope.organization_id])

    async def rename(self, name: str) -> Organization:
        """The organization under another name."""
        mine = update(organizations).where(organizations.c.id == self._scope.organization_id)
        await self._writer.change(mine.values(name=name))
        return await self.organization()

    async def join(self, group_id: str, user_id: str) -> bool:
        """Put a user into a group; False when they are in it."""
        if await self._first_of(group_id, user_id) is not None:
            return False
        await self._people.insert({"group_id": group_id, "user_id": user_id})
        return True

    async def leave(self, group_id: str, user_id: str | None = None) -> int:
        """Take a user, or everybody, out of a group; how many."""
        where = group_members.c.group_id == group_id
        return await self._people.delete(where if user_id is None else where & (group_members.c.user_id == user_id))

    async def _first_of(self, group_id: str, user_id: str) -> RowMapping | None:
        which = (group_members.c.group_id == group_id) & (group_members.c.user_id == user_id)
        return await self._people.first(refine=lambda query: query.where(which))


class SystemOrganizationStore:
    """Organizations side by side, for operators, and invitations by their links."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def page(self, limit: int, before: str | None) -> list[Organization]:
        """Up to `limit` organizations, newest first."""
        query = select(organizations).order_by(organizations.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(organizations.c.id < before)
        return [Organization(**dict(row)) for row in await self._session.all(query)]

    async def name(self, organization_id: str) -> str | None:
        """The name of an organization."""
        return await self._session.scalar(select(organizations.c.name).where(organizations.c.id == organization_id))

    async def names(self, organization_ids: Collection[str]) -> dict[str, str]:
        """The names of some organizations, by id."""
        columns = organizations.c
        rows = await self._session.all(select(columns.id, columns.name).where(columns.id.in_(organization_ids)))
        return {row["id"]: row["name"] for row in rows}

    async def reach(self, most: int) -> bool:
        """Whether there are `most` or more."""
        return len(await self._session.all(select(organizations.c.id).limit(most))) >= most

    async def projects_of(self, user_id: str, limit: int, before: str | None) -> list[Project]:
        """Up to `limit` of the projects that a user may work in, newest first."""
        held = memberships.c.principal_id.in_(holders_of(user_id))
        whole = select(memberships.c.organization_id).where(held, memberships.c.project_id.is_(None))
        theirs = projects.alias()
        single = select(memberships.c.project_id).where(held, memberships.c.project_id.is_not(None))
        reachable = select(theirs.c.id).where(theirs.c.organization_id.in_(whole)).union_all(single)
        query = select(projects).where(projects.c.id.in_(reachable)).order_by(projects.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(projects.c.id < before)
        return [Project(**dict(row)) for row in await self._session.all(query)]

    async def invitation(self, hash_: bytes, now: float) -> Invitation | None:
        """The invitation of a link, as long as it may be accepted."""
        row = await self._session.first(select(invitations).where(*_open(hash_, now)))
        return None if row is None else Invitation(**dict(row))


class SystemOrganizationEditor(SystemOrganizationStore):
    """The same, to be changed."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)
        self._writer = session

    async def add(self, organization: Organization) -> None:
        """A new organization."""
        await self._writer.change(insert(organizations).values(structs.asdict(organization)))

    async def accept(self, hash_: bytes, now: float) -> bool:
        """Use an invitation up; False when somebody else was first."""
        used = update(invitations).where(*_open(hash_, now)).values(accepted_at=now)
        return await self._writer.change(used) == 1


async def lock_organizations(session: WriteSession, organization_ids: Sequence[str]) -> None:
    """Wait until nobody else changes who may do what in these; taken by id, so that no two wait for each other."""
    query = select(organizations.c.id).where(organizations.c.id.in_(organization_ids)).order_by(organizations.c.id)
    await session.all(query.with_for_update())


async def is_owned(session: WriteSession, organization_id: str) -> bool:
    """Whether an organization has an owner who can sign in, whom nobody disables before the transaction ends.

    Call it with the organization locked: organizations come before users, so that no two wait for each other.
    """
    columns = memberships.c
    owning = (columns.organization_id == organization_id) & columns.project_id.is_(None) & (columns.role == OWNER)
    alone = memberships.join(users, (columns.kind == "user") & (columns.principal_id == users.c.id))
    grouped = memberships.join(
        group_members, (columns.kind == "group") & (columns.principal_id == group_members.c.group_id)
    ).join(users, group_members.c.user_id == users.c.id)
    for held in (alone, grouped):
        owners = select(users.c.id).select_from(held).where(owning, users.c.disabled_at.is_(None))
        one = owners.order_by(columns.id).limit(1).with_for_update(read=True, of=users)
        if await session.first(one) is not None:
            return True
    return False


def _open(hash_: bytes, now: float) -> list[ColumnElement[bool]]:
    columns = invitations.c
    return [
        columns.hash == hash_,
        columns.accepted_at.is_(None),
        columns.revoked_at.is_(None),
        columns.expires_at > now,
    ]
