"""Callers as they stand when what they asked for is done later; on SQLite and PostgreSQL."""

from collections.abc import AsyncIterator

import msgspec
import pytest
from sqlalchemy import update

from polyforge.database.database import Database
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import Denied
from polyforge.tenancy.callers import ALL, Caller
from polyforge.tenancy.keys import caller_of
from polyforge.tenancy.people.callers import Principals
from polyforge.tenancy.people.tables import memberships, users
from polyforge.tenancy.schemas import NewKey
from polyforge.tenancy.service import KeyService
from polyforge.tenancy.standing import Standing
from tests.support.databases import Place
from tests.support.principals import add_user, install_default
from tests.support.recording import recorder
from tests.unit.tenancy.samples import NOW, caller

ROOT = caller(ALL)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
async def database(place: Place, clock: FakeClock) -> AsyncIterator[Database]:
    opened = place.database()
    await opened.open()
    await install_default(opened, clock)
    yield opened
    await opened.close()


@pytest.fixture
def keys(database: Database, clock: FakeClock) -> KeyService:
    return KeyService(database, clock, recorder(clock))


@pytest.fixture
def standing(database: Database, clock: FakeClock) -> Standing:
    return Standing(database, clock, Principals(database))


async def key(keys: KeyService, **fields: object) -> Caller:
    made, _ = await keys.create(ROOT, NewKey.model_validate({"name": "n", "scopes": ["inference"], **fields}))
    return caller_of(made)


async def test_a_key_acts_as_long_as_it_works(keys: KeyService, standing: Standing) -> None:
    then = await key(keys)
    assert (await standing.confirmed(then)).scopes == {"inference"}
    await keys.revoke(ROOT, then.key_id)
    with pytest.raises(Denied, match="was revoked"):
        await standing.confirmed(then)


async def test_a_key_acts_until_it_expires(keys: KeyService, standing: Standing, clock: FakeClock) -> None:
    then = await key(keys, expires_at="2099-01-01T00:00:00Z")
    assert (await standing.confirmed(then)).expires_at == then.expires_at
    clock.advance(100 * 365 * 86_400)
    with pytest.raises(Denied, match="has expired"):
        await standing.confirmed(then)


async def test_nobody_gets_more_than_they_had_or_have(keys: KeyService, standing: Standing) -> None:
    then = await key(keys, scopes=["inference", "models:read"])
    had_less = msgspec.structs.replace(then, scopes=frozenset({"inference"}))
    assert (await standing.confirmed(had_less)).scopes == {"inference"}
    had_more = msgspec.structs.replace(then, scopes=frozenset({"inference", "usage:read"}))
    assert (await standing.confirmed(had_more)).scopes == {"inference"}
    had_all = msgspec.structs.replace(then, scopes=frozenset({ALL}))
    assert (await standing.confirmed(had_all)).scopes == then.scopes
    everything = await key(keys, scopes=[ALL])
    had_little = msgspec.structs.replace(everything, scopes=frozenset({"inference"}))
    assert (await standing.confirmed(had_little)).scopes == {"inference"}


async def test_a_key_of_another_project_is_none(keys: KeyService, standing: Standing) -> None:
    then = msgspec.structs.replace(await key(keys), project_id="0" * 26)
    with pytest.raises(Denied, match="no longer belongs"):
        await standing.confirmed(then)


async def test_people_act_as_their_roles_are_now(database: Database, standing: Standing) -> None:
    user = await add_user(database, NOW, role="developer")
    then = await Principals(database).of_user(user.id, None)
    assert "keys:write" in (await standing.confirmed(then)).scopes
    async with database.write() as session:
        await session.change(update(memberships).values(role="viewer").where(memberships.c.principal_id == user.id))
    assert "keys:write" not in (await standing.confirmed(then)).scopes
    async with database.write() as session:
        await session.change(update(users).values(disabled_at=NOW).where(users.c.id == user.id))
    with pytest.raises(Denied, match="may not act"):
        await standing.confirmed(then)


async def test_the_house_itself_is_not_looked_up(standing: Standing) -> None:
    ourselves = msgspec.structs.replace(ROOT, kind="system")
    assert await standing.confirmed(ourselves) == ourselves
