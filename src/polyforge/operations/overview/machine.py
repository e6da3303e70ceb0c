"""How the parts of an installation do, asked of each of them with a bound on how long that may take."""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy import literal, select

from polyforge.database.database import Database
from polyforge.gateway.hosted import HostedModels
from polyforge.jobs.records import WorkerSeen
from polyforge.kernel.clock import Clock, utc
from polyforge.kernel.errors import PolyforgeError, TimedOut
from polyforge.operations.overview.drops import Drops
from polyforge.operations.overview.schemas import ComponentView, Kind, State
from polyforge.ports.cache import Cache
from polyforge.telemetry.aggregation import Collected, collect
from polyforge.tenancy.ledger.backlog import Backlog, Offsets, backlog_of

PATIENCE_SECONDS: Final = 2.0
SLOW_MS: Final = 250.0
LATE_SECONDS: Final = 30.0
"""Records and exports that wait for longer are worth a look."""
LATE_EVENTS: Final = 1_000
LEAST_FREE: Final = 0.10
LEAST_FREE_BYTES: Final = 2_000_000_000
FULL: Final = 0.02
FULL_BYTES: Final = 200_000_000
MILLISECONDS: Final = 1000


class Parts(msgspec.Struct, frozen=True):
    """What is looked at. `workers` gateway processes count in the folder `metrics`; without a host there is none.

    `job_workers` tells of the workers of all machines; `runs_jobs`, whether one should run on this one.
    """

    database: Database
    ledger: Offsets
    journal: Path
    data: Path
    metrics: Path
    workers: int
    host: HostedModels | None
    cache: Cache
    cache_name: str
    audit_lags: Callable[[], Mapping[str, int]]
    log_lags: Callable[[], Mapping[str, float]]
    job_workers: Callable[[], Awaitable[Sequence[WorkerSeen]]]
    runs_jobs: bool


class MachineFacts(msgspec.Struct, frozen=True):
    """How everything does, and what was dropped lately, by what it was."""

    components: tuple[ComponentView, ...]
    dropped: Mapping[str, int]


class Machine:
    """Looks at everything at once."""

    def __init__(self, parts: Parts, clock: Clock) -> None:
        self._parts = parts
        self._clock = clock
        self._drops = Drops(clock)

    async def look(self) -> MachineFacts:
        """How everything does now; nothing that is down keeps it from being told."""
        parts = self._parts
        collected, database, journal, host, job_workers, disk = await asyncio.gather(
            asyncio.to_thread(_collected, parts.metrics),
            self._database(),
            self._journal(),
            self._host(),
            self._job_workers(),
            asyncio.to_thread(_disk, parts.data),
        )
        others = [*host, *job_workers, database, journal, self._cache(), *self._exports(), disk]
        dropped = {} if collected is None else self._drops.since_lately(collected.totals)
        return MachineFacts((*self._workers(collected), *others), dropped)

    def _workers(self, collected: Collected | None) -> list[ComponentView]:
        alive = {} if collected is None else {owner.process: owner for owner in collected.alive}
        found: list[ComponentView] = []
        for index in range(self._parts.workers):
            name = f"gateway-{index}"
            owner = alive.get(name)
            if owner is None:
                found.append(_component("gateway", name, "down", "does not run; the supervisor starts it anew"))
            else:
                found.append(_component("gateway", name, "ok", f"process {owner.pid}", started=owner.started))
        return found

    async def _database(self) -> ComponentView:
        name = self._parts.database.dialect
        took, error = await _timed(self._ask_database)
        if error is not None:
            return _component("database", name, "down", error.message)
        if took > SLOW_MS:
            return _component("database", name, "degraded", "answers slowly", latency_ms=took)
        return _component("database", name, "ok", "answers", latency_ms=took)

    async def _ask_database(self) -> None:
        async with self._parts.database.read() as session:
            await session.scalar(select(literal(1)))

    async def _journal(self) -> ComponentView:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                backlog = await backlog_of(self._parts.journal, self._parts.ledger)
        except (TimeoutError, PolyforgeError, OSError):
            return _component("journal", "journal", "degraded", "how much of it waits cannot be told for now")
        return _journal_of(backlog, self._clock.now())

    async def _host(self) -> list[ComponentView]:
        host = self._parts.host
        if host is None:
            return []
        began = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                ready = await host.ready()
        except TimeoutError:
            ready = False
        took = (time.monotonic() - began) * MILLISECONDS
        if ready:
            return [_component("model_host", "models", "ok", "answers", latency_ms=took)]
        return [_component("model_host", "models", "down", "does not answer, or has not loaded its models yet")]

    async def _job_workers(self) -> list[ComponentView]:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                seen = await self._parts.job_workers()
        except (TimeoutError, PolyforgeError):
            # That the database does not answer is told of the database.
            return []
        found = workers_of(seen, self._clock.now())
        if not found and self._parts.runs_jobs:
            return [_component("worker", "worker", "degraded", "none runs yet, so jobs wait")]
        return found

    def _cache(self) -> ComponentView:
        stats, name = self._parts.cache.stats(), self._parts.cache_name
        state, detail = ("ok", "keeps answers") if stats.available else ("down", "cannot be reached")
        return _component("cache", name, state, detail, used=stats.size, capacity=stats.capacity)

    def _exports(self) -> list[ComponentView]:
        audit = [
            _component("export", name, "ok" if lag < LATE_EVENTS else "degraded", "of the audit log", events=lag)
            for name, lag in sorted(self._parts.audit_lags().items())
        ]
        logs = [
            _component("export", name, "ok" if lag < LATE_SECONDS else "degraded", "of the log of requests", lag=lag)
            for name, lag in sorted(self._parts.log_lags().items())
        ]
        return audit + logs


