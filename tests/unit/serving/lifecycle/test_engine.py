"""An engine knows what runs in this process, and so whether a run has the machine to itself."""

from collections.abc import Callable, Sequence

from polyforge.kernel.errors import PolyforgeError
from polyforge.kernel.tensors import TensorSpec
from polyforge.ports.model_backend import ModelRequest, Outputs, Signature
from polyforge.serving.lifecycle.engine import Engine, Runs

SPREADS = Signature("texts", (TensorSpec("text", "BYTES", (-1,)),), (TensorSpec("y", "FP32", (-1, 4)),), spreads=True)


class Spreading:
    """Notes, for each run, whether it was told to be alone."""

    signature = SPREADS

    def __init__(self) -> None:
        self.alone: list[bool] = []
        self.during: Callable[[], object] = lambda: None
        self._ask: Callable[[], bool] = lambda: False

    def load(self) -> None: ...

    def warm_up(self) -> None: ...

    def close(self) -> None: ...

    def spread(self, threads: int, alone: Callable[[], bool]) -> None:
        self._ask = alone

    def run(self, batch: Sequence[ModelRequest]) -> list[Outputs | PolyforgeError]:
        self.alone.append(self._ask())
        self.during()
        return [() for _ in batch]


def loaded(backend: Spreading, runs: Runs) -> Engine:
    engine = Engine("spreading", lambda: backend, runs)
    engine.load()
    engine.spread(2, lambda: True)
    return engine


def test_a_run_is_alone_when_no_other_model_runs_either() -> None:
    runs, first, second = Runs(), Spreading(), Spreading()
    engine, other = loaded(first, runs), loaded(second, runs)
    first.during = lambda: other.run([])
    engine.run([])
    other.run([])
    assert first.alone == [True]
    assert second.alone == [False, True]


def test_what_is_known_above_counts_as_well() -> None:
    backend = Spreading()
    engine = loaded(backend, Runs())
    engine.spread(2, lambda: False)
    engine.run([])
    assert backend.alone == [False]
