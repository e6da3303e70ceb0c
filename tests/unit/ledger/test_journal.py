"""The journal as the ledger relies on it: whole records only, in order, whatever happened to the writer."""

import asyncio
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import Conflict, PolyforgeError, Unavailable
from polyforge.kernel.ids import new_ulid
from polyforge.kernel.usage import Usage
from polyforge.tenancy.callers import KeyLimits
from polyforge.tenancy.ledger.counters import Headroom, SharedCounters
from polyforge.tenancy.ledger.drainer import Drainer
from polyforge.tenancy.ledger.journal import HEADER_BYTES, Journal, SegmentName, is_owned, read, segments
from polyforge.tenancy.ledger.records import Intent, UsageRecord
from polyforge.tenancy.ledger.recovery import next_incarnation, recover
from tests.support.waiting import eventually_async

SESSION = new_ulid()
NOW = 1_700_000_000.0


def intent(id_: str, reserved: int = 10, slot: str = "tkey") -> Intent:
    return Intent(id_, "key", "org", "project", "chat", "model", NOW, 0, slot, reserved)


def settlement(id_: str, price: int = 4) -> UsageRecord:
    return UsageRecord(
        id_,
        "key",
        "org",
        "project",
        "chat",
        "model",
        "lab",
        "m",
        "ok",
        200,
        NOW,
        12,
        0,
        Usage(3, output=4),
        price,
        price,
    )


class MemoryLedger:
    """The ledger's promise in its simplest form."""

    def __init__(self) -> None:
        self.rows: dict[str, UsageRecord] = {}
        self.offsets: dict[str, int] = {}
        self.down = False

    async def append(self, journal: str, start: int, end: int, records: Sequence[UsageRecord]) -> None:
        if self.down:
            raise Unavailable("the database is down")
        if self.offsets.get(journal, 0) != start:
            raise Conflict("somebody else moved it")
        for record in records:
            assert record.id not in self.rows, "a record was moved twice"
            self.rows[record.id] = record
        self.offsets[journal] = end

    async def offset(self, journal: str) -> int:
        return self.offsets.get(journal, 0)

    async def forget(self, journal: str) -> None:
        self.offsets.pop(journal, None)


def ignore(error: PolyforgeError) -> None:
    del error


def drainer(folder: Path, ledger: MemoryLedger, session: str = SESSION) -> Drainer:
    return Drainer(folder, session, ledger, FakeClock(NOW + 5), ignore)


async def drain(folder: Path, ledger: MemoryLedger, session: str = SESSION) -> None:
    worker = drainer(folder, ledger, session)
    task = asyncio.create_task(worker.run())
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await worker.finish()


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path, SESSION, 0, 1)
    journal.open()
    journal.intend(intent("a"))
    assert journal.settle(settlement("a")) == 2
    [name] = segments(tmp_path)
    assert name == SegmentName(SESSION, 0, 1, 0)
    assert [(entry.number, entry.record) for entry in read(tmp_path / str(name))] == [
        (1, intent("a")),
        (2, settlement("a")),
    ]
    journal.close()


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_torn_tail_is_cut_and_the_rest_stays(tmp_path: Path, cut: int) -> None:
    journal = Journal(tmp_path, SESSION, 0, 1)
    journal.open()
    journal.intend(intent("a"))
    journal.intend(intent("b"))
    journal.close()
    path = tmp_path / str(segments(tmp_path)[0])
    path.write_bytes(path.read_bytes()[:-cut])
    assert [entry.record for entry in read(path)] == [intent("a")]


def test_a_flipped_byte_ends_what_counts(tmp_path: Path) -> None:
    journal = Journal(tmp_path, SESSION, 0, 1)
    journal.open()
    journal.intend(intent("a"))
    journal.close()
    path = tmp_path / str(segments(tmp_path)[0])
    content = bytearray(path.read_bytes())
    content[HEADER_BYTES + 30] ^= 1
    path.write_bytes(content)
    assert list(read(path)) == []


