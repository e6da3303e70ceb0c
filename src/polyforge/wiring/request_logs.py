"""The ledger of a gateway worker and the export of its log of requests, built from the settings."""

from collections.abc import Callable

from polyforge.database.database import Database
from polyforge.kernel.clock import Clock
from polyforge.kernel.ids import new_ulid
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.ledger_store import LedgerStore
from polyforge.tenancy.request_logs.exporter import LogExporter, LogExporters
from polyforge.tenancy.request_logs.ledger import ExportedLedger
from polyforge.tenancy.request_logs.service import LogExportService
from polyforge.wiring import adapters
from polyforge.wiring.settings import LogSettings

PORT = "request_log_sinks"


class LogPlatform:
    """What takes records in, and sends them on. `refused` counts requests that a sink refused for good."""

    def __init__(self, settings: LogSettings, database: Database, clock: Clock, refused: Callable[[int], None]) -> None:
        self.ledger = ExportedLedger(database, clock) if settings.exports else LedgerStore(database)
        self.exporters = _exporters(settings, database, clock, refused)
        self._uses = {name: chosen.use for name, chosen in settings.exports.items()}
        self._database = database
        self._clock = clock

    def service(self, recorder: Recorder) -> LogExportService:
        """What operators see of it."""
        return LogExportService(self._database, self._clock, recorder, self._uses)


def _exporters(settings: LogSettings, database: Database, clock: Clock, refused: Callable[[int], None]) -> LogExporters:
    holder = new_ulid()
    built: list[LogExporter] = []
    for name, chosen in settings.exports.items():
        adapter, adapter_settings = adapters.find(PORT, f"logs.exports.{name}", chosen)
        built.append(LogExporter(name, adapter(adapter_settings), database, clock, holder, refused))
    return LogExporters(built, database, holder)
