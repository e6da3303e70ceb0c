"""Routes of limits, and of budgets, which are the limits that count money."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from polyforge.kernel.clock import utc
from polyforge.kernel.money import to_usd
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.limits.records import Limit, LimitUse, Measure
from polyforge.tenancy.limits.schemas import (
    BudgetChanges,
    LimitChanges,
    LimitPage,
    LimitView,
    NewBudget,
    NewLimit,
    Reset,
    SubjectUse,
    TopUp,
    Transfer,
    UseView,
)
from polyforge.tenancy.limits.service import LimitService
from polyforge.tenancy.limits.store import no_such_limit
from polyforge.tenancy.permission import Permission
from polyforge.tenancy.schemas import MAX_PAGE

Reader = Annotated[Caller, Depends(Permission("limits:read"))]
Editor = Annotated[Caller, Depends(Permission("limits:write"))]
Whose = Annotated[
    str | None, Query(max_length=256, description="How it stands for this subject, where each has a counter.")
]
PageSize = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Cursor = Annotated[str | None, Query(max_length=26)]


def router(limits: LimitService) -> APIRouter:
    """The routes under /api/v1/limits and /api/v1/budgets."""
    routes = APIRouter(prefix="/api/v1")
    _add_limits(routes, limits)
    _add_adjustments(routes, limits)
    _add_budgets(routes, limits)
    return routes


def _add_limits(routes: APIRouter, limits: LimitService) -> None:
    @routes.post("/limits", status_code=201, tags=["limits"])
    async def create_limit(caller: Editor, body: NewLimit) -> LimitView:
        """Set a limit; within a second every worker holds to it. It counts what was used since its window began."""
        return await _view(limits, await limits.create(caller, body))

    @routes.get("/limits", tags=["limits"])
    async def list_limits(
        caller: Reader,
        measure: Annotated[Measure | None, Query(description="Only those that count this.")] = None,
        limit: PageSize = 100,
        cursor: Cursor = None,
    ) -> LimitPage:
        """The organization's limits, newest first, and how they stand."""
        return await _page(limits, *await limits.page(caller, limit, cursor, measure))

    @routes.get("/limits/{limit_id}", tags=["limits"])
    async def get_limit(caller: Reader, limit_id: str, subject_id: Whose = None) -> LimitView:
        """One limit, and how it stands."""
        return await _view(limits, await limits.get(caller, limit_id), subject_id, many=True)

    @routes.patch("/limits/{limit_id}", tags=["limits"])
    async def change_limit(caller: Editor, limit_id: str, body: LimitChanges) -> LimitView:
        """Change the name, the amount, the thresholds, or whether calls stop; what was used stays."""
        return await _view(limits, await limits.change(caller, limit_id, body))

    @routes.delete("/limits/{limit_id}", status_code=204, tags=["limits"])
    async def remove_limit(caller: Editor, limit_id: str) -> Response:
        """Take a limit away."""
        await limits.remove(caller, limit_id)
        return Response(status_code=204)


def _add_adjustments(routes: APIRouter, limits: LimitService) -> None:
    @routes.post("/limits/{limit_id}/reset", tags=["limits"])
    async def reset_limit(caller: Editor, limit_id: str, body: Reset | None = None) -> LimitView:
        """What was used counts no more."""
        asked = body or Reset()
        return await _view(limits, await limits.reset(caller, limit_id, asked), asked.subject_id)

    @routes.post("/limits/{limit_id}/top-up", tags=["limits"])
    async def top_up_limit(caller: Editor, limit_id: str, body: TopUp) -> LimitView:
        """Let more be used, in the window under way only."""
        return await _view(limits, await limits.top_up(caller, limit_id, body), body.subject_id)

    @routes.post("/limits/{limit_id}/transfer", tags=["limits"])
    async def transfer_limit(caller: Editor, limit_id: str, body: Transfer) -> LimitView:
        """Give some of what is left of a limit on money to another, in the windows under way only."""
        return await _view(limits, await limits.transfer(caller, limit_id, body), body.subject_id)


