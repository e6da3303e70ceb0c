"""Models that keep state: all requests of a sequence go to one instance, in their order."""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Sequence

import pytest

from polyforge.kernel.errors import Invalid, PolyforgeError, Unavailable
from polyforge.kernel.tensors import Parameter, Tensor, TensorSpec
from polyforge.ports.model_backend import ModelRequest, Outputs, Signature
from polyforge.serving import sequences
from polyforge.serving.repository import HostedModel
from polyforge.serving.scheduler import Scheduler
from polyforge.serving.sequences import Sequences
from tests.support.waiting import eventually_async

INSTANCES = 3


class Counter:
    """Answers how many requests of a sequence its instance has seen: an instance does one thing at a time."""

    def __init__(self) -> None:
        spec = TensorSpec("x", "INT64", (-1,))
        self.signature = Signature(
            "counter", (spec,), (spec,), batch_rows=4, instances=INSTANCES, stateful=True, brief_bytes=0
        )
        self.gate = threading.Event()
        self.gate.set()
        self.seen: dict[int, list[int]] = defaultdict(list)
        self._busy = [threading.Lock() for _ in range(INSTANCES)]

    def load(self) -> None: ...

    def warm_up(self) -> None: ...

    def close(self) -> None: ...

    def run(self, batch: Sequence[ModelRequest]) -> list[Outputs | PolyforgeError]:
        (instance,) = {request.instance for request in batch}
        assert self._busy[instance].acquire(blocking=False), "two runs on one instance"
        try:
            assert self.gate.wait(20)
            for request in batch:
                self.seen[instance].append(int.from_bytes(bytes(request.inputs["x"].data), "little"))
            return [(request.inputs["x"],) for request in batch]
        finally:
            self._busy[instance].release()


async def stays() -> None:
    await asyncio.Event().wait()


async def ask(scheduler: Scheduler, model: HostedModel, number: int, **parameters: Parameter) -> None:
    tensor = Tensor("x", "INT64", (1,), number.to_bytes(8, "little"))
    await scheduler.infer(model, ModelRequest({"x": tensor}, parameters), rows=1, within=20.0, gone=stays)