async def _timed(ask: Callable[[], Awaitable[None]]) -> tuple[float, PolyforgeError | None]:
    """Milliseconds that it took, and what went wrong."""
    began = time.monotonic()
    error: PolyforgeError | None = None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await ask()
    except TimeoutError:
        error = TimedOut(f"does not answer within {PATIENCE_SECONDS:g} s")
    except PolyforgeError as failure:
        error = failure
    return (time.monotonic() - began) * MILLISECONDS, error


def _collected(folder: Path) -> Collected | None:
    try:
        return collect(folder)
    except OSError:
        # Processes come and go faster than they can be counted: the next look tells.
        return None


def workers_of(seen: Sequence[WorkerSeen], now: float) -> list[ComponentView]:
    """Those that live, and those that were lost and whose place nobody has taken."""
    alive = [each for each in seen if each.lease_until > now]
    places = {(each.machine, each.index) for each in alive}
    lost = {(each.machine, each.index): each for each in sorted(seen, key=lambda each: each.seen_at)}
    views = [
        _component(
            "worker",
            f"{each.machine}/{each.index}",
            "ok",
            f"runs {each.running} jobs",
            started=each.started_at,
            seen=each.seen_at,
        )
        for each in alive
    ]
    for place, each in lost.items():
        if place not in places:
            detail = f"was not heard of for {now - each.seen_at:.0f} s"
            name = f"{each.machine}/{each.index}"
            views.append(_component("worker", name, "down", detail, started=each.started_at, seen=each.seen_at))
    return sorted(views, key=lambda view: view.name)


def _journal_of(backlog: Backlog, now: float) -> ComponentView:
    lag = 0.0 if backlog.oldest is None else max(0.0, now - backlog.oldest)
    state: State = "degraded" if lag > LATE_SECONDS else "ok"
    detail = "records wait for the database" if state == "degraded" else "records are in the database"
    return _component("journal", "journal", state, detail, backlog=backlog.size, lag=lag)


def _disk(folder: Path) -> ComponentView:
    try:
        usage = shutil.disk_usage(folder)
    except OSError as error:
        return _component("disk", "data", "degraded", f"the data folder cannot be looked at: {error.strerror}")
    state: State = "ok"
    if usage.free < min(FULL_BYTES, FULL * usage.total):
        state = "down"
    elif usage.free < min(LEAST_FREE_BYTES, LEAST_FREE * usage.total):
        state = "degraded"
    return _component(
        "disk",
        "data",
        state,
        f"{usage.free / 1e9:.1f} GB are free",
        used=usage.total - usage.free,
        capacity=usage.total,
    )


def _component(
    kind: Kind,
    name: str,
    state: State,
    detail: str,
    *,
    latency_ms: float | None = None,
    backlog: int | None = None,
    lag: float | None = None,
    events: int | None = None,
    used: int | None = None,
    capacity: int | None = None,
    started: float | None = None,
    seen: float | None = None,
) -> ComponentView:
    return ComponentView(
        kind=kind,
        name=name,
        state=state,
        detail=detail,
        latency_ms=None if latency_ms is None else round(latency_ms, 2),
        backlog_bytes=backlog,
        lag_seconds=None if lag is None else round(lag, 1),
        lag_events=events,
        used_bytes=used,
        capacity_bytes=capacity,
        started_at=None if started is None else utc(started),
        seen_at=None if seen is None else utc(seen),
    )