def test_a_long_journal_goes_on_in_a_new_segment_with_its_open_intents(tmp_path: Path) -> None:
    journal = Journal(tmp_path, SESSION, 0, 1, limit=2_000)
    journal.open()
    journal.intend(intent("open"))
    for number in range(40):
        journal.intend(intent(f"call-{number}"))
        journal.settle(settlement(f"call-{number}"))
    names = segments(tmp_path)
    assert len(names) > 2
    assert next(iter(read(tmp_path / str(names[-1])))).record == intent("open")
    assert [is_owned(tmp_path / str(name)) for name in names] == [False] * (len(names) - 1) + [True]
    journal.close()


async def test_a_full_disk_refuses_new_calls_and_loses_no_settlement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, SESSION, 0, 1)
    journal.open()
    journal.intend(intent("a"))
    with monkeypatch.context() as patched:
        patched.setattr("os.write", lambda fd, data: 3)
        journal.settle(settlement("a"))
        with pytest.raises(Unavailable, match="journal"):
            journal.intend(intent("b"))
    with pytest.raises(Unavailable, match="journal"):
        journal.intend(intent("b"))
    await journal.make_durable()
    journal.intend(intent("c"))
    path = tmp_path / str(segments(tmp_path)[0])
    assert [entry.record for entry in read(path)] == [intent("a"), settlement("a"), intent("c")]
    journal.close()


async def test_refusals_wait_for_no_disk_and_fill_no_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path, SESSION, 0, 1, limit=2_000)
    journal.open()
    journal.intend(intent("open"))
    assert all(journal.note(settlement(f"refused-{number}")) for number in range(40))
    names = segments(tmp_path)
    assert len(names) > 2
    assert next(iter(read(tmp_path / str(names[-1])))).record == intent("open")
    with monkeypatch.context() as patched:
        patched.setattr("os.write", lambda fd, data: 3)
        assert not journal.note(settlement("lost"))
        journal.settle(settlement("open"))
    assert not journal.note(settlement("lost too"))
    await journal.make_durable()
    assert journal.note(settlement("after"))
    records = [entry.record.id for entry in read(tmp_path / str(segments(tmp_path)[-1]))]
    assert records[-2:] == ["open", "after"]
    assert not {"lost", "lost too"} & set(records)
    journal.close()


