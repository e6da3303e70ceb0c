"""What there is to tell of the models of our own host, in the names of a caller."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from polyforge.dialects.oip_naming import renamed_error
from polyforge.gateway.hosted import HostedModels, known_names
from polyforge.gateway.hosting.schemas import (
    BatchView,
    FiguresView,
    HostedModelView,
    HostedState,
    HostedVersionView,
    Origin,
)
from polyforge.gateway.lineup import Lineups
from polyforge.gateway.operating import Change, HostOperations
from polyforge.kernel.clock import Clock, utc
from polyforge.kernel.errors import ModelNotFound, PolyforgeError
from polyforge.kernel.hosted_names import is_hosted, split_deployed
from polyforge.serving.reporting import RunsOfSize, VersionReport
from polyforge.tenancy.callers import Caller

FRESH_SECONDS: Final = 1.0
_MILLION: Final = 1e6
_THOUSAND: Final = 1_000
_UNLOADED: Final = "unloaded"
_BEST_FIRST: Final[tuple[HostedState, ...]] = ("READY", "LOADING", "UNLOADING", "UNAVAILABLE")


class Standing(msgspec.Struct, frozen=True):
    """What the host said of its models at one moment, by its own names; `silence` is why it said nothing."""

    reports: Mapping[str, Sequence[VersionReport]]
    silence: str | None = None

    def of(self, deployed: str) -> tuple[HostedState, str]:
        """The state of what a deployment calls on the host, and the reason where it is unavailable."""
        if self.silence is not None:
            return "UNAVAILABLE", self.silence
        name, number = split_deployed(deployed) or (deployed, None)
        reports = [each for each in self.reports.get(name, ()) if number in (None, each.version)]
        best = min(reports, key=lambda report: _BEST_FIRST.index(report.state), default=None)
        return ("UNAVAILABLE", "the model host does not have it") if best is None else (best.state, best.reason)


class HostedService:
    """Asks the host once a second at most, whoever wants to know what."""

    def __init__(self, hosted: HostedModels, operations: HostOperations, lineups: Lineups, clock: Clock) -> None:
        self._hosted = hosted
        self._operations = operations
        self._lineups = lineups
        self._clock = clock
        self._known: tuple[float, list[VersionReport], frozenset[str]] | None = None

    async def page(
        self, caller: Caller, limit: int, after: str | None, state: HostedState | None, search: str
    ) -> tuple[list[HostedModelView], str | None]:
        """Up to `limit` models that the caller may use, by name, and the cursor of the next page."""
        found = [
            model
            for model in await self._models(caller)
            if (after is None or model.name > after)
            and state in (None, model.state)
            and search.casefold() in model.name.casefold()
        ]
        return found[:limit], found[limit - 1].name if len(found) > limit else None

    async def get(self, caller: Caller, name: str) -> HostedModelView:
        """One of them; ModelNotFound when the host has none that the caller may use."""
        found = next((model for model in await self._models(caller) if model.name == name), None)
        if found is None:
            raise ModelNotFound(
                f"the model host has no model {name[:200]!r}; GET /api/v1/hosted-models lists those it has",
                param="name",
            )
        return found

    async def change(self, caller: Caller, name: str, change: Change) -> HostedModelView:
        """Load a model, or load it anew, or let go of it; how it does then. Errors as the host says."""
        await self.get(caller, name)
        await self._operations.change(self._lineups.current.catalog, caller, name, change, b"")
        self._known = None
        return await self.get(caller, name)

    async def failed(self, caller: Caller) -> dict[str, str]:
        """Why models could not be loaded, by name; what was unloaded on purpose is not among them."""
        return {
            model.name: model.versions[0].reason
            for model in await self._models(caller)
            if model.origin != "registered"
            and model.state == "UNAVAILABLE"
            and model.versions
            and model.versions[0].reason != _UNLOADED
        }

    async def standing(self) -> Standing:
        """How the host has each model now; nobody's names are told by it."""
        try:
            reports, _ = await self._reports()
        except PolyforgeError as error:
            return Standing({}, f"the model host does not answer: {error.message}")
        found: dict[str, list[VersionReport]] = defaultdict(list)
        for report in reports:
            found[report.name].append(report)
        return Standing(found)

    async def _models(self, caller: Caller) -> list[HostedModelView]:
        reports, of_repository = await self._reports()
        known = known_names(self._lineups.current.catalog, caller)
        by_host: dict[str, list[VersionReport]] = defaultdict(list)
        for report in reports:
            by_host[report.name].append(report)
        found: dict[str, HostedModelView] = {}
        for hosted in [*by_host, *(of_repository - by_host.keys())]:
            names = list(known.get(hosted, []))
            if hosted in of_repository and hosted not in names and caller.may_use(hosted):
                names.append(hosted)
            origin: Origin = "repository" if hosted in of_repository else "declared"
            origin = "registered" if is_hosted(hosted) else origin
            for name in names:
                found[name] = _model(name, hosted, origin, by_host.get(hosted, []))
        return [found[name] for name in sorted(found)]

    async def _reports(self) -> tuple[list[VersionReport], frozenset[str]]:
        now = self._clock.monotonic()
        if self._known is None or now - self._known[0] >= FRESH_SECONDS:
            self._known = now, *await self._hosted.reports()
        return self._known[1], self._known[2]


