"""From a user or a service account to the caller that its requests act for, as memberships stand right now."""

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from sqlalchemy import RowMapping, or_, select

from polyforge.database.database import Database
from polyforge.database.sessions import ReadSession
from polyforge.kernel.errors import NotFound, Unauthenticated
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.people.store import holders_of
from polyforge.tenancy.people.tables import group_members, memberships, roles, service_accounts, users
from polyforge.tenancy.policy import Grant, effective, permissions_of
from polyforge.tenancy.tables import projects

MAX_MEMBERSHIPS = 10_000
"""More than anybody has; a bound on what one look-up may read."""


class Membership(msgspec.Struct, frozen=True):
    """One role of somebody, held directly or through a group."""

    organization_id: str
    project_id: str | None
    role: str


class Principals:
    """Looks people and service accounts up. Nothing is kept: every answer is as true as the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_user(self, user_id: str, project_id: str | None) -> Caller:
        """The caller of a user in a project, the first of the user's projects when None.

        Unauthenticated for a user who is gone or disabled, NotFound for a project that the user is no member of.
        """
        async with self._database.read() as session:
            store = _PrincipalStore(session)
            user = await store.user(user_id)
            if user is None or user["disabled_at"] is not None:
                raise Unauthenticated("this account does not exist or is disabled")
            held = await store.memberships(user_id)
            place = await store.place(held, project_id)
            custom = await store.custom_roles(place["organization_id"], held)
            group_ids = await store.groups(user_id, place["organization_id"])
        grants = _grants(held, place["organization_id"], custom)
        scopes = effective(grants, place["id"], operator=user["operator"])
        return Caller(
            key_id=user["id"],
            key_name=user["email"],
            organization_id=place["organization_id"],
            project_id=place["id"],
            scopes=scopes,
            kind="user",
            user_id=user["id"],
            group_ids=group_ids,
        )

    async def permissions(self, user_id: str, places: Sequence[tuple[str, str]]) -> dict[str, frozenset[str]]:
        """What a user may do in each of some projects, given as (organization, project), by the project's id."""
        async with self._database.read() as session:
            store = _PrincipalStore(session)
            user = await store.user(user_id)
            held = await store.memberships(user_id)
            custom = await store.roles_of({organization_id for organization_id, _ in places}, held)
        operator = user is not None and user["operator"]
        return {
            project_id: effective(
                _grants(held, organization_id, custom[organization_id]), project_id, operator=operator
            )
            for organization_id, project_id in places
        }

    async def of_service(self, account_id: str) -> Caller:
        """The caller of a service account in its project; Unauthenticated for one that is gone or disabled."""
        async with self._database.read() as session:
            store = _PrincipalStore(session)
            account = await store.service_account(account_id)
            if account is None or account["disabled_at"] is not None:
                raise Unauthenticated("this service account does not exist or is disabled")
            held = [Membership(account["organization_id"], account["project_id"], account["role"])]
            custom = await store.custom_roles(account["organization_id"], held)
        scopes = effective(_grants(held, account["organization_id"], custom), account["project_id"], operator=False)
        return Caller(
            key_id=account["id"],
            key_name=account["name"],
            organization_id=account["organization_id"],
            project_id=account["project_id"],
            scopes=scopes,
            kind="service",
        )


def _grants(held: Sequence[Membership], organization_id: str, custom: dict[str, list[str]]) -> list[Grant]:
    return [
        Grant(membership.project_id, permissions_of(membership.role, custom))
        for membership in held
        if membership.organization_id == organization_id
    ]


class _PrincipalStore:
    """Memberships across all organizations, for finding out who somebody is; never for answering anybody."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def user(self, user_id: str) -> RowMapping | None:
        return await self._session.first(select(users).where(users.c.id == user_id))

    async def service_account(self, account_id: str) -> RowMapping | None:
        return await self._session.first(select(service_accounts).where(service_accounts.c.id == account_id))

    async def memberships(self, user_id: str) -> list[Membership]:
        """The user's own, and those of the user's groups."""
        columns = memberships.c
        held = columns.principal_id.in_(holders_of(user_id))
        query = select(columns.organization_id, columns.project_id, columns.role).where(held)
        rows = await self._session.all(query.order_by(columns.id).limit(MAX_MEMBERSHIPS))
        return [Membership(row["organization_id"], row["project_id"], row["role"]) for row in rows]

    async def groups(self, user_id: str, organization_id: str) -> tuple[str, ...]:
        """The user's groups in an organization, sorted."""
        columns = group_members.c
        query = select(columns.group_id).where(columns.user_id == user_id, columns.organization_id == organization_id)
        return tuple(row["group_id"] for row in await self._session.all(query.order_by(columns.group_id)))

    async def place(self, held: Sequence[Membership], project_id: str | None) -> RowMapping:
        """The project to act in; NotFound when it is none of the memberships'."""
        whole = {membership.organization_id for membership in held if membership.project_id is None}
        single = {membership.project_id for membership in held if membership.project_id is not None}
        reachable = or_(projects.c.organization_id.in_(whole), projects.c.id.in_(single))
        query = select(projects.c.id, projects.c.organization_id).where(reachable)
        if project_id is not None:
            query = query.where(projects.c.id == project_id)
        row = await self._session.first(query.order_by(projects.c.id).limit(1))
        if row is None:
            raise NotFound("there is no such project, or you are no member of it")
        return row

    async def custom_roles(self, organization_id: str, held: Sequence[Membership]) -> dict[str, list[str]]:
        """Permissions by name, of the organization's own roles among these memberships."""
        return (await self.roles_of({organization_id}, held))[organization_id]

    async def roles_of(
        self, organization_ids: Collection[str], held: Sequence[Membership]
    ) -> dict[str, dict[str, list[str]]]:
        """The same of some organizations, by their ids."""
        names = {membership.role for membership in held if membership.organization_id in organization_ids}
        query = select(roles.c.organization_id, roles.c.name, roles.c.permissions)
        wanted = query.where(roles.c.organization_id.in_(organization_ids), roles.c.name.in_(names))
        found: dict[str, dict[str, list[str]]] = {organization_id: {} for organization_id in organization_ids}
        for row in await self._session.all(wanted):
            found[row["organization_id"]][row["name"]] = _names(row["permissions"])
        return found


def _names(permissions: Any) -> list[str]:
    return [str(name) for name in permissions]