async def test_the_drainer_moves_each_record_once(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    journal = Journal(tmp_path, SESSION, 0, 1, limit=3_000)
    journal.open()
    for number in range(100):
        journal.intend(intent(f"call-{number}"))
        journal.settle(settlement(f"call-{number}"))
        if number % 30 == 0:
            await drain(tmp_path, ledger)
    journal.intend(intent("under way"))
    await drain(tmp_path, ledger)
    assert set(ledger.rows) == {f"call-{number}" for number in range(100)}
    assert len(segments(tmp_path)) == 1
    journal.close()


async def test_what_a_dead_session_left_open_is_interrupted_at_its_reserved_amount(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    journal = Journal(tmp_path, SESSION, 0, 1)
    journal.open()
    journal.intend(intent("lost", reserved=77))
    journal.intend(intent("done"))
    journal.settle(settlement("done"))
    journal.close()
    await drainer(tmp_path, ledger, session=new_ulid()).settle_past()
    assert (ledger.rows["lost"].status, ledger.rows["lost"].price) == ("interrupted", 77)
    assert ledger.rows["done"].status == "ok"
    assert segments(tmp_path) == []
    assert ledger.offsets == {}


async def test_a_dead_worker_of_this_session_is_settled_only_after_it_recovered(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    first = Journal(tmp_path, SESSION, 0, 1)
    first.open()
    first.intend(intent("lost"))
    first.close()
    await drain(tmp_path, ledger)
    assert ledger.rows == {}
    second = Journal(tmp_path, SESSION, 0, next_incarnation(tmp_path, SESSION, 0))
    second.open()
    await drain(tmp_path, ledger)
    assert ledger.rows["lost"].status == "interrupted"
    assert [name.incarnation for name in segments(tmp_path)] == [2]
    second.close()


async def test_a_database_that_is_down_loses_nothing(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    journal = Journal(tmp_path, SESSION, 0, 1)
    journal.open()
    journal.intend(intent("a"))
    journal.settle(settlement("a"))
    worker = drainer(tmp_path, ledger)
    ledger.down = True
    task = asyncio.create_task(worker.run())
    await eventually_async(lambda: worker.backlog_bytes() > 0, "the drainer having looked")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    ledger.down = False
    await worker.finish()
    assert set(ledger.rows) == {"a"}
    journal.close()


class Worker:
    """A gateway worker reduced to its counters and its journal."""

    def __init__(self, folder: Path) -> None:
        incarnation = next_incarnation(folder, SESSION, 0)
        self.counters = SharedCounters(folder / "counters", 0, 1, 16)
        self.counters.open(incarnation)
        recover(self.counters, folder, SESSION, 0)
        self.journal = Journal(folder, SESSION, 0, incarnation)
        self.journal.open()
        self.slot = self.counters.create("tkey", 0, 0)

    def die(self) -> None:
        self.journal.close()
        self.counters.close()

    def reserve(self, id_: str, amount: int) -> None:
        assert isinstance(self.counters.reserve(self.slot, KeyLimits(budget=1_000), NOW, 0, amount, 0), Headroom)
        if id_:
            self.journal.intend(intent(id_, amount))

    def settle(self, id_: str, reserved: int, price: int, counted: bool = True) -> None:
        number = self.journal.settle(settlement(id_, price))
        if counted:
            self.counters.settle(self.slot, 0, reserved, price, number)

    @property
    def headroom(self) -> int:
        return self.counters.headroom(self.slot, KeyLimits(budget=1_000), 0)


def test_recovery_frees_reservations_and_counts_every_call_once(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    worker.reserve("counted", 100)
    worker.settle("counted", 100, 10)
    worker.reserve("in the journal only", 100)
    worker.reserve("open", 50)
    worker.reserve("", 200)
    worker.settle("in the journal only", 100, 20, counted=False)
    worker.die()
    worker = Worker(tmp_path)
    assert worker.headroom == 1_000 - 10 - 20 - 50
    assert worker.counters.cell(worker.slot, 0).in_flight == 0
    worker.die()
    worker = Worker(tmp_path)
    assert worker.headroom == 1_000 - 10 - 20 - 50
    worker.reserve("later", 30)
    worker.settle("later", 30, 5)
    worker.die()
    assert Worker(tmp_path).headroom == 1_000 - 10 - 20 - 50 - 5


def test_records_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    """Until the fifth issue a record ended with `stream`."""
    journal = Journal(tmp_path, SESSION, 0, 1)
    journal.open()
    journal.intend(intent("a"))
    journal.settle(settlement("a"))
    journal.close()
    path = tmp_path / str(segments(tmp_path)[0])
    path.write_bytes(_shortened(path.read_bytes(), {1: 11, 2: 17}))
    assert [entry.record for entry in read(path)] == [intent("a"), settlement("a")]


def _shortened(content: bytes, fields: dict[int, int]) -> bytes:
    """A segment whose records have only their first fields, by the kind of record."""
    frame = struct.Struct("<IIBQ")
    shortened, at = content[:HEADER_BYTES], HEADER_BYTES
    while at < len(content):
        length, _, kind, number = frame.unpack_from(content, at)
        at += frame.size + length
        whole = msgspec.msgpack.decode(content[at - length : at])
        body = msgspec.msgpack.encode(whole[: fields[kind]])
        check = zlib.crc32(body, number << 1 & 0xFFFFFFFF | kind & 1)
        shortened += frame.pack(len(body), check, kind, number) + body
    return shortened
