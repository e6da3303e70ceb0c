"""The ledger: rows, counters and offsets that always agree; on SQLite and on PostgreSQL."""

import asyncio
import random
from collections import Counter
from typing import Any

import msgspec
import pytest
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, delete, insert, select

from polyforge.database.database import Database
from polyforge.database.migrating import configuration
from polyforge.database.scopes import Scope
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import Conflict, Unavailable
from polyforge.kernel.ids import new_ulid
from polyforge.kernel.usage import Usage
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID
from polyforge.tenancy.ledger.records import UsageRecord
from polyforge.tenancy.ledger_minutes import KEPT_MINUTES, MINUTE_SECONDS
from polyforge.tenancy.ledger_rows import DAY_SECONDS
from polyforge.tenancy.ledger_store import LedgerStore
from polyforge.tenancy.tables import (
    organizations,
    projects,
    usage_days,
    usage_hours,
    usage_minutes,
    usage_records,
    usage_series,
)
from polyforge.tenancy.usage.pruning import PAGE, MinutePruning
from polyforge.tenancy.usage.questions import Question
from polyforge.tenancy.usage.store import UsageStore
from tests.support.databases import Place
from tests.support.ledgers import (
    assert_counters_are_the_sums_of_the_rows,
    assert_sums_are_those_of_the_rows,
    minutes,
    rolled_up,
)
from tests.unit.tenancy.samples import NOW, record

KEY, OTHER = "0000000000000000000000000A", "0000000000000000000000000B"


@pytest.fixture
def ledger(database: Database) -> LedgerStore:
    return LedgerStore(database)


async def rows_of(database: Database) -> list[dict[str, Any]]:
    async with database.read() as session:
        return [dict(row) for row in await session.all(select(usage_records).order_by(usage_records.c.id))]


async def test_a_record_becomes_a_row_with_all_it_says(ledger: LedgerStore, database: Database) -> None:
    units: dict[str, Any] = {
        "audio_input": 1,
        "audio_output": 2,
        "image_input": 3,
        "images": 4,
        "milliseconds": 5_000,
        "characters": 6,
    }
    usage = Usage(input=10, cache_read=5, cache_write=1, output=20, reasoning=7, **units)
    kept: dict[str, Any] = {"cached": "exact", "saved": 60}
    whose: dict[str, Any] = {"user_id": KEY, "end_user": "ann", "tags": "app=chat,team=red"}
    how: dict[str, Any] = {"error": "rate_limited", "details": b"\x91\xa8/v1/chat"}
    ended: dict[str, Any] = {"status": "cancelled", "http_status": 499, "usage": usage, **how}
    call = record(stream=True, period_start=1_699_920_000, **ended, **whose, **kept)
    await ledger.append("j", 0, 100, [call])
    (row,) = await rows_of(database)
    assert row == {
        "id": call.id,
        "key_id": call.key_id,
        **how,
        "organization_id": call.organization_id,
        "project_id": call.project_id,
        "task": "chat",
        "model": "assistant",
        "provider": "openai",
        "deployment": "gpt",
        "status": "cancelled",
        "http_status": 499,
        "started_at": NOW,
        "day": 19_675,
        "duration_ms": 123,
        "period_start": 1_699_920_000,
        "input_tokens": 10,
        "cache_read_tokens": 5,
        "cache_write_tokens": 1,
        "output_tokens": 20,
        "reasoning_tokens": 7,
        "exact": True,
        "cost_micros": 40,
        "price_micros": 50,
        "stream": True,
        "audio_input_tokens": 1,
        "audio_output_tokens": 2,
        "image_input_tokens": 3,
        "images": 4,
        "milliseconds": 5_000,
        "characters": 6,
        "user_id": KEY,
        "end_user": "ann",
        "tags": "app=chat,team=red",
        "cached": "exact",
        "saved_micros": 60,
    }
    assert await ledger.spent(call.key_id, 1_699_920_000) == 50
    assert await ledger.spent(call.key_id, 0) == 0
    assert await ledger.offset("j") == 100


