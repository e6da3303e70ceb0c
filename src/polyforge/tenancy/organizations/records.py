"""What is known of organizations and of who may do what in them."""

import msgspec

OWNER = "owner"
"""The built-in role of which every organization keeps at least one holder."""


class Organization(msgspec.Struct, frozen=True):
    """A tenant."""

    id: str
    name: str
    created_at: float


class Project(msgspec.Struct, frozen=True):
    """A shared space in an organization."""

    id: str
    organization_id: str
    name: str
    created_at: float


class Group(msgspec.Struct, frozen=True):
    """People who are given roles together."""

    id: str
    organization_id: str
    name: str
    external: str | None
    """What the identity provider calls it."""
    created_at: float


class CustomRole(msgspec.Struct, frozen=True):
    """A set of permissions that an organization has named."""

    id: str
    organization_id: str
    name: str
    permissions: list[str]
    created_at: float


class Membership(msgspec.Struct, frozen=True):
    """A role of a user or of a group, in one project or, `project_id` None, in the whole organization."""

    id: str
    organization_id: str
    project_id: str | None
    kind: str
    principal_id: str
    role: str
    created_at: float


class ServiceAccount(msgspec.Struct, frozen=True):
    """A program that acts in a project in its own name."""

    id: str
    organization_id: str
    project_id: str
    name: str
    role: str
    hash: bytes
    created_at: float
    disabled_at: float | None


class OwnProject(msgspec.Struct, frozen=True):
    """A project as somebody who works in it sees it."""

    project: Project
    organization_name: str
    permissions: frozenset[str]


class Invitation(msgspec.Struct, frozen=True):
    """A role that waits for somebody to accept it."""

    id: str
    organization_id: str
    project_id: str | None
    email: str
    role: str
    hash: bytes
    invited_by: str
    created_at: float
    expires_at: float
    accepted_at: float | None
    revoked_at: float | None
