"""Every metric that Polyforge exposes, declared once: name, kind, labels, meaning, and how many series it may have."""

from typing import Literal

import msgspec

Kind = Literal["counter", "gauge", "histogram"]
Merge = Literal["sum", "scrape"]
"""How values of several processes become one: summed, or read once for the whole machine when somebody asks."""

OTHER = "other"
"""Label value of everything past a bound."""
NONE = "none"
"""Label value where a request did not get far enough to have one."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_OVERHEAD = (0.0001, 0.00015, 0.0002, 0.0003, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0)

NANO = 1_000_000_000
MICRO = 1_000_000


class Family(msgspec.Struct, frozen=True):
    """One metric. It has at most `per_model * metric_models + others` series; the next one counts as `other`."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram, in the unit that is exposed."""
    unit: int = 1
    """Recorded values are divided by it: nanoseconds and micro-USD are recorded, seconds and USD exposed."""
    merge: Merge = "sum"
    per_model: int = 0
    others: int = 1

    def most_series(self, models: int) -> int:
        """The bound on its series, without the one called `other`."""
        return self.per_model * models + self.others

    @property
    def width(self) -> int:
        """Numbers kept per series: one, or every bucket with the one above the last and the sum."""
        return len(self.buckets) + 2 if self.kind == "histogram" else 1


