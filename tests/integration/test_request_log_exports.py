"""The log of requests on its way to sinks that fail, lie and come back; on SQLite and on PostgreSQL."""

import asyncio
from collections import Counter
from itertools import product

import pytest
from sqlalchemy import func, select

from polyforge.database.database import Database
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import Conflict, Invalid, NotFound, Unavailable
from polyforge.kernel.request_log import LoggedRequest, RequestBatch, line_of
from polyforge.kernel.usage import Usage
from polyforge.ports.secret_source import SecretSource
from polyforge.secrets.sealing import MasterKeys
from polyforge.tenancy import exporting as rhythm
from polyforge.tenancy.admin_key import AdminKey
from polyforge.tenancy.audit.log import AuditLog, Chain
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.bootstrap import install
from polyforge.tenancy.callers import ALL
from polyforge.tenancy.keys import new_secret
from polyforge.tenancy.ledger.details import encode_details
from polyforge.tenancy.ledger.records import UsageRecord
from polyforge.tenancy.request_logs import exporter as exporting
from polyforge.tenancy.request_logs import store as log_store
from polyforge.tenancy.request_logs.exporter import LogExporter, LogExporters
from polyforge.tenancy.request_logs.ledger import ExportedLedger
from polyforge.tenancy.request_logs.service import LogExportService
from polyforge.tenancy.request_logs.store import LogExportState, SystemLogStore
from polyforge.tenancy.request_logs.tables import request_log_batches
from tests.support.databases import Place
from tests.support.waiting import eventually_async
from tests.unit.tenancy.samples import NOW, caller, record

START = 5_000_000_000_000
BLOB = encode_details(
    (
        "/v1/chat/completions",
        [START, START + 10_000, START + 30_000],
        4_000_000,
        [("lab", "llama", START + 100_000, START + 1_100_000, "upstream_timeout"), ("openai", "gpt", START, 0, "ok")],
        START + 3_000_000,
        b"\xab" * 16,
    )
)


class Sink:
    """Keeps what it is sent; raises `failure` while there is one, refuses `refused`, and may be slow to answer."""

    def __init__(self, gather_seconds: float = 0.0) -> None:
        self.gather_seconds = gather_seconds
        self.got: list[LoggedRequest] = []
        self.firsts: list[int] = []
        self.tries = 0
        self.failure: Exception | None = None
        self.refused: set[str] = set()
        self.answers = asyncio.Event()
        self.answers.set()

    @property
    def ids(self) -> list[str]:
        return [request.id for request in self.got]

    async def open(self, secrets: SecretSource) -> None:
        del secrets

    async def close(self) -> None:
        pass

    async def send(self, batch: RequestBatch) -> None:
        self.tries += 1
        if self.failure is not None:
            raise self.failure
        if self.refused.intersection(request.id for request in batch.requests):
            raise Invalid("it says something that we do not take")
        self.got += batch.requests
        self.firsts.append(batch.first)
        await self.answers.wait()


class Calls:
    """Records on their way into the ledger, as a drainer brings them."""

    def __init__(self, database: Database, clock: FakeClock) -> None:
        self.ledger = ExportedLedger(database, clock)
        self.all: list[UsageRecord] = []
        self._position = 0

    async def add(self, count: int) -> list[str]:
        usage = Usage(input=7, cache_read=2, output=5, reasoning=1)
        records = [record(usage=usage, details=BLOB, tags="app=chat", end_user="ann") for _ in range(count)]
        await self.ledger.append("j", self._position, self._position + 1, records)
        self._position += 1
        self.all += records
        return [each.id for each in records]

    @property
    def ids(self) -> Counter[str]:
        return Counter(each.id for each in self.all)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def calls(database: Database, clock: FakeClock) -> Calls:
    return Calls(database, clock)


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def refused() -> list[int]:
    return []


