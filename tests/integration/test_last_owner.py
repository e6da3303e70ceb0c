"""No organization is left without an owner, whoever else changes something at the same moment."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.kernel.clock import FakeClock
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID
from polyforge.tenancy.organizations.records import OWNER
from polyforge.tenancy.organizations.service import membership_row
from polyforge.tenancy.organizations.store import MEMBERSHIPS, OrganizationEditor, is_owned, lock_organizations
from polyforge.tenancy.people.store import SystemUserEditor
from tests.support.databases import Place, somebody_waits
from tests.support.people import House, house
from tests.unit.tenancy.samples import NOW

ANN, BEN, CLEO = "ann@example.org", "ben@example.org", "cleo@example.org"
ROUNDS = 6

locks_rows = pytest.mark.parametrize("kind", ["postgresql"])
"""SQLite has one writer at a time: what these tests interleave comes one after the other there."""


@pytest.fixture
async def home(database: Database, place: Place) -> AsyncIterator[House]:
    async with house(database, FakeClock(NOW), place.data) as made:
        await made.user(ANN)
        yield made


async def status_of(home: House, method: str, path: str, body: object = None) -> int:
    """What becomes of a request with the admin key, whatever it is."""
    await home.keys.sync()
    headers = {"authorization": f"Bearer {home.admin_key.secret.value}"}
    return (await home.visitor().raw(method, path, body, headers)).status_code


async def id_of(home: House, email: str) -> str:
    (user,) = (await home.admin("GET", f"/users?email={email}", 200))["data"]
    return user["id"]


async def membership_of(home: House, user_id: str) -> str:
    (held,) = (await home.admin("GET", f"/memberships?principal_id={user_id}", 200))["data"]
    return held["id"]


async def is_still_owned(database: Database, organization_id: str = DEFAULT_ORGANIZATION_ID) -> bool:
    async with database.write() as session:
        return await is_owned(session, organization_id)


async def test_of_two_owners_one_may_go_at_a_time(home: House, database: Database) -> None:
    ann_id = await id_of(home, ANN)
    for number in range(ROUNDS):
        ben_id = (await home.user(f"ben{number}@example.org", "owner"))["id"]
        mine = await membership_of(home, ann_id)
        outcomes = await asyncio.gather(
            status_of(home, "POST", f"/users/{ben_id}/disable"),
            status_of(home, "PATCH", f"/memberships/{mine}", {"role": "viewer"}),
        )
        assert sorted(outcomes) == [200, 409]
        assert await is_still_owned(database)
        await home.admin("POST", f"/users/{ben_id}/enable", 200)
        await home.admin("PATCH", f"/memberships/{mine}", 200, {"role": "owner"})
        await home.admin("DELETE", f"/users/{ben_id}", 204)


async def test_of_two_owners_one_may_be_disabled_at_a_time(home: House, database: Database) -> None:
    ann_id, ben_id = await id_of(home, ANN), (await home.user(BEN, "owner"))["id"]
    for _ in range(ROUNDS):
        ids = (ann_id, ben_id)
        outcomes = await asyncio.gather(*(status_of(home, "POST", f"/users/{each}/disable") for each in ids))
        assert sorted(outcomes) == [200, 409]
        assert await is_still_owned(database)
        for each in ids:
            await home.admin("POST", f"/users/{each}/enable", 200)


@locks_rows
async def test_who_is_being_disabled_is_no_owner_to_leave_an_organization_to(home: House, database: Database) -> None:
    """Ben is disabled while the group that he is in becomes the owner, and Ann, who was it, goes."""
    ann_id, ben_id = await id_of(home, ANN), (await home.user(BEN))["id"]
    group = (await home.admin("POST", "/groups", 201, {"name": "heirs"}))["id"]
    await home.admin("PUT", f"/groups/{group}/members/{ben_id}", 204)
    mine = await membership_of(home, ann_id)
    async with database.write() as session:
        editor = SystemUserEditor(session)
        assert await editor.organizations(ben_id) == []
        await editor.locked(ben_id)
        await editor.change(ben_id, {"disabled_at": NOW})
        await home.admin("POST", "/memberships", 201, {"kind": "group", "principal_id": group, "role": "owner"})
        leaving = asyncio.create_task(status_of(home, "DELETE", f"/memberships/{mine}"))
        await somebody_waits(database)
    assert await leaving == 409
    assert await is_still_owned(database)


@locks_rows
@pytest.mark.parametrize("way", ["disable", "remove"])
async def test_who_has_just_become_the_only_owner_is_not_lost(home: House, database: Database, way: str) -> None:
    """Ben is about to be disabled, and becomes the only owner of an organization that he was not in before."""
    ben_id, cleo_id = (await home.user(BEN, "viewer"))["id"], (await home.user(CLEO))["id"]
    other = (await home.admin("POST", "/organizations", 201, {"name": "other", "owner_id": cleo_id}))["id"]
    cleo = await home.visitor().sign_in(CLEO)
    (hers,) = (await cleo("GET", "/memberships", 200))["data"]
    path = f"/users/{ben_id}"
    method, path = ("DELETE", path) if way == "remove" else ("POST", f"{path}/disable")
    async with database.write() as session:
        await lock_organizations(session, [DEFAULT_ORGANIZATION_ID])
        going = asyncio.create_task(status_of(home, method, path))
        await somebody_waits(database)
        await add_owner(database, other, ben_id)
        await cleo("DELETE", f"/memberships/{hers['id']}", 204)
    assert await going == 409
    assert await is_still_owned(database, other)
    assert await status_of(home, method, path) == 409


async def add_owner(database: Database, organization_id: str, user_id: str) -> None:
    scope = Scope(organization_id)
    async with database.write(scope) as session:
        editor = OrganizationEditor(session, scope)
        await editor.lock()
        await editor.edit(MEMBERSHIPS).add(membership_row(user_id, "user", OWNER, None, NOW))
