"""The metrics of a process, cheap enough to count every request, and the page that adds up all processes.

A count is an addition to a cell of a memory-mapped file (see `cells`): 0.1 us, where prometheus-client takes 3 us to
write to its files of several processes. A request is counted by one call to `ModelInstruments.done`.
"""

import os
import threading
import time
from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path

import msgspec

from polyforge.kernel.ids import new_ulid
from polyforge.kernel.tasks import Task
from polyforge.kernel.usage import NO_USAGE, Usage
from polyforge.telemetry.aggregation import SUFFIX, Collected, Totals, collect, fold
from polyforge.telemetry.cells import CellFile, Owner
from polyforge.telemetry.exposition import expose
from polyforge.telemetry.families import (
    ATTEMPTS,
    CACHE,
    CACHE_SAVED,
    COST,
    DURATION,
    FAMILIES,
    FIRST_TOKEN,
    GUARDRAILS,
    IN_FLIGHT,
    NONE,
    OTHER,
    OVERHEAD,
    PRICE,
    PROCESS_CPU,
    PROCESS_FILES,
    PROCESS_MEMORY,
    PROCESS_START,
    REQUESTS,
    TOKENS,
    Family,
)
from polyforge.telemetry.model_names import ModelNames
from polyforge.telemetry.processes import facts_of

Labels = tuple[str, ...]

_LONGEST_LABEL = 128
_INSTRUMENTS_PER_MODEL = 4
_OTHER_INSTRUMENTS = 64


class Observation(msgspec.Struct, frozen=True):
    """A value that holds for the whole machine and is read when somebody scrapes."""

    family: Family
    labels: Labels
    value: float


def describe() -> list[tuple[str, str, Labels, str]]:
    """Name, kind, label names and meaning of every metric, for the reference in the documentation."""
    return [(family.name, family.kind, family.labels, family.help) for family in FAMILIES]


class Counter:
    """A sum that only grows. Any thread may add to it."""

    __slots__ = ("_cell", "_cells", "_lock")

    def __init__(self, cells: "memoryview[float]", cell: int, lock: threading.Lock) -> None:
        self._cells = cells
        self._cell = cell
        self._lock = lock

    def add(self, amount: float = 1) -> None:
        """Add a number that is not negative."""
        with self._lock:
            self._cells[self._cell] += amount


class Gauge(Counter):
    """A number that rises and falls; of several processes, the living ones are summed."""

    __slots__ = ()

    def set(self, value: float) -> None:
        """Set it."""
        self._cells[self._cell] = value


class ModelInstruments:
    """Everything that is counted about the requests for one model, from one thread."""

    __slots__ = (
        "_cells",
        "_cost",
        "_duration",
        "_first_token",
        "_labels",
        "_metrics",
        "_outcomes",
        "_overhead",
        "_price",
        "_tokens",
    )

    def __init__(self, metrics: "Metrics", labels: tuple[str, str, str], cells: "memoryview[float]") -> None:
        model, _, task = labels
        self._metrics = metrics
        self._labels = labels
        self._cells = cells
        self._outcomes: dict[tuple[int, str | None], int] = {}
        self._duration = metrics.cell(DURATION, (model, task))
        self._overhead = metrics.cell(OVERHEAD, ())
        self._first_token = -1
        self._price = metrics.cell(PRICE, (model,))
        self._cost = metrics.cell(COST, (model,))
        self._tokens = tuple(metrics.cell(TOKENS, (model, way)) for way in ("input", "cached", "output"))

    def done(
        self,
        status: int,
        error: str | None,
        duration_ns: int,
        overhead_ns: int,
        usage: Usage = NO_USAGE,
        price: int = 0,
        cost: int = 0,
        first_token_ns: int | None = None,
    ) -> None:
        """Count one request: HTTP status, error code, nanoseconds it took, tokens, micro-USD."""
        cells = self._cells
        outcome = self._outcomes.get((status, error))
        if outcome is None:
            outcome = self._add_outcome(status, error)
        cells[outcome] += 1.0
        first = self._duration
        cells[first + bisect_left(_DURATION_BOUNDS, duration_ns)] += 1.0
        cells[first + _DURATION_SUM] += duration_ns
        first = self._overhead
        cells[first + bisect_left(_OVERHEAD_BOUNDS, overhead_ns)] += 1.0
        cells[first + _OVERHEAD_SUM] += overhead_ns
        if first_token_ns is not None:
            self._observe_first_token(first_token_ns)
        if usage is not NO_USAGE:
            self._count_usage(usage, price, cost)

    def _add_outcome(self, status: int, error: str | None) -> int:
        cell = self._metrics.cell(REQUESTS, (*self._labels, str(status), error or ""))
        if len(self._outcomes) < REQUESTS.per_model:
            self._outcomes[status, error] = cell
        return cell

    def _observe_first_token(self, first_token_ns: int) -> None:
        if self._first_token < 0:
            self._first_token = self._metrics.cell(FIRST_TOKEN, (self._labels[0],))
        cells, first = self._cells, self._first_token
        cells[first + bisect_left(_DURATION_BOUNDS, first_token_ns)] += 1.0
        cells[first + _DURATION_SUM] += first_token_ns

    def _count_usage(self, usage: Usage, price: int, cost: int) -> None:
        cells = self._cells
        fresh, cached, output = self._tokens
        cells[fresh] += usage.input + usage.cache_write
        if usage.cache_read:
            cells[cached] += usage.cache_read
        if usage.output:
            cells[output] += usage.output
        if price:
            cells[self._price] += price
        if cost:
            cells[self._cost] += cost


