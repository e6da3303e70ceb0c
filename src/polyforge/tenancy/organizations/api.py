"""Routes of organizations, projects, and of who may do what in them."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Response

from polyforge.kernel.clock import utc
from polyforge.tenancy.callers import Caller, Origin
from polyforge.tenancy.organizations.groups import GroupService
from polyforge.tenancy.organizations.invitations import InvitationService
from polyforge.tenancy.organizations.members import MembershipService, NamedMembership
from polyforge.tenancy.organizations.records import CustomRole, OwnProject
from polyforge.tenancy.organizations.roles import RoleService
from polyforge.tenancy.organizations.schemas import (
    Acceptance,
    GroupChange,
    GroupPage,
    GroupView,
    InvitationPage,
    InvitationShown,
    InvitationView,
    IssuedServiceAccount,
    MemberPage,
    MembershipPage,
    MembershipView,
    MemberView,
    Named,
    NewGroup,
    NewInvitation,
    NewMembership,
    NewOrganization,
    NewRole,
    NewServiceAccount,
    OrganizationPage,
    OrganizationView,
    OwnProjectPage,
    OwnProjectView,
    ProjectPage,
    ProjectView,
    RoleChange,
    RoleChoice,
    RolePage,
    RoleView,
    ServiceAccountChange,
    ServiceAccountPage,
    ServiceAccountView,
)
from polyforge.tenancy.organizations.service import OrganizationService
from polyforge.tenancy.organizations.service_accounts import ServiceAccountService
from polyforge.tenancy.people.schemas import Id, LinkToken
from polyforge.tenancy.permission import Open, Permission, SignedIn
from polyforge.tenancy.policy import BUILT_IN_ROLES
from polyforge.tenancy.schemas import MAX_PAGE

Anybody = Annotated[Origin, Depends(Open())]
Somebody = Annotated[Caller, Depends(SignedIn())]
Operator = Annotated[Caller, Depends(Permission("organizations:write"))]
Viewer = Annotated[Caller, Depends(Permission("organization:read"))]
Owner = Annotated[Caller, Depends(Permission("organization:write"))]
ProjectEditor = Annotated[Caller, Depends(Permission("projects:write"))]
MemberReader = Annotated[Caller, Depends(Permission("members:read"))]
MemberEditor = Annotated[Caller, Depends(Permission("members:write"))]
AccountReader = Annotated[Caller, Depends(Permission("service_accounts:read"))]
AccountEditor = Annotated[Caller, Depends(Permission("service_accounts:write"))]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Cursor = Annotated[str | None, Query(max_length=26)]


def organizations_router(organizations: OrganizationService) -> APIRouter:
    """The routes of organizations and projects."""
    routes = APIRouter(prefix="/api/v1")
    _add_organizations(routes, organizations)
    _add_projects(routes, organizations)
    return routes


def members_router(members: MembershipService, groups: GroupService, roles: RoleService) -> APIRouter:
    """The routes of who may do what."""
    routes = APIRouter(prefix="/api/v1")
    _add_roles(routes, roles)
    _add_groups(routes, groups)
    _add_group_members(routes, groups)
    _add_memberships(routes, members)
    return routes


def invitations_router(invitations: InvitationService) -> APIRouter:
    """The routes of invitations."""
    routes = APIRouter(prefix="/api/v1", tags=["invitations"])

    @routes.post("/invitations", status_code=201)
    async def create_invitation(caller: MemberEditor, body: NewInvitation) -> InvitationView:
        """Invite somebody by e-mail, to a role that you could give."""
        made = await invitations.create(caller, body.email, body.role, body.project_id)
        return InvitationView.model_validate(_fields(made))

    @routes.get("/invitations")
    async def list_invitations(caller: MemberReader, limit: Limit = 100, cursor: Cursor = None) -> InvitationPage:
        """The organization's invitations, newest first."""
        found, following = await invitations.page(caller, limit, cursor)
        data = [InvitationView.model_validate(_fields(each)) for each in found]
        return InvitationPage(data=data, next_cursor=following)

    @routes.delete("/invitations/{invitation_id}", status_code=204)
    async def revoke_invitation(caller: MemberEditor, invitation_id: str) -> Response:
        """Take an invitation back."""
        await invitations.revoke(caller, invitation_id)
        return Response(status_code=204)

    @routes.post("/auth/invitations/show")
    async def show_invitation(origin: Anybody, body: LinkToken, response: Response) -> InvitationShown:
        """What an invitation is to, by its link; whether a name and a password are needed to accept it."""
        response.headers["cache-control"] = "no-store"
        shown = await invitations.show(body.token)
        return InvitationShown(
            email=shown.invitation.email,
            organization=shown.organization,
            project=shown.project,
            role=shown.invitation.role,
            expires_at=utc(shown.invitation.expires_at),
            account_needed=shown.account_needed,
        )

    @routes.post("/auth/invitations/accept", status_code=204)
    async def accept_invitation(origin: Anybody, body: Acceptance) -> Response:
        """Accept an invitation by its link; makes your account where you have none yet."""
        await invitations.accept(origin, body.token, body.name, body.password)
        return Response(status_code=204)

    return routes


