"""Loading and unloading models of the host: written down first, so that nothing happens that nobody did."""

from typing import Final, Literal

from polyforge.database.database import Database
from polyforge.gateway.hosted import HostedModels
from polyforge.registry.catalog import Catalog
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller

Change = Literal["load", "unload"]
_ACTIONS: Final = {"load": "hosted_model.load_asked", "unload": "hosted_model.unload_asked"}


class HostOperations:
    """What operators do to the models that all projects share."""

    def __init__(self, hosted: HostedModels, database: Database, recorder: Recorder) -> None:
        self._hosted = hosted
        self._database = database
        self._recorder = recorder

    async def change(self, catalog: Catalog, caller: Caller, name: str, change: Change, body: bytes) -> None:
        """Load a model, or load it anew, or let go of it; errors as the host says."""
        hosted = self._hosted.name_at_host(catalog, caller, name)
        subject = Subject("hosted_model", name, caller.organization_id)
        async with self._database.write() as session:
            await self._recorder.noted(session, caller, _ACTIONS[change], subject, {"bytes": len(body)})
        await self._hosted.control(hosted, change, body)
