"""What each model did since the host started: counts and durations, as Triton's clients and Prometheus read them."""

import time
from collections.abc import Iterable
from typing import Any

import msgspec

NANOSECONDS_PER_MICROSECOND = 1_000
NANOSECONDS_PER_MILLISECOND = 1_000_000


class BatchStatistics(msgspec.Struct):
    """The runs of one size."""

    runs: int = 0
    compute_ns: int = 0


class ModelStatistics(msgspec.Struct):
    """Counters of one model, written from the event loop only. Durations are sums in nanoseconds.

    `failed` counts every request that was taken and got an error, `backend_failed` and `timed_out` (while it waited)
    among them; `rejected` and `cancelled` are not among them. `computed` counts requests that were answered by the
    model and not by the cache. `batches` are the runs by their rows.
    """

    succeeded: int = 0
    failed: int = 0
    backend_failed: int = 0
    timed_out: int = 0
    rejected: int = 0
    cancelled: int = 0
    computed: int = 0
    rows: int = 0
    runs: int = 0
    success_ns: int = 0
    fail_ns: int = 0
    queue_ns: int = 0
    compute_ns: int = 0
    cache_hits: int = 0
    cache_hit_ns: int = 0
    cache_misses: int = 0
    cache_miss_ns: int = 0
    batches: dict[int, BatchStatistics] = {}
    last_ms: int = 0
    """Wall time of the last answer, in milliseconds since the epoch."""

    def run(self, rows: int, took_ns: int) -> None:
        """Count a run of the model."""
        self.runs += 1
        batch = self.batches.get(rows)
        if batch is None:
            batch = self.batches[rows] = BatchStatistics()
        batch.runs += 1
        batch.compute_ns += took_ns

    def compute(self, waited_ns: int, took_ns: int) -> None:
        """Count a request that was computed."""
        self.computed += 1
        self.queue_ns += waited_ns
        self.compute_ns += took_ns

    def answer(self, took_ns: int) -> None:
        """Count a request that was answered."""
        self.succeeded += 1
        self.success_ns += took_ns
        self.last_ms = time.time_ns() // NANOSECONDS_PER_MILLISECOND

    def fail(self, took_ns: int, *, in_backend: bool) -> None:
        """Count a request that got an error."""
        self.failed += 1
        self.backend_failed += in_backend
        self.fail_ns += took_ns


class ModelReport(msgspec.Struct, frozen=True):
    """One model with its counters, as shown outside."""

    name: str
    version: str
    ready: bool
    waiting: int
    counters: ModelStatistics


def triton_statistics(reports: Iterable[ModelReport]) -> dict[str, Any]:
    """The answer of Triton's statistics extension (extension_statistics.md)."""
    return {"model_stats": [_model_stats(report) for report in reports]}


def _model_stats(report: ModelReport) -> dict[str, Any]:
    counters = report.counters
    return {
        "name": report.name,
        "version": report.version,
        "last_inference": counters.last_ms,
        "inference_count": counters.rows,
        "execution_count": counters.runs,
        "inference_stats": {
            "success": {"count": counters.succeeded, "ns": counters.success_ns},
            "fail": {"count": counters.failed, "ns": counters.fail_ns},
            "queue": {"count": counters.computed, "ns": counters.queue_ns},
            "compute_input": {"count": 0, "ns": 0},
            "compute_infer": {"count": counters.computed, "ns": counters.compute_ns},
            "compute_output": {"count": 0, "ns": 0},
            "cache_hit": {"count": counters.cache_hits, "ns": counters.cache_hit_ns},
            "cache_miss": {"count": counters.cache_misses, "ns": counters.cache_miss_ns},
        },
        "batch_stats": [_batch_stats(rows, counters.batches[rows]) for rows in sorted(counters.batches)],
        "memory_usage": [],
    }


def _batch_stats(rows: int, batch: BatchStatistics) -> dict[str, Any]:
    return {
        "batch_size": rows,
        "compute_input": {"count": 0, "ns": 0},
        "compute_infer": {"count": batch.runs, "ns": batch.compute_ns},
        "compute_output": {"count": 0, "ns": 0},
    }


def prometheus_text(reports: Iterable[ModelReport]) -> str:
    """The counters in Prometheus' text format, under Triton's names where Triton has one."""
    models = list(reports)
    lines: list[str] = []
    for name, kind, text in _FAMILIES:
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
        for model in models:
            lines += [f"{name}{{{labels}}} {value}" for labels, value in _samples(name, model)]
    return "\n".join(lines) + "\n"


_FAMILIES = (
    ("nv_inference_request_success", "counter", "Requests answered"),
    ("nv_inference_request_failure", "counter", "Requests not answered, by reason"),
    ("nv_inference_count", "counter", "Rows computed"),
    (
        "nv_inference_exec_count",
        "counter",
        "Runs of the model; rows per run is the mean batch size",
    ),
    (
        "nv_inference_request_duration_us",
        "counter",
        "Time of requests from arrival to answer, in microseconds",
    ),
    (
        "nv_inference_queue_duration_us",
        "counter",
        "Time that requests waited for a thread, in microseconds",
    ),
    (
        "nv_inference_compute_infer_duration_us",
        "counter",
        "Time that requests were computed, in microseconds",
    ),
    ("nv_inference_pending_request_count", "gauge", "Requests that wait for a thread"),
    ("nv_cache_num_hits_per_model", "counter", "Requests answered from the response cache"),
    ("nv_cache_num_misses_per_model", "counter", "Requests that the response cache had no answer to"),
    (
        "nv_cache_hit_duration_per_model",
        "counter",
        "Time spent finding answers in the response cache, in microseconds",
    ),
    (
        "nv_cache_miss_duration_per_model",
        "counter",
        "Time spent looking for answers that were not in the response cache, and keeping them, in microseconds",
    ),
    ("polyforge_model_ready", "gauge", "Whether the model answers"),
)


def _samples(name: str, model: ModelReport) -> list[tuple[str, int]]:
    labels = f'model="{escape(model.name)}",version="{escape(model.version)}"'
    counters = model.counters
    if name == "nv_inference_request_failure":
        reasons = (
            ("REJECTED", counters.rejected + counters.timed_out),
            ("CANCELED", counters.cancelled),
            ("BACKEND", counters.backend_failed),
            ("OTHER", counters.failed - counters.backend_failed - counters.timed_out),
        )
        return [(f'{labels},reason="{reason}"', value) for reason, value in reasons]
    values = {
        "nv_inference_request_success": counters.succeeded,
        "nv_inference_count": counters.rows,
        "nv_inference_exec_count": counters.runs,
        "nv_inference_request_duration_us": counters.success_ns // NANOSECONDS_PER_MICROSECOND,
        "nv_inference_queue_duration_us": counters.queue_ns // NANOSECONDS_PER_MICROSECOND,
        "nv_inference_compute_infer_duration_us": counters.compute_ns // NANOSECONDS_PER_MICROSECOND,
        "nv_inference_pending_request_count": model.waiting,
        "nv_cache_num_hits_per_model": counters.cache_hits,
        "nv_cache_num_misses_per_model": counters.cache_misses,
        "nv_cache_hit_duration_per_model": counters.cache_hit_ns // NANOSECONDS_PER_MICROSECOND,
        "nv_cache_miss_duration_per_model": counters.cache_miss_ns // NANOSECONDS_PER_MICROSECOND,
        "polyforge_model_ready": int(model.ready),
    }
    return [(labels, values[name])]


def escape(value: str) -> str:
    """A label's value as the text format writes it."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
