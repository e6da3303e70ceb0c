"""Audit events reach their sinks at least once and in order, whatever fails; on SQLite and on PostgreSQL."""

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from itertools import product

import pytest
from msgspec.structs import replace
from sqlalchemy import select

from polyforge.database.database import Database
from polyforge.database.engine import sqlite_path
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import Invalid, Unavailable
from polyforge.ports.secret_source import SecretSource
from polyforge.tenancy import exporting as rhythm
from polyforge.tenancy.audit.exports import exporter as exporting
from polyforge.tenancy.audit.exports.exporter import Exporter, Exporters
from polyforge.tenancy.audit.exports.service import ExportService
from polyforge.tenancy.audit.exports.store import DeadLetter, ExportState, SystemExportStore
from polyforge.tenancy.audit.log import AuditEvent, Subject
from polyforge.tenancy.audit.store import SystemAuditStore
from polyforge.tenancy.audit.tables import audit_events
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID
from tests.support.audit import audit_event, fill
from tests.support.databases import Place
from tests.support.recording import recorder
from tests.support.waiting import eventually_async
from tests.unit.tenancy.samples import NOW, caller

COUNT = 1_200
HOUR = 3_600


class Sink:
    """Keeps what it is sent; raises `failure` while there is one, refuses `refused`, and may be slow to answer."""

    def __init__(self) -> None:
        self.got: list[int] = []
        self.batches: list[int] = []
        self.sizes: list[int] = []
        self.tries = 0
        self.failure: Exception | None = None
        self.refused: set[int] = set()
        self.answers = asyncio.Event()
        self.answers.set()
        self.opened = 0

    async def open(self, secrets: SecretSource) -> None:
        del secrets
        self.opened += 1

    async def close(self) -> None:
        self.opened -= 1

    async def send(self, lines: Sequence[bytes]) -> None:
        self.tries += 1
        if self.failure is not None:
            raise self.failure
        sequences = [json.loads(line)["sequence"] for line in lines]
        if self.refused.intersection(sequences):
            raise Invalid("it says something that we do not take")
        self.got += sequences
        self.batches.append(len(lines))
        self.sizes.append(sum(len(line) for line in lines))
        await self.answers.wait()


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
async def log(database: Database) -> Database:
    await fill(database, COUNT)
    return database


@pytest.fixture
def exporter(log: Database, sink: Sink, clock: FakeClock) -> Exporter:
    return process(log, sink, clock, "A")


def process(database: Database, sink: Sink, clock: FakeClock, name: str) -> Exporter:
    """The exporter of one process."""
    return Exporter("siem", sink, database, clock, name)


async def work(exporter: Exporter, steps: int = 1_000) -> None:
    """Step for as long as there is something to do at once."""
    for _ in range(steps):
        if await exporter.step() > 0:
            return
    raise AssertionError(f"still at work after {steps} steps")


async def state_of(database: Database) -> ExportState:
    async with database.read() as session:
        state = await SystemExportStore(session).state("siem")
    assert state is not None
    return state


async def letters_of(database: Database) -> list[DeadLetter]:
    async with database.read() as session:
        return await SystemExportStore(session).letters(None, 1_000, None)


def everything(first: int = 1, last: int = COUNT) -> list[int]:
    return list(range(first, last + 1))


# --- when all goes well ---


async def test_a_sink_gets_every_event_in_bounded_batches(exporter: Exporter, sink: Sink, log: Database) -> None:
    await work(exporter)
    assert sink.got == everything()
    assert sink.batches == [500, 500, 200]
    assert exporter.lag == 0
    state = await state_of(log)
    assert (state.sequence, state.failures, state.error) == (COUNT, 0, None)


async def test_what_comes_later_is_sent_later(exporter: Exporter, sink: Sink, log: Database, clock: FakeClock) -> None:
    await work(exporter)
    exports = ExportService(log, clock, recorder(clock), {"siem": "test"})
    await recorded(log, clock)
    assert [export.lag for export in await exports.exports()] == [1]
    await work(exporter)
    assert sink.got == everything(last=COUNT + 1)
    assert [export.lag for export in await exports.exports()] == [0]


async def recorded(database: Database, clock: FakeClock) -> None:
    """One more event."""
    subject = Subject("key", "k", DEFAULT_ORGANIZATION_ID)
    async with database.write() as session:
        await recorder(clock).changed(session, caller("*"), "keys", "key.created", subject)


async def test_a_batch_is_bounded_in_bytes_but_for_one_event(database: Database, sink: Sink, clock: FakeClock) -> None:
    def large(sequence: int) -> AuditEvent:
        return audit_event(sequence, after=json.dumps("x" * (3_000_000 if sequence == 5 else 200_000)))

    await fill(database, 20, large)
    await work(process(database, sink, clock, "A"))
    assert sink.got == everything(last=20)
    assert sink.batches[1] == 1
    assert all(size < exporting.MOST_BYTES for size in sink.sizes if size < 3_000_000)