def _model(name: str, hosted: str, origin: Origin, reports: list[VersionReport]) -> HostedModelView:
    versions = [_version(report, hosted, name) for report in sorted(reports, key=_newest_first)]
    used = [version.last_used_at for version in versions if version.last_used_at is not None]
    return HostedModelView(
        name=name,
        # The id of the project, which is in the host's name of what it registered, is nobody's business.
        host_name=name if origin == "registered" else hosted,
        origin=origin,
        state=_best(versions),
        memory_bytes=sum(version.memory_bytes for version in versions),
        queue=sum(version.queue for version in versions),
        last_used_at=max(used, default=None),
        versions=versions,
    )


def _best(versions: list[HostedVersionView]) -> HostedState:
    states = {version.state for version in versions}
    found: list[HostedState] = [state for state in _BEST_FIRST if state in states]
    return found[0] if found else "UNAVAILABLE"


def _newest_first(report: VersionReport) -> int:
    return -int(report.version)


def _version(report: VersionReport, hosted: str, name: str) -> HostedVersionView:
    counted = report.counted
    return HostedVersionView(
        version=report.version,
        state=report.state,
        reason=renamed_error(report.reason, hosted, name),
        answers=report.answers,
        platform=report.platform,
        resident=report.resident,
        memory_bytes=report.memory_bytes,
        loads=report.loads,
        load_failures=report.load_failures,
        unloads=dict(report.unloads),
        queue=report.waiting,
        instances=report.instances,
        max_batch_rows=report.batch_rows,
        processes=report.processes,
        last_used_at=utc(counted.last_ms / _THOUSAND) if counted.last_ms else None,
        figures=FiguresView(
            succeeded=counted.succeeded,
            failed=counted.failed,
            timed_out=counted.timed_out,
            rejected=counted.rejected,
            cancelled=counted.cancelled,
            rows=counted.rows,
            runs=counted.runs,
            mean_batch_rows=round(counted.rows / counted.runs, 2) if counted.runs else None,
            mean_request_ms=_mean_ms(counted.success_ns, counted.succeeded),
            mean_queue_ms=_mean_ms(counted.queue_ns, counted.computed),
            mean_compute_ms=_mean_ms(counted.compute_ns, counted.computed),
            cache_hits=counted.cache_hits,
            cache_misses=counted.cache_misses,
            batches=[_batch(each) for each in report.batches],
        ),
    )


def _batch(runs: RunsOfSize) -> BatchView:
    return BatchView(rows=runs.rows, runs=runs.runs, mean_ms=_mean_ms(runs.compute_ns, runs.runs) or 0.0)


def _mean_ms(nanoseconds: int, count: int) -> float | None:
    return round(nanoseconds / count / _MILLION, 3) if count else None