async def test_the_same_stretch_of_a_journal_is_written_once(ledger: LedgerStore, database: Database) -> None:
    calls = [record(key_id=KEY), record(key_id=OTHER, price=7), record(key_id=KEY, period_start=5)]
    await ledger.append("j", 0, 30, calls)
    for start, end in ((0, 30), (0, 60), (10, 40), (60, 90)):
        with pytest.raises(Conflict):
            await ledger.append("j", start, end, [record(key_id=KEY)])
    with pytest.raises(Conflict):
        await ledger.append("unknown", 10, 40, [record(key_id=KEY)])
    await ledger.append("j", 30, 30, [])
    await ledger.append("j", 30, 40, [record(key_id=KEY)])
    assert len(await rows_of(database)) == 4
    assert (await ledger.spent(KEY, 0), await ledger.spent(OTHER, 0), await ledger.spent(KEY, 5)) == (100, 7, 50)
    assert (await ledger.offset("j"), await ledger.offset("unknown")) == (40, 0)
    await assert_counters_are_the_sums_of_the_rows(database)


async def test_a_record_that_is_there_already_is_not_counted_again(ledger: LedgerStore, database: Database) -> None:
    first, second, third = record(key_id=KEY), record(key_id=KEY), record(key_id=OTHER)
    await ledger.append("a", 0, 1, [first, second])
    await ledger.append("b", 0, 1, [second, third, third])
    await ledger.append("c", 0, 1, [first])
    assert [row["id"] for row in await rows_of(database)] == [first.id, second.id, third.id]
    await assert_counters_are_the_sums_of_the_rows(database)


async def test_a_forgotten_journal_starts_anew(ledger: LedgerStore) -> None:
    await ledger.append("j", 0, 10, [record()])
    await ledger.forget("j")
    await ledger.forget("j")
    assert await ledger.offset("j") == 0
    await ledger.append("j", 0, 5, [record()])


async def test_drainers_that_race_write_each_stretch_once(place: Place, database: Database) -> None:
    other = place.database()
    await other.open()
    ledgers = [LedgerStore(database), LedgerStore(other)]
    stretches = [[record(key_id=key) for key in (KEY, OTHER) * 10] for _ in range(8)]

    async def drain(ledger: LedgerStore) -> None:
        for number, records in enumerate(stretches):
            for journal in ("a", "b"):
                try:
                    await ledger.append(journal, number, number + 1, _named(records, journal))
                except Conflict:
                    continue

    await asyncio.gather(*(drain(ledger) for ledger in ledgers))
    offsets = [await ledgers[0].offset(journal) for journal in ("a", "b")]
    rows = Counter(row["model"] for row in await rows_of(database))
    assert {"a": offsets[0] * 20, "b": offsets[1] * 20} == rows
    await assert_counters_are_the_sums_of_the_rows(database)
    await other.close()


def _named(records: list[UsageRecord], journal: str) -> list[UsageRecord]:
    return [record(key_id=each.key_id, model=journal) for each in records]


async def test_a_transaction_that_fails_halfway_leaves_nothing(ledger: LedgerStore, database: Database) -> None:
    good, bad = record(), record(price=2**70)
    with pytest.raises(Exception, match=r"(?i)range|large"):
        await ledger.append("j", 0, 10, [good, bad])
    assert await rows_of(database) == []
    assert await ledger.offset("j") == 0


async def test_what_a_caller_wrote_cannot_stop_the_ledger(ledger: LedgerStore, database: Database) -> None:
    await ledger.append("j", 0, 1, [record(model="a\0b'; DROP TABLE x; --", deployment="\0", provider="é" * 5_000)])
    (row,) = await rows_of(database)
    assert row["model"] == "a\ufffdb'; DROP TABLE x; --"


