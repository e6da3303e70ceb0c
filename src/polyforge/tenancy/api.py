"""Routes of keys and usage."""

from datetime import date, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from polyforge.kernel.clock import utc
from polyforge.kernel.money import to_usd
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.keys import ApiKey, Secret
from polyforge.tenancy.permission import Permission
from polyforge.tenancy.schemas import (
    MAX_PAGE,
    IssuedKey,
    KeyChanges,
    KeyPage,
    KeyView,
    Moment,
    NewKey,
    Rotation,
    UsageGroup,
    UsageReport,
    UsageSums,
)
from polyforge.tenancy.service import KeyService, UsageService
from polyforge.tenancy.usage import UsageRow, UsageSummary, parse_groups, total

_EPOCH = date(1970, 1, 1)


Reader = Annotated[Caller, Depends(Permission("keys:read"))]
Editor = Annotated[Caller, Depends(Permission("keys:write"))]
UsageReader = Annotated[Caller, Depends(Permission("usage:read"))]


def router(keys: KeyService, usage: UsageService) -> APIRouter:
    """The routes under /api/v1 for keys and usage."""
    routes = APIRouter(prefix="/api/v1")
    _add_keys(routes, keys)
    _add_usage(routes, usage)
    return routes


def _add_keys(routes: APIRouter, keys: KeyService) -> None:
    @routes.post("/keys", status_code=201, tags=["keys"])
    async def create_key(caller: Editor, body: NewKey) -> IssuedKey:
        """Make a key. Its secret is in this answer and nowhere else."""
        return _issued(*await keys.create(caller, body))

    @routes.get("/keys", tags=["keys"])
    async def list_keys(
        caller: Reader,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
        cursor: Annotated[str | None, Query(max_length=26)] = None,
        include_revoked: bool = False,
        created_by: Annotated[
            str | None, Query(max_length=26, description="Those that this user, service account or key made.")
        ] = None,
    ) -> KeyPage:
        """The project's keys, newest first."""
        page, following = await keys.page(caller, limit, cursor, include_revoked, created_by)
        return KeyPage(data=[_view(key) for key in page], next_cursor=following)

    @routes.get("/keys/{key_id}", tags=["keys"])
    async def get_key(caller: Reader, key_id: str) -> KeyView:
        """One key."""
        return _view(await keys.get(caller, key_id))

    @routes.patch("/keys/{key_id}", tags=["keys"])
    async def change_key(caller: Editor, key_id: str, body: KeyChanges) -> KeyView:
        """Change a key's name or limits: what is left out stays, null takes a limit away."""
        return _view(await keys.change(caller, key_id, body))

    @routes.post("/keys/{key_id}/rotate", tags=["keys"])
    async def rotate_key(caller: Editor, key_id: str, body: Rotation | None = None) -> IssuedKey:
        """Give a key a new secret; limits, budget and usage stay with it."""
        return _issued(*await keys.rotate(caller, key_id, body.grace_seconds if body else 0))

    @routes.delete("/keys/{key_id}", status_code=204, tags=["keys"])
    async def revoke_key(caller: Editor, key_id: str) -> Response:
        """End a key; within a second no worker accepts it."""
        await keys.revoke(caller, key_id)
        return Response(status_code=204)


def _add_usage(routes: APIRouter, usage: UsageService) -> None:
    @routes.get("/usage", tags=["usage"], response_model_exclude_unset=True)
    async def get_usage(
        caller: UsageReader,
        group_by: Annotated[
            str, Query(max_length=100, description="Any of key, model, project, day, with commas between.")
        ] = "",
        since: Annotated[
            Moment | None, Query(description="From this time on; default: 30 days before `until`.")
        ] = None,
        until: Annotated[Moment | None, Query(description="Up to this time, without it; default: now.")] = None,
    ) -> UsageReport:
        """What calls used, cost and were priced, in all and by group."""
        return _report(await usage.report(caller, parse_groups(group_by), since, until))


def _view(key: ApiKey) -> KeyView:
    return KeyView(
        id=key.id,
        name=key.name,
        prefix=key.prefix,
        scopes=list(key.scopes),
        models=None if key.models is None else list(key.models),
        budget_usd=None if key.budget_micros is None else to_usd(key.budget_micros),
        budget_period=key.budget_period,
        rpm=key.rpm,
        tpm=key.tpm,
        concurrency=key.concurrency,
        expires_at=None if key.expires_at is None else utc(key.expires_at),
        created_at=utc(key.created_at),
        created_by=key.created_by,
        revoked_at=None if key.revoked_at is None else utc(key.revoked_at),
    )


def _issued(key: ApiKey, secret: Secret) -> IssuedKey:
    return IssuedKey(key=secret.value, **_view(key).model_dump())


def _report(summary: UsageSummary) -> UsageReport:
    return UsageReport(
        since=utc(summary.since),
        until=utc(summary.until),
        data=[_group(row, summary.key_names) for row in summary.rows],
        totals=UsageSums.model_validate(_sums(total(summary.rows))),
    )


def _group(row: UsageRow, key_names: dict[str, str]) -> UsageGroup:
    fields: dict[str, str | None] = {}
    if row.key is not None:
        fields["key"] = row.key
        fields["key_name"] = key_names.get(row.key)
    if row.model is not None:
        fields["model"] = row.model
    if row.project is not None:
        fields["project"] = row.project
    if row.day is not None:
        fields["day"] = (_EPOCH + timedelta(days=row.day)).isoformat()
    return UsageGroup.model_validate({**fields, **_sums(row)})


def _sums(row: UsageRow) -> dict[str, float]:
    return {
        "requests": row.requests,
        "errors": row.errors,
        "input_tokens": row.input_tokens,
        "cached_tokens": row.cached_tokens,
        "output_tokens": row.output_tokens,
        "total_tokens": row.input_tokens + row.output_tokens,
        "reasoning_tokens": row.reasoning_tokens,
        "images": row.images,
        "audio_seconds": row.milliseconds / 1000,
        "characters": row.characters,
        "cost_usd": to_usd(row.cost),
        "price_usd": to_usd(row.price),
    }
