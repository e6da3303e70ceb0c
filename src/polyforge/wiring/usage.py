"""What tells of usage and corrects it, and what keeps budgets abreast of that."""

import asyncio

from polyforge.database.database import Database
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Invalid, SettingsError
from polyforge.ports.table_writer import TableWriter
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.corrections.following import CorrectedBudgets
from polyforge.tenancy.corrections.service import CorrectionService
from polyforge.tenancy.history.feedback import FeedbackService
from polyforge.tenancy.history.service import HistoryService
from polyforge.tenancy.ledger.counters import SharedCounters
from polyforge.tenancy.usage.exporting import FORMATS
from polyforge.tenancy.usage.service import UsageService
from polyforge.wiring import adapters


class UsagePlatform:
    """The rooms around the ledger, as far as people and commands see it."""

    def __init__(self, database: Database, counters: SharedCounters, clock: Clock, recorder: Recorder) -> None:
        self.service = UsageService(database, clock)
        self.corrections = CorrectionService(database, clock, recorder)
        self.history = HistoryService(database)
        self.feedback = FeedbackService(database, clock)
        self.corrected_budgets = CorrectedBudgets(database, counters)


async def make_writer(name: str) -> TableWriter:
    """A writer of one of the FORMATS; its library is loaded when it is first asked for."""
    if name not in FORMATS:
        raise Invalid(f"there is no format {name[:20]!r}; there are {', '.join(FORMATS)}", param="format")
    try:
        writer = await asyncio.to_thread(adapters.load, "table_writers", "format", name)
    except SettingsError as error:
        raise Invalid(error.message.removeprefix("format.use: "), param="format") from error
    return writer()
