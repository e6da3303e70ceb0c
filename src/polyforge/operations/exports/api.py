"""Routes of exports."""

from typing import Annotated

from fastapi import APIRouter, Depends

from polyforge.jobs.schemas import JobView, view_of
from polyforge.kernel.clock import Clock
from polyforge.operations.exports.schemas import NewRequestExport
from polyforge.operations.exports.service import ExportService
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.permission import Permission

Reader = Annotated[Caller, Depends(Permission("usage:read"))]
ACCEPTED = 202


def router(exports: ExportService, clock: Clock) -> APIRouter:
    """The routes under /api/v1/requests/exports."""
    routes = APIRouter(prefix="/api/v1/requests", tags=["requests"])

    @routes.post("/exports", status_code=ACCEPTED)
    async def export_requests(caller: Reader, body: NewRequestExport) -> JobView:
        """Have a file made of the project's requests; a job writes it, and its `result` names the file.

        The file is kept for seven days; fetch it at `/v1/files/{file_id}/content`.
        """
        return view_of(await exports.start(caller, body), clock.now())

    return routes
