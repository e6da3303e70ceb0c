"""The route of payloads."""

from typing import Annotated

from fastapi import APIRouter, Depends

from polyforge.kernel.clock import utc
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.payloads.records import Part
from polyforge.tenancy.payloads.schemas import PartView, PayloadView
from polyforge.tenancy.payloads.service import Opened, PayloadService
from polyforge.tenancy.permission import Permission

Opener = Annotated[Caller, Depends(Permission("requests:payload"))]


def router(payloads: PayloadService) -> APIRouter:
    """The route under /api/v1/requests that shows words."""
    routes = APIRouter(prefix="/api/v1/requests", tags=["requests"])

    @routes.get("/{request_id}/payload")
    async def open_payload(caller: Opener, request_id: str) -> PayloadView:
        """What was asked and answered, where it was kept. The audit log tells who opened it."""
        return _view(await payloads.open(caller, request_id))

    return routes


def _view(opened: Opened) -> PayloadView:
    row, payload = opened.row, opened.payload
    return PayloadView(
        id=row.id,
        http_status=payload.http_status,
        content_type=payload.content_type,
        request=_part(payload.request),
        answer=_part(payload.answer),
        created_at=utc(row.created_at),
        expires_at=utc(row.expires_at),
    )


def _part(part: Part) -> PartView:
    text = part.content.decode("utf-8", "replace")
    return PartView(text=text, bytes=part.size, cut=part.cut, left_out=part.left_out or None)
