"""Organizations and who may do what in them, with every way to more than one was given; on SQLite and PostgreSQL."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import BigInteger, ColumnElement, LargeBinary, Table, Text, cast, func, insert, literal, select

from polyforge.database.database import Database
from polyforge.kernel.clock import FakeClock, SystemClock
from polyforge.tenancy.audit.tables import audit_events
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID
from polyforge.tenancy.people.post import MAX_WAITING
from polyforge.tenancy.people.records import hash_of
from polyforge.tenancy.people.tables import (
    group_members,
    groups,
    invitations,
    memberships,
    service_accounts,
    sessions,
    users,
)
from polyforge.tenancy.policy import BUILT_IN_ROLES
from tests.support.databases import Place
from tests.support.people import OTHER_PASSWORD, PASSWORD, House, Visitor, house
from tests.support.plans import is_page, plan_of, reads
from tests.unit.tenancy.samples import NOW

ANN, BEN, CLEO, EVE = "ann@example.org", "ben@example.org", "cleo@example.org", "eve@example.org"
ABSENT = "0" * 26
DAY = 86_400


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
async def home(database: Database, clock: FakeClock, place: Place) -> AsyncIterator[House]:
    async with house(database, clock, place.data) as made:
        await made.user(ANN)
        yield made


async def signed_in(home: House, email: str, role: str) -> tuple[Visitor, str]:
    """Somebody new with a role in the default organization, and their id."""
    made = await home.user(email, role)
    return await home.visitor().sign_in(email), made["id"]


async def membership_of(visitor: Visitor, principal_id: str) -> dict[str, Any]:
    (only,) = (await visitor("GET", f"/memberships?principal_id={principal_id}", 200))["data"]
    return only


async def elsewhere(home: House, owner: Visitor) -> str:
    """A project of another organization, which the owner works in from now on."""
    organization = await owner("POST", "/organizations", 201, {"name": "elsewhere"})
    mine = (await owner("GET", "/me/projects", 200))["data"]
    project: str = next(each["id"] for each in mine if each["organization_id"] == organization["id"])
    await owner("PUT", "/me/project", 204, {"project_id": project})
    return project


# --- organizations and projects ---


async def test_people_see_what_they_may_do_in_each_of_their_projects(home: House) -> None:
    ann = await home.visitor().sign_in(ANN)
    first = (await ann("GET", "/me", 200))["project_id"]
    second = (await ann("POST", "/projects", 201, {"name": "second"}))["id"]
    own = await ann("POST", "/roles", 201, {"name": "tester", "permissions": ["inference", "members:read"]})
    ben_id = (await home.user(BEN))["id"]
    ben = await home.visitor().sign_in(BEN)
    assert (await ben("GET", "/me/projects", 200))["data"] == []
    nowhere = await ben("GET", "/me", 200)
    assert nowhere["organization_name"] is nowhere["project_name"] is None
    for role, project in ((own["name"], first), ("analyst", second)):
        await home.admin("POST", "/memberships", 201, {"principal_id": ben_id, "role": role, "project_id": project})
    mine = {each["id"]: each for each in (await ben("GET", "/me/projects", 200))["data"]}
    assert {each["organization_name"] for each in mine.values()} == {"default"}
    assert mine[first]["permissions"] == ["inference"]
    for project, each in mine.items():
        me = await ben("GET", "/me", 200, **{"x-polyforge-project": project})
        assert each["permissions"] == me["permissions"]
        assert (me["organization_name"], me["project_name"]) == ("default", each["name"])
    away = await elsewhere(home, ann)
    theirs = {each["id"]: each["permissions"] for each in (await ann("GET", "/me/projects", 200))["data"]}
    assert set(theirs) == {first, second, away}
    assert theirs[away] == (await ann("GET", "/me", 200))["permissions"]


async def test_an_organization_belongs_to_who_made_it_and_shows_nothing_of_others(home: House) -> None:
    ann = await home.visitor().sign_in(ANN)
    await home.user(BEN, "developer")
    project = await elsewhere(home, ann)
    me = await ann("GET", "/me", 200)
    assert me["organization_id"] != DEFAULT_ORGANIZATION_ID
    assert (await ann("GET", "/organization", 200))["name"] == "elsewhere"
    assert [each["id"] for each in (await ann("GET", "/projects", 200))["data"]] == [project]
    assert len((await ann("GET", "/memberships", 200))["data"]) == 1
    await ann("GET", f"/projects/{DEFAULT_PROJECT_ID}", 404)
    assert (await ann("PATCH", "/organization", 200, {"name": "there"}))["name"] == "there"
    named = [each["name"] for each in (await ann("GET", "/organizations", 200))["data"]]
    assert named == ["there", "default"]


async def test_a_key_names_the_owner_of_an_organization(home: House) -> None:
    ben = await home.user(BEN)
    assert (await home.admin("POST", "/organizations", 400, {"name": "n"}))["param"] == "owner_id"
    await home.admin("POST", "/organizations", 400, {"name": "n", "owner_id": ABSENT})
    made = await home.admin("POST", "/organizations", 201, {"name": "n", "owner_id": ben["id"]})
    visitor = await home.visitor().sign_in(BEN)
    assert (await visitor("GET", "/me", 200))["organization_id"] == made["id"]


async def test_projects_are_made_renamed_and_have_names_of_their_own(home: House) -> None:
    ann = await home.visitor().sign_in(ANN)
    made = await ann("POST", "/projects", 201, {"name": "one"})
    await ann("POST", "/projects", 409, {"name": "one"})
    await ann("PATCH", f"/projects/{DEFAULT_PROJECT_ID}", 409, {"name": "one"})
    assert (await ann("PATCH", f"/projects/{made['id']}", 200, {"name": "two"}))["name"] == "two"
    assert (await ann("GET", f"/projects/{made['id']}", 200))["name"] == "two"


# --- nobody gives what they lack ---


async def test_an_admin_makes_no_owner_and_unmakes_none(home: House) -> None:
    ben, ben_id = await signed_in(home, BEN, "admin")
    ann_id = (await (await home.visitor().sign_in(ANN))("GET", "/me", 200))["id"]
    mine, owners = await membership_of(ben, ben_id), await membership_of(ben, ann_id)
    await ben("PATCH", f"/memberships/{mine['id']}", 403, {"role": "owner"})
    await ben("PATCH", f"/memberships/{owners['id']}", 403, {"role": "viewer"})
    await ben("DELETE", f"/memberships/{owners['id']}", 403)
    await ben("POST", "/invitations", 403, {"email": EVE, "role": "owner"})
    group = await ben("POST", "/groups", 201, {"name": "g"})
    await ben("POST", "/memberships", 403, {"kind": "group", "principal_id": group["id"], "role": "owner"})
    assert (await membership_of(ben, ben_id))["role"] == "admin"


async def test_a_role_of_ones_own_permits_no_more_than_one_has(home: House) -> None:
    ann = await home.visitor().sign_in(ANN)
    keeper = await ann(
        "POST", "/roles", 201, {"name": "keeper", "permissions": ["members:write", "members:read", "organization:read"]}
    )
    strong = await ann("POST", "/roles", 201, {"name": "strong", "permissions": ["keys:write"]})
    ben, ben_id = await signed_in(home, BEN, "keeper")
    for permissions in (["keys:write"], ["organization:write"], ["members:read", "secrets:write"]):
        await ben("POST", "/roles", 403, {"name": "more", "permissions": permissions})
        await ben("PUT", f"/roles/{keeper['id']}", 403, {"permissions": permissions})
    await ben("PUT", f"/roles/{strong['id']}", 403, {"permissions": ["members:read"]})
    await ben("DELETE", f"/roles/{strong['id']}", 403)
    for role in ("viewer", "developer", "strong", "owner"):
        mine = await membership_of(ben, ben_id)
        await ben("PATCH", f"/memberships/{mine['id']}", 403, {"role": role})
        await ben("POST", "/invitations", 403, {"email": EVE, "role": role})
    await ben("POST", "/roles", 201, {"name": "reader", "permissions": ["members:read"]})
    await ben("POST", "/invitations", 201, {"email": EVE, "role": "reader"})


@pytest.mark.parametrize("name", ["settings:write", "users:write", "organizations:write", "*", "no:such"])
async def test_no_role_reaches_over_the_installation(home: House, name: str) -> None:
    ann = await home.visitor().sign_in(ANN)
    await ann("POST", "/roles", 400, {"name": "operators", "permissions": [name]})


async def test_what_one_holds_in_a_project_is_not_given_in_all(home: House) -> None:
    ann = await home.visitor().sign_in(ANN)
    await ann("POST", "/roles", 201, {"name": "keeper", "permissions": ["members:write", "members:read"]})
    other = (await ann("POST", "/projects", 201, {"name": "other"}))["id"]
    ben, ben_id = await signed_in(home, BEN, "keeper")
    here = {"principal_id": ben_id, "role": "developer", "project_id": DEFAULT_PROJECT_ID}
    await ann("POST", "/memberships", 201, here)
    group = (await ann("POST", "/groups", 201, {"name": "g"}))["id"]
    assert "keys:write" in (await ben("GET", "/me", 200, **{"x-polyforge-project": DEFAULT_PROJECT_ID}))["permissions"]
    given = {"kind": "group", "principal_id": group, "role": "developer"}
    await ben("POST", "/memberships", 403, given)
    await ben("POST", "/memberships", 403, {**given, "project_id": other})
    await ben("POST", "/roles", 403, {"name": "wide", "permissions": ["keys:write"]})
    await ben("POST", "/memberships", 201, {**given, "project_id": DEFAULT_PROJECT_ID})


async def test_a_role_in_one_project_gives_nothing_elsewhere(home: House) -> None:
    ann = await home.visitor().sign_in(ANN)
    await home.user(BEN)
    other = (await ann("POST", "/projects", 201, {"name": "other"}))["id"]
    ben_id = (await ann("GET", f"/users?email={BEN}", 200))["data"][0]["id"]
    await ann("POST", "/memberships", 201, {"principal_id": ben_id, "role": "admin", "project_id": other})
    ben = await home.visitor().sign_in(BEN)
    me = await ben("GET", "/me", 200)
    assert me["project_id"] == other
    assert "keys:write" in me["permissions"]
    assert not {"members:write", "members:read", "projects:write", "organization:read"} & set(me["permissions"])
    await ben("GET", "/memberships", 403)
    await ben("GET", "/me", 404, **{"x-polyforge-project": DEFAULT_PROJECT_ID})


async def test_joining_a_group_is_being_given_its_roles(home: House) -> None:
    ann = await home.visitor().sign_in(ANN)
    owners = (await ann("POST", "/groups", 201, {"name": "owners"}))["id"]
    await ann("POST", "/memberships", 201, {"kind": "group", "principal_id": owners, "role": "owner"})
    ben, ben_id = await signed_in(home, BEN, "admin")
    await ben("PUT", f"/groups/{owners}/members/{ben_id}", 403)
    await ben("PATCH", f"/groups/{owners}", 403, {"external": "everybody"})
    await ben("DELETE", f"/groups/{owners}", 403)
    await ann("PUT", f"/groups/{owners}/members/{ben_id}", 204)
    await ann("PUT", f"/groups/{owners}/members/{ben_id}", 204)
    assert "organization:write" in (await ben("GET", "/me", 200))["permissions"]
    assert [each["email"] for each in (await ann("GET", f"/groups/{owners}/members", 200))["data"]] == [BEN]
    await ann("DELETE", f"/groups/{owners}/members/{ben_id}", 204)
    await ann("DELETE", f"/groups/{owners}/members/{ben_id}", 404)
    assert "organization:write" not in (await ben("GET", "/me", 200))["permissions"]


async def test_a_key_gives_no_more_than_its_scopes(home: House) -> None:
    scopes = ["members:write", "service_accounts:write", "models:read", "users:write"]
    key = (await home.admin("POST", "/keys", 201, {"name": "n", "scopes": scopes}))["key"]
    group = (await home.admin("POST", "/groups", 201, {"name": "g"}))["id"]
    given = {"kind": "group", "principal_id": group, "role": "developer"}
    await home.with_key(key, "POST", "/memberships", 403, given)
    await home.with_key(key, "POST", "/memberships", 403, {**given, "project_id": DEFAULT_PROJECT_ID})
    await home.with_key(key, "POST", "/service-accounts", 403, {"name": "n", "role": "developer"})
    user = {"email": EVE, "name": "n", "password": PASSWORD}
    await home.with_key(key, "POST", "/users", 403, {**user, "operator": True})
    await home.with_key(key, "POST", "/users", 403, {**user, "role": "owner"})
    made = await home.with_key(key, "POST", "/users", 201, user)
    ann_id = (await home.admin("GET", f"/users?email={ANN}", 200))["data"][0]["id"]
    await home.with_key(key, "POST", f"/users/{ann_id}/disable", 403)
    await home.with_key(key, "DELETE", f"/users/{ann_id}", 403)
    await home.with_key(key, "DELETE", f"/users/{made['id']}", 204)


async def test_owners_who_are_no_operators_do_not_touch_users(home: House) -> None:
    ben, ben_id = await signed_in(home, BEN, "owner")
    for method, path, body in (
        ("GET", "/users", None),
        ("GET", f"/users/{ben_id}", None),
        ("POST", "/users", {"email": EVE, "name": "n", "password": PASSWORD, "operator": True}),
        ("POST", f"/users/{ben_id}/enable", None),
        ("DELETE", f"/users/{ben_id}", None),
        ("GET", "/organizations", None),
        ("POST", "/organizations", {"name": "n"}),
    ):
        await ben(method, path, 403, body)


# --- who leaves ---


async def test_disabling_a_user_tells_which_of_their_keys_go_on(home: House, clock: FakeClock) -> None:
    ann = await home.visitor().sign_in(ANN)
    other = (await ann("POST", "/projects", 201, {"name": "other"}))["id"]
    ben, ben_id = await signed_in(home, BEN, "developer")
    until = datetime.fromtimestamp(clock.now() + 60, UTC).isoformat()
    keys = [await ben("POST", "/keys", 201, {"name": f"k{number}"}) for number in range(3)]
    await ben("POST", "/keys", 201, {"name": "short-lived", "expires_at": until})
    await ben("DELETE", f"/keys/{keys[0]['id']}", 204)
    await ben("PUT", "/me/project", 204, {"project_id": other})
    await ben("POST", "/keys", 201, {"name": "elsewhere"})
    await ann("POST", "/keys", 201, {"name": "mine"})
    clock.advance(120)
    disabled = await ann("POST", f"/users/{ben_id}/disable", 200)
    assert disabled["disabled_at"] is not None
    assert disabled["keys"] == {DEFAULT_PROJECT_ID: 2, other: 1}
    found = (await ann("GET", f"/keys?created_by={ben_id}", 200))["data"]
    assert {key["id"] for key in found} >= {key["id"] for key in keys[1:]}
    await home.with_key(keys[1]["key"], "GET", "/keys", 403)
    for key in found:
        await ann("DELETE", f"/keys/{key['id']}", 204)
    await home.with_key(keys[1]["key"], "GET", "/keys", 401)
    assert (await ann("POST", f"/users/{ben_id}/disable", 200))["keys"] == {other: 1}


# --- the last owner ---


async def test_the_last_owner_stays_in_whatever_way_they_would_go(home: House) -> None:
    ann = await home.visitor().sign_in(ANN)
    ann_id = (await ann("GET", "/me", 200))["id"]
    mine = await membership_of(ann, ann_id)
    await ann("PATCH", f"/memberships/{mine['id']}", 409, {"role": "admin"})
    await ann("DELETE", f"/memberships/{mine['id']}", 409)
    await ann("POST", f"/users/{ann_id}/disable", 409)
    await home.admin("POST", f"/users/{ann_id}/disable", 409)
    await home.admin("DELETE", f"/users/{ann_id}", 409)
    group = (await ann("POST", "/groups", 201, {"name": "owners"}))["id"]
    await ann("POST", "/memberships", 201, {"kind": "group", "principal_id": group, "role": "owner"})
    await ann("DELETE", f"/memberships/{mine['id']}", 409)
    ben_id = (await home.user(BEN, "viewer"))["id"]
    await ann("PUT", f"/groups/{group}/members/{ben_id}", 204)
    await ann("DELETE", f"/memberships/{mine['id']}", 204)
    ben = await home.visitor().sign_in(BEN)
    await ben("DELETE", f"/groups/{group}/members/{ben_id}", 409)
    await ben("DELETE", f"/groups/{group}", 409)
    await home.admin("DELETE", f"/users/{ben_id}", 409)
    await home.admin("DELETE", f"/users/{ann_id}", 204)
    await ann("GET", "/me", 401)


# --- other tenants ---


async def test_what_is_another_organizations_looks_like_what_does_not_exist(home: House) -> None:
    ann = await home.visitor().sign_in(ANN)
    role = (await ann("POST", "/roles", 201, {"name": "r", "permissions": ["models:read"]}))["id"]
    group = (await ann("POST", "/groups", 201, {"name": "g"}))["id"]
    account = (await ann("POST", "/service-accounts", 201, {"name": "s", "role": "developer"}))["id"]
    invitation = (await ann("POST", "/invitations", 201, {"email": EVE, "role": "viewer"}))["id"]
    ben_id = (await home.user(BEN, "viewer"))["id"]
    membership = (await membership_of(ann, ben_id))["id"]
    owner = await home.user(CLEO)
    await home.admin("POST", "/organizations", 201, {"name": "theirs", "owner_id": owner["id"]})
    cleo = await home.visitor().sign_in(CLEO)
    own_group = (await cleo("POST", "/groups", 201, {"name": "own"}))["id"]
    for method, path, body in (
        ("GET", "/projects/{}", None),
        ("PATCH", "/projects/{}", {"name": "n"}),
        ("PUT", "/roles/{}", {"permissions": ["models:read"]}),
        ("DELETE", "/roles/{}", None),
        ("GET", "/groups/{}", None),
        ("PATCH", "/groups/{}", {"name": "n"}),
        ("DELETE", "/groups/{}", None),
        ("GET", "/groups/{}/members", None),
        ("PUT", "/groups/{}/members/" + owner["id"], None),
        ("DELETE", "/groups/{}/members/" + owner["id"], None),
        ("PUT", f"/groups/{own_group}/members/{{}}", None),
        ("PATCH", "/memberships/{}", {"role": "viewer"}),
        ("DELETE", "/memberships/{}", None),
        ("GET", "/service-accounts/{}", None),
        ("PATCH", "/service-accounts/{}", {"name": "n"}),
        ("POST", "/service-accounts/{}/rotate", None),
        ("POST", "/service-accounts/{}/disable", None),
        ("POST", "/service-accounts/{}/enable", None),
        ("DELETE", "/invitations/{}", None),
    ):
        absent = await cleo(method, path.format(ABSENT), 404, body)
        for foreign in (role, group, account, invitation, membership, ben_id, DEFAULT_PROJECT_ID):
            hidden = await cleo(method, path.format(foreign), 404, body)
            assert hidden["detail"].replace(foreign, ABSENT) == absent["detail"], path
    for body in ({"principal_id": ben_id}, {"kind": "group", "principal_id": group}):
        await cleo("POST", "/memberships", 404, {"role": "viewer", **body})
    await cleo(
        "POST", "/memberships", 404, {"principal_id": owner["id"], "role": "viewer", "project_id": DEFAULT_PROJECT_ID}
    )
    await cleo("POST", "/invitations", 404, {"email": EVE, "role": "viewer", "project_id": DEFAULT_PROJECT_ID})
    for path in ("/roles", "/groups", "/memberships", "/service-accounts", "/invitations", "/projects"):
        listed = str(await cleo("GET", path, 200))
        assert not any(each in listed for each in (role, group, account, invitation, membership, ben_id)), path


async def test_service_accounts_are_of_one_project(home: House) -> None:
    ann = await home.visitor().sign_in(ANN)
    made = await ann("POST", "/service-accounts", 201, {"name": "s", "role": "developer"})
    other = (await ann("POST", "/projects", 201, {"name": "other"}))["id"]
    await ann("GET", f"/service-accounts/{made['id']}", 404, **{"x-polyforge-project": other})
    assert (await ann("GET", "/service-accounts", 200, **{"x-polyforge-project": other}))["data"] == []


# --- service accounts ---


async def test_the_secret_of_a_service_account_is_shown_once_and_replaced(home: House, database: Database) -> None:
    ann = await home.visitor().sign_in(ANN)
    made = await ann("POST", "/service-accounts", 201, {"name": "s", "role": "developer"})
    assert made["secret"].startswith("pfs-")
    shown = await ann("GET", f"/service-accounts/{made['id']}", 200)
    assert "secret" not in shown
    rotated = await ann("POST", f"/service-accounts/{made['id']}/rotate", 200)
    assert rotated["secret"] != made["secret"]
    async with database.read() as session:
        row = await session.first(select(service_accounts))
        events = await session.all(select(audit_events))
    assert row is not None
    assert row["hash"] == hash_of(rotated["secret"])
    kept = str([dict(each) for each in [row, *events]])
    assert made["secret"] not in kept
    assert rotated["secret"] not in kept
    assert (await ann("POST", f"/service-accounts/{made['id']}/disable", 200))["disabled_at"] is not None
    assert (await ann("POST", f"/service-accounts/{made['id']}/enable", 200))["disabled_at"] is None
    changed = await ann("PATCH", f"/service-accounts/{made['id']}", 200, {"role": "viewer"})
    assert (changed["name"], changed["role"]) == ("s", "viewer")


async def test_nobody_manages_a_service_account_that_may_do_more(home: House) -> None:
    ann = await home.visitor().sign_in(ANN)
    strong = (await ann("POST", "/service-accounts", 201, {"name": "s", "role": "owner"}))["id"]
    await ann(
        "POST", "/roles", 201, {"name": "weak", "permissions": ["service_accounts:read", "service_accounts:write"]}
    )
    ben, _ = await signed_in(home, BEN, "weak")
    await ben("POST", f"/service-accounts/{strong}/rotate", 403)
    await ben("PATCH", f"/service-accounts/{strong}", 403, {"role": "weak"})
    await ben("POST", "/service-accounts", 403, {"name": "s", "role": "developer"})
    own = (await ben("POST", "/service-accounts", 201, {"name": "s", "role": "weak"}))["id"]
    await ben("PATCH", f"/service-accounts/{own}", 403, {"role": "developer"})


# --- roles ---


async def test_a_role_that_is_used_is_not_removed(home: House) -> None:
    ann = await home.visitor().sign_in(ANN)
    role = await ann("POST", "/roles", 201, {"name": "r", "permissions": ["models:read"]})
    await ann("POST", "/roles", 409, {"name": "r", "permissions": ["models:read"]})
    await ann("POST", "/roles", 409, {"name": "owner", "permissions": ["models:read"]})
    invitation = await ann("POST", "/invitations", 201, {"email": EVE, "role": "r"})
    await ann("DELETE", f"/roles/{role['id']}", 409)
    await ann("DELETE", f"/invitations/{invitation['id']}", 204)
    account = await ann("POST", "/service-accounts", 201, {"name": "s", "role": "r"})
    await ann("DELETE", f"/roles/{role['id']}", 409)
    await ann("PATCH", f"/service-accounts/{account['id']}", 200, {"role": "viewer"})
    await ann("DELETE", f"/roles/{role['id']}", 204)
    assert [each["name"] for each in (await ann("GET", "/roles", 200))["data"]] == list(BUILT_IN_ROLES)


async def test_a_changed_role_holds_from_the_next_request_on(home: House) -> None:
    ann = await home.visitor().sign_in(ANN)
    role = await ann("POST", "/roles", 201, {"name": "r", "permissions": ["usage:read"]})
    ben, _ = await signed_in(home, BEN, "r")
    await ben("GET", "/usage", 200)
    await ann("PUT", f"/roles/{role['id']}", 200, {"permissions": ["models:read"]})
    await ben("GET", "/usage", 403)


# --- invitations ---


async def accept(home: House, token: str | None, status: int, **more: Any) -> Any:
    body = {"token": token, "name": "eve", "password": PASSWORD, **more}
    return await home.visitor()("POST", "/auth/invitations/accept", status, body)


async def test_an_invitation_makes_an_account_once(home: House) -> None:
    ann = await home.visitor().sign_in(ANN)
    made = await ann("POST", "/invitations", 201, {"email": EVE, "role": "developer"})
    token = await home.letter(EVE)
    assert str(token) not in str(made)
    await accept(home, token, 400, password=None)
    await accept(home, token, 400, password="eveeveeve1234")
    await accept(home, token, 204)
    await accept(home, token, 401)
    eve = await home.visitor().sign_in(EVE)
    me = await eve("GET", "/me", 200)
    assert me["user"]["verified"] is True
    assert me["user"]["operator"] is False
    assert me["permissions"] == sorted(BUILT_IN_ROLES["developer"].permissions)
    await ann("DELETE", f"/invitations/{made['id']}", 409)


async def test_whoever_has_the_link_sees_what_the_invitation_is_to(home: House) -> None:
    ann = await home.visitor().sign_in(ANN)
    here = (await ann("GET", "/me", 200))["project_id"]
    await ann("POST", "/invitations", 201, {"email": EVE, "role": "developer", "project_id": here})
    link = {"token": await home.letter(EVE)}
    shown = await home.visitor()("POST", "/auth/invitations/show", 200, link)
    assert shown.pop("expires_at")
    assert shown == {
        "email": EVE,
        "organization": "default",
        "project": "default",
        "role": "developer",
        "account_needed": True,
    }
    await home.user(EVE)
    shown = await home.visitor()("POST", "/auth/invitations/show", 200, link)
    assert shown["account_needed"] is False
    await home.visitor()("POST", "/auth/invitations/accept", 204, link)
    used = await home.visitor()("POST", "/auth/invitations/show", 401, link)
    wrong = await home.visitor()("POST", "/auth/invitations/show", 401, {"token": "x" * 43})
    assert used["detail"] == wrong["detail"]


async def test_an_account_that_an_invitation_made_is_in_the_audit_log(home: House, database: Database) -> None:
    ann = await home.visitor().sign_in(ANN)
    await ann("POST", "/invitations", 201, {"email": EVE, "role": "viewer"})
    await accept(home, await home.letter(EVE), 204)
    async with database.read() as session:
        events = await session.all(select(audit_events).order_by(audit_events.c.sequence))
    assert [each["action"] for each in events][-2:] == ["user.created", "invitation.accepted"]
    created = events[-2]
    assert (created["actor_name"], created["resource_kind"], created["before"]) == (EVE, "user", None)
    assert json.loads(created["after"]) == {"email": EVE, "name": "eve"}


async def test_what_was_not_changed_is_not_recorded(home: House, database: Database) -> None:
    ann = await home.visitor().sign_in(ANN)
    group = (await ann("POST", "/groups", 201, {"name": "g"}))["id"]
    account = (await ann("POST", "/service-accounts", 201, {"name": "s", "role": "viewer"}))["id"]
    assert (await ann("PATCH", f"/groups/{group}", 200, {}))["name"] == "g"
    await ann("POST", f"/service-accounts/{account}/enable", 200)
    await ann("POST", f"/service-accounts/{account}/disable", 200)
    await ann("POST", f"/service-accounts/{account}/disable", 200)
    async with database.read() as session:
        events = await session.all(select(audit_events).order_by(audit_events.c.sequence))
    told = [(each["action"], each["resource_kind"]) for each in events][-3:]
    assert told == [
        ("group.created", "group"),
        ("service_account.created", "service_account"),
        ("service_account.disabled", "service_account"),
    ]


async def test_an_invitation_of_an_account_changes_nothing_but_its_role(home: House) -> None:
    ann = await home.visitor().sign_in(ANN)
    await home.user(EVE)
    await home.letter(EVE)
    await ann("POST", "/invitations", 201, {"email": EVE, "role": "viewer"})
    await accept(home, await home.letter(EVE), 204, password=OTHER_PASSWORD, name="mallory")
    eve = await home.visitor().sign_in(EVE, PASSWORD)
    assert (await eve("GET", "/me", 200))["name"] == "some one"
    await ann("POST", "/invitations", 201, {"email": EVE, "role": "admin"})
    await accept(home, await home.letter(EVE), 409)


async def test_whoever_accepts_an_invitation_has_shown_that_the_address_is_theirs(
    home: House, database: Database
) -> None:
    made = await home.user(EVE)
    assert not made["verified"]
    await home.letter(EVE)  # the one that asks for it, so that the next is the invitation
    await home.admin("POST", "/invitations", 201, {"email": EVE, "role": "viewer"})
    await accept(home, await home.letter(EVE), 204, password=None, name=None)
    (eve,) = (await home.admin("GET", f"/users?email={EVE}", 200))["data"]
    assert eve["verified"]
    async with database.read() as session:
        events = await session.all(select(audit_events).order_by(audit_events.c.sequence))
    assert [each["action"] for each in events][-2:] == ["user.verified", "invitation.accepted"]


async def test_an_invitation_dies_with_time_by_hand_and_with_who_sent_it(home: House, clock: FakeClock) -> None:
    ann = await home.visitor().sign_in(ANN)
    ben, ben_id = await signed_in(home, BEN, "admin")

    async def invite(by: Visitor) -> tuple[str, str | None]:
        made = await by("POST", "/invitations", 201, {"email": EVE, "role": "developer"})
        return made["id"], await home.letter(EVE)

    _, late = await invite(ann)
    clock.advance(7 * DAY + 1)
    await accept(home, late, 401)
    ann, ben = await home.visitor().sign_in(ANN), await home.visitor().sign_in(BEN)
    id_, revoked = await invite(ann)
    await ann("DELETE", f"/invitations/{id_}", 204)
    await accept(home, revoked, 401)
    _, orphaned = await invite(ben)
    await ann("PATCH", f"/memberships/{(await membership_of(ann, ben_id))['id']}", 200, {"role": "viewer"})
    await accept(home, orphaned, 401)
    key = await home.admin("POST", "/keys", 201, {"name": "n", "scopes": ["*"]})
    await home.with_key(key["key"], "POST", "/invitations", 201, {"email": EVE, "role": "viewer"})
    keyed = await home.letter(EVE)
    await home.admin("DELETE", f"/keys/{key['id']}", 204)
    await accept(home, keyed, 401)
    _, good = await invite(ann)
    await accept(home, good, 204)


async def test_a_disabled_account_accepts_nothing(home: House) -> None:
    ann = await home.visitor().sign_in(ANN)
    eve_id = (await home.user(EVE))["id"]
    await home.letter(EVE)
    await ann("POST", f"/users/{eve_id}/disable", 200)
    await ann("POST", "/invitations", 201, {"email": EVE, "role": "viewer"})
    await accept(home, await home.letter(EVE), 401)


# --- the audit log ---


async def test_every_change_is_in_the_audit_log_without_secrets(home: House, database: Database) -> None:
    ann = await home.visitor("198.51.100.9").sign_in(ANN)
    await ann("POST", "/projects", 201, {"name": "p"})
    group = (await ann("POST", "/groups", 201, {"name": "g"}))["id"]
    await ann("POST", "/memberships", 201, {"kind": "group", "principal_id": group, "role": "viewer"})
    await ann("PATCH", "/me", 200, {"name": "anna"})
    await ann("POST", "/me/password", 204, {"old": PASSWORD, "new": OTHER_PASSWORD})
    async with database.read() as session:
        events = await session.all(select(audit_events).order_by(audit_events.c.sequence))
    mine = [each for each in events if each["actor_kind"] == "user"]
    assert [each["action"] for each in mine] == [
        "session.began",
        "project.created",
        "group.created",
        "membership.created",
        "user.renamed",
        "user.password_changed",
    ]
    assert {(each["actor_name"], each["address"]) for each in mine} == {(ANN, "198.51.100.9")}
    kept = str([dict(each) for each in events])
    assert not any(secret in kept for secret in (PASSWORD, OTHER_PASSWORD, str(ann.cookie), ann.csrf, "argon2"))


# --- messages that cannot be sent ---


async def test_nothing_is_done_that_could_not_be_told(home: House, database: Database) -> None:
    """Who is invited or made while too many messages wait would never hear of it."""

    async def later() -> None:
        await asyncio.Event().wait()

    for _ in range(MAX_WAITING):
        home.people.post.put(later)
    await home.admin("POST", "/invitations", 503, {"email": EVE, "role": "viewer"})
    await home.admin("POST", "/users", 503, {"email": EVE, "name": "Eve", "password": PASSWORD})
    async with database.read() as session:
        assert await session.all(select(invitations)) == []
        assert [row["email"] for row in await session.all(select(users))] == [ANN]
        told = await session.all(select(audit_events.c.action).order_by(audit_events.c.sequence))
    assert [row["action"] for row in told] == ["user.created"]


# --- many ---


MANY, IN_A_SOAK, TRIES = 3_000, 1_000_000, 20
AT_ONCE = 20_000
THROUGH_ALL = re.compile(r"(Seq Scan on|SCAN) (memberships|group_members|sessions)\b(?! USING)")
"""What nothing that finds out who somebody is may do, where there are a million of them."""
PAGED = ("/users", "/memberships", "/groups", "/invitations", "/me/sessions", "/service-accounts")
ID_START = 10_000_000_000_000_000
"""Ids are this plus a number, after ten characters of a time: text that is ordered as the numbers are."""


async def fill(place: Place, user_id: str, count: int) -> str:
    """That many of everything in the default organization, all sessions of one user; the id of a group of them all."""
    database = Database(place.settings, place.data, patience=600)
    await database.open()
    for first in range(0, count, AT_ONCE):
        await _fill_some(database, user_id, first, min(first + AT_ONCE, count) - 1)
    async with database.bare() as connection:
        await connection.exec_driver_sql("ANALYZE")
    await database.close()
    return f"01HF7YAT00{0:016}"


async def _fill_some(database: Database, user_id: str, first: int, last: int) -> None:
    """The rows of these numbers, made by the database itself."""
    numbers = select(literal(first, BigInteger).label("number")).cte("numbers", recursive=True)
    numbers = numbers.union_all(select(numbers.c.number + 1).where(numbers.c.number < last))
    digits = func.substr(cast(numbers.c.number + ID_START, Text), 2)
    id_ = literal("01HF7YAT00") + digits
    hash_, email = cast(id_, LargeBinary), literal("u") + digits + "@example.org"
    place = {"organization_id": DEFAULT_ORGANIZATION_ID, "created_at": NOW}
    role = {**place, "id": id_, "project_id": None, "role": "viewer"}
    person = {"name": "n", "verified_at": None, "totp_step": 0, "recovery": [], "operator": False, "created_at": NOW}
    account = {**place, "id": id_, "project_id": DEFAULT_PROJECT_ID, "name": "n", "role": "viewer", "hash": hash_}
    begun = {"created_at": NOW, "seen_at": NOW, "expires_at": NOW + DAY, "address": "", "agent": "", "user_id": user_id}
    rows: tuple[tuple[Table, dict[str, Any]], ...] = (
        (users, {**person, "id": id_, "email": email}),
        (memberships, {**role, "kind": "user", "principal_id": id_}),
        (groups, {**place, "id": id_, "name": id_}),
        (
            group_members,
            {"group_id": f"01HF7YAT00{0:016}", "user_id": id_, "organization_id": DEFAULT_ORGANIZATION_ID},
        ),
        (invitations, {**role, "email": EVE, "invited_by": ABSENT, "expires_at": NOW + DAY, "hash": hash_}),
        (service_accounts, account),
        (sessions, {**begun, "id": id_, "hash": hash_}),
    )
    for table, values in rows:
        made = [
            value if isinstance(value, ColumnElement) else literal(value, table.c[name].type)
            for name, value in values.items()
        ]
        async with database.write() as session:
            await session.change(insert(table).from_select(list(values), select(*made).select_from(numbers)))


async def fastest(visitor: Visitor, path: str, tries: int) -> float:
    """Milliseconds that the fastest of some requests took."""
    timer = SystemClock()
    times: list[float] = []
    for _ in range(tries):
        began = timer.monotonic()
        await visitor("GET", path, 200)
        times.append(timer.monotonic() - began)
    return min(times) * 1000


@pytest.mark.soak
@pytest.mark.timeout(3_600)
async def test_every_list_is_read_by_an_index_in_its_order(
    home: House, database: Database, place: Place, soak: bool
) -> None:
    """How long a page takes is printed, not judged: the fastest of some tries, since a busy machine is not a list."""
    ann = await home.visitor().sign_in(ANN)
    me = await ann("GET", "/me", 200)
    group = await fill(place, me["id"], IN_A_SOAK if soak else MANY)
    for path in (*PAGED, f"/groups/{group}/members"):
        with reads(database) as seen:
            first = await ann("GET", f"{path}?limit=100", 200)
            following = f"{path}?limit=100&cursor={first['next_cursor']}"
            second = await ann("GET", following, 200)
        tries = TRIES if soak else 1
        took = [await fastest(ann, each, tries) for each in (f"{path}?limit=100", following)]
        title = path.replace(group, "{group}")
        print(f"{database.dialect}: {took[0]:.1f} and {took[1]:.1f} ms for two pages of {title}")
        assert len({each["id"] for each in first["data"] + second["data"]}) == 200
        table = "group_members" if path.endswith("/members") else path.rpartition("/")[2].replace("-", "_")
        pages = [each for each in filter(is_page, seen) if f"FROM {table} " in " ".join(each[0].split()) + " "]
        pages = [each for each in pages if "DESC" in each[0]]
        assert len(pages) == 2, path
        for page in pages:
            plan = await plan_of(database, page)
            assert re.search("Sort|TEMP B-TREE|Seq Scan|Bitmap", plan) is None, plan
        for statement in seen:
            plan = await plan_of(database, statement)
            assert THROUGH_ALL.search(plan) is None, plan
    with reads(database) as seen:
        await ann("GET", "/me/projects", 200)
    for statement in seen:
        plan = await plan_of(database, statement)
        assert THROUGH_ALL.search(plan) is None, plan
