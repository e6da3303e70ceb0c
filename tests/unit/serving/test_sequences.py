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
    tasks = [asyncio.create_task(ask(scheduler, model, 9000 + place)) for place in range(10)]
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


def test_sequences_are_spread_and_end() -> None:
    table = Sequences(2)
    start: dict[str, Parameter] = {"sequence_start": True}
    places = [table.instance_of({"sequence_id": number, **start}, "m") for number in (1, 2, 3, 4)]
    assert sorted(place for place in places if place is not None) == [0, 0, 1, 1]
    assert table.instance_of({"sequence_id": 3}, "m") == places[2]
    assert table.instance_of({"sequence_id": 3, "sequence_end": True}, "m") == places[2]
    assert len(table) == 3
    assert table.instance_of({}, "m") is None
    assert table.instance_of({"sequence_id": 0}, "m") is None


def test_a_sequence_may_begin_anew_under_its_name() -> None:
    table = Sequences(2)
    first = table.instance_of({"sequence_id": "a", "sequence_start": True}, "m")
    assert table.instance_of({"sequence_id": "a", "sequence_start": True}, "m") == first
    assert len(table) == 1


@pytest.mark.parametrize("name", [True, 1.5])
def test_a_sequence_s_name_is_a_number_or_a_string(name: Parameter) -> None:
    with pytest.raises(Invalid) as refusal:
        Sequences(1).instance_of({"sequence_id": name}, "m")
    assert refusal.value.param == "parameters.sequence_id"


def test_silent_sequences_end_and_live_ones_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Sequences(1)
    monkeypatch.setattr(sequences, "MAX_SEQUENCES", 2)
    for name in ("a", "b"):
        table.instance_of({"sequence_id": name, "sequence_start": True}, "m")
    with pytest.raises(Unavailable):
        table.instance_of({"sequence_id": "c", "sequence_start": True}, "m")
    monkeypatch.setattr(sequences, "IDLE_SECONDS", 0.0)
    assert table.instance_of({"sequence_id": "c", "sequence_start": True}, "m") == 0
    assert len(table) == 1
