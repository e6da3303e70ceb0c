"""Usage and costs over HTTP: sums of random calls against the calls themselves; on SQLite and on PostgreSQL."""

import csv
import io
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pyarrow.parquet
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from sqlalchemy import insert

from polyforge.database.database import Database
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import PolyforgeError
from polyforge.kernel.usage import Usage
from polyforge.tenancy.callers import ALL, Caller
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID
from polyforge.tenancy.ledger.records import UsageRecord
from polyforge.tenancy.ledger_store import LedgerStore
from polyforge.tenancy.tables import organizations, projects
from polyforge.tenancy.usage import api as usage_api
from polyforge.tenancy.usage import store
from polyforge.tenancy.usage.service import UsageService
from polyforge.wiring.usage import make_writer
from tests.unit.tenancy.samples import NOW, caller, record

DAY, HOUR = 86_400, 3_600
SECOND_PROJECT = "0000000000000000000000009P"
USERS = ("", "0000000000000000000000000A", "0000000000000000000000000B")
TAGS = ("", "app=chat,team=red", "team=Red", "a_b=c,team=red")
LABELS: dict[str, Callable[[UsageRecord], str]] = {
    "project": lambda call: call.project_id,
    "key": lambda call: call.key_id,
    "user": lambda call: call.user_id,
    "end_user": lambda call: call.end_user,
    "model": lambda call: call.model,
    "provider": lambda call: call.provider,
    "deployment": lambda call: call.deployment,
    "task": lambda call: call.task,
    "hour": lambda call: _at(call).strftime("%Y-%m-%dT%H:00:00Z"),
    "day": lambda call: _at(call).strftime("%Y-%m-%d"),
    "month": lambda call: _at(call).strftime("%Y-%m"),
}


def _at(call: UsageRecord) -> datetime:
    return datetime.fromtimestamp(call.started_at, UTC)


class Api:
    """The routes of usage behind a stand-in for the server's middleware."""

    def __init__(self, database: Database, clock: FakeClock) -> None:
        self.caller: Caller = caller(ALL)
        self.ledger = LedgerStore(database)
        self.calls: list[UsageRecord] = []
        app = FastAPI()
        app.include_router(usage_api.router(UsageService(database, clock), make_writer))
        app.exception_handler(PolyforgeError)(_render)
        app.middleware("http")(self._identify)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")

    async def get(self, path: str, status: int = 200, /, **query: Any) -> Any:
        answer = await self.client.get(f"/api/v1{path}", params=query)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def add(self, *calls: UsageRecord) -> None:
        await self.ledger.append(f"j{len(self.calls)}", 0, 1, calls)
        self.calls += calls

    async def _identify(self, request: Request, proceed: Any) -> Any:
        request.state.caller = self.caller
        return await proceed(request)


async def _render(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PolyforgeError)
    return JSONResponse({"code": error.code, "message": error.message, "param": error.param}, error.status)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
async def api(database: Database, clock: FakeClock) -> AsyncIterator[Api]:
    async with database.write() as session:
        await session.change(insert(organizations).values(id=DEFAULT_ORGANIZATION_ID, name="o", created_at=1.0))
        for id_, name in ((DEFAULT_PROJECT_ID, "first"), (SECOND_PROJECT, "second")):
            row = {"id": id_, "organization_id": DEFAULT_ORGANIZATION_ID, "name": name, "created_at": 1.0}
            await session.change(insert(projects).values(**row))
    made = Api(database, clock)
    yield made
    await made.client.aclose()


