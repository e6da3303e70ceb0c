"""Corrections of the ledger: entries beside the calls, sums and budgets that follow; on SQLite and on PostgreSQL."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from polyforge.database.database import Database
from polyforge.database.events.store import SystemEvents
from polyforge.database.events.tail import EventTail
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.ids import new_ulid
from polyforge.kernel.usage import Usage
from polyforge.tenancy import api as tenancy_api
from polyforge.tenancy.admin_key import AdminKey
from polyforge.tenancy.audit.tables import audit_events
from polyforge.tenancy.bootstrap import install
from polyforge.tenancy.callers import ALL, KeyLimits
from polyforge.tenancy.corrections import api as corrections_api
from polyforge.tenancy.corrections.following import CorrectedBudgets
from polyforge.tenancy.corrections.service import CorrectionService
from polyforge.tenancy.keys import new_secret
from polyforge.tenancy.ledger.counters import SharedCounters
from polyforge.tenancy.ledger.records import Balance, UsageRecord
from polyforge.tenancy.ledger_store import LedgerStore
from polyforge.tenancy.service import KeyService
from polyforge.tenancy.tables import usage_records
from polyforge.tenancy.usage import api as usage_api
from polyforge.tenancy.usage.service import UsageService
from polyforge.wiring.usage import make_writer
from tests.support.ledgers import assert_counters_are_the_sums_of_the_rows, assert_sums_are_those_of_the_rows
from tests.support.recording import recorder
from tests.support.routes import Routes
from tests.support.waiting import eventually_async
from tests.unit.tenancy.samples import NOW, caller, record

OTHER_PROJECT = "0000000000000000000000009P"


class Api(Routes):
    """The routes of keys, usage and corrections behind a stand-in for the server's middleware."""

    def __init__(self, database: Database, clock: FakeClock) -> None:
        self.database = database
        self.ledger = LedgerStore(database)
        told = recorder(clock)
        super().__init__(
            corrections_api.router(CorrectionService(database, clock, told)),
            tenancy_api.router(KeyService(database, clock, told)),
            usage_api.router(UsageService(database, clock), make_writer),
        )

    async def correct(self, status: int = 201, **body: Any) -> Any:
        return await self("POST", "/usage/corrections", status, {"reason": "the price was wrong", **body})

    async def key(self, **limits: Any) -> str:
        return (await self("POST", "/keys", 201, {"name": "app", **limits}))["id"]

    async def called(self, key_id: str, **changes: Any) -> UsageRecord:
        """A call that is in the ledger."""
        call = record(key_id=key_id, started_at=NOW - 10, **changes)
        await self.ledger.append(f"j{call.id}", 0, 1, [call])
        return call


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
async def api(database: Database, clock: FakeClock) -> AsyncIterator[Api]:
    await install(database, AdminKey(new_secret(), created=False), clock)
    made = Api(database, clock)
    yield made
    await made.client.aclose()


async def test_a_call_is_corrected_and_everything_follows(api: Api, database: Database) -> None:
    key_id = await api.key()
    call = await api.called(key_id, price=1_000_000, cost=400_000)
    made = await api.correct(record_id=call.id, price_change_usd=-0.25, cost_change_usd=0.1)
    assert made == {
        "id": made["id"],
        "record_id": call.id,
        "key_id": key_id,
        "model": "assistant",
        "at": "2023-11-14T22:13:10Z",
        "cost_change_usd": 0.1,
        "price_change_usd": -0.25,
        "reason": "the price was wrong",
        "created_at": "2023-11-14T22:13:20Z",
        "created_by": api.caller.key_id,
    }
    report = await api("GET", "/usage?group_by=key,model", 200)
    (row,) = report["data"]
    assert (row["requests"], row["errors"], row["input_tokens"]) == (1, 0, call.usage.input_total)
    assert (row["cost_usd"], row["price_usd"]) == (0.5, 0.75)
    assert await api.ledger.spent(key_id, 0) == 750_000
    assert await api.ledger.balance(key_id, 0) == Balance(1_000_000, -250_000)
    assert (await api("GET", "/usage/corrections", 200))["data"] == [made]
    await assert_counters_are_the_sums_of_the_rows(database)
    await assert_sums_are_those_of_the_rows(database)


