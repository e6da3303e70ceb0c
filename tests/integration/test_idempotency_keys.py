"""Keys of callers in the database: who has them, for how long, and who gets them after a death."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import func, select

from polyforge.database.database import Database
from polyforge.database.pruning import ExpiryPruning
from polyforge.database.settings import DatabaseSettings
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import IdempotencyAnswerLost, IdempotencyKeyReused, IdempotencyRunning, Unavailable
from polyforge.secrets.sealing import MasterKeys
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.idempotency.service import (
    BELONGS_TO,
    LEASE_SECONDS,
    Claim,
    Idempotency,
    KeptAnswer,
    request_digest,
)
from polyforge.tenancy.idempotency.settings import IdempotencySettings
from polyforge.tenancy.idempotency.store import IdempotentRow, IdempotentStore, SystemIdempotent
from polyforge.tenancy.idempotency.tables import idempotent_requests
from polyforge.tenancy.vault.sealing import SealedColumn, Sealing
from tests.support.ports import refusing_port

OLD, NEW = b"o" * 32, b"n" * 32
REQUEST, OTHER = request_digest("/v1/chat/completions", b"{}"), request_digest("/v1/messages", b"{}")
ANSWER = KeptAnswer(200, b"application/json", b'{"said":"hello"}')
HOUR = 3600


def ulid(digit: int) -> str:
    return f"{digit:026d}"


def caller(organization: int = 1, project: int = 11) -> Caller:
    return Caller(ulid(5), "k", ulid(organization), ulid(project), frozenset())


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def worker(database: Database, clock: FakeClock, master: MasterKeys | None = None, **settings: Any) -> Idempotency:
    made = {"wait_seconds": 0, **settings}
    return Idempotency(IdempotencySettings(**made), database, clock, master or MasterKeys([OLD]))


async def taken(one: Idempotency, key: bytes = b"k", request: bytes = REQUEST, who: Caller | None = None) -> Claim:
    claim = await one.claim(who or caller(), key, request)
    assert isinstance(claim, Claim)
    return claim


async def rows(database: Database) -> int:
    async with database.read() as session:
        return await session.scalar(select(func.count()).select_from(idempotent_requests))


async def test_a_key_is_one_attempts_until_it_is_answered(database: Database, clock: FakeClock) -> None:
    one, other = worker(database, clock), worker(database, clock)
    claim = await taken(one)
    with pytest.raises(IdempotencyRunning):
        await other.claim(caller(), b"k", REQUEST)
    with pytest.raises(IdempotencyKeyReused):
        await other.claim(caller(), b"k", OTHER)
    await one.keep(claim, ANSWER)
    assert await other.claim(caller(), b"k", REQUEST) == ANSWER
    with pytest.raises(IdempotencyKeyReused):
        await other.claim(caller(), b"k", OTHER)
    await one.close()


async def test_of_many_at_once_one_gets_the_key_and_the_others_its_answer(database: Database, clock: FakeClock) -> None:
    workers = [worker(database, FakeClock(), wait_seconds=60) for _ in range(3)]

    async def attempt(number: int) -> tuple[bool, KeptAnswer]:
        one = workers[number % 3]
        found = await one.claim(caller(), b"k", REQUEST)
        if isinstance(found, KeptAnswer):
            return False, found
        await asyncio.sleep(0.1)
        await one.keep(found, ANSWER)
        return True, ANSWER

    done = await asyncio.gather(*map(attempt, range(12)))
    assert sum(first for first, _ in done) == 1
    assert {answer for _, answer in done} == {ANSWER}
    for one in workers:
        await one.close()


async def test_keys_of_other_projects_are_other_keys(database: Database, clock: FakeClock) -> None:
    one = worker(database, clock)
    await one.keep(await taken(one), ANSWER)
    for stranger in (caller(project=12), caller(organization=2, project=13)):
        await one.release(await taken(one, who=stranger))
    await one.close()


async def test_a_key_that_was_let_go_of_is_free(database: Database, clock: FakeClock) -> None:
    one = worker(database, clock)
    await one.release(await taken(one))
    assert await rows(database) == 0
    await taken(one, request=OTHER)
    await one.close()


async def test_who_gave_a_sign_of_life_meanwhile_keeps_its_key(
    database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, heir = worker(database, clock), worker(database, clock)
    claim = await taken(late)
    clock.advance(LEASE_SECONDS + 1)
    find = IdempotentStore.find

    async def renewed_just_after(store: IdempotentStore, id_: str) -> IdempotentRow | None:
        monkeypatch.setattr(IdempotentStore, "find", find)
        row = await find(store, id_)
        async with database.write() as session:
            await SystemIdempotent(session).renew([claim.owner], clock.now() + LEASE_SECONDS)
        return row

    monkeypatch.setattr(IdempotentStore, "find", renewed_just_after)
    with pytest.raises(IdempotencyRunning):
        await heir.claim(caller(), b"k", REQUEST)
    await late.keep(claim, ANSWER)
    assert await heir.claim(caller(), b"k", REQUEST) == ANSWER
    await late.close()


async def test_the_key_of_a_dead_attempt_is_taken_over_and_its_late_answer_is_not_kept(
    database: Database, clock: FakeClock
) -> None:
    dead, heir = worker(database, clock), worker(database, clock)
    lost = await taken(dead)
    clock.advance(LEASE_SECONDS - 1)
    with pytest.raises(IdempotencyRunning):
        await heir.claim(caller(), b"k", REQUEST)
    clock.advance(2)
    claim = await taken(heir)
    await dead.keep(lost, KeptAnswer(200, b"", b"late"))
    await dead.release(lost)
    with pytest.raises(IdempotencyRunning):
        await dead.claim(caller(), b"k", REQUEST)
    await heir.keep(claim, ANSWER)
    assert await dead.claim(caller(), b"k", REQUEST) == ANSWER
    await dead.close()
    await heir.close()


async def test_an_answer_is_given_for_a_day_and_then_pruned(database: Database, clock: FakeClock) -> None:
    one = worker(database, clock)
    await one.keep(await taken(one), ANSWER)
    await one.keep(await taken(one, b"pruned"), ANSWER)
    clock.advance(24 * HOUR - 1)
    assert await one.claim(caller(), b"k", REQUEST) == ANSWER
    assert await ExpiryPruning(idempotent_requests, database, clock).step() == 0
    clock.advance(1)
    assert isinstance(await one.claim(caller(), b"k", OTHER), Claim)
    assert await ExpiryPruning(idempotent_requests, database, clock).step() == 1
    assert await rows(database) == 1
    await one.close()


async def test_what_was_too_large_is_told(database: Database, clock: FakeClock) -> None:
    one = worker(database, clock)
    await one.keep(await taken(one), None)
    with pytest.raises(IdempotencyAnswerLost, match="8388608 bytes"):
        await one.claim(caller(), b"k", REQUEST)
    await one.close()


async def test_answers_are_sealed_and_sealed_again(database: Database, clock: FakeClock) -> None:
    one = worker(database, clock)
    await one.keep(await taken(one), ANSWER)
    running = await taken(one, b"running")
    async with database.read() as session:
        for row in await session.all(select(idempotent_requests)):
            assert b"hello" not in row["sealed"]
            assert b"running" not in bytes(row["id"].encode())
    column = SealedColumn(idempotent_requests, "sealed", BELONGS_TO, rows=8)
    await Sealing(database, MasterKeys([NEW, OLD]), [column]).run()
    renewed = worker(database, clock, MasterKeys([NEW]))
    assert await renewed.claim(caller(), b"k", REQUEST) == ANSWER
    await one.keep(running, ANSWER)
    with pytest.raises(Unavailable):
        await renewed.claim(caller(), b"running", REQUEST)
    await one.close()


async def test_without_the_database_nothing_is_done_twice(clock: FakeClock, tmp_path: Any) -> None:
    with refusing_port() as port:
        database = Database(DatabaseSettings(url=f"postgresql://nobody@127.0.0.1:{port}/none"), tmp_path)
        await database.open()
        with pytest.raises(Unavailable):
            await worker(database, clock).claim(caller(), b"k", REQUEST)
        await database.close()