def random_call(dice: random.Random) -> UsageRecord:
    """A call in the forty days up to now, most of them on the edges of hours and days."""
    at = NOW - dice.random() * 40 * DAY
    edge = dice.choice((1, HOUR, DAY))
    return record(
        key_id=f"{dice.randrange(3):026d}",
        project_id=dice.choice((DEFAULT_PROJECT_ID, SECOND_PROJECT)),
        user_id=dice.choice(USERS),
        end_user=dice.choice(("", "ann", "bob")),
        model=dice.choice(("small", "large")),
        provider=dice.choice(("one", "two")),
        tags=dice.choice(TAGS),
        status=dice.choice(("ok", "error", "cancelled")),
        started_at=max(at // edge * edge - dice.choice((0, 0, 0.25)), NOW - 40 * DAY),
        usage=Usage(input=dice.randrange(100), cache_read=dice.randrange(9), output=dice.randrange(100)),
        cost=dice.randrange(1000),
        price=dice.randrange(1000),
    )


@pytest.fixture
async def filled(api: Api) -> Api:
    dice = random.Random(1)
    for _ in range(3):
        await api.add(*[random_call(dice) for _ in range(150)])
    return api


def sums_over(calls: list[UsageRecord], groups: tuple[str, ...]) -> dict[tuple[str, ...], tuple[Any, ...]]:
    """The same from the calls themselves: requests, errors, tokens and micro-USD."""
    found: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0] * 6)
    for call in calls:
        sums = found[tuple(LABELS[group](call) for group in groups)]
        used = (1, call.status == "error", call.usage.input_total, call.usage.output, call.cost, call.price)
        for place, amount in enumerate(used):
            sums[place] += amount
    return {labels: tuple(sums) for labels, sums in found.items()}


def sums_told(report: Any, groups: tuple[str, ...]) -> dict[tuple[str, ...], tuple[Any, ...]]:
    return {tuple(row[group] for group in groups): _numbers(row) for row in report["data"]}


def _numbers(row: Any) -> tuple[Any, ...]:
    counts = tuple(row[name] for name in ("requests", "errors", "input_tokens", "output_tokens"))
    return (*counts, round(row["cost_usd"] * 1e6), round(row["price_usd"] * 1e6))


async def test_any_question_is_answered_as_the_calls_say(filled: Api) -> None:
    dice = random.Random(2)
    for _ in range(60):
        unit = dice.choice((None, "hour", "day", "month"))
        names = dice.sample([name for name in LABELS if name not in ("hour", "day", "month")], dice.randrange(4))
        groups = (*names, unit) if unit else tuple(names)
        since = NOW - dice.random() * 40 * DAY
        until = since + dice.choice((dice.random() * HOUR, dice.random() * 3 * DAY, dice.random() * 40 * DAY))
        since, until = (round(at / HOUR) * HOUR if dice.random() < 0.3 else round(at) for at in (since, until))
        until, whole = max(since, until), dice.random() < 0.5
        filters = {name: LABELS[name](dice.choice(filled.calls)) for name in ("model", "user") if dice.random() < 0.3}
        calls = [call for call in filled.calls if since <= call.started_at < until]
        calls = [call for call in calls if whole or call.project_id == DEFAULT_PROJECT_ID]
        calls = [call for call in calls if all(LABELS[name](call) == value for name, value in filters.items())]
        span = {"since": datetime.fromtimestamp(since, UTC).isoformat(), "until": _iso(until)}
        path = "/organization/usage" if whole else "/usage"
        report = await filled.get(path, group_by=",".join(groups), limit=10_000, **span, **filters)
        expected = sums_over(calls, groups)
        if groups or calls:
            assert sums_told(report, groups) == expected
        total = [sum(column) for column in zip(*expected.values(), strict=True)] or [0] * 6
        assert list(_numbers(report["totals"])) == total


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


async def test_tags_are_told_apart_and_filtered_by_to_the_letter(filled: Api) -> None:
    calls = [call for call in filled.calls if call.project_id == DEFAULT_PROJECT_ID]
    span = {"since": _iso(NOW - 41 * DAY)}

    def having(tag: str) -> int:
        return sum(tag in call.tags.split(",") for call in calls)

    report = await filled.get("/usage", group_by="tag", **span)
    told = {row["tag"]: row["requests"] for row in report["data"]}
    assert told == {tag: having(tag) for tag in ("", "a_b=c", "app=chat", "team=Red", "team=red")}
    assert report["totals"]["requests"] == len(calls)
    teams = await filled.get("/usage", group_by="tag:team", **span)
    told = {row["tag"]: row["requests"] for row in teams["data"]}
    assert told == {"": having(""), "Red": having("team=Red"), "red": having("team=red")}
    for tag in ("team=red", "team=Red", "a_b=c", "axb=c", "team"):
        report = await filled.get("/usage", tag=tag, **span)
        assert report["totals"]["requests"] == having(tag)


