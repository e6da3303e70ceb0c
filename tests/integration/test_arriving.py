"""The sign-in page's question, and the first user by the admin key; on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import select

from polyforge import __version__
from polyforge.database.database import Database
from polyforge.kernel.clock import FakeClock
from polyforge.tenancy.audit.tables import audit_events
from polyforge.tenancy.keys import ADMIN_KEY_ID, new_secret
from polyforge.tenancy.people.sign_in import MAX_PER_ACCOUNT_AND_ADDRESS
from tests.support.databases import Place
from tests.support.people import HOST, PASSWORD, House, Visitor, house
from tests.unit.tenancy.samples import NOW

ANN = "ann@example.org"


@pytest.fixture
async def home(database: Database, place: Place) -> AsyncIterator[House]:
    async with house(database, FakeClock(NOW), place.data) as made:
        yield made


def body(key: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "email": ANN, "name": "Ann", "password": PASSWORD, **more}


async def actions(database: Database) -> list[tuple[str, str, str]]:
    columns = audit_events.c
    async with database.read() as session:
        rows = await session.all(select(columns.action, columns.actor_id, columns.address).order_by(columns.sequence))
    return [(row["action"], row["actor_id"], row["address"]) for row in rows]


async def first(visitor: Visitor, status: int, key: str, **more: Any) -> Any:
    return await visitor("POST", "/auth/first-user", status, body(key, **more))


async def test_the_first_user_is_made_with_the_admin_key_and_signed_in_by_it(home: House, database: Database) -> None:
    visitor = home.visitor()
    state = await visitor("GET", "/auth/state", 200)
    assert (state["product"], state["version"]) == ("Polyforge", __version__)
    assert state["first_user_needed"] is True
    assert state["email"] is False
    assert state["providers"] == []
    assert state["password"] == {"min_length": 12, "max_length": 200}
    assert await first(visitor, 201, home.admin_key.secret.value) == {"second_factor": None}
    await visitor.arrived()
    me = await visitor("GET", "/me", 200)
    assert me["user"]["operator"] is me["user"]["verified"] is True
    assert {"organization:write", "keys:write", "settings:write"} <= set(me["permissions"])
    assert (await visitor("GET", "/auth/state", 200))["first_user_needed"] is False
    made, began = await actions(database)
    assert made == ("user.created", ADMIN_KEY_ID, "192.0.2.1")
    assert began == ("session.began", me["id"], "192.0.2.1")


async def test_there_is_one_first_user_only(home: House) -> None:
    key = home.admin_key.secret.value
    await first(home.visitor(), 201, key)
    refused = await first(home.visitor(), 409, key, email="ben@example.org")
    assert "sign in" in refused["detail"]
    # Whoever has no key learns no more than from the state, and is not told whether it was right.
    assert (await first(home.visitor(), 409, "pf-wrong"))["detail"] == refused["detail"]


async def test_of_many_who_come_first_at_once_one_is(home: House) -> None:
    key = home.admin_key.secret.value
    sent = [home.visitor().raw("POST", "/auth/first-user", body(key, email=f"a{n}@example.org")) for n in range(4)]
    statuses = sorted([answer.status_code for answer in await asyncio.gather(*sent)])
    assert statuses == [201, 409, 409, 409]


async def test_guesses_at_the_admin_key_are_limited_and_told(home: House, database: Database) -> None:
    guesser = home.visitor("198.51.100.7")
    for _ in range(MAX_PER_ACCOUNT_AND_ADDRESS):
        assert "admin.key" in (await first(guesser, 401, new_secret().value))["detail"]
    await first(guesser, 429, home.admin_key.secret.value)
    assert await actions(database) == [("sign_in.locked", "0" * 26, "198.51.100.7")]
    # Others are not kept out by it.
    await first(home.visitor("203.0.113.9"), 201, home.admin_key.secret.value)


async def test_an_unfit_password_costs_no_guess(home: House) -> None:
    visitor = home.visitor()
    for _ in range(MAX_PER_ACCOUNT_AND_ADDRESS + 1):
        refused = await first(visitor, 400, home.admin_key.secret.value, password="password1234")
        assert refused["param"] == "password"
    await first(visitor, 201, home.admin_key.secret.value)


async def test_another_site_makes_no_first_user(home: House) -> None:
    sent = {"origin": "https://evil.example"}
    answer = await home.visitor().raw("POST", "/auth/first-user", body(home.admin_key.secret.value), sent)
    assert answer.status_code == 403
    assert (await home.visitor().raw("GET", "/auth/state", headers={"origin": HOST})).json()["first_user_needed"]
