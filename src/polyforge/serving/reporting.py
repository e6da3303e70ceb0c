"""Everything that a host knows of its models, in one answer: what it tells gateways for people to look at."""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from polyforge.serving.lifecycle.keeping import Leaving, Life
from polyforge.serving.repository import HostedModel, State
from polyforge.serving.statistics import ModelStatistics

MOST: Final = 10_000


class RunsOfSize(msgspec.Struct, frozen=True, gc=False):
    """The runs of so many rows."""

    rows: int
    runs: int
    compute_ns: int


class Counted(msgspec.Struct, frozen=True):
    """What a version did since the host started; durations are sums in nanoseconds. As `ModelStatistics` has them."""

    succeeded: int = 0
    failed: int = 0
    timed_out: int = 0
    rejected: int = 0
    cancelled: int = 0
    computed: int = 0
    rows: int = 0
    runs: int = 0
    success_ns: int = 0
    queue_ns: int = 0
    compute_ns: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    last_ms: int = 0


class VersionReport(msgspec.Struct, frozen=True):
    """One version of a model, as its host has it."""

    name: str
    version: str
    state: State
    reason: str
    answers: bool
    platform: str
    """What computes it; empty as long as that is not known."""
    resident: bool
    memory_bytes: int
    loads: int
    load_failures: int
    unloads: Mapping[Leaving, int]
    """By reason."""
    waiting: int
    instances: int
    """Runs under way at once, at most; 0: as many as the host has threads."""
    batch_rows: int
    processes: int
    counted: Counted
    batches: tuple[RunsOfSize, ...]


def report_of(model: HostedModel, life: Life | None, waiting: int, processes: int) -> VersionReport:
    """What is known of one version; `life` is None for one that nobody looks after."""
    state, reason = model.shown
    lived = life or Life(model.name, model.version, resident=model.resident)
    return VersionReport(
        name=model.name,
        version=model.version,
        state=state,
        reason=reason,
        answers=model.answers,
        platform=model.signature.platform if model.ready else "",
        resident=lived.resident,
        memory_bytes=lived.memory_bytes,
        loads=lived.loads,
        load_failures=lived.failures,
        unloads=dict(lived.leavings),
        waiting=waiting,
        instances=model.plan.instances,
        batch_rows=model.plan.batch_rows,
        processes=processes,
        counted=_counted(model.statistics),
        batches=tuple(
            RunsOfSize(rows, batch.runs, batch.compute_ns) for rows, batch in sorted(model.statistics.batches.items())
        ),
    )


def _counted(statistics: ModelStatistics) -> Counted:
    return Counted(**{name: getattr(statistics, name) for name in Counted.__struct_fields__})


def encode_reports(reports: Iterable[VersionReport]) -> bytes:
    """The reports as they are sent."""
    return msgspec.json.encode(list(reports)[:MOST])


def decode_reports(body: bytes) -> list[VersionReport]:
    """What `encode_reports` wrote; msgspec.DecodeError for anything else."""
    return _decoder.decode(body)


_decoder: Final = msgspec.json.Decoder(list[VersionReport])
