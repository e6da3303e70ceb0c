"""What tells of usage and corrects it, and what keeps budgets abreast of that."""

from polyforge.database.database import Database
from polyforge.kernel.clock import Clock
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.corrections.following import CorrectedBudgets
from polyforge.tenancy.corrections.service import CorrectionService
from polyforge.tenancy.ledger.counters import SharedCounters
from polyforge.tenancy.service import UsageService


class UsagePlatform:
    """The rooms around the ledger, as far as people and commands see it."""

    def __init__(self, database: Database, counters: SharedCounters, clock: Clock, recorder: Recorder) -> None:
        self.service = UsageService(database, clock)
        self.corrections = CorrectionService(database, clock, recorder)
        self.corrected_budgets = CorrectedBudgets(database, counters)