def service_accounts_router(accounts: ServiceAccountService) -> APIRouter:
    """The routes of service accounts."""
    routes = APIRouter(prefix="/api/v1/service-accounts", tags=["service accounts"])

    @routes.post("", status_code=201)
    async def create_service_account(caller: AccountEditor, body: NewServiceAccount) -> IssuedServiceAccount:
        """Make a service account in the project. Its secret is in this answer and nowhere else."""
        made, secret = await accounts.create(caller, body.name, body.role)
        return IssuedServiceAccount.model_validate({**_fields(made), "secret": secret})

    @routes.get("")
    async def list_service_accounts(
        caller: AccountReader, limit: Limit = 100, cursor: Cursor = None
    ) -> ServiceAccountPage:
        """The project's service accounts, newest first."""
        found, following = await accounts.page(caller, limit, cursor)
        data = [ServiceAccountView.model_validate(_fields(each)) for each in found]
        return ServiceAccountPage(data=data, next_cursor=following)

    @routes.get("/{account_id}")
    async def get_service_account(caller: AccountReader, account_id: str) -> ServiceAccountView:
        """One service account."""
        return ServiceAccountView.model_validate(_fields(await accounts.get(caller, account_id)))

    @routes.patch("/{account_id}")
    async def change_service_account(
        caller: AccountEditor, account_id: str, body: ServiceAccountChange
    ) -> ServiceAccountView:
        """Change a service account's name or role."""
        changed = await accounts.change(caller, account_id, body.model_dump(exclude_unset=True))
        return ServiceAccountView.model_validate(_fields(changed))

    @routes.post("/{account_id}/rotate")
    async def rotate_service_account(caller: AccountEditor, account_id: str) -> IssuedServiceAccount:
        """Give a service account a new secret; the old one ends at once."""
        changed, secret = await accounts.rotate(caller, account_id)
        return IssuedServiceAccount.model_validate({**_fields(changed), "secret": secret})

    @routes.post("/{account_id}/disable")
    async def disable_service_account(caller: AccountEditor, account_id: str) -> ServiceAccountView:
        """Stop a service account from acting."""
        return ServiceAccountView.model_validate(_fields(await accounts.disable(caller, account_id)))

    @routes.post("/{account_id}/enable")
    async def enable_service_account(caller: AccountEditor, account_id: str) -> ServiceAccountView:
        """Let a service account act again."""
        return ServiceAccountView.model_validate(_fields(await accounts.enable(caller, account_id)))

    return routes


def _add_organizations(routes: APIRouter, organizations: OrganizationService) -> None:
    @routes.post("/organizations", status_code=201, tags=["organizations"])
    async def create_organization(caller: Operator, body: NewOrganization) -> OrganizationView:
        """Make an organization with one project."""
        made = await organizations.create(caller, body.name, body.owner_id)
        return OrganizationView.model_validate(_fields(made))

    @routes.get("/organizations", tags=["organizations"])
    async def list_organizations(caller: Operator, limit: Limit = 100, cursor: Cursor = None) -> OrganizationPage:
        """All organizations of the installation, newest first."""
        found, following = await organizations.page(limit, cursor)
        data = [OrganizationView.model_validate(_fields(each)) for each in found]
        return OrganizationPage(data=data, next_cursor=following)

    @routes.get("/organization", tags=["organizations"])
    async def get_organization(caller: Viewer) -> OrganizationView:
        """Your organization."""
        return OrganizationView.model_validate(_fields(await organizations.mine(caller)))

    @routes.patch("/organization", tags=["organizations"])
    async def rename_organization(caller: Owner, body: Named) -> OrganizationView:
        """Rename your organization."""
        return OrganizationView.model_validate(_fields(await organizations.rename(caller, body.name)))


