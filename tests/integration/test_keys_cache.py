"""Keys in memory: what every worker accepts and refuses, and how soon it hears of changes; on SQLite and PostgreSQL."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.database.sessions import ReadSession
from polyforge.database.settings import DatabaseSettings
from polyforge.kernel.clock import FakeClock, SystemClock
from polyforge.kernel.errors import SettingsError, Unauthenticated, Unavailable
from polyforge.secrets.references import SecretRef
from polyforge.tenancy.admin_key import ADMIN_FILE, admin_key
from polyforge.tenancy.bootstrap import install
from polyforge.tenancy.callers import ALL, Caller
from polyforge.tenancy.key_cache import KeyCache
from polyforge.tenancy.keys import ADMIN_KEY_ID, new_secret
from polyforge.tenancy.schemas import KeyChanges, NewKey
from polyforge.tenancy.service import KeyService
from polyforge.tenancy.store import SystemStore
from tests.support.databases import Place
from tests.support.postgres import Postgres
from tests.support.recording import recorder
from tests.unit.tenancy.samples import NOW, caller

ROOT = caller(ALL)
ADMIN = SecretRef("an admin key of my own")
MakeCache = Callable[..., Any]


class Counting(Database):
    """A database that counts its reads, and can be down."""

    down = False
    reads = 0

    @asynccontextmanager
    async def read(self, scope: Scope | None = None) -> AsyncGenerator[ReadSession]:
        self.reads += 1
        if self.down:
            raise Unavailable("down", retry_after=1)
        async with super().read(scope) as session:
            yield session


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
async def database(place: Place, clock: FakeClock) -> AsyncIterator[Counting]:
    opened = Counting(place.settings, place.data)
    await opened.open()
    await install(opened, admin_key(ADMIN, place.data), clock)
    yield opened
    await opened.close()


@pytest.fixture
def keys(database: Counting, clock: FakeClock) -> KeyService:
    return KeyService(database, clock, recorder(clock))


@pytest.fixture
async def cache(database: Counting, clock: FakeClock) -> AsyncIterator[KeyCache]:
    """A cache that is synchronised when the test says so."""
    made = KeyCache(database, clock)
    await made.sync()
    yield made
    await made.close()


async def issue(keys: KeyService, **fields: Any) -> tuple[str, bytes]:
    key, secret = await keys.create(ROOT, NewKey.model_validate({"name": "n", **fields}))
    return key.id, secret.value.encode()


def knows(cache: KeyCache, token: bytes) -> bool:
    return cache.lookup(token) is not None


async def refused(cache: KeyCache, token: bytes, error: type[Exception] = Unauthenticated) -> str:
    with pytest.raises(error) as caught:
        await cache.resolve(token)
    return str(caught.value)


async def soon(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):  # a deadline for a busy machine; SYNC_SECONDS is what bounds it
        while not look():  # noqa: ASYNC110  # nothing announces it: that is what is tested
            await asyncio.sleep(0.01)


# --- following ---


async def test_changes_reach_another_process_by_themselves(place: Place, keys: KeyService) -> None:
    """In real time and with connections of its own, as another worker would be."""
    other = place.database()
    await other.open()
    cache = KeyCache(other, SystemClock())
    await cache.open()
    key_id, token = await issue(keys, rpm=5)

    def limit() -> int | None:
        found = cache.lookup(token)
        return found.limits.rpm if found else None

    def is_refused() -> bool:
        return cache.lookup(token) is None

    await soon(lambda: limit() == 5)
    await keys.change(ROOT, key_id, KeyChanges(rpm=6))
    await soon(lambda: limit() == 6)
    await keys.revoke(ROOT, key_id)
    await soon(is_refused)
    assert "revoked" in await refused(cache, token)
    await cache.close()
    await other.close()


async def test_one_look_finds_every_change(cache: KeyCache, keys: KeyService) -> None:
    first, second, third = [await issue(keys) for _ in range(3)]
    await cache.sync()
    assert all(knows(cache, token) for _, token in (first, second, third))
    await keys.revoke(ROOT, first[0])
    _, rotated = await keys.rotate(ROOT, second[0])
    await keys.change(ROOT, third[0], KeyChanges(name="renamed"))
    await cache.sync()
    assert not knows(cache, first[1])
    assert not knows(cache, second[1])
    assert knows(cache, rotated.value.encode())
    assert cache.lookup(third[1]).key_name == "renamed"  # pyright: ignore[reportOptionalMemberAccess]


async def test_more_changes_than_a_page_holds_arrive_at_once(
    cache: KeyCache, keys: KeyService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polyforge.tenancy.key_cache.PAGE", 3)
    made = [await issue(keys) for _ in range(10)]
    await cache.sync()
    assert all(knows(cache, token) for _, token in made)
    fresh = KeyCache(cache._database, cache._clock, preload=8)
    await fresh.sync()
    assert [knows(fresh, token) for _, token in made] == [False] * 2 + [True] * 8


async def test_a_wake_up_spares_the_wait(database: Counting, clock: FakeClock) -> None:
    cache = KeyCache(database, clock, sync_seconds=3600)
    await cache.open()
    _, token = await issue(KeyService(database, clock, recorder(clock), cache.wake))
    await soon(lambda: knows(cache, token))
    await cache.close()


async def test_the_old_secret_works_until_its_grace_ends(cache: KeyCache, keys: KeyService, clock: FakeClock) -> None:
    key_id, old = await issue(keys)
    _, secret = await keys.rotate(ROOT, key_id, grace_seconds=60)
    new = secret.value.encode()
    await cache.sync()
    clock.advance(59)
    assert (await cache.resolve(old)).key_id == (await cache.resolve(new)).key_id == key_id
    clock.advance(1)
    await refused(cache, old)
    assert knows(cache, new)
    await keys.revoke(ROOT, key_id)
    await cache.sync()
    await refused(cache, old)
    await refused(cache, new)


async def test_rotating_without_grace_ends_the_old_secret(cache: KeyCache, keys: KeyService) -> None:
    key_id, old = await issue(keys)
    _, middle = await keys.rotate(ROOT, key_id, grace_seconds=60)
    await keys.rotate(ROOT, key_id)
    await cache.sync()
    await refused(cache, old)
    await refused(cache, middle.value.encode())


async def test_an_expired_key_is_refused(cache: KeyCache, keys: KeyService, clock: FakeClock) -> None:
    _, token = await issue(keys, expires_at=NOW + 10)
    assert (await cache.resolve(token)).expires_at == NOW + 10
    clock.advance(10)
    assert "expired" in await refused(cache, token)
    fresh = KeyCache(cache._database, clock)
    await fresh.sync()
    await refused(fresh, token)


# --- misses ---


async def test_a_key_that_is_not_here_yet_is_asked_for_once(
    cache: KeyCache, keys: KeyService, database: Counting
) -> None:
    _, token = await issue(keys)
    assert cache.lookup(token) is None
    before = database.reads
    callers = await asyncio.gather(*(cache.resolve(token) for _ in range(50)))
    assert len(set(map(id, callers))) == 1
    assert knows(cache, token)
    assert database.reads == before + 1


async def test_an_unknown_key_is_asked_for_once_in_a_while(
    cache: KeyCache, clock: FakeClock, database: Counting
) -> None:
    token = new_secret().value.encode()
    before = database.reads
    for _ in range(5):
        await refused(cache, token)
    assert database.reads == before + 1
    clock.advance(11)
    await refused(cache, token)
    assert database.reads == before + 2


@pytest.mark.parametrize("token", [b"", b"pf-", b"sk-" + b"a" * 48, b"\xff\0", b"a" * 100_000, b"pf-" + b"a" * 44])
async def test_what_cannot_be_a_key_is_refused_without_a_database(
    cache: KeyCache, database: Counting, token: bytes
) -> None:
    database.down = True
    before = database.reads
    await refused(cache, token)
    assert database.reads == before


async def test_an_admin_key_of_any_form_is_let_through_even_before_the_replica_is_there(
    database: Counting, clock: FakeClock
) -> None:
    token = ADMIN.reveal().encode()
    admin = admin_key(ADMIN, Path())
    cold = KeyCache(database, clock, given=admin.secret.hash)
    database.down = True
    await refused(cold, token, Unavailable)
    database.down = False
    assert (await cold.resolve(token)).scopes == {ALL}


async def test_memory_is_bounded(database: Counting, keys: KeyService, clock: FakeClock) -> None:
    cache = KeyCache(database, clock, capacity=3, preload=2, negative_capacity=3)
    await cache.sync()
    made = [await issue(keys) for _ in range(6)]
    for _, token in made:
        await cache.resolve(token)
    await cache.sync()
    assert len(cache._callers._by_hash) == 3
    assert len(cache._callers._hashes) == 3
    for _ in range(6):
        await refused(cache, new_secret().value.encode())
    assert len(cache._unknown._until) == 3
    assert len(cache._flights) == 0
    for _, token in made:
        assert (await cache.resolve(token)).scopes == {"inference", "models:read"}


async def test_the_keys_in_use_are_the_last_to_be_dropped(
    database: Counting, keys: KeyService, clock: FakeClock
) -> None:
    cache = KeyCache(database, clock, capacity=3)
    await cache.sync()
    made = [(await issue(keys))[1] for _ in range(4)]
    await cache.resolve(made[0])
    for token in made[1:]:
        assert knows(cache, made[0])
        await cache.resolve(token)
    assert knows(cache, made[0])


async def test_a_flood_of_unknown_keys_is_cut_off(database: Counting, clock: FakeClock) -> None:
    cache = KeyCache(database, clock, waiting=5)
    await cache.sync()
    tokens = [new_secret().value.encode() for _ in range(20)]
    answers = await asyncio.gather(*(cache.resolve(token) for token in tokens), return_exceptions=True)
    kinds = [type(answer) for answer in answers]
    assert kinds == [Unauthenticated] * 5 + [Unavailable] * 15


async def test_who_gives_up_waiting_does_not_take_the_answer_from_others(cache: KeyCache, keys: KeyService) -> None:
    _, token = await issue(keys)
    impatient = asyncio.create_task(cache.resolve(token))
    patient = asyncio.create_task(cache.resolve(token))
    await asyncio.sleep(0)
    impatient.cancel()
    assert isinstance(await patient, Caller)
    with pytest.raises(asyncio.CancelledError):
        await impatient


async def test_a_look_up_that_is_overtaken_by_a_revocation_keeps_nothing(
    keys: KeyService, place: Place, clock: FakeClock
) -> None:
    """The row was read before the revocation, and its answer comes after the revocation was applied."""
    read, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Database):
        slow = False

        @asynccontextmanager
        async def read(self, scope: Scope | None = None) -> AsyncGenerator[ReadSession]:
            slow = self.slow
            async with super().read(scope) as session:
                yield session
            if slow:
                read.set()
                await go_on.wait()

    slow = Slow(place.settings, place.data)
    await slow.open()
    cache = KeyCache(slow, clock)
    await cache.sync()
    key_id, token = await issue(keys)
    slow.slow = True
    answer = asyncio.create_task(cache.resolve(token))
    await read.wait()
    slow.slow = False
    await keys.revoke(ROOT, key_id)
    await cache.sync()
    go_on.set()
    assert (await answer).key_id == key_id
    await refused(cache, token)
    await slow.close()


# --- a database that is down ---


async def test_without_a_database_known_keys_work_for_ten_minutes_and_unknown_ones_are_not_denied(
    cache: KeyCache, keys: KeyService, clock: FakeClock, database: Counting
) -> None:
    _, known = await issue(keys)
    await cache.sync()
    database.down = True
    unknown = new_secret().value.encode()
    await refused(cache, unknown, Unavailable)
    clock.advance(599)
    with pytest.raises(Unavailable):
        await cache.sync()
    assert knows(cache, known)
    clock.advance(2)
    assert not cache.synchronised
    with pytest.raises(Unavailable) as unavailable:
        cache.lookup(known)
    assert unavailable.value.retry_after
    database.down = False
    await cache.sync()
    assert knows(cache, known)
    assert "no such API key" in await refused(cache, unknown)


async def test_a_process_that_starts_while_the_database_is_down_recovers(
    database: Counting, keys: KeyService, clock: FakeClock
) -> None:
    _, token = await issue(keys)
    prepared = 0

    async def prepare() -> None:
        nonlocal prepared
        async with database.read():
            prepared += 1

    database.down = True
    cache = KeyCache(database, clock, prepare=prepare)
    await cache.open()
    await refused(cache, token, Unavailable)
    assert not cache.synchronised
    database.down = False
    await soon(lambda: cache.synchronised)
    assert knows(cache, token)
    await cache.sync()
    assert prepared == 1
    await cache.close()


async def test_a_wrong_setting_is_noticed_at_the_start(database: Counting, clock: FakeClock) -> None:
    async def prepare() -> None:
        raise SettingsError("database: newer")

    with pytest.raises(SettingsError):
        await KeyCache(database, clock, prepare=prepare).open()


async def test_following_goes_on_after_a_failure_that_nobody_foresaw(
    database: Counting, keys: KeyService, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = KeyCache(database, clock, sync_seconds=0.01)
    await cache.open()
    with monkeypatch.context() as broken:
        broken.setattr(SystemStore, "changed_since", None)
        await asyncio.sleep(0.1)
    _, token = await issue(keys)
    await soon(lambda: knows(cache, token))
    await cache.close()


async def test_when_postgres_stops_known_keys_go_on_and_others_are_unavailable(
    postgres: Postgres, postgres_schema: str, tmp_path: Path
) -> None:
    database = Database(DatabaseSettings(url=postgres.url(postgres_schema), timeout_seconds=2), tmp_path)
    await database.open()
    clock = SystemClock()
    admin = admin_key(ADMIN, tmp_path)
    await install(database, admin, clock)
    cache = KeyCache(database, clock, given=admin.secret.hash)
    await cache.open()
    keys = KeyService(database, clock, recorder(clock), cache.wake)
    key_id, token = await issue(keys)
    await cache.resolve(token)
    unknown = new_secret().value.encode()
    postgres.stop()
    try:
        await refused(cache, unknown, Unavailable)
        await asyncio.sleep(1)
        await refused(cache, unknown, Unavailable)
        assert knows(cache, token)
        assert knows(cache, ADMIN.reveal().encode())
        with pytest.raises(Unavailable):
            await keys.revoke(ROOT, key_id)
    finally:
        postgres.start()
    await keys.revoke(ROOT, key_id)
    await soon(lambda: not knows(cache, token))
    await refused(cache, unknown)
    await cache.close()
    await database.close()


# --- the admin key ---


async def test_processes_that_start_at_once_agree_on_one_admin_key(place: Place, clock: FakeClock) -> None:
    databases = [place.database() for _ in range(4)]
    for database in databases:
        await database.open()
    made = await asyncio.gather(*(asyncio.to_thread(admin_key, None, place.data) for _ in range(16)))
    assert len({admin.secret.value for admin in made}) == 1
    assert sum(admin.created for admin in made) == 1
    await asyncio.gather(*(install(database, made[0], clock) for database in databases))
    path = place.data / ADMIN_FILE
    assert path.read_text() == made[0].secret.value + "\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in place.data.iterdir() if "admin" in file.name] == [ADMIN_FILE]
    cache = KeyCache(databases[0], clock)
    await cache.sync()
    assert cache.lookup(made[0].secret.value.encode()).scopes == {ALL}  # pyright: ignore[reportOptionalMemberAccess]
    for database in databases:
        await database.close()


async def test_another_admin_key_replaces_the_one_before(cache: KeyCache, database: Counting, clock: FakeClock) -> None:
    assert knows(cache, ADMIN.reveal().encode())
    other = admin_key(SecretRef("quite another admin key"), Path())
    await install(database, other, clock)
    await cache.sync()
    assert knows(cache, other.secret.value.encode())
    await refused(cache, ADMIN.reveal().encode())
    async with database.read() as session:
        generation = await SystemStore(session).generation()
        row = await SystemStore(session).by_id(ADMIN_KEY_ID)
    assert row is not None
    assert row.version == generation
    await install(database, other, clock)
    async with database.read() as session:
        assert await SystemStore(session).generation() == generation


async def test_the_secret_of_an_issued_key_cannot_be_the_admin_key(
    database: Counting, keys: KeyService, clock: FakeClock
) -> None:
    _, token = await issue(keys)
    with pytest.raises(SettingsError, match="it is the secret of the key 'n' already"):
        await install(database, admin_key(SecretRef(token.decode()), Path()), clock)


def test_an_admin_file_that_is_no_good_is_named(tmp_path: Path) -> None:
    (tmp_path / ADMIN_FILE).write_text("short\n")
    with pytest.raises(SettingsError, match="admin_key: must have 16"):
        admin_key(None, tmp_path)
    (tmp_path / ADMIN_FILE).write_bytes(b"\xff" * 50)
    with pytest.raises(SettingsError, match="admin_key: cannot use"):
        admin_key(None, tmp_path)