async def test_no_row_of_a_call_is_ever_changed(api: Api, database: Database) -> None:
    call = await api.called(await api.key())

    async def row() -> dict[str, Any]:
        async with database.read() as session:
            found = await session.first(select(usage_records).where(usage_records.c.id == call.id))
        assert found
        return dict(found)

    before = await row()
    await api.correct(record_id=call.id, price_change_usd=1.0)
    assert await row() == before


async def test_a_period_of_a_key_is_corrected_as_a_whole(api: Api, database: Database, clock: FakeClock) -> None:
    key_id = await api.key(budget_usd=10.0, budget_period="day")
    today, yesterday = int(NOW // 86_400) * 86_400, int(NOW // 86_400 - 1) * 86_400
    await api.called(key_id, period_start=today, price=2_000_000)
    await api.correct(key_id=key_id, price_change_usd=-1.5)
    await api.correct(key_id=key_id, price_change_usd=0.25, at="2023-11-13T12:00:00Z")
    assert await api.ledger.balance(key_id, today) == Balance(2_000_000, -1_500_000)
    assert await api.ledger.balance(key_id, yesterday) == Balance(0, 250_000)
    clock.advance(1)
    by_day = await api("GET", "/usage?group_by=day", 200)
    assert [(row["day"], row["price_usd"]) for row in by_day["data"]] == [("2023-11-13", 0.25), ("2023-11-14", 0.5)]
    await assert_counters_are_the_sums_of_the_rows(database)
    await assert_sums_are_those_of_the_rows(database)


async def test_less_than_nothing_is_never_left(api: Api, database: Database) -> None:
    key_id = await api.key()
    call = await api.called(key_id, price=100, cost=50)
    for change, param in (
        ({"price_change_usd": -0.000101}, "price_change_usd"),
        ({"cost_change_usd": -1.0}, "cost_change_usd"),
    ):
        refused = await api.correct(400, record_id=call.id, **change)
        assert (refused["param"], refused["message"]) == (param, "would leave less than nothing")
    await api.correct(record_id=call.id, price_change_usd=-0.00006)
    assert (await api.correct(400, record_id=call.id, price_change_usd=-0.00006))["param"] == "price_change_usd"
    assert (await api.correct(400, key_id=key_id, price_change_usd=-0.00005))["param"] == "price_change_usd"
    assert await api.ledger.spent(key_id, 0) == 40
    assert len((await api("GET", "/usage/corrections", 200))["data"]) == 1
    await assert_counters_are_the_sums_of_the_rows(database)
    await assert_sums_are_those_of_the_rows(database)


async def test_corrections_that_race_do_not_take_away_twice(api: Api, database: Database) -> None:
    call = await api.called(await api.key(), price=100)
    answers = await asyncio.gather(
        *(
            api.client.post(
                "/api/v1/usage/corrections",
                json={"record_id": call.id, "price_change_usd": -0.00006, "reason": "twice"},
            )
            for _ in range(4)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [201, 400, 400, 400]
    await assert_counters_are_the_sums_of_the_rows(database)
    await assert_sums_are_those_of_the_rows(database)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"record_id": "x", "key_id": "y", "price_change_usd": 1.0},
        {"record_id": "x" * 26, "price_change_usd": "1"},
        {"record_id": "x" * 26, "price_change_usd": 1e30},
        {"key_id": "x" * 26, "price_change_usd": 1.0, "reason": " "},
        {"record_id": "x" * 26, "price_change_usd": 1.0, "at": "2023-11-13"},
    ],
)
async def test_what_makes_no_sense_is_refused(api: Api, body: dict[str, Any]) -> None:
    await api.correct(422, **body)


async def test_what_changes_nothing_or_lies_ahead_is_refused(api: Api) -> None:
    key_id = await api.key()
    assert (await api.correct(400, key_id=key_id))["param"] == "price_change_usd"
    assert (await api.correct(400, key_id=key_id, price_change_usd=1e-9))["param"] == "price_change_usd"
    assert (await api.correct(400, key_id=key_id, price_change_usd=1.0, at="2099-01-01"))["param"] == "at"