@pytest.fixture
def exporter(database: Database, sink: Sink, clock: FakeClock, refused: list[int]) -> LogExporter:
    return LogExporter("lake", sink, database, clock, "A", refused.append)


def process(database: Database, sink: Sink, clock: FakeClock, name: str) -> LogExporter:
    """The exporter of one process."""
    return LogExporter("lake", sink, database, clock, name, lambda _: None)


async def work(exporter: LogExporter, steps: int = 1_000) -> None:
    """Step for as long as there is something to do at once."""
    for _ in range(steps):
        if await exporter.step() > 0:
            return
    raise AssertionError(f"still at work after {steps} steps")


async def state_of(database: Database) -> LogExportState:
    async with database.read() as session:
        state = await SystemLogStore(session).state("lake")
    assert state is not None
    return state


async def batch_count(database: Database) -> int:
    async with database.read() as session:
        return await session.scalar(select(func.count()).select_from(request_log_batches))


async def test_a_sink_gets_every_request_with_what_the_ledger_says_of_it(
    exporter: LogExporter, sink: Sink, calls: Calls, database: Database
) -> None:
    for count in (400, 500, 300, 1):
        await calls.add(count)
    await work(exporter)
    assert Counter(sink.ids) == calls.ids
    assert sink.firsts == [1, 3]
    assert (await state_of(database)).sequence == 4
    asked, got = calls.all[0], next(each for each in sink.got if each.id == calls.all[0].id)
    assert (got.usage, got.cost, got.price, got.model) == (asked.usage, asked.cost, asked.price, asked.model)
    assert (got.started_at, got.duration_ms, got.status) == (asked.started_at, asked.duration_ms, asked.status)
    assert [(hop.name, hop.microseconds) for hop in got.hops] == [("server", 10), ("auth", 20)]
    timed_out, answered = got.attempts
    assert (timed_out.outcome, timed_out.after_ms, timed_out.duration_ms) == ("upstream_timeout", 0.1, 1.0)
    assert (answered.provider, answered.duration_ms) == ("openai", None)
    assert (got.first_token_ms, got.upstream_ms, got.trace_id) == (3.0, 4.0, "ab" * 16)
    assert (got.path, got.tags) == ("/v1/chat/completions", ("app=chat",))
    assert b"ann" not in line_of(got), "whom it was for does not leave"


async def test_records_that_come_late_with_old_ids_are_exported_too(
    exporter: LogExporter, sink: Sink, calls: Calls, database: Database, clock: FakeClock
) -> None:
    late = record(id="00000000000000000000000001", status="interrupted")
    await calls.add(3)
    await work(exporter)
    await ExportedLedger(database, clock).append("other", 0, 9, [late])
    await work(exporter)
    assert sink.ids[-1] == late.id


async def test_what_the_ledger_refused_is_not_exported(
    exporter: LogExporter, sink: Sink, calls: Calls, database: Database
) -> None:
    await calls.add(2)
    with pytest.raises(Conflict):
        await calls.ledger.append("j", 0, 1, [record()])
    await work(exporter)
    assert Counter(sink.ids) == calls.ids
    assert await batch_count(database) == 1


async def test_requests_wait_for_others_only_as_long_as_the_sink_wants(
    database: Database, calls: Calls, clock: FakeClock
) -> None:
    sink = Sink(gather_seconds=60.0)
    exporter = process(database, sink, clock, "A")
    await calls.add(2)
    await work(exporter)
    clock.advance(30)
    await calls.add(3)
    await work(exporter)
    assert (sink.ids, exporter.lag_seconds) == ([], 30.0)
    clock.advance(30)
    await work(exporter)
    assert (len(sink.ids), sink.firsts, exporter.lag_seconds) == (5, [1], 0.0)
    await calls.add(1_000)
    await work(exporter)
    assert Counter(sink.ids) == calls.ids


