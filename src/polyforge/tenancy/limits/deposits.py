"""Money that is held of budgets for work whose calls are still to come, and what those calls take out of it.

It lies where the reservations of calls under way lie, in this worker's cells: whoever looks at a budget sees both, and
recovery frees both. It is in no journal, since by itself it spends nothing.

A call takes what it reserves out of the deposit, as far as that goes, and needs room in the budget only for the rest.
Once it is settled the deposit is what is left of the amount, without what other calls under way took out of it. What a
call changes here is written with its own reservation, or its own settlement, in one piece: there is no moment in
which the money is nobody's.

A window that begins anew knows nothing of a deposit. Calls count in it like those of anybody else. One that rolls
forgets what a call took that goes on for longer than it lasts, and that does not come back into the deposit.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, TypeVar

from polyforge.kernel.money import Micros
from polyforge.tenancy.limits.counters import DepositPart, LimitCounters, Take

T = TypeVar("T")
Drawn = Sequence[tuple[DepositPart, Micros]]
"""What a call took out of each part of a deposit that it counts for."""


class Deposit:
    """So much money of each of some budgets, in this process."""

    def __init__(self, counters: LimitCounters, amount: Micros, parts: Sequence[DepositPart]) -> None:
        self._counters = counters
        self._left = amount
        self._parts = {part.slot: part for part in parts}

    def seen(self, look: Callable[[], T]) -> T:
        """What a look at what is left finds while nothing is held; it must not write, nor wait."""
        lifted = [(part.own, part.amount) for part in self._parts.values() if part.lasts]
        for own, amount in lifted:
            own.reserved -= amount
        try:
            return look()
        finally:
            for own, amount in lifted:
                own.reserved += amount

    def draw(self, amount: Micros, slots: Iterable[int]) -> Drawn:
        """Take out what a call is about to reserve of these slots, as far as it is there.

        Nobody else sees that before the reservation is written, which has to be tried at once.
        """
        drawn: list[tuple[DepositPart, Micros]] = []
        for slot in slots:
            part = self._parts.get(slot)
            if part is not None and part.lasts:
                taken = min(amount, part.amount)
                part.change(-taken)
                part.drawn += taken
                drawn.append((part, taken))
        return drawn

    def put_back(self, drawn: Drawn) -> None:
        """The call came to nothing before it began."""
        self.settle(drawn, 0)

    def settle(self, drawn: Drawn, price: Micros, takes: Sequence[Take] = ()) -> None:
        """A call came to a price, which the counters are told of right after this; `takes` are what it held of them."""
        forgotten = self._counters.forgotten(takes)
        for part, taken in drawn:
            # What a window that rolls has forgotten others may have: it does not come back.
            part.drawn -= min(taken, price) if part.slot in forgotten else taken
        self._keep(self._left - price)
        # A window that rolls is told apart from its cells, and never too little is counted.
        self._counters.write_held([part for part in self._parts.values() if part.beside])

    def keep_to(self, left: Micros) -> None:
        """Hold no more than this from now on."""
        if left < self._left:
            self._keep(left)
            self.write()

    def write(self) -> None:
        """Show everybody what is held now."""
        self._counters.write_held(self._parts.values())

    def release(self) -> None:
        """Hold nothing any more; calls under way keep what they took."""
        self._keep(0)
        self.write()

    def _keep(self, left: Micros) -> None:
        self._left = max(0, left)
        for part in self._parts.values():
            if part.lasts:
                part.change(max(0, self._left - part.drawn) - part.amount)


_now: Final[ContextVar[Deposit | None]] = ContextVar("what calls draw on", default=None)


def deposit_now() -> Deposit | None:
    """What calls that are made here draw on; None: they reserve for themselves."""
    return _now.get()


@contextmanager
def drawing_on(deposit: Deposit | None) -> Generator[None]:
    """Have the calls that are made within draw on a deposit."""
    before = _now.set(deposit)
    try:
        yield
    finally:
        _now.reset(before)
