"""Routes of corrections."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from polyforge.kernel.money import to_usd
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.corrections.records import Correction
from polyforge.tenancy.corrections.schemas import CorrectionPage, CorrectionView, NewCorrection
from polyforge.tenancy.corrections.service import CorrectionService
from polyforge.tenancy.permission import Permission
from polyforge.tenancy.schemas import MAX_PAGE

Reader = Annotated[Caller, Depends(Permission("usage:read"))]
Editor = Annotated[Caller, Depends(Permission("usage:write"))]


def router(corrections: CorrectionService) -> APIRouter:
    """The routes under /api/v1/usage/corrections."""
    routes = APIRouter(prefix="/api/v1/usage/corrections", tags=["usage"])

    @routes.post("", status_code=201)
    async def correct_usage(caller: Editor, body: NewCorrection) -> CorrectionView:
        """Change what a call, or the calls of a key in a period, came to; budgets follow."""
        return _view(await corrections.create(caller, body))

    @routes.get("")
    async def list_corrections(
        caller: Reader,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
        cursor: Annotated[str | None, Query(max_length=26)] = None,
    ) -> CorrectionPage:
        """The project's corrections, newest first."""
        page, following = await corrections.page(caller, limit, cursor)
        return CorrectionPage(data=[_view(correction) for correction in page], next_cursor=following)

    return routes


def _view(correction: Correction) -> CorrectionView:
    return CorrectionView(
        id=correction.id,
        record_id=correction.record_id,
        key_id=correction.key_id,
        model=correction.model or None,
        at=datetime.fromtimestamp(correction.at, UTC),
        cost_change_usd=to_usd(correction.cost_micros),
        price_change_usd=to_usd(correction.price_micros),
        reason=correction.reason,
        created_at=datetime.fromtimestamp(correction.created_at, UTC),
        created_by=correction.created_by,
    )
