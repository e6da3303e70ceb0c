"""Payloads in the database: sealed, hidden from others, expired, opened before witnesses; on SQLite and PostgreSQL."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select

from polyforge.database.database import Database
from polyforge.database.pruning import ExpiryPruning
from polyforge.database.scopes import Scope
from polyforge.database.settings import DatabaseSettings
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import NotFound, Unavailable
from polyforge.kernel.ids import new_ulid
from polyforge.secrets.sealing import MasterKeys
from polyforge.tenancy.admin_key import AdminKey
from polyforge.tenancy.audit.log import AuditLog, Chain
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.audit.tables import audit_events
from polyforge.tenancy.bootstrap import install
from polyforge.tenancy.callers import ALL
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID
from polyforge.tenancy.keys import new_secret
from polyforge.tenancy.payloads.records import BELONGS_TO, Offered, Part, Payload
from polyforge.tenancy.payloads.service import PayloadService
from polyforge.tenancy.payloads.settings import PayloadSettings
from polyforge.tenancy.payloads.tables import request_payloads
from polyforge.tenancy.payloads.writer import BATCH, PayloadWriter
from polyforge.tenancy.vault.sealing import SealedColumn, Sealing
from tests.support.ports import refusing_port
from tests.unit.tenancy.samples import NOW, caller

MASTER, OTHER_PROJECT = MasterKeys([b"m" * 32]), "0000000000000000000000009P"
SCOPE = Scope(DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID)
WORDS = Payload(Part(b"what was asked", 14), Part(b"what was", 21, cut=True), "application/json", 200)
DAY = 86_400


def offered(request_id: str | None = None, size: int = 22, words: Payload = WORDS) -> Offered:
    return Offered(request_id or new_ulid(), SCOPE, "", "ann", size, lambda: words)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def dropped() -> list[int]:
    return []


Made = Callable[..., PayloadWriter]


@pytest.fixture
def make(database: Database, clock: FakeClock, dropped: list[int]) -> Made:
    return lambda **settings: PayloadWriter(
        PayloadSettings.model_validate(settings), database, clock, MASTER, dropped.append
    )


@pytest.fixture
async def service(database: Database, clock: FakeClock) -> PayloadService:
    await install(database, AdminKey(new_secret(), created=False), clock)
    return PayloadService(database, clock, Recorder(AuditLog(Chain(MASTER), clock)), MASTER)


async def kept(database: Database) -> int:
    async with database.read() as session:
        return await session.scalar(select(func.count()).select_from(request_payloads))


async def audited(database: Database, action: str) -> list[str]:
    async with database.read() as session:
        rows = await session.all(select(audit_events.c.resource_id).where(audit_events.c.action == action))
    return [row["resource_id"] for row in rows]


async def test_what_was_offered_is_opened_before_witnesses(
    make: Made, service: PayloadService, database: Database
) -> None:
    writer, one = make(), offered()
    writer.offer(one)
    await writer.flush()
    opened = await service.open(caller(ALL), one.id)
    assert opened.payload == WORDS
    assert opened.row.expires_at == NOW + 30 * DAY
    assert await audited(database, "payload.opened") == [one.id]


async def test_no_words_are_in_the_database(make: Made, database: Database) -> None:
    writer = make()
    writer.offer(offered())
    await writer.flush()
    async with database.read() as session:
        (row,) = await session.all(select(request_payloads))
    assert all(b"asked" not in value and b"ann" not in value for value in row.values() if isinstance(value, bytes))


async def test_another_project_and_a_request_without_one_have_none(
    make: Made, service: PayloadService, database: Database
) -> None:
    writer, one = make(), offered()
    writer.offer(one)
    await writer.flush()
    with pytest.raises(NotFound):
        await service.open(caller(ALL, project_id=OTHER_PROJECT), one.id)
    for absent in (new_ulid(), "a\0b", "x" * 1_000):
        with pytest.raises(NotFound):
            await service.open(caller(ALL), absent)
    assert await audited(database, "payload.opened") == []


async def test_when_its_time_is_up_it_is_gone(
    make: Made, service: PayloadService, database: Database, clock: FakeClock
) -> None:
    writer, one = make(retention_days=1), offered()
    writer.offer(one)
    await writer.flush()
    pruning = ExpiryPruning(request_payloads, database, clock)
    clock.advance(DAY - 1)
    assert await pruning.step() == 0
    await service.open(caller(ALL), one.id)
    clock.advance(1)
    with pytest.raises(NotFound):
        await service.open(caller(ALL), one.id)
    assert await pruning.step() == 1
    assert await kept(database) == 0


async def test_what_is_too_much_is_dropped_and_counted(make: Made, database: Database, dropped: list[int]) -> None:
    writer = make(max_waiting_bytes=64 * 1024)
    for _ in range(100):
        writer.offer(offered(size=9_000))
    await writer.flush()
    assert await kept(database) == 6
    assert sum(dropped) == 94
    writer.offer(offered(size=9_000))
    await writer.close()
    assert (await kept(database), sum(dropped)) == (7, 94)


async def test_many_are_written_and_one_that_comes_twice_only_once(make: Made, database: Database) -> None:
    writer, twice = make(), new_ulid()
    for number in range(BATCH + 3):
        writer.offer(offered(twice if number < 2 else None))
    await writer.flush()
    assert await kept(database) == BATCH + 2


async def test_another_master_key_opens_nothing_until_it_sealed_it_again(
    make: Made, service: PayloadService, database: Database, clock: FakeClock
) -> None:
    writer, one = make(), offered()
    writer.offer(one)
    await writer.flush()
    recorder = Recorder(AuditLog(Chain(MASTER), clock))
    with pytest.raises(Unavailable):
        await PayloadService(database, clock, recorder, MasterKeys([b"n" * 32])).open(caller(ALL), one.id)
    both = MasterKeys([b"n" * 32, b"m" * 32])
    column = SealedColumn(request_payloads, "sealed", BELONGS_TO, rows=8)
    await Sealing(database, both, (column,)).renew_some(column, "")
    opened = await PayloadService(database, clock, recorder, MasterKeys([b"n" * 32])).open(caller(ALL), one.id)
    assert opened.payload == WORDS


async def test_while_the_database_is_down_they_wait_and_at_the_end_are_counted(
    clock: FakeClock, dropped: list[int], tmp_path: Path
) -> None:
    with refusing_port() as port:
        down = Database(DatabaseSettings(url=f"postgresql://nobody@127.0.0.1:{port}/none"), tmp_path)
        await down.open()
        writer = PayloadWriter(PayloadSettings(), down, clock, MASTER, dropped.append)
        writer.offer(offered())
        writer.offer(offered())
        for _ in range(2):
            with pytest.raises(Unavailable):
                await writer.flush()
        assert dropped == []
        await writer.close()
        assert dropped == [2]
        await down.close()