async def test_many_records_of_many_keys_fit_in_one_transaction(ledger: LedgerStore, database: Database) -> None:
    keys = [new_ulid() for _ in range(50)]
    await ledger.append("j", 0, 1, [record(key_id=keys[number % 50], price=number) for number in range(3_000)])
    assert len(await rows_of(database)) == 3_000
    await assert_counters_are_the_sums_of_the_rows(database)


async def test_usage_is_that_of_one_project(ledger: LedgerStore, database: Database) -> None:
    mine, theirs = record(), record(project_id=OTHER)
    await ledger.append("j", 0, 1, [mine, theirs])
    for call in (mine, theirs):
        scope = Scope(call.organization_id, call.project_id)
        async with database.read() as session:
            (row,) = await UsageStore(session, scope).sums(Question(("day", "project")), NOW, NOW + 1)
        assert (row.labels, row.used.requests, row.used.price_micros) == ((19_675, call.project_id), 1, 50)
    foreign = Scope(OTHER, mine.project_id)
    async with database.read() as session:
        assert await UsageStore(session, foreign).sums(Question(("key",)), NOW, NOW + 1) == []


async def test_without_a_database_appending_is_unavailable(place: Place, tmp_path: Any) -> None:
    hasty = Database(place.settings.model_copy(update={"timeout_seconds": 0.2}), place.data)
    await hasty.open()
    blocker = place.database()
    await blocker.open()
    await LedgerStore(blocker).append("j", 0, 1, [])
    async with blocker.write() as session:
        await session.raw("UPDATE journal_offsets SET position = 1", ())
        with pytest.raises(Unavailable):
            await LedgerStore(hasty).append("j", 1, 2, [record()])
    await LedgerStore(hasty).append("j", 1, 2, [record()])
    await hasty.close()
    await blocker.close()


# --- sums by hour and by day ---


def random_call(dice: random.Random) -> UsageRecord:
    """A call of one of few keys, users, models and labels, within three days."""
    cached = dice.choice(("", "", "exact"))
    used: dict[str, Any] = {name: dice.randrange(100) for name in Usage.__struct_fields__ if name != "exact"}
    return record(
        key_id=dice.choice((KEY, OTHER)),
        project_id=dice.choice((KEY, OTHER)),
        user_id=dice.choice(("", KEY)),
        end_user=dice.choice(("", "ann", "a\0nn")),
        model=dice.choice(("small", "large")),
        tags=dice.choice(("", "app=chat,team=red")),
        status=dice.choice(("ok", "error", "cancelled", "interrupted")),
        cached=cached,
        saved=dice.randrange(9) if cached else 0,
        started_at=NOW + dice.randrange(3 * DAY_SECONDS),
        period_start=dice.choice((0, 5)),
        stream=dice.choice((True, False)),
        usage=Usage(**used),
        cost=dice.randrange(1000),
        price=dice.randrange(1000),
        duration_ms=dice.randrange(1000),
    )


async def test_sums_are_those_of_the_rows_at_every_moment(ledger: LedgerStore, database: Database) -> None:
    dice = random.Random(5)
    known: list[UsageRecord] = []
    for number in range(12):
        batch = [random_call(dice) for _ in range(dice.randrange(1, 60))]
        again = dice.sample(known, min(len(known), dice.choice((0, 0, 3))))
        known += batch
        await ledger.append(f"j{number}", 0, 1, [*batch[:7], *again, *batch[7:]])
        await assert_sums_are_those_of_the_rows(database)
    assert len(await rows_of(database)) == len(known)
    await assert_counters_are_the_sums_of_the_rows(database)


async def test_what_was_not_committed_is_in_no_sum(ledger: LedgerStore, database: Database) -> None:
    """Nor is its series taken for known afterwards."""
    with pytest.raises(Exception, match=r"(?i)range|large"):
        await ledger.append("j", 0, 1, [record(end_user="ann"), record(cost=2**70)])
    await assert_sums_are_those_of_the_rows(database)
    await ledger.append("j", 0, 1, [record(end_user="ann")])
    await assert_sums_are_those_of_the_rows(database)


