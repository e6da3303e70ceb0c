"""Requests of known callers that were turned away: written down as well, but not so many that the ledger drowns."""

from collections.abc import Callable
from typing import Final

from polyforge.gateway.detailing import details_of_refused
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import PolyforgeError
from polyforge.server.exchange import Exchange
from polyforge.tenancy.ledger.journal import Journal
from polyforge.tenancy.ledger.records import REFUSED, UsageRecord

_LONGEST: Final = 200
"""Characters of what callers made up: nobody has looked at it yet."""


class Refusals:
    """Writes down at most `per_second` of them, none on a full disk; `on_drop` is told of each of the others."""

    def __init__(self, journal: Journal, clock: Clock, per_second: int, on_drop: Callable[[int], None]) -> None:
        self._journal = journal
        self._clock = clock
        self._per_second = per_second
        self._on_drop = on_drop
        self._second = 0
        self._written = 0

    def write(self, exchange: Exchange, error: PolyforgeError) -> None:
        """Write one down, unless it is nobody's, or a call that was settled as one."""
        if exchange.caller is None or (exchange.job is not None and exchange.job.settled):
            return
        now = self._clock.now()
        if int(now) != self._second:
            self._second, self._written = int(now), 0
        self._written += 1
        if self._written > self._per_second or not self._journal.note(_record(exchange, error, now)):
            self._on_drop(1)


def _record(exchange: Exchange, error: PolyforgeError, now: float) -> UsageRecord:
    caller, job, asked, hops = exchange.caller, exchange.job, exchange.asked, exchange.hops
    assert caller is not None
    hops.mark()
    took = hops.total_ns / 1_000_000_000
    return UsageRecord(
        id=exchange.id,
        key_id=caller.key_id,
        organization_id=caller.organization_id,
        project_id=caller.project_id,
        task=asked.task if asked is not None else "",
        model=asked.model[:_LONGEST] if asked is not None else "",
        provider="",
        deployment="",
        status=REFUSED,
        http_status=exchange.status,
        started_at=now - took,
        duration_ms=int(took * 1000),
        period_start=0,
        stream=asked is not None and asked.stream,
        user_id=caller.user_id or "",
        end_user=asked.end_user[:_LONGEST] if asked is not None else "",
        tags=",".join(job.tags) if job is not None else "",
        error=error.code,
        details=details_of_refused(exchange.path, hops, job),
    )
