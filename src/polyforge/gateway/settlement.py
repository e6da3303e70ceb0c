"""Settlement: what a job came to replaces what it reserved, in the journal first and then in the counters."""

from time import perf_counter_ns
from typing import Final

from polyforge.gateway.detailing import details_of
from polyforge.gateway.job import Job
from polyforge.gateway.limiting import amounts_of
from polyforge.kernel.clock import Clock
from polyforge.kernel.money import Micros
from polyforge.kernel.usage import NO_USAGE, Usage
from polyforge.registry.tariffs import FREE
from polyforge.tenancy.ledger.journal import Journal
from polyforge.tenancy.ledger.records import Status, UsageRecord
from polyforge.tenancy.limits.counters import LimitCounters

_BYTES_PER_TOKEN: Final = 4


class Settlement:
    """Ends a job, whatever way it ended, exactly once."""

    def __init__(self, counters: LimitCounters, journal: Journal, clock: Clock) -> None:
        self._counters = counters
        self._journal = journal
        self._clock = clock

    def settle(
        self, job: Job, status: Status, usage: Usage | None, *, http_status: int, error: str | None = None
    ) -> None:
        """Write the usage record and give back what was reserved beyond its price. A second call does nothing."""
        if job.settled:
            return
        job.settled = True
        job.status, job.http_status, job.error = status, http_status, error
        job.usage = usage or _estimate(job, status)
        job.cost, job.price = _worth(job)
        for answer in job.rejected:
            job.usage += answer.usage
            job.cost += (answer.deployment.cost or FREE).price(answer.usage)
            job.price += (answer.deployment.price or FREE).price(answer.usage)
        self._write(job)
        job.hops.marks.append(perf_counter_ns())

    def _write(self, job: Job) -> None:
        caller, request = job.caller, job.request
        last = job.attempts[-1].deployment if job.attempts else None
        now = self._clock.now()
        number = self._journal.settle(
            UsageRecord(
                job.id,
                caller.key_id,
                caller.organization_id,
                caller.project_id,
                request.task,
                request.model,
                last.provider if last else "",
                last.model if last else "",
                job.status,
                job.http_status,
                job.started_at,
                int((now - job.started_at) * 1000),
                job.period,
                job.usage,
                job.cost,
                job.price,
                request.stream,
                caller.user_id or "",
                request.end_user,
                ",".join(job.tags),
                job.cached,
                job.saved,
                job.error or "",
                details_of(job),
            )
        )
        lane = job.lane
        if lane is not None:
            used = 0 if job.cached else job.usage.total
            asked, bound, likely = job.reserved, job.token_bound, job.reserved_tokens
            if lane.settle(job.windows, now, number, asked, bound, likely, job.price, used):
                return
            job.takes = lane.takes(job.windows, amounts_of(job))
        if job.deposit is not None:
            job.deposit.settle(job.drawn, job.price, job.takes)
        if job.takes or job.attempt_takes:
            used = 0 if job.cached else job.usage.total
            takes = [*job.takes, *job.attempt_takes] if job.attempt_takes else job.takes
            self._counters.settle_many(takes, number, used, job.price, now)
        if job.slot >= 0:
            self._counters.settle(job.slot, job.period, job.reserved, job.price, number)
            if job.caller.limits.tpm is not None:
                used = 0 if job.cached else job.usage.total
                self._counters.add_tokens(job.slot, now, used - job.reserved_tokens)
        if job.deposit is not None:
            job.deposit.write()


def estimate(job: Job, characters: int) -> Usage:
    """Tokens of a request, and of an answer with so many characters, where the provider reported none."""
    return Usage(
        input=-(-len(job.request.body) // _BYTES_PER_TOKEN), output=-(-characters // _BYTES_PER_TOKEN), exact=False
    )


def _estimate(job: Job, status: Status) -> Usage:
    """Tokens where the provider reported none: nothing before an upstream was called or when it failed to answer."""
    if not job.attempts or (status == "error" and not job.streamed):
        return NO_USAGE
    output = -(-job.streamed // _BYTES_PER_TOKEN)
    text = len(job.request.body) - job.request.binary
    return Usage(input=-(-text // _BYTES_PER_TOKEN), output=output, exact=False)


def _worth(job: Job) -> tuple[Micros, Micros]:
    """Cost and price: of an answer, whole or begun, and of one that the caller did not wait for; never of a failure.

    An answer that was kept costs nothing; its price was set by whoever found it.
    """
    if job.cached:
        return 0, 0 if job.status == "error" else job.price
    if not job.attempts or (job.status == "error" and not job.streamed):
        return 0, 0
    deployment = job.attempts[-1].deployment
    cost = (deployment.cost or FREE).price(job.usage)
    return cost, cost if deployment.price is deployment.cost else (deployment.price or FREE).price(job.usage)