async def test_costs_tell_margin_and_what_kept_answers_saved(api: Api) -> None:
    await api.add(
        record(cost=40, price=50, started_at=NOW - HOUR),
        record(cost=0, price=5, saved=40, cached="exact", started_at=NOW - HOUR),
        record(cost=9, price=9, provider="other", started_at=NOW - HOUR),
    )
    report = await api.get("/costs")
    sums = {"requests": 2, "cached_requests": 1, "cost_usd": 0.00004, "price_usd": 0.000055}
    assert report["data"] == [
        {"provider": "openai", **sums, "margin_usd": 0.000015, "saved_usd": 0.00004},
        {
            "provider": "other",
            "requests": 1,
            "cached_requests": 0,
            "cost_usd": 0.000009,
            "price_usd": 0.000009,
            "margin_usd": 0.0,
            "saved_usd": 0.0,
        },
    ]
    assert report["totals"]["margin_usd"] == 0.000015


async def test_groups_come_in_pages(filled: Api) -> None:
    whole = await filled.get("/usage", group_by="key,model,day", since=_iso(NOW - 41 * DAY))
    paged: list[Any] = []
    cursor: str | None = "0"
    while cursor is not None:
        query = {"group_by": "key,model,day", "since": _iso(NOW - 41 * DAY), "limit": 7, "cursor": cursor}
        page = await filled.get("/usage", **query)
        assert len(page["data"]) <= 7
        assert page["totals"] == whole["totals"]
        paged += page["data"]
        cursor = page["next_cursor"]
    assert paged == whole["data"]
    assert len(paged) > 14


async def test_more_groups_than_can_be_held_are_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polyforge.tenancy.usage.service.MAX_USAGE_ROWS", 3)
    await api.add(*[record(end_user=f"u{number}", started_at=NOW - HOUR) for number in range(4)])
    refused = await api.get("/usage", 400, group_by="end_user")
    assert refused["param"] == "group_by"