def _bounds(family: Family) -> tuple[int, ...]:
    return tuple(round(bound * family.unit) for bound in family.buckets)


_DURATION_BOUNDS = _bounds(DURATION)
_DURATION_SUM = DURATION.width - 1
_OVERHEAD_BOUNDS = _bounds(OVERHEAD)
_OVERHEAD_SUM = OVERHEAD.width - 1


class Metrics:
    """The instruments of one process, and the page over all processes that share `folder`.

    `models` are the declared model names; with undeclared ones they get at most `metric_models` names of series.
    Without a folder everything stays in this process. Methods may be called from any thread, except where they say
    otherwise.
    """

    def __init__(
        self, folder: Path | None, process: str, *, models: Iterable[str] = (), metric_models: int = 200
    ) -> None:
        self._folder = folder
        self._models = metric_models
        self._names = ModelNames(folder / "models" if folder else None, models, metric_models)
        most = [(family.most_series(metric_models) + 1, family.width) for family in FAMILIES]
        self._owner = Owner(process, os.getpid(), time.time())
        self._file = CellFile(
            folder / f"{new_ulid()}{SUFFIX}" if folder else None,
            self._owner,
            cells=sum(series * width for series, width in most),
            series=sum(series for series, _ in most),
        )
        self._series: dict[str, dict[Labels, int]] = {family.name: {} for family in FAMILIES}
        self._instruments: dict[tuple[str | None, str | None, Task], ModelInstruments] = {}
        self._by_labels: dict[tuple[str, str, str], ModelInstruments] = {}
        self._most_instruments = _INSTRUMENTS_PER_MODEL * metric_models + _OTHER_INSTRUMENTS
        self._lookups: dict[tuple[str, str], tuple[int, int]] = {}
        self._attempts: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()
        self._in_flight = 0

    def open(self) -> None:
        """Take part in the counting; also folds away what dead processes left."""
        if self._folder:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            fold(self._folder)
        self._file.open()
        for family in FAMILIES:
            if not family.labels and family.merge == "sum":
                self.cell(family, ())
        self._in_flight = self.cell(IN_FLIGHT, ())

    def declare(self, models: Iterable[str]) -> None:
        """Models that are declared from now on as well. From one thread only, that of the requests."""
        self._names.declare(models)

    def close(self) -> None:
        """Leave the counts behind for the others."""
        self._file.close()

    def counter(self, family: Family, *labels: str) -> Counter:
        """One series of a counter."""
        return Counter(self._file.cells, self.cell(family, labels), self._lock)

    def gauge(self, family: Family, *labels: str) -> Gauge:
        """One series of a gauge."""
        return Gauge(self._file.cells, self.cell(family, labels), self._lock)

    def for_model(self, model: str | None, provider: str | None, task: Task, answered: bool = True) -> ModelInstruments:
        """What counts the requests for a model; None where a request did not get so far. From one thread only.

        An undeclared name gets series of its own only once a request for it was `answered`, and while there is room.
        """
        instruments = self._instruments.get((model, provider, task))
        if instruments is None:
            instruments = self._find_instruments(model, provider, task, answered)
        return instruments

    def started(self) -> None:
        """A request came in. From one thread only."""
        self._file.cells[self._in_flight] += 1.0

    def finished(self) -> None:
        """A request is over. From one thread only."""
        self._file.cells[self._in_flight] -= 1.0

    def attempted(self, provider: str, outcome: str) -> None:
        """An attempt at a deployment ended: `ok`, or the code of its error. From one thread only."""
        cell = self._attempts.get((provider, outcome))
        if cell is None:
            cell = self.cell(ATTEMPTS, (provider, outcome))
            if len(self._attempts) < ATTEMPTS.others:
                self._attempts[provider, outcome] = cell
        self._file.cells[cell] += 1.0

    def guarded(self, guardrail: str, stage: str, action: str) -> None:
        """A guardrail, which is declared by that name, found something in a call. From one thread only."""
        self._file.cells[self.cell(GUARDRAILS, (guardrail, stage, action))] += 1.0

    def looked_up(self, model: str, outcome: str, saved: int, answered: bool) -> None:
        """A request for a model that has a cache is over; `saved` micro-USD. From one thread only."""
        cells = self._lookups.get((model, outcome)) or self._find_lookups(model, outcome, answered)
        self._file.cells[cells[0]] += 1.0
        if saved:
            self._file.cells[cells[1]] += saved

    def _find_lookups(self, model: str, outcome: str, answered: bool) -> tuple[int, int]:
        name, stays = self._names.label(model, answered)
        cells = self.cell(CACHE, (name, outcome)), self.cell(CACHE_SAVED, (name,))
        if stays:
            self._lookups[model, outcome] = cells
        return cells

    def render(self, observed: Iterable[Observation] = (), openmetrics: bool = False) -> bytes:
        """The page for a scraper, over all processes. Takes milliseconds with many models: not for an event loop."""
        collected = collect(self._folder) if self._folder else Collected(self._own_totals(), [self._owner])
        totals = collected.totals
        for observation in (*observed, *self._observe_processes(collected)):
            totals[observation.family.name, observation.labels] = [observation.value]
        return expose(totals, openmetrics)

    def cell(self, family: Family, labels: Labels) -> int:
        """The first cell of a series. Past the bound of the family it is that of the series `other`."""
        cell = self._series[family.name].get(labels)
        if cell is None:
            with self._lock:
                cell = self._add(family, labels)
        return cell

    def _add(self, family: Family, labels: Labels) -> int:
        known = self._series[family.name]
        labels = tuple(label[:_LONGEST_LABEL].encode("utf-8", "replace").decode() for label in labels)
        if len(known) >= family.most_series(self._models):
            labels = (OTHER,) * len(labels)
        cell = known.get(labels)
        if cell is None:
            cell = known[labels] = self._file.add(family.name, labels, family.width)
        return cell

    def _find_instruments(
        self, model: str | None, provider: str | None, task: Task, answered: bool
    ) -> ModelInstruments:
        name, settled = self._names.label(model, answered)
        labels = (name, provider or NONE, task)
        instruments = self._by_labels.get(labels)
        if instruments is None:
            instruments = ModelInstruments(self, labels, self._file.cells)
            if len(self._by_labels) < self._most_instruments:
                self._by_labels[labels] = instruments
        if settled and len(self._instruments) < self._most_instruments:
            self._instruments[model, provider, task] = instruments
        return instruments

    def _own_totals(self) -> Totals:
        cells = self._file.cells
        return {
            (family.name, labels): list(cells[cell : cell + family.width])
            for family in FAMILIES
            for labels, cell in self._series[family.name].items()
        }

    def _observe_processes(self, collected: Collected) -> list[Observation]:
        observations: list[Observation] = []
        for owner in collected.alive:
            facts = facts_of(owner.pid)
            values = (
                (PROCESS_CPU, facts.cpu_seconds),
                (PROCESS_MEMORY, facts.resident_bytes),
                (PROCESS_FILES, facts.open_files),
                (PROCESS_START, owner.started),
            )
            observations += [
                Observation(family, (owner.process,), value) for family, value in values if value is not None
            ]
        return observations
