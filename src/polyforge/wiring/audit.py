"""The audit log of a gateway worker, built from the settings."""

from polyforge.database.database import Database
from polyforge.kernel.clock import Clock
from polyforge.kernel.ids import new_ulid
from polyforge.secrets.sealing import MasterKeys
from polyforge.tenancy.audit.exports.exporter import Exporter, Exporters
from polyforge.tenancy.audit.exports.service import ExportService
from polyforge.tenancy.audit.log import AuditLog, Chain
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.audit.service import AuditService
from polyforge.tenancy.audit.verification import Verifier
from polyforge.wiring import adapters
from polyforge.wiring.settings import AuditSettings


class AuditPlatform:
    """What writes the audit log, reads it, and sends it on."""

    def __init__(self, settings: AuditSettings, database: Database, clock: Clock, master: MasterKeys) -> None:
        chain = Chain(master)
        self.recorder = Recorder(AuditLog(chain, clock))
        self.service = AuditService(database, clock, self.recorder, Verifier(database, chain))
        uses = {name: chosen.use for name, chosen in settings.exports.items()}
        self.export_service = ExportService(database, clock, self.recorder, uses)
        self.exporters = _exporters(settings, database, clock)


def _exporters(settings: AuditSettings, database: Database, clock: Clock) -> Exporters:
    holder = new_ulid()
    built: list[Exporter] = []
    for name, chosen in settings.exports.items():
        adapter, adapter_settings = adapters.find("audit_sinks", f"audit.exports.{name}", chosen)
        built.append(Exporter(name, adapter(adapter_settings), database, clock, holder))
    return Exporters(built, database, holder)
