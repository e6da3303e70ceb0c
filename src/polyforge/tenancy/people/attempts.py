"""Limits on guessing: attempts are counted in the database, so that they hold across workers and restarts.

An attempt is counted before it is made and taken back when it succeeds. Whoever guesses many times at once therefore
gets no more tries than one who waits. A window begins with its first failure and ends at a fixed time, so refused
attempts do not prolong it.
"""

import hashlib
import ipaddress
from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import delete, select, text

from polyforge.database.database import Database
from polyforge.database.sessions import ReadSession, WriteSession
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import RateLimited
from polyforge.tenancy.people.tables import sign_in_failures

_NETWORK_BITS: Final = 64
"""Whoever has one IPv6 address usually has its whole /64."""
_PURGED_AT_ONCE: Final = 100

_COUNT = text(
    "INSERT INTO sign_in_failures (bucket, failures, until) VALUES (:bucket, 1, :until) "
    "ON CONFLICT (bucket) DO UPDATE SET "
    "failures = CASE WHEN sign_in_failures.until <= :now THEN 1 ELSE sign_in_failures.failures + 1 END, "
    "until = CASE WHEN sign_in_failures.until <= :now THEN excluded.until ELSE sign_in_failures.until END "
    "RETURNING failures, until"
)
_TAKE_BACK = text(
    "UPDATE sign_in_failures SET failures = failures - 1 WHERE bucket = :bucket AND failures > 0 AND until > :now"
)


class Limit(msgspec.Struct, frozen=True):
    """At most so many failures of one kind in a span of time. `parts` say whose: an account, an address, both."""

    kind: str
    parts: tuple[str, ...]
    most: int
    seconds: float
    forgiving: bool = False
    """Whether one success wipes out all failures, not just itself."""

    @property
    def bucket(self) -> bytes:
        """The row that counts it."""
        return hashlib.sha256("\0".join((self.kind, *self.parts)).encode()).digest()


class Attempts:
    """Counts attempts at what may not be guessed."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def take(self, limits: Sequence[Limit]) -> bool:
        """Count one attempt; RateLimited when one of the limits has been reached.

        True when this is the last one that a limit allows, for whoever wants to note it.
        """
        now = self._clock.now()
        async with self._database.read() as session:
            await _refuse_reached(session, limits, now)
        last = False
        async with self._database.write() as session:
            for limit in sorted(limits, key=lambda each: each.bucket):
                failures = await _count(session, limit, now)
                last = last or failures == limit.most
            await _purge(session, now)
        return last

    async def succeeded(self, limits: Sequence[Limit]) -> None:
        """Take back the attempt that was counted."""
        now = self._clock.now()
        async with self._database.write() as session:
            for limit in sorted(limits, key=lambda each: each.bucket):
                if limit.forgiving:
                    await session.change(delete(sign_in_failures).where(sign_in_failures.c.bucket == limit.bucket))
                else:
                    await session.change(_TAKE_BACK.bindparams(bucket=limit.bucket, now=now))


def network_of(address: str) -> str:
    """What an address is counted as: itself, or the /64 that an IPv6 address lies in."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), _NETWORK_BITS), strict=False))


async def _refuse_reached(session: ReadSession, limits: Sequence[Limit], now: float) -> None:
    columns = sign_in_failures.c
    query = select(columns.bucket, columns.failures, columns.until)
    rows = await session.all(query.where(columns.bucket.in_([limit.bucket for limit in limits]), columns.until > now))
    known = {bytes(row["bucket"]): row for row in rows}
    for limit in limits:
        row = known.get(limit.bucket)
        if row is not None and row["failures"] >= limit.most:
            raise _too_many(row["until"] - now)


async def _count(session: WriteSession, limit: Limit, now: float) -> int:
    row = await session.returning(_COUNT.bindparams(bucket=limit.bucket, until=now + limit.seconds, now=now))
    if row is None:
        raise RuntimeError("counting an attempt gave no count")
    if row["failures"] > limit.most:
        raise _too_many(row["until"] - now)
    return row["failures"]


async def _purge(session: WriteSession, now: float) -> None:
    """Forget some windows that are over; those that somebody else is counting in are left to the next."""
    columns = sign_in_failures.c
    over = select(columns.bucket).where(columns.until <= now).order_by(columns.until).limit(_PURGED_AT_ONCE)
    await session.change(delete(sign_in_failures).where(columns.bucket.in_(over.with_for_update(skip_locked=True))))


def _too_many(seconds: float) -> RateLimited:
    return RateLimited("too many attempts; wait before the next", retry_after=max(1.0, seconds))
