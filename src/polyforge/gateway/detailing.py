"""How a job went, as the ledger keeps it: every request pays for this, so it puts together what is there as it is."""

from time import perf_counter_ns

from polyforge.gateway.job import Job
from polyforge.telemetry.hops import HOPS, Hops
from polyforge.tenancy.ledger.details import Tried, encode_details


def details_of(job: Job) -> bytes:
    """The blob of a job that is being settled."""
    hops, trace = job.hops, job.trace
    marks = hops.marks
    if len(marks) == len(HOPS):
        # The settlement as far as it got: what is left of it is to write this down.
        marks = [*marks, perf_counter_ns()]
    tried: list[Tried] = []
    for attempt in job.attempts:
        deployment = attempt.deployment
        tried.append((deployment.provider, deployment.model, attempt.started, attempt.ended, attempt.outcome))
    return encode_details(
        (
            job.path,
            marks,
            hops.waited,
            tried,
            job.first_token_ns,
            b"" if trace is None else trace.trace_id,
            job.found,
            job.dropped,
            job.asked_route,
        )
    )


def details_of_refused(path: str, hops: Hops, job: Job | None) -> bytes:
    """The blob of a request that was turned away, perhaps before it became a job."""
    found = () if job is None else job.found
    return encode_details((path, hops.marks, hops.waited, (), 0, b"", found))
