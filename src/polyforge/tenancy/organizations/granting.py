"""What a caller may give to others, and take from them: never more than they hold at that very place themselves."""

from collections.abc import Iterable, Mapping

import msgspec

from polyforge.kernel.errors import Denied, Invalid
from polyforge.tenancy.callers import ALL, Caller
from polyforge.tenancy.organizations.store import OrganizationStore
from polyforge.tenancy.policy import BUILT_IN_ROLES, LEVELS, PERMISSIONS, permissions_of


class Granting(msgspec.Struct, frozen=True):
    """What a caller may give.

    A caller acts in one project and may hold more there than elsewhere, so what they may give in another project, or
    in the whole organization, is counted by itself.
    """

    caller: Caller
    everywhere: frozenset[str]
    """What the caller holds in every project of the organization, and over the organization."""
    custom: Mapping[str, list[str]]

    def permissions(self, role: str) -> frozenset[str]:
        """What a role permits; Invalid when there is no such role."""
        if role not in BUILT_IN_ROLES and role not in self.custom:
            raise Invalid(f"there is no role {role!r}", param="role")
        return permissions_of(role, self.custom)

    def require_role(self, role: str, project_id: str | None) -> None:
        """Invalid for an unknown role, Denied for one that permits more than the caller may give at that place."""
        self.require(self.permissions(role), project_id)

    def require_held(self, role: str, project_id: str | None) -> None:
        """Denied when a role that somebody holds there permits more than the caller may give or take."""
        self.require(permissions_of(role, self.custom), project_id)

    def require(self, permissions: Iterable[str], project_id: str | None) -> None:
        """Denied for the first, by name, of the permissions that the caller may not give at that place."""
        for name in sorted(permissions):
            # A role in one project gives nothing over the organization.
            if project_id is not None and LEVELS[name] != "project":
                continue
            here = project_id == self.caller.project_id and self.caller.may(name)
            if not here and name not in self.everywhere:
                raise Denied(f"you lack {name!r} there yourself, so you cannot give it or take it away")


async def granting_of(store: OrganizationStore, caller: Caller) -> Granting:
    """What the caller may give in the organization of the store, which is the caller's."""
    custom = await store.permissions_by_role()
    if ALL in caller.scopes:
        return Granting(caller, PERMISSIONS, custom)
    held: set[str] = {name for name in PERMISSIONS if LEVELS[name] == "organization"}
    if caller.kind == "user":
        held = set[str]().union(*(permissions_of(role, custom) for role in await store.roles_everywhere(caller.key_id)))
    return Granting(caller, frozenset(name for name in held if caller.may(name)), custom)
