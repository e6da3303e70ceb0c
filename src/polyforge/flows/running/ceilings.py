"""What a run may cost is held of its caller's budgets, so that what it began it can go on with."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from polyforge.flows.running.records import NodeFailed, RunError
from polyforge.kernel.errors import BudgetSpent, PolyforgeError, Unavailable
from polyforge.kernel.money import Micros
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.limits.deposits import Deposit

HINT: Final = "lower `max_cost_usd`, or raise the budget"
_PAUSES: Final = (0.5, 1.0, 2.0)
"""Seconds between tries: what a worker held that was killed counts until its next start, and other machines give back
what they do not use within seconds."""


class Budgets(Protocol):
    """Where money is held."""

    async def hold(self, caller: Caller, amount: Micros) -> Deposit:
        """Hold so much of every budget of a caller, or of none; BudgetSpent then."""
        ...

    async def check(self, caller: Caller, amount: Micros) -> None:
        """BudgetSpent where it is clear by now that so much cannot be held."""
        ...


class Ceiling:
    """What one attempt at a run holds, from when it first has something to do that is not done yet.

    So an attempt that only waits, or only looks at what earlier ones did, holds nothing.
    """

    def __init__(self, budgets: Budgets | None, caller: Callable[[], Awaitable[Caller]]) -> None:
        self._budgets = budgets
        self._caller = caller
        self._beginning = asyncio.Lock()
        self._begun = budgets is None
        self.deposit: Deposit | None = None

    async def begin(self, left: Micros) -> None:
        """Hold what is left, unless that was done; NodeFailed, which nothing deals with, where there is no room."""
        if self._begun:
            return
        async with self._beginning:
            if self._budgets is not None and not self._begun and left > 0:
                self.deposit = await self._held(self._budgets, left)
            self._begun = True

    def keep_to(self, left: Micros) -> None:
        """So much is left."""
        if self.deposit is not None:
            self.deposit.keep_to(left)

    def release(self) -> None:
        """The attempt is over."""
        if self.deposit is not None:
            self.deposit.release()

    async def _held(self, budgets: Budgets, left: Micros) -> Deposit:
        for pause in _PAUSES:
            try:
                return await budgets.hold(await self._caller(), left)
            except PolyforgeError as error:
                if not (error.retryable or isinstance(error, BudgetSpent)):
                    raise
            await asyncio.sleep(pause)
        try:
            return await budgets.hold(await self._caller(), left)
        except BudgetSpent as error:
            told = f"{error.message}, which is what the run may still cost"
            raise NodeFailed(RunError(error.code, told, hint=HINT), fatal=True) from error


async def check_room(budgets: Budgets | None, caller: Caller, most: Micros | None) -> None:
    """BudgetSpent where a run that may cost so much could not begin now."""
    if budgets is None or most is None:
        return
    try:
        await budgets.check(caller, most)
    except BudgetSpent as error:
        told = f"{error.message}, which is what the run may cost: {HINT}"
        raise BudgetSpent(told, param="max_cost_usd") from error
    except Unavailable:
        # Nobody can tell now. Whoever runs it will see.
        return