def _add_projects(routes: APIRouter, organizations: OrganizationService) -> None:
    @routes.post("/projects", status_code=201, tags=["projects"])
    async def create_project(caller: ProjectEditor, body: Named) -> ProjectView:
        """Make a project in your organization."""
        return ProjectView.model_validate(_fields(await organizations.create_project(caller, body.name)))

    @routes.get("/projects", tags=["projects"])
    async def list_projects(caller: Viewer, limit: Limit = 100, cursor: Cursor = None) -> ProjectPage:
        """The projects of your organization, newest first."""
        found, following = await organizations.projects(caller, limit, cursor)
        return ProjectPage(data=[ProjectView.model_validate(_fields(each)) for each in found], next_cursor=following)

    @routes.get("/projects/{project_id}", tags=["projects"])
    async def get_project(caller: Viewer, project_id: str) -> ProjectView:
        """One project of your organization."""
        return ProjectView.model_validate(_fields(await organizations.project(caller, project_id)))

    @routes.patch("/projects/{project_id}", tags=["projects"])
    async def rename_project(caller: ProjectEditor, project_id: str, body: Named) -> ProjectView:
        """Rename a project."""
        return ProjectView.model_validate(_fields(await organizations.rename_project(caller, project_id, body.name)))

    @routes.get("/me/projects", tags=["me"])
    async def list_my_projects(caller: Somebody, limit: Limit = 100, cursor: Cursor = None) -> OwnProjectPage:
        """The projects, of whichever organization, that you may work in, newest first, and what you may do there."""
        found, following = await organizations.projects_of(caller, limit, cursor)
        return OwnProjectPage(data=[_own_project(each) for each in found], next_cursor=following)


def _add_roles(routes: APIRouter, roles: RoleService) -> None:
    @routes.post("/roles", status_code=201, tags=["members"])
    async def create_role(caller: MemberEditor, body: NewRole) -> RoleView:
        """Make a role of permissions that you have yourself, everywhere in the organization."""
        return _role(await roles.create(caller, body.name, body.permissions))

    @routes.get("/roles", tags=["members"])
    async def list_roles(caller: Viewer, limit: Limit = 100, cursor: Cursor = None) -> RolePage:
        """The roles that can be given: the built-in ones, and your organization's own, newest first."""
        found, following = await roles.page(caller, limit, cursor)
        built_in = _built_in_roles() if cursor is None else []
        return RolePage(data=[*built_in, *map(_role, found)], next_cursor=following)

    @routes.put("/roles/{role_id}", tags=["members"])
    async def change_role(caller: MemberEditor, role_id: str, body: RoleChange) -> RoleView:
        """Change what a role permits, for everybody who has it."""
        return _role(await roles.change(caller, role_id, body.permissions))

    @routes.delete("/roles/{role_id}", status_code=204, tags=["members"])
    async def remove_role(caller: MemberEditor, role_id: str) -> Response:
        """Delete a role that nobody has."""
        await roles.remove(caller, role_id)
        return Response(status_code=204)


def _add_groups(routes: APIRouter, groups: GroupService) -> None:
    @routes.post("/groups", status_code=201, tags=["members"])
    async def create_group(caller: MemberEditor, body: NewGroup) -> GroupView:
        """Make a group."""
        return GroupView.model_validate(_fields(await groups.create(caller, body.name, body.external)))

    @routes.get("/groups", tags=["members"])
    async def list_groups(caller: MemberReader, limit: Limit = 100, cursor: Cursor = None) -> GroupPage:
        """The groups of your organization, newest first."""
        found, following = await groups.page(caller, limit, cursor)
        return GroupPage(data=[GroupView.model_validate(_fields(each)) for each in found], next_cursor=following)

    @routes.get("/groups/{group_id}", tags=["members"])
    async def get_group(caller: MemberReader, group_id: str) -> GroupView:
        """One group."""
        return GroupView.model_validate(_fields(await groups.get(caller, group_id)))

    @routes.patch("/groups/{group_id}", tags=["members"])
    async def change_group(caller: MemberEditor, group_id: str, body: GroupChange) -> GroupView:
        """Rename a group, or let it follow a group of the identity provider."""
        changed = await groups.change(caller, group_id, body.model_dump(exclude_unset=True))
        return GroupView.model_validate(_fields(changed))

    @routes.delete("/groups/{group_id}", status_code=204, tags=["members"])
    async def remove_group(caller: MemberEditor, group_id: str) -> Response:
        """Delete a group with its roles."""
        await groups.remove(caller, group_id)
        return Response(status_code=204)


