"""Whose keys are: the users who made them, with their groups as they are now; on SQLite and PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest
from sqlalchemy import insert

from polyforge.database.database import Database
from polyforge.database.events.tail import EventTail
from polyforge.kernel.clock import FakeClock, SystemClock
from polyforge.secrets.references import SecretRef
from polyforge.tenancy.admin_key import admin_key
from polyforge.tenancy.bootstrap import install
from polyforge.tenancy.callers import ALL, Caller
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID
from polyforge.tenancy.key_cache import KeyCache
from polyforge.tenancy.organizations.groups import GroupService
from polyforge.tenancy.people.callers import Principals
from polyforge.tenancy.people.tables import memberships, users
from polyforge.tenancy.schemas import NewKey
from polyforge.tenancy.service import KeyService
from tests.support.databases import Place
from tests.support.recording import recorder
from tests.unit.tenancy.samples import NOW, caller

ROOT = caller(ALL)
ANN, BEN = "0000000000000000000000000A", "0000000000000000000000000B"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
async def database(place: Place, clock: FakeClock) -> AsyncIterator[Database]:
    opened = place.database()
    await opened.open()
    await install(opened, admin_key(SecretRef("an admin key of my own"), place.data), clock)
    for user in (ANN, BEN):
        await settle(opened, user)
    yield opened
    await opened.close()


@pytest.fixture
def groups(database: Database, clock: FakeClock) -> GroupService:
    return GroupService(database, clock, recorder(clock))


async def settle(database: Database, user_id: str) -> None:
    """A user with a role in the whole organization."""
    user = {"id": user_id, "email": f"{user_id}@forge.test", "name": "n", "totp_step": 0, "recovery": []}
    member = {"id": user_id, "organization_id": DEFAULT_ORGANIZATION_ID, "kind": "user", "principal_id": user_id}
    async with database.write() as session:
        await session.change(insert(users).values({**user, "operator": False, "created_at": NOW}))
        await session.change(insert(memberships).values({**member, "role": "developer", "created_at": NOW}))


async def issue(database: Database, clock: FakeClock, maker: Caller) -> bytes:
    keys = KeyService(database, clock, recorder(clock))
    _, secret = await keys.create(maker, NewKey.model_validate({"name": "n", "scopes": ["inference"]}))
    return secret.value.encode()


async def group(groups: GroupService, name: str, *members: str) -> str:
    made = (await groups.create(ROOT, name, None)).id
    for member in members:
        await groups.join(ROOT, made, member)
    return made


def owned(cache: KeyCache, token: bytes) -> tuple[str | None, tuple[str, ...]]:
    found = cache.lookup(token)
    assert found is not None
    return found.user_id, found.group_ids


def as_user(user_id: str) -> Caller:
    return msgspec.structs.replace(ROOT, key_id=user_id, kind="user")


async def test_a_key_belongs_to_the_user_who_made_it(
    database: Database, clock: FakeClock, groups: GroupService
) -> None:
    both, one = await group(groups, "both", ANN, BEN), await group(groups, "one", ANN)
    anns, bens = await issue(database, clock, as_user(ANN)), await issue(database, clock, as_user(BEN))
    nobodys = await issue(database, clock, ROOT)
    cache = KeyCache(database, clock)
    await cache.sync()
    assert owned(cache, anns) == (ANN, tuple(sorted((both, one))))
    assert owned(cache, bens) == (BEN, (both,))
    assert owned(cache, nobodys) == (None, ())
    cold = KeyCache(database, clock, preload=0)
    await cold.sync()
    assert (await cold.resolve(anns)).group_ids == tuple(sorted((both, one)))
    later = await issue(database, clock, as_user(BEN))
    await cache.sync()
    assert owned(cache, later) == (BEN, (both,))


async def test_a_user_who_calls_is_their_own(database: Database, groups: GroupService) -> None:
    both = await group(groups, "both", ANN, BEN)
    found = await Principals(database).of_user(ANN, DEFAULT_PROJECT_ID)
    assert (found.user_id, found.group_ids) == (ANN, (both,))


async def test_who_joins_or_leaves_is_heard_of(
    place: Place, database: Database, clock: FakeClock, groups: GroupService
) -> None:
    """By another process, with connections of its own."""
    token = await issue(database, clock, as_user(ANN))
    other = place.database()
    await other.open()
    cache, tail = KeyCache(other, SystemClock()), EventTail(other)
    tail.listen(("people",), cache.heard)
    await cache.open()
    await tail.open()
    first = await group(groups, "first", ANN, BEN)
    await soon(lambda: owned(cache, token) == (ANN, (first,)))
    second = await group(groups, "second", ANN)
    await soon(lambda: owned(cache, token) == (ANN, tuple(sorted((first, second)))))
    await groups.leave(ROOT, first, ANN)
    await soon(lambda: owned(cache, token) == (ANN, (second,)))
    await groups.remove(ROOT, second)
    await soon(lambda: owned(cache, token) == (ANN, ()))
    await tail.close()
    await cache.close()
    await other.close()


async def soon(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):  # a deadline for a busy machine; what bounds it is how often processes look
        while not look():  # noqa: ASYNC110  # nothing announces it: that is what is tested
            await asyncio.sleep(0.01)
