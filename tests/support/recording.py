"""The audit log and the events as services of the tests write them."""

from polyforge.flows.running.sealing import Seals
from polyforge.kernel.clock import Clock
from polyforge.secrets.sealing import MasterKeys
from polyforge.tenancy.audit.log import AuditLog, Chain
from polyforge.tenancy.audit.recorder import Recorder

MASTER = MasterKeys([bytes(range(32))])
SEALS = Seals(MASTER)


def recorder(clock: Clock) -> Recorder:
    """Under a master key that the tests know."""
    return Recorder(AuditLog(Chain(MASTER), clock))
