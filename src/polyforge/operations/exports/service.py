"""Asking for exports, on behalf of a caller."""

from typing import Final

import msgspec

from polyforge.jobs.records import Job, NewJob
from polyforge.jobs.service import JobService
from polyforge.kernel.clock import Clock, utc
from polyforge.kernel.errors import Invalid
from polyforge.operations.exports.records import KIND, QUEUE, ExportOrder
from polyforge.operations.exports.schemas import NewRequestExport
from polyforge.tenancy.callers import Caller

ATTEMPTS: Final = 3
NEEDS: Final = "usage:read"
"""What a job needs of the permissions of who asked for it."""


class ExportService:
    """Makes the jobs of exports."""

    def __init__(self, jobs: JobService, clock: Clock) -> None:
        self._jobs = jobs
        self._clock = clock

    async def start(self, caller: Caller, wanted: NewRequestExport) -> Job:
        """Have a file made of requests; Invalid for a time that is none."""
        since = wanted.since.timestamp()
        until = self._clock.now() if wanted.until is None else wanted.until.timestamp()
        if since >= until:
            raise Invalid("must be earlier than `until`", param="since")
        order = ExportOrder(
            format=wanted.format,
            since=since,
            until=until,
            model=tuple(wanted.model),
            key=tuple(wanted.key),
            status=tuple(wanted.status),
        )
        new = NewJob(
            kind=KIND,
            title=f"Requests of {utc(since):%Y-%m-%d} to {utc(until):%Y-%m-%d} as {order.format}",
            args=msgspec.to_builtins(order),
            queue=QUEUE,
            max_attempts=ATTEMPTS,
            scopes=frozenset({NEEDS}),
        )
        return await self._jobs.start(caller, new)
