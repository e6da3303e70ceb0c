"""Bringing the database of some settings up to date, with nothing else of a platform."""

from polyforge.batch.batches import tables as batches
from polyforge.batch.files import tables as files
from polyforge.database import counting
from polyforge.database.events import tables as events
from polyforge.database.metadata import metadata
from polyforge.database.migrating import upgrade
from polyforge.flows.keeping import tables as flows
from polyforge.flows.publishing import tables as flow_publications
from polyforge.flows.running import tables as flow_runs
from polyforge.flows.triggers import tables as flow_triggers
from polyforge.jobs import tables as jobs
from polyforge.operations.additions import tables as additions
from polyforge.operations.configuration import tables as configuration
from polyforge.operations.flags import tables as flags
from polyforge.registry.deployments import tables as deployments
from polyforge.registry.versions import tables as models
from polyforge.tenancy import tables as tenancy
from polyforge.tenancy.audit import tables as audit
from polyforge.tenancy.conversations import tables as conversations
from polyforge.tenancy.history import tables as history
from polyforge.tenancy.idempotency import tables as idempotency
from polyforge.tenancy.limits import tables as limits
from polyforge.tenancy.payloads import tables as payloads
from polyforge.tenancy.people import tables as people
from polyforge.tenancy.request_logs import tables as request_logs
from polyforge.tenancy.responses import tables as responses
from polyforge.tenancy.vault import tables as vault
from polyforge.wiring.settings import Settings

ROOMS = (
    counting,
    events,
    tenancy,
    audit,
    people,
    limits,
    request_logs,
    responses,
    vault,
    idempotency,
    history,
    payloads,
    conversations,
    models,
    deployments,
    configuration,
    additions,
    flags,
    files,
    batches,
    jobs,
    flows,
    flow_runs,
    flow_publications,
    flow_triggers,
)
"""The modules whose import declares tables; together they make the metadata complete."""


async def migrate(settings: Settings) -> tuple[str | None, str]:
    """Bring the database of `settings` up to date; from which revision (None: it was empty) to which."""
    return await upgrade(settings.database, settings.data, metadata)