async def test_a_sink_that_is_down_loses_nothing_and_is_not_pestered(
    exporter: LogExporter, sink: Sink, calls: Calls, database: Database, clock: FakeClock
) -> None:
    await calls.add(5)
    sink.failure = Unavailable("it answered 503", retry_after=20.0)
    for _ in range(300):
        await exporter.step()
        clock.advance(1)
    assert 5 <= sink.tries <= 15
    assert (await state_of(database)).error == "it answered 503"
    assert exporter.lag_seconds >= 299
    await calls.add(5)
    sink.failure = None
    clock.advance(60)
    await work(exporter)
    assert Counter(sink.ids) == calls.ids
    state = await state_of(database)
    assert (state.sequence, state.failures, state.error) == (2, 0, None)


@pytest.mark.parametrize("failure", [OSError("password=hunter2"), RuntimeError("hunter2")])
async def test_whatever_a_sink_raises_loses_nothing_and_is_not_repeated(
    exporter: LogExporter, sink: Sink, calls: Calls, database: Database, clock: FakeClock, failure: Exception
) -> None:
    await calls.add(1)
    sink.failure = failure
    assert await exporter.step() > 0
    assert (await state_of(database)).error == type(failure).__name__
    sink.failure = None
    clock.advance(60)
    await work(exporter)
    assert Counter(sink.ids) == calls.ids


async def test_a_sink_that_never_answers_is_given_up(
    exporter: LogExporter, sink: Sink, calls: Calls, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "SEND_SECONDS", 0.01)
    await calls.add(1)
    sink.answers.clear()
    await exporter.step()
    state = await state_of(database)
    assert (state.error, state.sequence) == ("it took too long", 0)


async def test_refused_requests_are_left_out_counted_and_hold_up_no_other(
    exporter: LogExporter, sink: Sink, calls: Calls, refused: list[int]
) -> None:
    ids = await calls.add(700)
    sink.refused = {ids[0], ids[350], ids[699]}
    await work(exporter)
    assert set(sink.ids) == set(ids) - sink.refused
    assert refused == [3]
    assert sink.tries < 80


def service_of(database: Database, clock: FakeClock, **uses: str) -> LogExportService:
    """What operators see."""
    recorder = Recorder(AuditLog(Chain(MasterKeys([b"m" * 32])), clock))
    return LogExportService(database, clock, recorder, uses)


async def test_what_a_sink_refused_is_a_dead_letter_until_it_takes_it(
    exporter: LogExporter, sink: Sink, calls: Calls, database: Database, clock: FakeClock
) -> None:
    await install(database, AdminKey(new_secret(), created=False), clock)
    service = service_of(database, clock, lake="file")
    ids = await calls.add(5)
    sink.refused = {ids[1], ids[3]}
    await work(exporter)
    letters, following = await service.letters("lake", 10, None)
    assert ({letter.request_id for letter in letters}, following) == (sink.refused, None)
    assert {letter.reason for letter in letters} == {"it says something that we do not take"}
    (export,) = await service.exports()
    assert (export.name, export.use, export.dead_letters) == ("lake", "file", 2)
    await work(exporter)
    assert len(sink.ids) == 3, "nobody asked for it again"

    first, second = letters
    await service.retry(caller(ALL), first.id)
    await work(exporter)
    assert (await service.letters("lake", 10, None))[0] == letters, "refused again, it is as it was"
    sink.refused = set()
    await service.retry(caller(ALL), first.id)
    await service.retry(caller(ALL), second.id)
    await calls.add(1)
    sink.failure = Unavailable("down")
    await work(exporter)
    assert len((await service.letters("lake", 10, None))[0]) == 2
    sink.failure = None
    clock.advance(60)
    await work(exporter)
    assert (await service.letters(None, 10, None))[0] == []
    assert Counter(sink.ids) == calls.ids
    repeated = [number for number in sink.firsts if number > 2]
    assert len(set(repeated)) == len(repeated) == 2, "no object of another batch is written over"


