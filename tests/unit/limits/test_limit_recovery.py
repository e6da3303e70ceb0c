"""What calls held of limits when their worker was killed: every call counts once, whatever was written by then."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from polyforge.kernel.usage import Usage
from polyforge.tenancy.ledger.counters import Headroom
from polyforge.tenancy.ledger.journal import SEGMENT_BYTES, Journal, segments
from polyforge.tenancy.ledger.records import Hold, Intent
from polyforge.tenancy.ledger.recovery import next_incarnation, recover
from polyforge.tenancy.limits.counters import Counter, Take
from tests.unit.limits.limit_samples import NOW, PROJECT, begun, limit, opened
from tests.unit.tenancy.samples import record

SESSION = "0" * 26
RULES = (
    limit(id="A" * 26, measure="money", amount=1_000, window="month"),
    limit(id="B" * 26, measure="tokens", amount=1_000),
    limit(id="C" * 26, measure="requests", amount=1_000),
    limit(id="D" * 26, measure="concurrency", amount=10, window=""),
)


class Worker:
    """A gateway worker reduced to its counters and its journal."""

    def __init__(self, folder: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder = folder
        incarnation = next_incarnation(folder, SESSION, 0)
        self.counters = opened(folder, incarnation=incarnation)
        recover(self.counters, folder, SESSION, 0)
        self.journal = Journal(folder, SESSION, 0, incarnation, segment_bytes, self.counters.write_cells)
        self.journal.open()
        self.rules = [begun(self.counters, rule) for rule in RULES]

    def die(self) -> None:
        """As kill -9 leaves it: nothing is written any more that was not."""
        self.journal.close()
        file = self._folder / "counters"
        left = file.read_bytes()
        self.counters.close()
        file.write_bytes(left)

    def stop(self) -> None:
        self.journal.close()
        self.counters.close()

    def begin(self, id_: str) -> list[Take]:
        takes = [Take(counter, 1 if counter.measure in ("requests", "concurrency") else 100) for counter in self.rules]
        self.counters.reserve_many(takes, NOW)
        self.journal.intend(intent(id_, holds_of(takes)))
        return takes

    def settle(self, id_: str, takes: list[Take], tokens: int, price: int, *, counted: bool = True) -> None:
        number = self.journal.settle(record(id=id_, usage=Usage(input=tokens), price=price))
        if counted:
            self.counters.settle_many(takes, number, tokens, price, NOW)

    @property
    def used(self) -> list[int]:
        return [self.counters.use(counter, NOW).used for counter in self.rules]


def holds_of(takes: list[Take]) -> tuple[Hold, ...]:
    return tuple(
        Hold(take.counter.name, take.counter.measure, take.window, take.amount)
        for take in takes
        if take.counter.limit.window
    )


def intent(id_: str, holds: tuple[Hold, ...]) -> Intent:
    return Intent(id_, "k", "o", PROJECT, "chat", "m", NOW, 0, "", holds=holds)


@pytest.mark.parametrize("end", [Worker.die, Worker.stop])
def test_every_call_counts_once(end: Callable[[Worker], None], tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    worker.settle("counted", worker.begin("counted"), 10, 20)
    written = worker.begin("written")
    worker.begin("open")
    worker.counters.reserve_many([Take(counter, 7) for counter in worker.rules[:3]], NOW)
    worker.settle("written", written, 30, 40, counted=False)
    assert worker.used == [20 + 100 + 100 + 7, 10 + 100 + 100 + 7, 1 + 1 + 1 + 7, 2]
    end(worker)
    for _ in range(2):
        worker = Worker(tmp_path)
        assert worker.used == [20 + 40 + 100, 10 + 30 + 100, 3, 0]
        end(worker)
    worker = Worker(tmp_path)
    worker.settle("later", worker.begin("later"), 1, 2)
    end(worker)
    assert Worker(tmp_path).used == [162, 141, 4, 0]


def test_what_a_finished_segment_held_is_counted_without_it(tmp_path: Path) -> None:
    worker = Worker(tmp_path, segment_bytes=1_000)
    for number in range(20):
        worker.settle(str(number), worker.begin(str(number)), 1, 2)
    *finished, _ = segments(tmp_path)
    assert finished
    for name in finished:
        (tmp_path / str(name)).unlink()
    worker.die()
    assert Worker(tmp_path).used == [40, 20, 20, 0]


def test_a_window_that_begins_is_known_after_a_kill(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    worker.settle("before", worker.begin("before"), 10, 20)
    later = NOW + 40 * 86_400
    takes = [Take(counter, 9) for counter in worker.rules]
    assert isinstance(worker.counters.reserve_many(takes, later), Headroom)
    worker.journal.intend(intent("later", holds_of(takes)))
    number = worker.journal.settle(record(id="later", usage=Usage(input=5), price=6))
    worker.counters.settle_many(takes, number, 5, 6, later)
    worker.die()
    again = Worker(tmp_path)
    assert again.counters.use(again.rules[0], later).used == 6


def test_what_an_attempt_held_counts_for_the_provider_that_was_asked_last(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    first, second = (limit(id=id_ * 26, subject="provider", subject_id=id_, amount=99) for id_ in "EF")
    providers = [begun(worker.counters, rule, subject_id=rule.subject_id) for rule in (first, second)]
    worker.journal.intend(intent("call", ()))
    takes: list[Take] = []
    for counter in providers:
        worker.counters.end_many(takes, NOW)
        takes = [Take(counter, 1)]
        worker.counters.reserve_many(takes, NOW)
        worker.journal.hold("call", holds_of(takes))
    assert worker.journal.unsettled == 1
    worker.die()
    counters = Worker(tmp_path).counters
    found: list[Counter] = [begun(counters, rule, subject_id=rule.subject_id) for rule in (first, second)]
    assert [counters.use(counter, NOW).used for counter in found] == [1, 1]


def test_intents_without_holds_are_read_as_before() -> None:
    whole = intent("a", ())
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(whole))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(fields[:-1]), type=Intent) == whole