REQUESTS = Family(
    "polyforge_requests_total",
    "counter",
    "Requests answered, by HTTP status and error code (empty when there was none).",
    ("model", "provider", "task", "status", "error"),
    per_model=24,
    others=200,
)
DURATION = Family(
    "polyforge_request_duration_seconds",
    "histogram",
    "Time from the first byte of a request to the last byte of its answer.",
    ("model", "task"),
    buckets=_SECONDS,
    unit=NANO,
    per_model=2,
    others=30,
)
OVERHEAD = Family(
    "polyforge_overhead_seconds",
    "histogram",
    "Time that the gateway itself took: the duration without the wait for upstreams.",
    buckets=_OVERHEAD,
    unit=NANO,
)
FIRST_TOKEN = Family(
    "polyforge_time_to_first_token_seconds",
    "histogram",
    "Time from the first byte of a streamed request to its first content.",
    ("model",),
    buckets=_SECONDS,
    unit=NANO,
    per_model=1,
    others=2,
)
TOKENS = Family(
    "polyforge_tokens_total",
    "counter",
    "Tokens used; `cached` input is not counted as `input` again.",
    ("model", "direction"),
    per_model=3,
    others=6,
)
COST = Family(
    "polyforge_cost_usd_total",
    "counter",
    "What deployments charge us, in USD.",
    ("model",),
    unit=MICRO,
    per_model=1,
    others=2,
)
PRICE = Family(
    "polyforge_price_usd_total",
    "counter",
    "What callers are charged, in USD.",
    ("model",),
    unit=MICRO,
    per_model=1,
    others=2,
)
CACHE = Family(
    "polyforge_cache_lookups_total",
    "counter",
    "Requests for models that have a cache, by what came of it: `hit`, `semantic`, `miss`, `bypass`.",
    ("model", "outcome"),
    per_model=4,
    others=8,
)
CACHE_SAVED = Family(
    "polyforge_cache_saved_usd_total",
    "counter",
    "What answers that were given again cost when they were made, in USD.",
    ("model",),
    unit=MICRO,
    per_model=1,
    others=2,
)
CACHE_BYTES = Family(
    "polyforge_cache_bytes", "gauge", "Memory that answers take which are kept in the gateway workers."
)
CACHE_FAILURES = Family(
    "polyforge_cache_failures_total", "counter", "Look-ups that came to nothing because the cache could not be reached."
)
GUARDRAILS = Family(
    "polyforge_guardrail_finds_total",
    "counter",
    "Calls in which a guardrail found something, by what was done about it; `error`: it could not judge.",
    ("guardrail", "stage", "action"),
    others=200,
)
IN_FLIGHT = Family("polyforge_in_flight", "gauge", "Requests being served now.")
ATTEMPTS = Family(
    "polyforge_upstream_attempts_total",
    "counter",
    "Attempts at deployments, by how they ended: `ok` or the code of the error.",
    ("provider", "outcome"),
    others=500,
)
COOLING = Family(
    "polyforge_deployment_cooling",
    "gauge",
    "1 while a deployment is left alone after failures.",
    ("provider", "deployment"),
    merge="scrape",
    per_model=2,
    others=20,
)
JOURNAL_LAG = Family(
    "polyforge_journal_lag_bytes",
    "gauge",
    "Bytes of the journals of usage records that are not in the database yet.",
    merge="scrape",
)
AUDIT_LAG = Family(
    "polyforge_audit_export_lag_events",
    "gauge",
    "Audit events that a sink does not have yet.",
    ("export",),
    merge="scrape",
    others=100,
)
REQUEST_LOG_LAG = Family(
    "polyforge_request_log_export_lag_seconds",
    "gauge",
    "How long the oldest request has waited that a sink of the log of requests does not have yet.",
    ("export",),
    merge="scrape",
    others=100,
)
REQUEST_LOG_REFUSED = Family(
    "polyforge_request_log_refused_total",
    "counter",
    "Requests that a sink of the log of requests refused for good.",
)
REFUSALS_DROPPED = Family(
    "polyforge_refused_requests_unwritten_total",
    "counter",
    "Refused requests that are not in the history because there were too many in a second.",
)
PAYLOADS_DROPPED = Family(
    "polyforge_request_payloads_dropped_total",
    "counter",
    "Payloads of requests that are not kept because too many waited to be written.",
)
LOG_DROPPED = Family(
    "polyforge_log_lines_dropped_total",
    "counter",
    "Log lines dropped because their reader was too slow.",
)
TRACES_DROPPED = Family(
    "polyforge_traces_dropped_total",
    "counter",
    "Sampled traces dropped because the collector was too slow or down.",
)
JOBS = Family(
    "polyforge_jobs",
    "gauge",
    "Unfinished jobs of the whole installation, as a worker of this machine counted them last.",
    ("queue", "state"),
    others=300,
)
JOB_OLDEST = Family(
    "polyforge_job_oldest_queued_seconds",
    "gauge",
    "How long the oldest job of a queue has waited, as a worker of this machine saw last.",
    ("queue",),
    others=100,
)
JOB_RUNS = Family(
    "polyforge_job_runs_total",
    "counter",
    "Runs of jobs on this machine, by how they ended: `succeeded`, `failed`, `cancelled`, or `left` to another worker.",
    ("kind", "outcome"),
    others=200,
)
FLOW_RUNS = Family(
    "polyforge_flow_runs_total",
    "counter",
    "Runs of flows that ended on this machine, by how: `succeeded`, `failed`, `cancelled`.",
    ("outcome",),
    others=10,
)
FLOW_NODES = Family(
    "polyforge_flow_nodes_total",
    "counter",
    "Nodes of flows that were run on this machine, by their type; those that failed too.",
    ("type",),
    others=200,
)
FLOW_NODE_SECONDS = Family(
    "polyforge_flow_node_seconds_total",
    "counter",
    "Time that nodes of flows took on this machine, by their type.",
    ("type",),
    unit=NANO,
    others=200,
)
PROCESS_CPU = Family(
    "polyforge_process_cpu_seconds_total",
    "counter",
    "CPU time of each process since it started.",
    ("process",),
    merge="scrape",
    others=100,
)
PROCESS_MEMORY = Family(
    "polyforge_process_resident_memory_bytes",
    "gauge",
    "Resident memory of each process.",
    ("process",),
    merge="scrape",
    others=100,
)
PROCESS_FILES = Family(
    "polyforge_process_open_fds",
    "gauge",
    "Open file descriptors of each process.",
    ("process",),
    merge="scrape",
    others=100,
)
PROCESS_START = Family(
    "polyforge_process_start_time_seconds",
    "gauge",
    "When each process started, in seconds since the epoch.",
    ("process",),
    merge="scrape",
    others=100,
)

FAMILIES: tuple[Family, ...] = (
    REQUESTS,
    DURATION,
    OVERHEAD,
    FIRST_TOKEN,
    TOKENS,
    COST,
    PRICE,
    CACHE,
    CACHE_SAVED,
    CACHE_BYTES,
    CACHE_FAILURES,
    GUARDRAILS,
    IN_FLIGHT,
    ATTEMPTS,
    COOLING,
    JOURNAL_LAG,
    AUDIT_LAG,
    REQUEST_LOG_LAG,
    REQUEST_LOG_REFUSED,
    REFUSALS_DROPPED,
    PAYLOADS_DROPPED,
    LOG_DROPPED,
    TRACES_DROPPED,
    JOBS,
    JOB_OLDEST,
    JOB_RUNS,
    FLOW_RUNS,
    FLOW_NODES,
    FLOW_NODE_SECONDS,
    PROCESS_CPU,
    PROCESS_MEMORY,
    PROCESS_FILES,
    PROCESS_START,
)
BY_NAME = {family.name: family for family in FAMILIES}
