"""An engine that is made anew for each load, so that a model can leave the memory and come back."""

import time
from collections.abc import Callable, Generator, Sequence
from itertools import count
from typing import cast

from polyforge.kernel.errors import PolyforgeError
from polyforge.ports.model_backend import (
    ModelBackend,
    ModelRequest,
    Outputs,
    ProcessBackend,
    ProcessFacts,
    Signature,
    SpreadingBackend,
    StreamingBackend,
)


class Runs:
    """The runs under way in this process, each with its model and when it began. Used from any thread."""

    def __init__(self) -> None:
        self._numbers = count()
        self._started: dict[int, tuple[str, float]] = {}

    def begin(self, model: str) -> int:
        """Note that a run begins; the number to end it by."""
        number = next(self._numbers)
        self._started[number] = model, time.monotonic()
        return number

    def end(self, number: int) -> None:
        """Forget it."""
        del self._started[number]

    def oldest(self) -> tuple[str, float] | None:
        """The model of the run that takes longest, and for how many seconds it has."""
        # One step in C, so no other thread can change it in between.
        runs = list(self._started.values())
        if not runs:
            return None
        model, started = min(runs, key=lambda run: run[1])
        return model, time.monotonic() - started

    def younger(self, seconds: float) -> int:
        """How many runs have lasted less than so many seconds."""
        now = time.monotonic()
        return sum(now - started < seconds for _, started in list(self._started.values()))

    def __len__(self) -> int:
        return len(self._started)


class Engine:
    """A model's backend through all of its lives. May be loaded again after `close`.

    `loaded` is called with what the model turns out to be, in the thread that loads it.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], ModelBackend],
        runs: Runs,
        loaded: Callable[[Signature], None] = lambda signature: None,
    ) -> None:
        self._name = name
        self._make = make
        self._runs = runs
        self._loaded = loaded
        self._made: ModelBackend | None = None

    @property
    def signature(self) -> Signature:
        """What the model takes and gives; only after `load`."""
        return self._backend.signature

    def load(self) -> None:
        """Make the backend and load it; Invalid says what is wrong. One that cannot be loaded is closed."""
        made = self._make()
        try:
            made.load()
        except BaseException:
            made.close()
            raise
        self._made = made
        self._loaded(made.signature)

    def warm_up(self) -> None:
        """Run once on made-up input."""
        self._backend.warm_up()

    def run(self, batch: Sequence[ModelRequest]) -> list[Outputs | PolyforgeError]:
        """The outputs of each request, or what is wrong with it; noted while it lasts, if it computes here."""
        backend = self._backend
        if backend.signature.elsewhere:
            return backend.run(batch)
        number = self._runs.begin(self._name)
        try:
            return backend.run(batch)
        finally:
            self._runs.end(number)

    def stream(self, request: ModelRequest) -> Generator[Outputs]:
        """The answers to one request; only for a model whose signature says `streams`."""
        yield from cast(StreamingBackend, self._backend).stream(request)

    def spread(self, threads: int, alone: Callable[[], bool]) -> None:
        """As the backend's, for a run that is the only one in this process; for a model whose signature `spreads`."""
        runs = self._runs
        cast(SpreadingBackend, self._backend).spread(threads, lambda: len(runs) == 1 and alone())

    @property
    def processes(self) -> ProcessFacts | None:
        """The processes of the backend; None when it has none, or is not loaded."""
        return self._made.processes if isinstance(self._made, ProcessBackend) else None

    @property
    def back_in(self) -> float | None:
        """Seconds until the backend's processes are expected to answer, while none is there; else None."""
        return self._made.back_in if isinstance(self._made, ProcessBackend) else None

    def close(self) -> None:
        """Let go of the backend."""
        made, self._made = self._made, None
        if made is not None:
            made.close()

    @property
    def _backend(self) -> ModelBackend:
        if self._made is None:
            raise RuntimeError("the model is not loaded")
        return self._made
