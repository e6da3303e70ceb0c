"""The job that writes requests into a file, without a worker around it."""

import csv
import io
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from polyforge.adapters.table_writers.csv import CsvWriter
from polyforge.jobs.records import AskedBy, Job, Level, Progress
from polyforge.kernel.errors import Denied, Invalid
from polyforge.kernel.usage import Usage
from polyforge.operations.exports.jobs import RequestExport
from polyforge.operations.exports.records import ExportOrder
from polyforge.ports.table_writer import TableWriter
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.history.records import Entry, Which
from polyforge.tenancy.ledger.details import NO_DETAILS
from tests.unit.tenancy.samples import NOW, caller

DAY = 86_400


class Context:
    """What a job is given to run with, of which only the steps do something."""

    def __init__(self, args: dict[str, Any]) -> None:
        self.said: list[float] = []
        self.lines: list[str] = []
        self.cancelled = self.released = False
        asked_by = AskedBy.of(caller("usage:read"))
        self.job = Job(
            id="job_1",
            organization_id="o",
            project_id="p",
            kind="requests.export",
            title="t",
            queue="exports",
            priority=5,
            state="running",
            run_after=NOW,
            args=args,
            dedup_key=None,
            asked_by=asked_by,
            schedule_id=None,
            attempt=1,
            max_attempts=1,
            timeout_seconds=None,
            created_at=NOW,
            started_at=NOW,
            ended_at=None,
            worker="w",
            takeovers=0,
            progress=Progress(),
            waiting_for=None,
            result=None,
            error=None,
            cancel_requested=False,
        )

    async def step(self, name: str, work: Callable[[], Awaitable[Any]], **_: Any) -> Any:
        return msgspec.json.decode(msgspec.json.encode(await work()))

    def progress(self, done: float, total: float | None = None, unit: str = "", note: str = "") -> None:
        self.said.append(done)

    def log(self, level: Level, text: str) -> None:
        self.lines.append(text)

    def occupied(self, change: int) -> None:
        raise AssertionError(f"an export does one thing at a time: {change}")

    def idempotency_key(self, step: str) -> str:
        raise AssertionError("this job does nothing outside")

    async def sleep(self, name: str, seconds: float) -> None:
        raise AssertionError("this job waits for nothing")

    async def wait_for(self, *_: Any, **__: Any) -> None:
        raise AssertionError("this job waits for nobody")


class History:
    """Three requests, two to a page."""

    def __init__(self) -> None:
        self.asked: list[tuple[Which, str | None]] = []
        self.requests = [entry(number) for number in range(3)]

    async def page(
        self, caller: Caller, which: Which, limit: int, cursor: str | None
    ) -> tuple[list[Entry], str | None]:
        self.asked.append((which, cursor))
        return (self.requests[2:], None) if cursor else (self.requests[:2], "next")


class Standing:
    """Lets everybody act but those whom a test names."""

    def __init__(self, refused: str = "") -> None:
        self.refused = refused

    async def confirmed(self, then: Caller) -> Caller:
        if self.refused:
            raise Denied(self.refused)
        return then


class Files:
    """Keeps files in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    async def keep(self, caller: Caller, name: str, content: AsyncIterable[bytes]) -> tuple[str, int]:
        self.kept[name] = b"".join([part async for part in content])
        return "file-1", len(self.kept[name])


def entry(number: int) -> Entry:
    return Entry(
        id=f"{number:026}",
        key_id="k",
        user_id="",
        end_user="=cmd",
        task="chat",
        model="m",
        provider="lab",
        deployment="d",
        status="ok",
        http_status=200,
        error="",
        started_at=NOW - number,
        duration_ms=12,
        stream=False,
        tags="team=red",
        cached="",
        usage=Usage(input=3, output=4),
        cost=1_500_000,
        price=2_000_001,
        saved=0,
        details=NO_DETAILS,
    )


async def make_writer(_: str) -> TableWriter:
    return CsvWriter()


def kind(history: Any, files: Files, standing: Any = None) -> RequestExport:
    anybody: Any = Standing()
    return RequestExport(history, standing or anybody, make_writer, files.keep)


async def test_all_pages_are_in_one_file() -> None:
    files, history, context = Files(), History(), Context({"format": "csv", "since": NOW - 10, "until": NOW})
    result = await kind(history, files).run(context)
    content = files.kept["requests.csv"]
    assert result == {"file_id": "file-1", "rows": 3, "bytes": len(content)}
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    assert [row["id"] for row in rows] == [each.id for each in history.requests]
    assert (rows[0]["cost_usd"], rows[0]["price_usd"]) == ("1.500000", "2.000001")
    assert rows[0]["end_user"] == "'=cmd"
    assert (context.said, context.lines) == ([2, 3], [f"3 requests in {len(content)} bytes: file-1"])
    assert [cursor for _, cursor in history.asked] == [None, "next"]
    assert history.asked[0][0] == Which(since=NOW - 10, until=NOW)


async def test_of_a_schedule_it_is_the_whole_days_before() -> None:
    history = History()
    await kind(history, Files()).run(Context({"format": "csv", "days": 2}))
    which, _ = history.asked[0]
    midnight = NOW // DAY * DAY
    assert (which.since, which.until) == (midnight - 2 * DAY, midnight)


async def test_nothing_is_read_for_who_may_not_act_any_more() -> None:
    history = History()
    with pytest.raises(Denied, match="was revoked"):
        await kind(history, Files(), Standing("the key was revoked")).run(Context({"days": 1}))
    assert history.asked == []


async def test_a_permission_that_was_taken_away_counts() -> None:
    class Narrowed(Standing):
        async def confirmed(self, then: Caller) -> Caller:
            return msgspec.structs.replace(then, scopes=frozenset({"jobs:read"}))

    with pytest.raises(Denied, match="usage:read"):
        await kind(History(), Files(), Narrowed()).run(Context({"days": 1}))


@pytest.mark.parametrize(
    "args",
    [
        {},
        {"since": NOW},
        {"since": NOW, "until": NOW},
        {"days": 0},
        {"days": 401},
        {"format": "xml", "days": 1},
        {"days": 1, "else": True},
    ],
)
async def test_wrong_arguments_are_named(args: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refused:
        await kind(History(), Files()).run(Context(args))
    assert refused.value.param == "args"


def test_an_order_says_the_same_as_json() -> None:
    order = ExportOrder(format="parquet", since=1.0, until=2.0, model=("a", "b"))
    assert msgspec.convert(msgspec.to_builtins(order), ExportOrder) == order
