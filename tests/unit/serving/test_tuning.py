"""What measuring makes of a model: told by costs that are made up, so that no clock decides."""

from collections.abc import Callable, Sequence

import msgspec
import pytest

from polyforge.kernel.errors import Cancelled, Invalid, PolyforgeError, Unavailable
from polyforge.kernel.tensors import TensorSpec, unpack_strings
from polyforge.ports.model_backend import ModelRequest, Outputs, Signature
from polyforge.serving.plan import Plan, default_plan
from polyforge.serving.samples import made_up, mixed_lengths
from polyforge.serving.tuning import Batches, Timed, measure

TEXTS = Signature("texts", (TensorSpec("text", "BYTES", (-1,)),), (TensorSpec("y", "FP32", (-1, 4)),), batch_rows=16)


class Priced:
    """A backend whose runs take no time, and whose passes take what `cost` says of each of their batches."""

    def __init__(self, signature: Signature, refuses: Callable[[ModelRequest], bool] = lambda _: False) -> None:
        self.signature = signature
        self._refuses = refuses
        self.runs = 0

    def load(self) -> None: ...

    def warm_up(self) -> None: ...

    def close(self) -> None: ...

    def run(self, batch: Sequence[ModelRequest]) -> list[Outputs | PolyforgeError]:
        self.runs += 1
        return [Invalid("not this one") if self._refuses(request) else () for request in batch]


def priced(cost: Callable[[Sequence[ModelRequest]], float], speed_up: Callable[[int], float] = float) -> Timed:
    def timed(batches: Batches, at_once: int) -> float:
        return sum(cost(batch) for batch in batches) / speed_up(at_once)

    return timed


def padded(batch: Sequence[ModelRequest]) -> int:
    return max(request.size for request in batch) * len(batch)


def test_batching_is_chosen_where_each_run_costs_much() -> None:
    plan = measure(Priced(TEXTS), 4, timed=priced(lambda batch: 0.01 + 1e-6 * padded(batch)))
    assert plan.instances == 4
    assert plan.batch_rows == 16


def test_no_batching_where_it_gains_little() -> None:
    plan = measure(Priced(TEXTS), 4, timed=priced(lambda batch: 0.0008 + 0.01 * len(batch)))
    assert (plan.instances, plan.batch_rows, plan.batch_bytes) == (4, 1, 0)


def test_of_sizes_that_are_alike_the_smaller_is_chosen() -> None:
    plan = measure(Priced(TEXTS), 1, timed=priced(lambda batch: 0.0001 + 0.005 * len(batch) / min(len(batch), 4)))
    assert plan.batch_rows == 4


def test_a_model_that_uses_all_cores_itself_has_one_instance() -> None:
    timed = priced(lambda batch: 0.01 * len(batch), speed_up=lambda at_once: 1.01**at_once)
    assert measure(Priced(TEXTS), 4, timed=timed).instances == 1


def test_runs_are_bounded_where_padding_costs_more_than_it_gains() -> None:
    bound = default_plan(TEXTS, 2).batch_bytes

    def cost(batch: Sequence[ModelRequest]) -> float:
        return 0.004 + 1e-6 * padded(batch) + (1.0 if padded(batch) > bound else 0.0)

    plan = measure(Priced(TEXTS), 2, timed=priced(cost))
    assert plan.batch_rows > 1
    assert plan.batch_bytes == bound


class Spreading(Priced):
    """Its runs may be computed by several threads, `threads` at the moment."""

    def __init__(self, refusal: PolyforgeError | None = None) -> None:
        super().__init__(msgspec.structs.replace(TEXTS, batch_rows=1, spreads=True))
        self.threads = 1
        self._refusal = refusal

    def spread(self, threads: int, alone: Callable[[], bool]) -> None:
        if self._refusal and threads > 1:
            raise self._refusal
        self.threads = threads

    def timed(self, gain: float) -> Timed:
        return priced(lambda batch: 0.01 * len(batch) / (gain if self.threads > 1 else 1))


def test_a_run_that_is_alone_gets_all_cores_where_that_is_worth_it() -> None:
    backend = Spreading()
    assert measure(backend, 4, timed=backend.timed(1.4)).threads_alone == 4
    assert backend.threads == 1, "the plan decides what it is run with"


def test_a_run_that_is_alone_gets_one_core_where_more_gain_little() -> None:
    backend = Spreading()
    assert measure(backend, 4, timed=backend.timed(1.1)).threads_alone == 1


