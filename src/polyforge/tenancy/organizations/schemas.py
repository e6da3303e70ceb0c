"""What the routes of organizations and of who may do what in them take and give."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from polyforge.tenancy.people.schemas import Body, Chosen, Email, Id, Token
from polyforge.tenancy.policy import LEVELS
from polyforge.tenancy.schemas import Name

GRANTABLE = frozenset(name for name, level in LEVELS.items() if level != "installation")
"""What an organization may permit: nothing that reaches over the whole installation."""


def _grantable(name: str) -> str:
    if name not in GRANTABLE:
        raise ValueError(f"is not one of {', '.join(sorted(GRANTABLE))}")
    return name


PermissionName = Annotated[str, StringConstraints(max_length=32), AfterValidator(_grantable)]
Permissions = Annotated[list[PermissionName], Field(min_length=1, max_length=len(LEVELS))]


class NewOrganization(Body):
    """An organization to make."""

    name: Name
    owner_id: Id | None = Field(default=None, description="The user who shall own it; default: who makes it.")


class Named(Body):
    """A name to give."""

    name: Name


class OrganizationView(BaseModel):
    """An organization."""

    id: str
    name: str
    created_at: datetime


class OrganizationPage(BaseModel):
    """Some organizations, newest first."""

    data: list[OrganizationView]
    next_cursor: str | None


class ProjectView(BaseModel):
    """A project."""

    id: str
    organization_id: str
    name: str
    created_at: datetime


class OwnProjectView(ProjectView):
    """A project that you may work in, and what you may do there."""

    organization_name: str
    permissions: list[str] = Field(description="In the project and in its organization.")


class OwnProjectPage(BaseModel):
    """Some of your projects, newest first."""

    data: list[OwnProjectView]
    next_cursor: str | None


class ProjectPage(BaseModel):
    """Some projects, newest first."""

    data: list[ProjectView]
    next_cursor: str | None


class NewRole(Body):
    """A role to make."""

    name: Name
    permissions: Permissions


class RoleChange(Body):
    """What a role shall permit instead."""

    permissions: Permissions


class RoleView(BaseModel):
    """A role."""

    id: str | None = Field(description="null: a built-in one.")
    name: str
    permissions: list[str]
    description: str | None = None


class RolePage(BaseModel):
    """Some roles, newest first; the built-in ones come with the first page."""

    data: list[RoleView]
    next_cursor: str | None


class NewGroup(Body):
    """A group to make."""

    name: Name
    external: Name | None = Field(default=None, description="What the identity provider calls it.")


class GroupChange(Body):
    """What to change about a group: what is left out stays."""

    name: Name = Field(default_factory=str)
    external: Name | None = None


class GroupView(BaseModel):
    """A group."""

    id: str
    name: str
    external: str | None
    created_at: datetime


class GroupPage(BaseModel):
    """Some groups, newest first."""

    data: list[GroupView]
    next_cursor: str | None


class MemberView(BaseModel):
    """Somebody in a group."""

    id: str
    email: str
    name: str


class MemberPage(BaseModel):
    """Some members of a group, the newest account first."""

    data: list[MemberView]
    next_cursor: str | None


class NewMembership(Body):
    """A role to give."""

    kind: Literal["user", "group"] = "user"
    principal_id: Id = Field(description="The user's or the group's id.")
    role: Name
    project_id: Id | None = Field(default=None, description="Where; null: in the whole organization.")


class RoleChoice(Body):
    """Which role instead."""

    role: Name


class MembershipView(BaseModel):
    """A role that somebody has."""

    id: str
    kind: Literal["user", "group"]
    principal_id: str
    name: str | None
    email: str | None
    role: str
    project_id: str | None
    created_at: datetime


class MembershipPage(BaseModel):
    """Some memberships, newest first."""

    data: list[MembershipView]
    next_cursor: str | None


class NewServiceAccount(Body):
    """A service account to make."""

    name: Name
    role: Name


class ServiceAccountChange(Body):
    """What to change about a service account: what is left out stays."""

    name: Name = Field(default_factory=str)
    role: Name = Field(default_factory=str)


class ServiceAccountView(BaseModel):
    """A service account without its secret."""

    id: str = Field(description="Also the client id of OAuth 2.")
    name: str
    role: str
    project_id: str
    created_at: datetime
    disabled_at: datetime | None


class IssuedServiceAccount(ServiceAccountView):
    """A service account with its secret, which is shown this once."""

    secret: str = Field(description="The client secret. It is not kept and cannot be shown again.")


class ServiceAccountPage(BaseModel):
    """Some service accounts, newest first."""

    data: list[ServiceAccountView]
    next_cursor: str | None


class NewInvitation(Body):
    """Somebody to invite."""

    email: Email
    role: Name
    project_id: Id | None = Field(default=None, description="Where; null: in the whole organization.")


class InvitationView(BaseModel):
    """An invitation, without its link."""

    id: str
    email: str
    role: str
    project_id: str | None
    invited_by: str
    created_at: datetime
    expires_at: datetime
    accepted_at: datetime | None
    revoked_at: datetime | None


class InvitationPage(BaseModel):
    """Some invitations, newest first."""

    data: list[InvitationView]
    next_cursor: str | None


class InvitationShown(BaseModel):
    """An invitation, as whoever has its link sees it."""

    email: str
    organization: str
    project: str | None = Field(description="null: the role is in the whole organization.")
    role: str
    expires_at: datetime
    account_needed: bool = Field(
        description="Whether to ask for a name and a password: there is no account with this address yet."
    )


class Acceptance(Body):
    """An invitation to accept; name and password make the account where there is none yet."""

    token: Token
    name: Name | None = None
    password: Chosen | None = None
