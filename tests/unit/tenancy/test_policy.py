"""The policy, against a second, slower telling of it."""

import random
from collections.abc import Mapping

import pytest

from polyforge.kernel.errors import Denied, NotFound
from polyforge.tenancy.callers import ALL, Caller
from polyforge.tenancy.policy import (
    BUILT_IN_ROLES,
    LEVELS,
    PERMISSIONS,
    Grant,
    Resource,
    authorize,
    covers,
    effective,
    permissions_of,
)

ORGANIZATIONS = ("org-a", "org-b")
PROJECTS = {"a-one": "org-a", "a-two": "org-a", "b-one": "org-b"}
CUSTOM: Mapping[str, list[str]] = {"auditor": ["audit:read", "usage:read"], "stale": ["gone:permission", "inference"]}
ROLES = (*BUILT_IN_ROLES, *CUSTOM, "deleted role")

Held = tuple[str, str | None, str]
"""Organization, project or None for all of them, role."""


def caller_of(held: list[Held], project: str, operator: bool) -> Caller:
    organization = PROJECTS[project]
    grants = [Grant(where, permissions_of(role, CUSTOM)) for place, where, role in held if place == organization]
    return Caller("id", "name", organization, project, effective(grants, project, operator=operator))


def expected(held: list[Held], project: str, operator: bool, action: str, resource: Resource) -> str:
    """`yes`, `denied` or `absent`, told membership by membership."""
    level = LEVELS[action]
    if level == "installation":
        return "yes" if operator else _through_custom(held, project, action)
    granted = False
    for place, where, role in held:
        named = BUILT_IN_ROLES[role].permissions if role in BUILT_IN_ROLES else CUSTOM.get(role, [])
        if action not in named or place != PROJECTS[project]:
            continue
        if where is None or (where == project and level == "project"):
            granted = True
    if not granted:
        return "denied"
    mine = resource.organization_id == PROJECTS[project]
    if level == "project":
        mine = mine and resource.project_id == project
    return "yes" if mine else "absent"


def _through_custom(held: list[Held], project: str, action: str) -> str:
    for place, where, role in held:
        if place == PROJECTS[project] and where is None and action in CUSTOM.get(role, []):
            return "yes"
    return "denied"


def decide(caller: Caller, action: str, resource: Resource) -> str:
    try:
        authorize(caller, action, resource)
    except Denied:
        return "denied"
    except NotFound:
        return "absent"
    return "yes"


@pytest.mark.parametrize("seed", range(10))
def test_a_thousand_random_callers_actions_and_resources(seed: int) -> None:
    dice = random.Random(seed)
    seen: set[str] = set()
    for _ in range(1_000):
        held: list[Held] = []
        for _ in range(dice.randint(0, 4)):
            organization = dice.choice(ORGANIZATIONS)
            inside = [project for project, owner in PROJECTS.items() if owner == organization]
            held.append((organization, dice.choice([None, *inside]), dice.choice(ROLES)))
        project, operator = dice.choice(list(PROJECTS)), dice.random() < 0.1
        action = dice.choice(sorted(PERMISSIONS))
        where = dice.choice([None, *PROJECTS])
        organization = dice.choice(ORGANIZATIONS) if where is None else PROJECTS[where]
        resource = Resource(organization, where)
        found = decide(caller_of(held, project, operator), action, resource)
        assert found == expected(held, project, operator, action, resource), (held, project, operator, action, resource)
        seen.add(found)
    assert seen == {"yes", "denied", "absent"}


def test_what_the_roles_promise() -> None:
    owner, admin = BUILT_IN_ROLES["owner"].permissions, BUILT_IN_ROLES["admin"].permissions
    assert owner - admin == {"organization:write"}
    assert all(LEVELS[name] != "installation" for role in BUILT_IN_ROLES.values() for name in role.permissions)
    assert not any(name.endswith(":write") for name in BUILT_IN_ROLES["viewer"].permissions)
    assert "inference" not in BUILT_IN_ROLES["viewer"].permissions | BUILT_IN_ROLES["billing"].permissions
    assert all(role.permissions <= owner for role in BUILT_IN_ROLES.values())


def test_operators_hold_the_installation_and_no_tenant() -> None:
    scopes = effective([], "a-one", operator=True)
    assert {LEVELS[name] for name in scopes} == {"installation"}


def test_nobody_gives_what_they_lack() -> None:
    caller = Caller("id", "name", "org-a", "a-one", frozenset({"inference", "keys:write"}))
    assert covers(caller, ["inference"]) is None
    assert covers(caller, ["usage:read", "inference", "audit:read"]) == "audit:read"
    assert covers(Caller("id", "name", "org-a", "a-one", frozenset({ALL})), PERMISSIONS) is None


def test_without_a_resource_it_is_about_the_callers_own_place() -> None:
    caller = Caller("id", "name", "org-a", "a-one", frozenset({"keys:read"}))
    authorize(caller, "keys:read")
    with pytest.raises(Denied, match="keys:write"):
        authorize(caller, "keys:write")


def test_an_action_that_does_not_exist_is_a_mistake() -> None:
    caller = Caller("id", "name", "org-a", "a-one", frozenset({ALL}))
    with pytest.raises(KeyError):
        authorize(caller, "keys:reed", Resource("org-a", "a-one"))