async def test_a_dead_letter_that_nobody_has_or_wants_is_not_sent_again(
    exporter: LogExporter, sink: Sink, calls: Calls, database: Database, clock: FakeClock
) -> None:
    (refused_id,) = await calls.add(1)
    sink.refused = {refused_id}
    await work(exporter)
    service = service_of(database, clock)
    (letter,) = (await service.letters(None, 10, None))[0]
    with pytest.raises(Conflict):
        await service.retry(caller(ALL), letter.id)
    for absent in ("0" * 26, "a\0b"):
        with pytest.raises(NotFound):
            await service.retry(caller(ALL), absent)


async def test_the_newest_dead_letters_are_kept(
    exporter: LogExporter, sink: Sink, calls: Calls, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_store, "MOST_LETTERS", 3)
    ids = await calls.add(5)
    sink.refused = set(ids)
    await work(exporter)
    exporters = LogExporters([exporter], database, "A")
    await exporters.prune()
    await exporters.prune()
    async with database.read() as session:
        assert await SystemLogStore(session).letter_count("lake") == 3


async def test_a_process_that_ends_between_sending_and_noting_it_only_repeats(
    exporter: LogExporter, sink: Sink, calls: Calls, database: Database, clock: FakeClock
) -> None:
    await calls.add(4)
    sink.answers.clear()
    step = asyncio.create_task(exporter.step())
    await eventually_async(lambda: sink.firsts)
    step.cancel()
    await asyncio.gather(step, return_exceptions=True)
    sink.answers.set()
    other = process(database, sink, clock, "B")
    await calls.add(1)
    assert await other.step() > 0
    clock.advance(60)
    await work(other)
    assert set(sink.ids) == set(calls.ids)
    assert sink.firsts == [1, 1]


async def test_processes_of_several_machines_send_in_turns(
    place: Place, database: Database, sink: Sink, calls: Calls, clock: FakeClock
) -> None:
    second = place.database()
    await second.open()
    exporters = [process(database, sink, clock, "A"), process(second, sink, clock, "B")]
    for _ in range(6):
        await calls.add(300)
        await asyncio.gather(*(exporter.step() for exporter in exporters))
    for exporter in exporters:
        await work(exporter)
    assert Counter(sink.ids) == calls.ids
    await second.close()


async def test_batches_are_let_go_once_every_sink_has_them(database: Database, calls: Calls, clock: FakeClock) -> None:
    quick, slow = Sink(), Sink()
    built = [
        LogExporter(name, sink, database, clock, "A", lambda _: None) for name, sink in (("q", quick), ("s", slow))
    ]
    exporters = LogExporters(built, database, "A")
    await calls.add(2)
    await work(built[0])
    assert await exporters.prune() == 0
    slow.failure = Unavailable("down")
    await work(built[1])
    assert await exporters.prune() == 0
    slow.failure = None
    clock.advance(60)
    await work(built[1])
    assert await exporters.prune() == 1
    assert await batch_count(database) == 0
    await calls.add(1)
    for each in built:
        await work(each)
    assert Counter(quick.ids) == Counter(slow.ids) == calls.ids
    await exporters.close()


async def test_running_survives_whatever_fails(database: Database, sink: Sink, calls: Calls) -> None:
    class Broken(FakeClock):
        """Fails the first step."""

        calls = 0

        def now(self) -> float:
            self.calls += 1
            if self.calls == 1:
                raise KeyError("a bug")
            return super().now()

    await calls.add(10)
    with pytest.MonkeyPatch.context() as patched:
        for module, name in product((rhythm, exporting), ("IDLE_SECONDS", "LOOK_SECONDS")):
            patched.setattr(module, name, 0.01)
        exporters = LogExporters([process(database, sink, Broken(NOW), "A")], database, "A")
        running = asyncio.create_task(exporters.run())
        await eventually_async(lambda: len(sink.got) == 10)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await exporters.close()