async def test_few_groups_of_many_lists_of_tags_are_refused_too(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("service", "store"):
        monkeypatch.setattr(f"polyforge.tenancy.usage.{place}.MAX_USAGE_ROWS", 3)
    calls = [record(tags=f"request={number},team=red", started_at=NOW - HOUR) for number in range(6)]
    await api.add(*calls)
    refused = await api.get("/usage", 400, group_by="tag:team")
    assert refused["param"] == "group_by"


async def test_an_organization_is_for_those_who_may_see_its_costs(filled: Api) -> None:
    report = await filled.get("/organization/costs", since=_iso(NOW - 41 * DAY))
    assert [(row["project"], row["project_name"]) for row in report["data"]] == [
        (DEFAULT_PROJECT_ID, "first"),
        (SECOND_PROJECT, "second"),
    ]
    mine = await filled.get("/usage", group_by="project", since=_iso(NOW - 41 * DAY))
    assert [row["project"] for row in mine["data"]] == [DEFAULT_PROJECT_ID]
    foreign = await filled.get("/usage", project=SECOND_PROJECT, since=_iso(NOW - 41 * DAY))
    assert foreign["totals"]["requests"] == 0
    filled.caller = caller("usage:read")
    for path in ("/organization/usage", "/organization/costs", "/organization/costs/forecast"):
        assert (await filled.get(path, 403))["code"] == "permission_denied"
    assert (await filled.get("/organization/usage/export", 403))["code"] == "permission_denied"


@pytest.mark.parametrize("unit", ["day", "hour"])
async def test_an_export_holds_every_call_once(filled: Api, monkeypatch: pytest.MonkeyPatch, unit: str) -> None:
    monkeypatch.setattr(store, "EXPORT_ROWS", 7)
    monkeypatch.setattr("polyforge.tenancy.usage.service.EXPORT_ROWS", 7)
    query = {"group_by": f"{unit},key,model,tag", "since": _iso(NOW - 41 * DAY)}
    answer = await filled.client.get("/api/v1/usage/export", params=query)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="usage.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    calls = [call for call in filled.calls if call.project_id == DEFAULT_PROJECT_ID]
    expected = sums_over(calls, (unit, "key", "model"))
    found: dict[tuple[str, ...], int] = defaultdict(int)
    for row in rows:
        found[row[unit], row["key"], row["model"]] += round(float(row["price_usd"]) * 1e6)
    assert found == {labels: sums[5] for labels, sums in expected.items()}
    assert len({(row[unit], row["key"], row["model"], row["tags"]) for row in rows}) == len(rows) > 7


async def test_parquet_holds_the_same_with_types(filled: Api) -> None:
    answer = await filled.client.get(
        "/api/v1/usage/export", params={"format": "parquet", "since": _iso(NOW - 41 * DAY)}
    )
    assert answer.headers["content-type"] == "application/vnd.apache.parquet"
    table: Any = pyarrow.parquet.read_table(io.BytesIO(answer.content))
    calls = [call for call in filled.calls if call.project_id == DEFAULT_PROJECT_ID]
    rows = table.to_pylist()
    assert sum(row["requests"] for row in rows) == len(calls)
    assert round(sum(row["price_usd"] for row in rows) * 1_000_000) == sum(call.price for call in calls)
    types = {field.name: str(field.type) for field in table.schema}
    assert (types["day"], types["price_usd"], types["tags"]) == ("date32[day]", "decimal128(18, 6)", "string")


async def test_exports_that_cannot_be_are_refused_before_they_begin(api: Api) -> None:
    assert (await api.get("/usage/export", 400, format="xlsx"))["param"] == "format"
    for groups in ("key", "month,key", "day,tag:team"):
        assert (await api.get("/usage/export", 400, group_by=groups))["param"] == "group_by"
    assert (await api.get("/usage/export", 400, since="1970-01-01"))["param"] == "since"


async def test_an_export_without_rows_is_a_table_all_the_same(api: Api) -> None:
    answer = await api.client.get("/api/v1/usage/export", params={"group_by": "day,model"})
    assert answer.text.startswith("day,model,requests,errors,")
    assert answer.text.count("\n") == 1
    answer = await api.client.get("/api/v1/usage/export", params={"group_by": "day,model", "format": "parquet"})
    table: Any = pyarrow.parquet.read_table(io.BytesIO(answer.content))
    assert (table.num_rows, table.column_names[:2]) == (0, ["day", "model"])


async def test_a_forecast_says_when_there_is_too_little_to_go_by(api: Api, clock: FakeClock) -> None:
    today = NOW // DAY * DAY
    await api.add(*[record(started_at=today - day * DAY, price=1_000_000, cost=500_000) for day in range(1, 7)])
    view = await api.get("/costs/forecast")
    assert (view["month"], view["until"], view["days"]) == ("2023-11", "2023-12-01T00:00:00Z", 6)
    assert view["price_usd"] == {"so_far": 6.0, "expected": None, "low": None, "high": None}
    assert view["note"] == "a forecast needs 7 complete days since the first call, and there are 6"
    await api.add(record(started_at=today - 7 * DAY, price=1_000_000, cost=500_000))
    view = await api.get("/costs/forecast")
    left = (datetime(2023, 12, 1, tzinfo=UTC).timestamp() - clock.now()) / DAY
    assert (view["note"], view["days"], view["price_usd"]["so_far"]) == (None, 7, 7.0)
    assert view["price_usd"]["expected"] == view["price_usd"]["high"] == pytest.approx(7 + left, abs=1e-5)
    assert view["cost_usd"]["expected"] == pytest.approx((7 + left) / 2, abs=1e-5)
    assert (await api.get("/costs/forecast", model="other"))["days"] == 0
