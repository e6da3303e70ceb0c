"""Policy, pure: what there is to permit, what the roles permit, and the one decision, `authorize`.

A permission reaches as far as its level: over one project, over an organization, or over the installation. Whoever
lacks a permission is refused before anything is looked up, and what lies in another tenant is absent, so that neither
answer tells whether something exists.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Literal

import msgspec

from polyforge.kernel.errors import Denied, NotFound
from polyforge.tenancy.callers import Caller

Level = Literal["project", "organization", "installation"]

LEVELS: Final[Mapping[str, Level]] = {
    "inference": "project",
    "models:read": "project",
    "models:write": "project",
    "models:approve": "project",
    "keys:read": "project",
    "keys:write": "project",
    "usage:read": "project",
    "usage:write": "project",
    "requests:payload": "project",
    "requests:delete": "project",
    "files:read": "project",
    "files:write": "project",
    "cache:write": "project",
    "events:read": "project",
    "jobs:read": "project",
    "jobs:write": "project",
    "flows:read": "project",
    "flows:write": "project",
    "flows:run": "project",
    "approvals:decide": "project",
    "secrets:use": "project",
    "service_accounts:read": "project",
    "service_accounts:write": "project",
    "organization:read": "organization",
    "organization:write": "organization",
    "projects:write": "organization",
    "members:read": "organization",
    "members:write": "organization",
    "secrets:read": "organization",
    "secrets:write": "organization",
    "audit:read": "organization",
    "costs:read": "organization",
    "limits:read": "organization",
    "limits:write": "organization",
    "settings:read": "installation",
    "settings:write": "installation",
    "organizations:write": "installation",
    "users:read": "installation",
    "users:write": "installation",
    "audit:operate": "installation",
    "logs:operate": "installation",
    "models:operate": "installation",
    "secrets:operate": "installation",
    "metrics:read": "installation",
}
"""Every permission, and how far it reaches."""
PERMISSIONS: Final = frozenset(LEVELS)


class Role(msgspec.Struct, frozen=True):
    """What its members may do."""

    name: str
    permissions: frozenset[str]
    description: str


_PROJECT: Final = frozenset(name for name, level in LEVELS.items() if level == "project")
_ORGANIZATION: Final = frozenset(name for name, level in LEVELS.items() if level == "organization")
_FOR_ADMINS: Final = frozenset({"usage:write", "requests:payload", "requests:delete", "models:approve"})
_READ: Final = frozenset(
    {
        "models:read",
        "keys:read",
        "usage:read",
        "events:read",
        "jobs:read",
        "flows:read",
        "organization:read",
        "limits:read",
    }
)

BUILT_IN_ROLES: Final[Mapping[str, Role]] = {
    role.name: role
    for role in (
        Role("owner", _PROJECT | _ORGANIZATION, "Everything in the organization, and who its owners are."),
        Role("admin", _PROJECT | _ORGANIZATION - {"organization:write"}, "Everything but the organization itself."),
        Role(
            "developer",
            _PROJECT - _FOR_ADMINS | {"organization:read", "members:read", "secrets:read", "limits:read"},
            "Calls models, makes and runs flows, makes keys and service accounts, uses secrets.",
        ),
        Role("analyst", _READ | {"inference", "members:read"}, "Calls models and reads what was used."),
        Role("viewer", _READ, "Sees, changes nothing."),
        Role(
            "billing",
            frozenset({"usage:read", "costs:read", "organization:read", "models:read", "limits:read"}),
            "Sees usage, cost and limits.",
        ),
    )
}


class Resource(msgspec.Struct, frozen=True):
    """Where something lies: in a project, in an organization (`project_id` None), or nowhere in particular."""

    organization_id: str | None = None
    project_id: str | None = None


def authorize(caller: Caller, action: str, resource: Resource | None = None) -> None:
    """Return when the caller may do `action` to `resource`; Denied without the permission, NotFound when it is foreign.

    The one decision there is: routes take it through `Permission`, and what runs outside of a route takes it itself.
    Without a resource it is about what lies where the caller acts, which is all that stores of the caller's scope show.
    KeyError for an action that does not exist: every route names one of `LEVELS`.
    """
    level = LEVELS[action]
    if not caller.may(action):
        raise _denied(caller, action)
    if resource is None or level == "installation":
        return
    if resource.organization_id != caller.organization_id:
        raise NotFound("there is no such thing")
    if level == "project" and resource.project_id != caller.project_id:
        raise NotFound("there is no such thing")


def _denied(caller: Caller, action: str) -> Denied:
    if caller.kind == "user":
        return Denied(f"you lack the permission {action!r} here; ask for a role that has it")
    return Denied(f"this key lacks the scope {action!r}; create one that has it")


class Grant(msgspec.Struct, frozen=True):
    """The permissions of one membership; `project_id` None: in the whole organization."""

    project_id: str | None
    permissions: frozenset[str]


def effective(grants: Iterable[Grant], project_id: str, *, operator: bool) -> frozenset[str]:
    """What somebody may do in a project and in its organization, from all memberships in that organization.

    A membership of a project gives no permission over the organization. Operators hold the installation's permissions
    beside what their memberships give them, so that looking after the machine is not reading its tenants' data.
    """
    held: set[str] = set()
    for grant in grants:
        if grant.project_id is None:
            held |= grant.permissions
        elif grant.project_id == project_id:
            held |= {name for name in grant.permissions if LEVELS[name] == "project"}
    if operator:
        held |= {name for name, level in LEVELS.items() if level == "installation"}
    return frozenset(held & PERMISSIONS)


def permissions_of(role: str, custom: Mapping[str, Iterable[str]]) -> frozenset[str]:
    """What a role permits: a built-in one, or one of the organization's own; nothing when it no longer exists."""
    built_in = BUILT_IN_ROLES.get(role)
    return built_in.permissions if built_in else frozenset(custom.get(role, ())) & PERMISSIONS


def covers(caller: Caller, permissions: Iterable[str]) -> str | None:
    """The first permission, by name, that the caller lacks, so that nobody gives away what they do not have."""
    return next((name for name in sorted(permissions) if not caller.may(name)), None)