async def test_a_sequence_stays_with_its_instance_in_order() -> None:
    scheduler = Scheduler(threads=4, max_queue=200)
    scheduler.open()
    backend = Counter()
    model = HostedModel("counter", backend)
    model.load()
    backend.gate.clear()
    tasks: list[asyncio.Task[None]] = []
    for step in range(8):
        for sequence in range(1, 8):
            flags = {"sequence_start": step == 0, "sequence_end": step == 7}
            tasks.append(
                asyncio.create_task(ask(scheduler, model, sequence * 100 + step, sequence_id=sequence, **flags))
            )
    await asyncio.sleep(0)
    assert scheduler.running(model) == INSTANCES
    backend.gate.set()
    await asyncio.gather(*tasks)
    for sequence in range(1, 8):
        wanted = [sequence * 100 + step for step in range(8)]
        runs = [[number for number in seen if number // 100 == sequence] for seen in backend.seen.values()]
        assert [run for run in runs if run] == [wanted]
    assert scheduler.idle
    # They have ended, so a request that starts none is refused.
    with pytest.raises(Invalid, match="must specify the START flag"):
        await ask(scheduler, model, 1, sequence_id=3)
    await scheduler.close()


async def test_one_instance_s_work_waits_while_others_are_free() -> None:
    scheduler = Scheduler(threads=4, max_queue=200)
    scheduler.open()
    backend = Counter()
    model = HostedModel("counter", backend)
    model.load()
    backend.gate.clear()
    first = asyncio.create_task(ask(scheduler, model, 1, sequence_id="a", sequence_start=True))
    second = asyncio.create_task(ask(scheduler, model, 2, sequence_id="a"))
    await eventually_async(lambda: scheduler.running(model) == 1, "the first runs")
    assert scheduler.waiting(model) == 1
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    assert scheduler.waiting(model) == 0
    backend.gate.set()
    await first
    await scheduler.close()


START: dict[str, Parameter] = {"sequence_start": True}
END: dict[str, Parameter] = {"sequence_end": True}


def test_sequences_are_spread_and_end_with_their_last_answer() -> None:
    table = Sequences(2)
    places = [table.enter({"sequence_id": number, **START}, "m") for number in (1, 2, 3, 4)]
    assert sorted(places) == [0, 0, 1, 1]
    assert table.enter({"sequence_id": 3, **END}, "m") == places[2]
    table.leave({"sequence_id": 3, **START}, begun=True)
    assert len(table) == 4
    table.leave({"sequence_id": 3, **END}, begun=True)
    assert len(table) == 3


def test_a_last_request_that_never_ran_ends_nothing() -> None:
    table = Sequences(1)
    table.enter({"sequence_id": "a", **START, **END}, "m")
    table.leave({"sequence_id": "a", **START, **END}, begun=False)
    assert len(table) == 1


def test_a_sequence_may_begin_anew_under_its_name() -> None:
    table = Sequences(2)
    first = table.enter({"sequence_id": "a", **START, **END}, "m")
    assert table.enter({"sequence_id": "a", **START}, "m") == first
    table.leave({"sequence_id": "a", **END}, begun=True)
    assert len(table) == 1
    assert table.enter({"sequence_id": "a"}, "m") == first


@pytest.mark.parametrize("name", [True, 1.5])
def test_a_sequence_s_name_is_a_number_or_a_string(name: Parameter) -> None:
    with pytest.raises(Invalid) as refusal:
        Sequences(1).enter({"sequence_id": name}, "m")
    assert refusal.value.param == "parameters.sequence_id"


@pytest.mark.parametrize("parameters", [{}, {"sequence_id": 0}, {"sequence_id": ""}])
def test_a_request_of_no_sequence_is_refused(parameters: dict[str, Parameter]) -> None:
    with pytest.raises(Invalid, match="must specify a non-zero or non-empty correlation ID"):
        Sequences(1).enter({**parameters, **START}, "m")


class Clock:
    """Stands still until it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(sequences.time, "monotonic", lambda: self.now)


def test_silent_sequences_end_and_their_instances_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    table = Sequences(1, idle_seconds=10)
    for name in ("silent", "waits", 7):
        table.enter({"sequence_id": name, **START}, "m")
    table.leave({"sequence_id": "silent"}, begun=True)
    table.leave({"sequence_id": 7}, begun=True)
    clock.now += 9
    table.enter({"sequence_id": 7}, "m")
    table.leave({"sequence_id": 7}, begun=True)
    clock.now += 9
    table.enter({"sequence_id": 7}, "m")
    # The one whose request is not answered yet is not silent.
    assert (len(table), table.take_ended(0), table.take_ended(0)) == (2, ("silent",), ())
    with pytest.raises(Invalid, match="must specify the START flag"):
        table.enter({"sequence_id": "silent"}, "m")
    assert table.enter({"sequence_id": "waits"}, "m") == 0


def test_live_sequences_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequences, "MAX_SEQUENCES", 2)
    table = Sequences(1)
    for name in ("a", "b"):
        table.enter({"sequence_id": name, **START}, "m")
    with pytest.raises(Unavailable):
        table.enter({"sequence_id": "c", **START}, "m")


def test_an_instance_may_have_a_bound_of_its_own() -> None:
    table = Sequences(2, per_instance=1)
    assert {table.enter({"sequence_id": name, **START}, "m") for name in ("a", "b")} == {0, 1}
    with pytest.raises(Unavailable, match="no place for one more"):
        table.enter({"sequence_id": "c", **START}, "m")
    table.enter({"sequence_id": "a", **END}, "m")
    table.leave({"sequence_id": "a"}, begun=True)
    table.leave({"sequence_id": "a", **END}, begun=True)
    assert table.enter({"sequence_id": "c", **START}, "m") in (0, 1)
