"""The budgets that a caller's own calls count for."""

from typing import Final

import msgspec

from polyforge.kernel.clock import Clock
from polyforge.kernel.money import Micros
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.ledger_store import LedgerStore
from polyforge.tenancy.limits.book import LimitBook
from polyforge.tenancy.limits.records import Limit, SubjectKind
from polyforge.tenancy.periods import period_bounds

MOST: Final = 50
_OWN: Final = frozenset({"key", "user"})
"""What callers may know of themselves without any permission."""


class OwnBudget(msgspec.Struct, frozen=True):
    """A budget, and how it stands; money in micro-USD."""

    limit: Limit | None
    """None: it is the key's own."""
    id: str
    name: str
    subject: SubjectKind
    subject_id: str
    window: str
    amount: Micros
    """With what was added to this window."""
    used: Micros
    hard: bool
    starts_again: float | None


class OwnBudgets:
    """Finds them: the key's own, and the limits on money that the caller may know of."""

    def __init__(self, book: LimitBook, ledger: LedgerStore, clock: Clock) -> None:
        self._book = book
        self._ledger = ledger
        self._clock = clock

    async def of(self, caller: Caller) -> list[OwnBudget]:
        """At most MOST of them, the key's own first."""
        found = [await self._of_key(caller, caller.limits.budget)] if caller.limits.budget is not None else []
        known = [pair for pair in self._book.budgets_of(caller) if _may_know(caller, pair[0])]
        return found + [await self._of_limit(*pair) for pair in known[: MOST - len(found)]]

    async def _of_key(self, caller: Caller, budget: Micros) -> OwnBudget:
        start, end = period_bounds(caller.limits.period, self._clock.now())
        used = await self._ledger.spent(caller.key_id, start)
        ends = None if end == float("inf") else end
        window = caller.limits.period
        return OwnBudget(
            None,
            caller.key_id,
            caller.key_name,
            "key",
            caller.key_id,
            window,
            budget,
            used,
            hard=True,
            starts_again=ends,
        )

    async def _of_limit(self, limit: Limit, subject_id: str) -> OwnBudget:
        use = await self._book.use(limit, subject_id)
        return OwnBudget(
            limit,
            limit.id,
            limit.name,
            limit.subject,
            subject_id,
            limit.window,
            use.allowed,
            use.used,
            hard=limit.hard,
            starts_again=use.starts_again,
        )


def _may_know(caller: Caller, limit: Limit) -> bool:
    if limit.organization_id is None:
        return caller.may("settings:read")
    return limit.subject in _OWN or caller.may("limits:read")