async def test_a_line_says_all_of_an_event_and_is_one_line(database: Database, clock: FakeClock) -> None:
    lines: list[bytes] = []

    class Keeping(Sink):
        async def send(self, lines_: Sequence[bytes]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            lines.extend(lines_)

    await fill(database, 1, lambda sequence: audit_event(sequence, before='{"a": 1,\n"b": 2}', agent="a\nb\x00é"[:3]))
    await work(process(database, Keeping(), clock, "A"))
    assert b"\n" not in lines[0]
    line = json.loads(lines[0])
    assert line["before"] == {"a": 1, "b": 2}
    assert line["time"] == "2023-11-14T22:13:21.000000+00:00"
    assert set(AuditEvent.__struct_fields__) | {"time", "hash"} == line.keys()


# --- when the sink fails ---


async def test_a_sink_that_is_down_for_an_hour_loses_nothing_and_is_not_pestered(
    exporter: Exporter, sink: Sink, log: Database, clock: FakeClock
) -> None:
    await exporter.step()
    sink.failure = Unavailable("it answered 503")
    for _ in range(HOUR):
        await exporter.step()
        clock.advance(1)
    state = await state_of(log)
    assert (state.sequence, state.error) == (500, "it answered 503")
    assert state.failures == sink.tries - 1
    assert 60 <= state.failures <= 70
    assert state.retry_at <= clock.now() + 60
    assert exporter.lag == COUNT - 500

    sink.failure = None
    clock.advance(60)
    await work(exporter)
    assert sink.got == everything()
    state = await state_of(log)
    assert (state.sequence, state.failures, state.error) == (COUNT, 0, None)
    assert await letters_of(log) == []


async def test_a_sink_says_itself_when_to_try_again_within_bounds(
    exporter: Exporter, sink: Sink, log: Database, clock: FakeClock
) -> None:
    sink.failure = Unavailable("slow down", retry_after=300.0)
    await exporter.step()
    assert (await state_of(log)).retry_at == clock.now() + 300
    clock.advance(300)
    sink.failure = Unavailable("come back next year", retry_after=1e9)
    await exporter.step()
    assert (await state_of(log)).retry_at == clock.now() + 600


@pytest.mark.parametrize("failure", [OSError("password=hunter2"), RuntimeError("hunter2"), KeyError("hunter2")])
async def test_whatever_a_sink_raises_loses_nothing_and_is_not_repeated(
    exporter: Exporter, sink: Sink, log: Database, clock: FakeClock, failure: Exception
) -> None:
    sink.failure = failure
    assert await exporter.step() > 0
    assert (await state_of(log)).error == type(failure).__name__
    sink.failure = None
    clock.advance(60)
    await work(exporter)
    assert sink.got == everything()


async def test_a_sink_that_never_answers_is_given_up(
    exporter: Exporter, sink: Sink, log: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "SEND_SECONDS", 0.01)
    sink.answers.clear()
    await exporter.step()
    assert (await state_of(log)).error == "it took too long"
    assert (await state_of(log)).sequence == 0


# --- when a process ends ---


async def test_a_process_that_ends_between_sending_and_noting_it_only_repeats(
    exporter: Exporter, sink: Sink, log: Database, clock: FakeClock
) -> None:
    sink.answers.clear()
    step = asyncio.create_task(exporter.step())
    await eventually_async(lambda: sink.batches)
    step.cancel()
    await asyncio.gather(step, return_exceptions=True)
    assert (await state_of(log)).sequence == 0

    sink.answers.set()
    second = process(log, sink, clock, "B")
    assert await second.step() > 0
    assert sink.got == everything(last=500)
    clock.advance(60)
    await work(second)
    assert sink.got == everything(last=500) + everything()


async def test_a_process_that_stops_leaves_the_export_to_others_at_once(
    sink: Sink, log: Database, clock: FakeClock
) -> None:
    first, second = process(log, sink, clock, "A"), process(log, sink, clock, "B")
    sink.answers.clear()
    step = asyncio.create_task(first.step())
    await eventually_async(lambda: sink.batches)
    step.cancel()
    await asyncio.gather(step, return_exceptions=True)
    sink.answers.set()
    assert await second.step() > 0
    assert (len(sink.got), second.lag) == (500, COUNT)
    await Exporters([first], log, "A").close()
    await work(second)
    assert sink.got == everything(last=500) + everything()


async def test_processes_of_several_machines_send_in_turns_and_in_order(
    place: Place, log: Database, sink: Sink, clock: FakeClock
) -> None:
    other = place.database()
    await other.open()
    exporters = [process(log, sink, clock, "A"), process(other, sink, clock, "B")]
    for _ in range(20):
        await asyncio.gather(*(exporter.step() for exporter in exporters))
    assert sink.got == everything()
    await other.close()


async def test_a_process_that_was_away_for_too_long_moves_nothing(log: Database, sink: Sink, clock: FakeClock) -> None:
    """It wakes up when another has long taken over: what it sent comes twice, and its note of it counts no more."""
    sink.answers.clear()
    slow = asyncio.create_task(process(log, sink, clock, "A").step())
    await eventually_async(lambda: sink.batches)
    clock.advance(31)
    other = Sink()
    taking_over = process(log, other, clock, "B")
    await taking_over.step()
    sink.answers.set()
    await slow
    assert (await state_of(log)).sequence == 500
    await work(taking_over)
    assert other.got == everything()
    assert (await state_of(log)).sequence == COUNT
    assert (await state_of(log)).holder == "B"


@pytest.mark.parametrize("error", [Unavailable("the database does not answer"), KeyError("a bug")])
async def test_running_survives_whatever_fails(sink: Sink, log: Database, error: Exception) -> None:
    class Broken(FakeClock):
        """Fails the first step."""

        calls = 0

        def now(self) -> float:
            self.calls += 1
            if self.calls == 1:
                raise error
            return super().now()

    with pytest.MonkeyPatch.context() as patched:
        for module, name in product((rhythm, exporting), ("IDLE_SECONDS", "LOOK_SECONDS")):
            patched.setattr(module, name, 0.01)
        exporters = Exporters([process(log, sink, Broken(NOW), "A")], log, "A")
        running = asyncio.create_task(exporters.run())
        await eventually_async(lambda: len(sink.got) == COUNT)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert sink.got == everything()


async def test_without_sinks_there_is_nothing_to_run(database: Database) -> None:
    exporters = Exporters([], database, "A")
    await exporters.run()
    await exporters.close()
    assert exporters.lags() == {}


# --- when a sink refuses ---


async def test_a_refused_event_is_put_aside_with_its_reason_and_the_rest_goes_on(
    exporter: Exporter, sink: Sink, log: Database
) -> None:
    sink.refused = {1, 700, 701, COUNT}
    await work(exporter)
    assert sink.got == [sequence for sequence in everything() if sequence not in sink.refused]
    letters = await letters_of(log)
    assert [letter.sequence for letter in letters] == [COUNT, 701, 700, 1]
    assert {letter.reason for letter in letters} == {"it says something that we do not take"}
    assert (await state_of(log)).sequence == COUNT
    assert sink.tries < 100


async def test_a_refused_event_can_be_sent_again(
    exporter: Exporter, sink: Sink, log: Database, clock: FakeClock
) -> None:
    sink.refused = {3, 4}
    await work(exporter)
    exports = ExportService(log, clock, recorder(clock), {"siem": "test"})
    fourth, third = await letters_of(log)
    for letter in (third, fourth):
        await exports.retry(caller("*"), letter.id)

    sink.refused, sink.got = {4}, []
    sink.failure = Unavailable("down")
    await exporter.step()
    assert len(await letters_of(log)) == 2
    sink.failure = None
    clock.advance(60)
    await work(exporter)
    assert 3 in sink.got
    (left,) = await letters_of(log)
    assert left == replace(fourth, at=clock.now())
    assert sorted(sink.got) == [3, COUNT + 1, COUNT + 2]


async def test_an_event_whose_row_is_gone_does_not_hold_up_its_letter(
    exporter: Exporter, sink: Sink, log: Database, clock: FakeClock
) -> None:
    sink.refused = {3}
    await work(exporter)
    (letter,) = await letters_of(log)
    await ExportService(log, clock, recorder(clock), {"siem": "test"}).retry(caller("*"), letter.id)
    async with log.write() as session:
        await session.raw("DELETE FROM audit_events WHERE sequence = 3", ())
    await work(exporter)
    (left,) = await letters_of(log)
    assert "cannot be read" in left.reason


@pytest.mark.parametrize("kind", ["sqlite"])  # PostgreSQL lets nobody write a text that is not UTF-8
async def test_a_row_that_was_destroyed_is_put_aside_and_the_rest_goes_on(
    place: Place, sink: Sink, clock: FakeClock
) -> None:
    database = place.database()
    await database.open()
    await fill(database, 20)
    with sqlite3.connect(sqlite_path(place.data)) as file:
        file.execute("UPDATE audit_events SET agent = CAST(x'6375ff6c' AS TEXT) WHERE sequence = 7")
        file.execute("UPDATE audit_events SET at = 1e300 WHERE sequence = 9")
    file.close()
    await work(process(database, sink, clock, "A"))
    assert sink.got == [sequence for sequence in everything(last=20) if sequence not in (7, 9)]
    assert [letter.sequence for letter in await letters_of(database)] == [9, 7]
    await database.close()


async def test_what_is_exported_is_what_is_in_the_log(log: Database) -> None:
    async with log.read() as session:
        entries = await SystemAuditStore(session).entries(10, 12)
        rows = await session.all(select(audit_events).where(audit_events.c.sequence.in_((11, 12))))
    assert [(entry.event.id, entry.hash) for entry in entries] == [(row["id"], row["hash"]) for row in rows]
