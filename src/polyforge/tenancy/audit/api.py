"""Routes of the audit log and its exports."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from msgspec.structs import asdict

from polyforge.kernel.clock import utc
from polyforge.tenancy.audit.exports.service import Export, ExportService
from polyforge.tenancy.audit.exports.store import DeadLetter
from polyforge.tenancy.audit.lines import decoded
from polyforge.tenancy.audit.schemas import (
    AuditEventPage,
    AuditEventView,
    DeadLetterPage,
    DeadLetterView,
    ExportList,
    ExportView,
    FaultView,
    VerdictView,
    Verification,
)
from polyforge.tenancy.audit.search import Search, parse_action
from polyforge.tenancy.audit.service import AuditService, write_mark
from polyforge.tenancy.audit.store import Entry
from polyforge.tenancy.audit.verification import Verdict
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.permission import Permission
from polyforge.tenancy.schemas import MAX_PAGE, Moment, Name

LINES = "application/x-ndjson"

Reader = Annotated[Caller, Depends(Permission("audit:read"))]
Operator = Annotated[Caller, Depends(Permission("audit:operate"))]
Since = Annotated[Moment | None, Query(description="From this time on.")]
Until = Annotated[Moment | None, Query(description="Up to this time, without it.")]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]


def router(audit: AuditService, exports: ExportService) -> APIRouter:
    """The routes under /api/v1/audit."""
    routes = APIRouter(prefix="/api/v1/audit", tags=["audit"])
    _add_exports(routes, exports)
    _add_reading(routes, audit)
    _add_verification(routes, audit)
    return routes


def _add_reading(routes: APIRouter, audit: AuditService) -> None:
    @routes.get("")
    async def list_audit_events(
        caller: Reader,
        limit: Limit = 100,
        cursor: Annotated[str | None, Query(max_length=18, pattern="^[0-9]+$")] = None,
        action: Annotated[Name | None, Query(description="As in `key.revoked`, or `key.*` for all of them.")] = None,
        actor: Annotated[Name | None, Query(description="The id of the key, user or service account.")] = None,
        resource_kind: Annotated[Name | None, Query(description="As in `key`.")] = None,
        resource_id: Name | None = None,
        since: Since = None,
        until: Until = None,
    ) -> AuditEventPage:
        """The organization's audit events, latest first."""
        exact, topic = parse_action(action)
        search = Search(
            action=exact,
            topic=topic,
            actor_id=actor,
            resource_kind=resource_kind,
            resource_id=resource_id,
            since=_seconds(since),
            until=_seconds(until),
        )
        page = await audit.page(caller, search, limit, None if cursor is None else int(cursor))
        following = None if page.cursor is None else str(page.cursor)
        return AuditEventPage(data=[_event(entry) for entry in page.entries], next_cursor=following)

    @routes.get("/export", response_class=StreamingResponse, responses={200: {"content": {LINES: {}}}})
    async def export_audit_events(caller: Reader, since: Since = None, until: Until = None) -> StreamingResponse:
        """The organization's audit events as lines of JSON, earliest first; by default all up to now."""
        span = await audit.begin_export(caller, _seconds(since), _seconds(until))
        disposition = {"content-disposition": 'attachment; filename="audit.jsonl"'}
        return StreamingResponse(audit.lines(caller, span), media_type=LINES, headers=disposition)

    @routes.get("/{event_id}")
    async def get_audit_event(caller: Reader, event_id: str) -> AuditEventView:
        """One audit event."""
        return _event(await audit.get(caller, event_id))


def _add_verification(routes: APIRouter, audit: AuditService) -> None:
    @routes.post("/verify")
    async def verify_audit_log(caller: Operator, body: Verification) -> VerdictView:
        """Check that the audit log of the whole installation is as it was written, a bounded part of it at a time."""
        del caller
        return _verdict(await audit.verify(body.cursor, body.limit))


def _add_exports(routes: APIRouter, exports: ExportService) -> None:
    @routes.get("/exports")
    async def list_audit_exports(caller: Operator) -> ExportList:
        """How far each export of the settings is."""
        del caller
        return ExportList(data=[_export(export) for export in await exports.exports()])

    @routes.get("/dead-letters")
    async def list_dead_letters(
        caller: Operator,
        limit: Limit = 100,
        cursor: Annotated[str | None, Query(max_length=26)] = None,
        export: Annotated[Name | None, Query(description="Those of one export.")] = None,
    ) -> DeadLetterPage:
        """Audit events that a sink refused for good, newest first."""
        del caller
        letters, following = await exports.letters(export, limit, cursor)
        return DeadLetterPage(data=[_letter(letter) for letter in letters], next_cursor=following)

    @routes.post("/dead-letters/{letter_id}/retry", status_code=202)
    async def retry_dead_letter(caller: Operator, letter_id: str) -> DeadLetterView:
        """Have a dead letter sent again, within seconds; it is gone once the sink has accepted it."""
        return _letter(await exports.retry(caller, letter_id))


def _event(entry: Entry) -> AuditEventView:
    fields = asdict(entry.event)
    fields["at"] = utc(entry.event.at)
    fields["before"], fields["after"] = decoded(entry.event.before), decoded(entry.event.after)
    return AuditEventView(**fields, hash=entry.hash.hex())


def _verdict(verdict: Verdict) -> VerdictView:
    fault = verdict.fault
    return VerdictView(
        checked=verdict.checked,
        sequence=verdict.mark.sequence,
        newest=verdict.newest,
        complete=verdict.complete,
        fault=None if fault is None else FaultView(sequence=fault.sequence, reason=fault.reason, message=fault.message),
        cursor=write_mark(verdict.mark),
    )


def _export(export: Export) -> ExportView:
    state = export.state
    return ExportView(
        name=export.name,
        use=export.use,
        sequence=state.sequence if state else 0,
        lag=export.lag,
        failures=state.failures if state else 0,
        error=state.error if state else None,
        retry_at=utc(state.retry_at) if state and state.failures else None,
        changed_at=utc(state.changed_at) if state else None,
        dead_letters=export.dead_letters,
    )


def _letter(letter: DeadLetter) -> DeadLetterView:
    return DeadLetterView(
        id=letter.id,
        export=letter.export,
        sequence=letter.sequence,
        reason=letter.reason,
        at=utc(letter.at),
        wanted_at=None if letter.wanted_at is None else utc(letter.wanted_at),
    )


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