async def test_another_project_and_an_absent_call_look_the_same(api: Api) -> None:
    key_id = await api.key()
    call = await api.called(key_id)
    made = await api.correct(record_id=call.id, price_change_usd=1.0)
    api.caller = caller(ALL, project_id=OTHER_PROJECT)
    for field, foreign in (("record_id", call.id), ("key_id", key_id)):
        absent = new_ulid()
        hidden = await api.correct(404, **{field: foreign}, price_change_usd=1.0)
        missing = await api.correct(404, **{field: absent}, price_change_usd=1.0)
        assert hidden["message"].replace(foreign, absent) == missing["message"]
        await api.correct(404, **{field: "no id at all"}, price_change_usd=1.0)
    assert (await api("GET", "/usage/corrections", 200))["data"] == []
    api.caller = caller(ALL)
    await api.correct(404, record_id=made["id"], price_change_usd=1.0)


async def test_only_those_who_may_write_usage_correct_it(api: Api) -> None:
    call = await api.called(await api.key())
    api.caller = caller("usage:read", "keys:write")
    assert (await api.correct(403, record_id=call.id, price_change_usd=1.0))["code"] == "permission_denied"
    assert (await api("GET", "/usage/corrections", 200))["data"] == []


async def test_lists_have_pages(api: Api) -> None:
    key_id = await api.key()
    for number in range(5):
        await api.correct(key_id=key_id, price_change_usd=1.0, reason=f"{number}")
    first = await api("GET", "/usage/corrections?limit=3", 200)
    second = await api("GET", f"/usage/corrections?limit=3&cursor={first['next_cursor']}", 200)
    assert [each["reason"] for each in first["data"] + second["data"]] == ["4", "3", "2", "1", "0"]
    assert second["next_cursor"] is None


async def test_the_audit_log_says_who_why_and_how_much(api: Api, database: Database) -> None:
    call = await api.called(await api.key())
    await api.correct(record_id=call.id, price_change_usd=1.5, reason="an invoice")
    async with database.read() as session:
        query = select(audit_events).where(audit_events.c.action == "usage.corrected")
        (event,) = await session.all(query)
        told = await SystemEvents(session).after(0, 100)
    assert event["resource_id"] == call.key_id
    assert json.loads(event["after"]).items() >= {"price_change_usd": 1.5, "reason": "an invoice"}.items()
    assert [(each.stream, each.resource_id) for each in told if each.kind == "usage.corrected"] == [
        ("budgets", call.key_id)
    ]


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[list[SharedCounters]]:
    opened = [SharedCounters(tmp_path / "counters", number, 2, 64) for number in range(2)]
    for counters in opened:
        counters.open(1)
    yield opened
    for counters in opened:
        counters.close()


async def test_budgets_in_every_worker_follow(api: Api, database: Database, workers: list[SharedCounters]) -> None:
    key_id = await api.key(budget_usd=1.0)
    call = await api.called(key_id, price=900_000)
    limits = KeyLimits(budget=1_000_000)
    known = await api.ledger.balance(key_id, 0)
    slots = [counters.create(f"t{key_id}", 0, known.spent, known.corrected) for counters in workers]
    followers = [CorrectedBudgets(database, counters) for counters in workers]
    tail = EventTail(database, ready=lambda: True)
    for follower in followers:
        tail.listen(("budgets",), follower.heard)
        await follower.open()
    await tail.open()

    def left() -> list[int]:
        return [counters.headroom(slot, limits, 0) for counters, slot in zip(workers, slots, strict=True)]

    assert left() == [100_000, 100_000]
    await api.correct(record_id=call.id, price_change_usd=-0.5)
    await eventually_async(lambda: left() == [600_000, 600_000], "the first correction")
    await api.correct(key_id=key_id, price_change_usd=0.2)
    await eventually_async(lambda: left() == [400_000, 400_000], "the second")
    for follower in followers:
        follower.heard([])
        await follower.sync(None)
    assert left() == [400_000, 400_000]
    fresh = await api.ledger.balance(key_id, 0)
    assert fresh == Balance(900_000, -300_000)
    await tail.close()
    for follower in followers:
        await follower.close()


async def test_units_that_are_no_tokens_are_summed(api: Api) -> None:
    key_id = await api.key()
    await api.called(key_id, usage=Usage(images=2, milliseconds=1_500, characters=30, output=9, reasoning=4))
    totals = (await api("GET", "/usage", 200))["totals"]
    assert (totals["images"], totals["audio_seconds"], totals["characters"]) == (2, 1.5, 30)
    assert totals["reasoning_tokens"] == 4