def _add_group_members(routes: APIRouter, groups: GroupService) -> None:
    @routes.get("/groups/{group_id}/members", tags=["members"])
    async def list_group_members(
        caller: MemberReader, group_id: str, limit: Limit = 100, cursor: Cursor = None
    ) -> MemberPage:
        """Who is in a group, the newest account first."""
        found, following = await groups.members(caller, group_id, limit, cursor)
        data = [MemberView(id=each.id, email=each.email, name=each.name) for each in found]
        return MemberPage(data=data, next_cursor=following)

    @routes.put("/groups/{group_id}/members/{user_id}", status_code=204, tags=["members"])
    async def join_group(caller: MemberEditor, group_id: str, user_id: str) -> Response:
        """Put a user of the organization into a group, all of whose roles you could give."""
        await groups.join(caller, group_id, user_id)
        return Response(status_code=204)

    @routes.delete("/groups/{group_id}/members/{user_id}", status_code=204, tags=["members"])
    async def leave_group(caller: MemberEditor, group_id: str, user_id: str) -> Response:
        """Take a user out of a group."""
        await groups.leave(caller, group_id, user_id)
        return Response(status_code=204)


def _add_memberships(routes: APIRouter, members: MembershipService) -> None:
    @routes.post("/memberships", status_code=201, tags=["members"])
    async def create_membership(caller: MemberEditor, body: NewMembership) -> MembershipView:
        """Give a user of the organization, or a group, a role that permits no more than you have there."""
        return _membership(await members.create(caller, body.kind, body.principal_id, body.role, body.project_id))

    @routes.get("/memberships", tags=["members"])
    async def list_memberships(
        caller: MemberReader,
        limit: Limit = 100,
        cursor: Cursor = None,
        principal_id: Annotated[Id | None, Query(description="Of this user or group only.")] = None,
    ) -> MembershipPage:
        """Who has which role in your organization, newest first."""
        found, following = await members.page(caller, limit, cursor, principal_id)
        return MembershipPage(data=[_membership(each) for each in found], next_cursor=following)

    @routes.patch("/memberships/{membership_id}", tags=["members"])
    async def change_membership(caller: MemberEditor, membership_id: str, body: RoleChoice) -> MembershipView:
        """Give another role instead."""
        return _membership(await members.change(caller, membership_id, body.role))

    @routes.delete("/memberships/{membership_id}", status_code=204, tags=["members"])
    async def remove_membership(caller: MemberEditor, membership_id: str) -> Response:
        """Take a role away; the last owner keeps theirs."""
        await members.remove(caller, membership_id)
        return Response(status_code=204)


def _own_project(own: OwnProject) -> OwnProjectView:
    more = {"organization_name": own.organization_name, "permissions": sorted(own.permissions)}
    return OwnProjectView.model_validate({**_fields(own.project), **more})


def _membership(named: NamedMembership) -> MembershipView:
    return MembershipView.model_validate({**_fields(named.membership), "name": named.name, "email": named.email})


def _role(role: CustomRole) -> RoleView:
    return RoleView(id=role.id, name=role.name, permissions=sorted(role.permissions))


def _built_in_roles() -> list[RoleView]:
    return [
        RoleView(id=None, name=role.name, permissions=sorted(role.permissions), description=role.description)
        for role in BUILT_IN_ROLES.values()
    ]


def _fields(record: msgspec.Struct) -> dict[str, Any]:
    """The fields of a record as the views take them, which pick what they show."""
    values = msgspec.structs.asdict(record)
    moments = {name: utc(value) for name, value in values.items() if name.endswith("_at") and value is not None}
    return {**values, **moments}
