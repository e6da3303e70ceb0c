"""Writes down every request: the access log, and for inference metrics and the trace when it was sampled."""

import time
from time import perf_counter_ns

from polyforge.gateway.job import Job
from polyforge.kernel.usage import NO_USAGE, Usage
from polyforge.ports.tracing import Trace, TracedAttempt, TracedRequest, Tracer
from polyforge.server.exchange import Exchange
from polyforge.telemetry.access import AccessLine, milliseconds
from polyforge.telemetry.lines import LineWriter
from polyforge.telemetry.metrics import Metrics

_PROBES = frozenset({"/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})


class Observation:
    """The observer of a gateway process."""

    def __init__(self, metrics: Metrics, access: LineWriter | None, tracer: Tracer) -> None:
        self._metrics = metrics
        self._access = access
        self._tracer = tracer

    def begun(self) -> None:
        """Count a request that is under way."""
        self._metrics.started()

    def finished(self, exchange: Exchange) -> None:
        """Count it, log it, trace it."""
        exchange.hops.marks.append(perf_counter_ns())
        self._count(exchange)
        if self._access is not None:
            self._access.put(_line(exchange))
        job = exchange.job
        if job is not None and job.trace is not None:
            self._tracer.record(_traced(exchange, job, job.trace))

    def managed(self, request_id: str, method: str, path: str, status: int, duration_ns: int) -> None:
        """Log it, unless a machine asks all the time."""
        if self._access is not None and path not in _PROBES:
            duration = milliseconds(duration_ns)
            self._access.put(AccessLine(time.time(), request_id, method, path, status, duration, duration))

    def _count(self, exchange: Exchange) -> None:
        job, hops = exchange.job, exchange.hops
        self._metrics.finished()
        if job is None:
            instruments = self._metrics.for_model(None, None, "chat", answered=False)
            instruments.done(exchange.status, exchange.error, hops.total_ns, hops.overhead_ns)
            return
        for attempt in job.attempts:
            self._metrics.attempted(attempt.deployment.provider, attempt.outcome)
        provider = job.attempts[-1].deployment.provider if job.attempts else None
        instruments = self._metrics.for_model(
            job.request.model,
            provider,
            job.request.task,
            answered=exchange.status == 200,  # noqa: PLR2004
        )
        instruments.done(
            exchange.status,
            exchange.error,
            hops.total_ns,
            hops.overhead_ns,
            _bought(job),
            job.price,
            job.cost,
            job.first_token_ns - hops.marks[0] if job.first_token_ns else None,
        )
        for found in job.found:
            self._metrics.guarded(found.guardrail, found.stage, found.action)
        if job.lookup is not None:
            answered = exchange.status == 200  # noqa: PLR2004
            self._metrics.looked_up(job.request.model, job.lookup.outcome, job.saved, answered)


def _bought(job: Job) -> Usage:
    """What was used for this request, and not for an earlier one whose answer was given again."""
    if not job.settled:
        return NO_USAGE
    return Usage() if job.cached else job.usage


def _line(exchange: Exchange) -> AccessLine:
    hops, caller, job = exchange.hops, exchange.caller, exchange.job
    line = AccessLine(
        time.time(),
        exchange.id,
        exchange.method,
        exchange.path,
        exchange.status,
        milliseconds(hops.total_ns),
        milliseconds(hops.overhead_ns),
        hops_us=hops.microseconds(),
        error=exchange.error,
    )
    if caller is not None:
        line.key_id, line.project_id = caller.key_id, caller.project_id
    if job is not None:
        _add_job(line, job)
    return line


def _add_job(line: AccessLine, job: Job) -> None:
    usage = job.usage
    line.model, line.stream, line.attempts = job.request.model, job.request.stream, len(job.attempts)
    line.input_tokens, line.cached_tokens, line.output_tokens = usage.input, usage.cache_read, usage.output
    line.price_micros = job.price
    if job.attempts:
        last = job.attempts[-1].deployment
        line.provider, line.deployment = last.provider, last.model
    if job.first_token_ns:
        line.first_token_ms = milliseconds(job.first_token_ns - job.hops.marks[0])
    if job.trace is not None:
        line.trace_id = job.trace.id


def _traced(exchange: Exchange, job: Job, trace: Trace) -> TracedRequest:
    attempts = [
        TracedAttempt(
            provider=attempt.deployment.provider,
            model=attempt.deployment.model,
            started=attempt.started,
            ended=attempt.ended or perf_counter_ns(),
            outcome=attempt.outcome,
        )
        for attempt in job.attempts
    ]
    return TracedRequest(
        trace=trace,
        request_id=exchange.id,
        method=exchange.method,
        route=exchange.path,
        status=exchange.status,
        marks=exchange.hops.marks,
        attempts=attempts,
        task=job.request.task,
        model=job.request.model,
        stream=job.request.stream,
        error=exchange.error,
        project_id=job.caller.project_id,
        key_id=job.caller.key_id,
        usage=job.usage,
        price=job.price,
    )