def _add_budgets(routes: APIRouter, limits: LimitService) -> None:
    @routes.post("/budgets", status_code=201, tags=["limits"])
    async def create_budget(caller: Editor, body: NewBudget) -> LimitView:
        """Set a limit on money."""
        return await _view(limits, await limits.create(caller, body.as_limit()))

    @routes.get("/budgets", tags=["limits"])
    async def list_budgets(caller: Reader, limit: PageSize = 100, cursor: Cursor = None) -> LimitPage:
        """The organization's limits on money, newest first, and how they stand."""
        return await _page(limits, *await limits.page(caller, limit, cursor, "money"))

    @routes.get("/budgets/{limit_id}", tags=["limits"])
    async def get_budget(caller: Reader, limit_id: str, subject_id: Whose = None) -> LimitView:
        """One limit on money, and how it stands."""
        return await _view(limits, await _budget(limits, caller, limit_id), subject_id, many=True)

    @routes.put("/budgets/{limit_id}", tags=["limits"])
    async def set_budget(caller: Editor, limit_id: str, body: BudgetChanges) -> LimitView:
        """Give a limit on money another amount; what was spent stays."""
        await _budget(limits, caller, limit_id)
        changes = LimitChanges(amount=body.amount_usd, thresholds=body.thresholds, hard=body.hard)
        return await _view(limits, await limits.change(caller, limit_id, changes))

    @routes.delete("/budgets/{limit_id}", status_code=204, tags=["limits"])
    async def remove_budget(caller: Editor, limit_id: str) -> Response:
        """Take a limit on money away."""
        await _budget(limits, caller, limit_id)
        await limits.remove(caller, limit_id)
        return Response(status_code=204)


async def _budget(limits: LimitService, caller: Caller, limit_id: str) -> Limit:
    limit = await limits.get(caller, limit_id)
    if limit.measure != "money":
        raise no_such_limit(limit_id)
    return limit


async def _page(limits: LimitService, found: list[Limit], following: str | None) -> LimitPage:
    return LimitPage(data=[await _view(limits, limit) for limit in found], next_cursor=following)


async def _view(limits: LimitService, limit: Limit, subject_id: str | None = None, *, many: bool = False) -> LimitView:
    use = await limits.use(limit, subject_id)
    subjects = await limits.subjects(limit) if many and use is None else None
    return LimitView(
        id=limit.id,
        name=limit.name,
        declared=limit.declared,
        organization_id=limit.organization_id,
        project_id=limit.project_id,
        subject=limit.subject,
        subject_id=limit.subject_id,
        measure=limit.measure,
        amount=_shown(limit, limit.amount),
        window=limit.window or None,
        thresholds=list(limit.thresholds),
        hard=limit.hard,
        created_at=None if limit.declared else utc(limit.created_at),
        created_by=limit.created_by or None,
        use=None if use is None else _use(limit, use),
        subjects=None if subjects is None else [_subject(limit, *each) for each in subjects],
    )


def _use(limit: Limit, use: LimitUse) -> UseView:
    return UseView(
        used=_shown(limit, use.used),
        allowed=_shown(limit, use.allowed),
        left=_shown(limit, max(0, use.allowed - use.used)),
        percent=_percent(use.used, use.allowed),
        starts_again=None if use.starts_again is None else utc(use.starts_again),
    )


def _subject(limit: Limit, subject_id: str, used: int) -> SubjectUse:
    return SubjectUse(subject_id=subject_id, used=_shown(limit, used), percent=_percent(used, limit.amount))


def _percent(used: int, allowed: int) -> float:
    if allowed <= 0:
        return 100.0
    return round(100 * used / allowed, 2)


def _shown(limit: Limit, amount: int) -> float:
    return to_usd(amount) if limit.measure == "money" else amount
