"""What each model did since the host started: counts and durations, as Triton's clients and Prometheus read them."""

from collections.abc import Iterable
from typing import Any

import msgspec

NANOSECONDS_PER_MICROSECOND = 1_000


class ModelStatistics(msgspec.Struct):
    """Counters of one model, written from the event loop only. Durations are sums in nanoseconds."""

    succeeded: int = 0
    failed: int = 0
    rejected: int = 0
    cancelled: int = 0
    rows: int = 0
    runs: int = 0
    success_ns: int = 0
    fail_ns: int = 0
    queue_ns: int = 0
    compute_ns: int = 0
    last_ms: int = 0
    """Wall time of the last answer, in milliseconds since the epoch."""


class ModelReport(msgspec.Struct, frozen=True):
    """One model with its counters, as shown outside."""

    name: str
    version: str
    ready: bool
    waiting: int
    counters: ModelStatistics


def triton_statistics(reports: Iterable[ModelReport]) -> dict[str, Any]:
    """The answer of Triton's statistics extension (extension_statistics.md); batch_stats are not kept."""
    return {"model_stats": [_model_stats(report) for report in reports]}


def _model_stats(report: ModelReport) -> dict[str, Any]:
    counters = report.counters
    answered = counters.succeeded + counters.failed
    return {
        "name": report.name,
        "version": report.version,
        "last_inference": counters.last_ms,
        "inference_count": counters.rows,
        "execution_count": counters.runs,
        "inference_stats": {
            "success": {"count": counters.succeeded, "ns": counters.success_ns},
            "fail": {"count": counters.failed, "ns": counters.fail_ns},
            "queue": {"count": answered, "ns": counters.queue_ns},
            "compute_input": {"count": 0, "ns": 0},
            "compute_infer": {"count": answered, "ns": counters.compute_ns},
            "compute_output": {"count": 0, "ns": 0},
            "cache_hit": {"count": 0, "ns": 0},
            "cache_miss": {"count": 0, "ns": 0},
        },
        "batch_stats": [],
        "memory_usage": [],
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
    ("polyforge_model_ready", "gauge", "Whether the model answers"),
)


def _samples(name: str, model: ModelReport) -> list[tuple[str, int]]:
    labels = f'model="{_escape(model.name)}",version="{_escape(model.version)}"'
    counters = model.counters
    if name == "nv_inference_request_failure":
        reasons = (
            ("REJECTED", counters.rejected),
            ("CANCELED", counters.cancelled),
            ("OTHER", counters.failed),
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
        "polyforge_model_ready": int(model.ready),
    }
    return [(labels, values[name])]


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