async def test_machines_that_write_at_once_agree_on_sums(place: Place, database: Database) -> None:
    other = place.database()
    await other.open()
    dice = random.Random(6)
    stretches = [[random_call(dice) for _ in range(40)] for _ in range(10)]

    async def drain(ledger: LedgerStore, machine: str) -> None:
        for number, calls in enumerate(stretches):
            own = [msgspec.structs.replace(call, id=new_ulid()) for call in calls]
            await ledger.append(f"{machine}{number}", 0, 1, [*own, *calls])

    await asyncio.gather(drain(LedgerStore(database), "a"), drain(LedgerStore(other), "b"))
    assert len(await rows_of(database)) == 3 * 10 * 40
    await assert_sums_are_those_of_the_rows(database)
    await assert_counters_are_the_sums_of_the_rows(database)
    await other.close()


async def test_old_minutes_go_and_hours_stay(database: Database, ledger: LedgerStore) -> None:
    this = int(NOW // MINUTE_SECONDS)
    kept = [this - KEPT_MINUTES, this - 1, this]
    old = [this - KEPT_MINUTES - ago for ago in (1, 2, PAGE, PAGE + 1, 5_000)]
    calls = [record(started_at=minute * MINUTE_SECONDS + 30.0) for minute in old + kept]
    await ledger.append("j", 0, 1, calls)
    pruning = MinutePruning(database, FakeClock(NOW))
    hours = await rolled_up(database, usage_hours, "hour")
    while await pruning.step():
        continue
    assert [row[2] for row in await minutes(database)] == kept
    assert await rolled_up(database, usage_hours, "hour") == hours


async def test_migrating_sums_up_what_is_there(database: Database, ledger: LedgerStore) -> None:
    dice = random.Random(7)
    calls = [random_call(dice) for _ in range(200)]
    await ledger.append("j", 0, 1, calls[:150])
    sums = [await rolled_up(database, usage_hours, "hour"), await rolled_up(database, usage_days, "day")]
    async with database.bare() as connection:
        for table in (usage_series, usage_hours, usage_days):
            await connection.execute(delete(table))
        await connection.run_sync(_fill, "0006")
    assert [await rolled_up(database, usage_hours, "hour"), await rolled_up(database, usage_days, "day")] == sums
    await LedgerStore(database).append("j", 1, 2, calls[150:])
    await assert_sums_are_those_of_the_rows(database)


async def test_migrating_sums_up_the_last_day_by_minute(database: Database, ledger: LedgerStore) -> None:
    async with database.write() as session:
        await session.change(insert(organizations).values(id=DEFAULT_ORGANIZATION_ID, name="o", created_at=NOW))
        whose = {"organization_id": DEFAULT_ORGANIZATION_ID, "name": "p", "created_at": NOW}
        await session.change(insert(projects).values(id=DEFAULT_PROJECT_ID, **whose))
    dice = random.Random(8)
    longest = [record(started_at=NOW, duration_ms=latency) for latency in (0, 39, 40, 79, 80, 10**7, 10**10)]
    statuses: list[Any] = ["ok", "error", "refused", "cancelled"]
    some = [
        record(
            started_at=NOW - dice.uniform(0, 80_000), duration_ms=dice.randrange(90_000), status=dice.choice(statuses)
        )
        for _ in range(200)
    ]
    await ledger.append("j", 0, 1, [*longest, *some])
    sums = await minutes(database)
    await ledger.append("j", 1, 2, [record(started_at=NOW - 100_000)])
    async with database.bare() as connection:
        await connection.execute(delete(usage_minutes))
        await connection.run_sync(_fill, "0018")
    assert await minutes(database) == sums


def _fill(connection: Connection, revision: str) -> None:
    scripts = ScriptDirectory.from_config(configuration())
    with Operations.context(MigrationContext.configure(connection)):
        scripts.get_revision(revision).module._fill()
