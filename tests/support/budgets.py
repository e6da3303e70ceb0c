"""A budget that runs hold something of."""

from pathlib import Path

from polyforge.kernel.errors import BudgetSpent
from polyforge.kernel.money import Micros
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.limits.counters import Counter, LimitCounters, Take
from polyforge.tenancy.limits.deposits import Deposit
from tests.unit.limits.limit_samples import NOW, begun, limit, opened


class Budget:
    """One budget, which counts in a file of its own."""

    def __init__(self, folder: Path, amount: Micros) -> None:
        self.counters: LimitCounters = opened(folder)
        self.rule: Counter = begun(self.counters, limit(measure="money", amount=amount))
        self.asked: list[Micros] = []
        self.trouble: list[Exception] = []

    async def hold(self, caller: Caller, amount: Micros) -> Deposit:
        """Hold so much, or run into the trouble that was made."""
        self.asked.append(amount)
        if self.trouble:
            raise self.trouble.pop()
        found = self.counters.hold_many([Take(self.rule, amount)], NOW)
        if not isinstance(found, list):
            raise BudgetSpent("it has too little left")
        return Deposit(self.counters, amount, found)

    async def check(self, caller: Caller, amount: Micros) -> None:
        """BudgetSpent where so much is not left."""
        if self.trouble:
            raise self.trouble.pop()
        if self.counters.left(self.rule, NOW) < amount:
            raise BudgetSpent("it has too little left")

    @property
    def used(self) -> Micros:
        """What is spent and held."""
        return self.counters.use(self.rule, NOW).used
