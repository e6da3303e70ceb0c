"""Routes of the export of the log of requests."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from polyforge.kernel.clock import utc
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.permission import Permission
from polyforge.tenancy.request_logs.schemas import (
    LogDeadLetterPage,
    LogDeadLetterView,
    LogExportList,
    LogExportView,
)
from polyforge.tenancy.request_logs.service import LogExport, LogExportService
from polyforge.tenancy.request_logs.store import LogDeadLetter
from polyforge.tenancy.schemas import MAX_PAGE, Name

Operator = Annotated[Caller, Depends(Permission("logs:operate"))]


def router(exports: LogExportService) -> APIRouter:
    """The routes under /api/v1/request-logs."""
    routes = APIRouter(prefix="/api/v1/request-logs", tags=["request logs"])

    @routes.get("/exports")
    async def list_request_log_exports(caller: Operator) -> LogExportList:
        """How far each export of the settings is."""
        del caller
        return LogExportList(data=[_export(export) for export in await exports.exports()])

    @routes.get("/dead-letters")
    async def list_request_log_dead_letters(
        caller: Operator,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
        cursor: Annotated[str | None, Query(max_length=26)] = None,
        export: Annotated[Name | None, Query(description="Those of one export.")] = None,
    ) -> LogDeadLetterPage:
        """Requests that a sink refused for good, newest first."""
        del caller
        letters, following = await exports.letters(export, limit, cursor)
        return LogDeadLetterPage(data=[_letter(letter) for letter in letters], next_cursor=following)

    @routes.post("/dead-letters/{letter_id}/retry", status_code=202)
    async def retry_request_log_dead_letter(caller: Operator, letter_id: str) -> LogDeadLetterView:
        """Have a dead letter sent again, within seconds; it is gone once the sink has accepted it."""
        return _letter(await exports.retry(caller, letter_id))

    return routes


def _export(export: LogExport) -> LogExportView:
    state = export.state
    return LogExportView(
        name=export.name,
        use=export.use,
        lag=export.newest - (state.sequence if state else 0),
        failures=state.failures if state else 0,
        error=state.error if state else None,
        retry_at=utc(state.retry_at) if state and state.failures else None,
        dead_letters=export.dead_letters,
    )


def _letter(letter: LogDeadLetter) -> LogDeadLetterView:
    return LogDeadLetterView(
        id=letter.id,
        export=letter.export,
        request_id=letter.request_id,
        reason=letter.reason,
        at=utc(letter.at),
        wanted_at=None if letter.wanted_at is None else utc(letter.wanted_at),
    )