@pytest.mark.parametrize("refusal", [Unavailable("no memory"), Invalid("the file is gone")])
def test_an_engine_that_cannot_spread_costs_no_other_finding(refusal: PolyforgeError) -> None:
    backend = Spreading(refusal)
    plan = measure(backend, 4, timed=backend.timed(2.0))
    assert (plan.instances, plan.threads_alone) == (4, 1)


def test_on_one_core_nothing_is_spread() -> None:
    backend = Spreading()
    assert measure(backend, 1, timed=backend.timed(2.0)).threads_alone == 1


def test_rows_that_may_not_be_together_are_never_tried_together() -> None:
    sizes: set[int] = set()

    def cost(batch: Sequence[ModelRequest]) -> float:
        sizes.add(len(batch))
        return 0.01

    alone = Signature("texts", TEXTS.inputs, TEXTS.outputs, batch_rows=1)
    assert measure(Priced(alone), 2, timed=priced(cost)).batch_rows == 1
    assert sizes == {1}


@pytest.mark.parametrize(
    "backend",
    [
        Priced(TEXTS, refuses=lambda _: True),
        Priced(Signature("s", TEXTS.inputs, TEXTS.outputs, 16, stateful=True, instances=2)),
        Priced(Signature("big", (TensorSpec("x", "FP32", (-1, 1 << 30)),), TEXTS.outputs, 16)),
    ],
    ids=("refuses", "keeps state", "too large"),
)
def test_a_model_that_cannot_be_measured_keeps_the_default(backend: Priced) -> None:
    assert measure(backend, 4, timed=priced(lambda _: 0.01)) == default_plan(backend.signature, 4)


def test_a_model_that_is_too_slow_keeps_the_default() -> None:
    assert measure(Priced(TEXTS), 4, seconds=10, timed=priced(lambda _: 5.0)) == default_plan(TEXTS, 4)


def test_one_length_is_tried_when_mixed_ones_are_refused() -> None:
    images = Signature(
        "i", (TensorSpec("x", "FP32", (-1, 3, -1, -1)),), (TensorSpec("y", "FP32", (-1, 4)),), batch_rows=4
    )
    backend = Priced(images, refuses=lambda request: request.inputs["x"].shape[2] % 32 != 0)
    assert measure(backend, 2, timed=priced(lambda batch: 0.05 + 0.001 * len(batch))).batch_rows == 4


def test_measuring_ends_when_it_is_cancelled() -> None:
    asked = iter([False, False, False, True])
    with pytest.raises(Cancelled):
        measure(Priced(TEXTS), 2, timed=priced(lambda _: 0.01), cancelled=lambda: next(asked))


def test_no_run_begins_once_it_is_cancelled() -> None:
    backend = Priced(TEXTS)
    with pytest.raises(Cancelled):
        measure(backend, 2, cancelled=lambda: backend.runs >= 5)
    assert backend.runs <= 6


def test_measuring_with_a_real_clock_runs_the_backend() -> None:
    backend = Priced(TEXTS)
    plan = measure(backend, 2, seconds=0.5)
    assert backend.runs > 2
    assert plan.instances in (1, 2)


def test_what_was_measured_is_a_plan_of_the_model_and_never_beyond_its_engine() -> None:
    alone = default_plan(Signature("texts", TEXTS.inputs, TEXTS.outputs, batch_rows=1), 2)
    assert alone.measured(Plan(instances=1, batch_rows=16, batch_bytes=77)) == Plan(1, 1, 77)


def test_made_up_texts_have_the_words_that_were_asked_for() -> None:
    requests = made_up(TEXTS, mixed_lengths(5))
    words = [len(unpack_strings(request.inputs["text"].data, 1)[0].split()) for request in requests]
    assert words == [5, 53, 102, 151, 200]
    assert all(request.inputs["text"].shape == (1,) for request in requests)


def test_made_up_tensors_share_their_length_and_fit_the_signature() -> None:
    inputs = (
        TensorSpec("ids", "INT64", (-1, -1)),
        TensorSpec("mask", "BOOL", (-1, -1)),
        TensorSpec("bias", "FP16", (-1, -1, 2)),
    )
    (request,) = made_up(Signature("s", inputs, (), batch_rows=2), [9])
    assert [request.inputs[spec.name].shape for spec in inputs] == [(1, 9), (1, 9), (1, 9, 2)]
    assert all(spec.admits(request.inputs[spec.name]) for spec in inputs)
    assert [memoryview(request.inputs[spec.name].data).nbytes for spec in inputs] == [72, 9, 36]
    assert bytes(request.inputs["mask"].data)[0] == 1
