"""Routes of keys."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Response

from polyforge.kernel.clock import utc
from polyforge.kernel.money import to_usd
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.keys import ApiKey, Secret, WhichKeys
from polyforge.tenancy.permission import Permission
from polyforge.tenancy.schemas import (
    MAX_PAGE,
    IssuedKey,
    KeyChanges,
    KeyPage,
    KeyView,
    NewKey,
    Rotation,
)
from polyforge.tenancy.service import KeyService

Reader = Annotated[Caller, Depends(Permission("keys:read"))]
Editor = Annotated[Caller, Depends(Permission("keys:write"))]


def router(keys: KeyService) -> APIRouter:
    """The routes under /api/v1/keys."""
    routes = APIRouter(prefix="/api/v1")
    _add_keys(routes, keys)
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
        search: Annotated[
            str,
            Query(
                max_length=200, pattern=r"^[^\x00]*$", description="Only those whose names hold this, in whatever case."
            ),
        ] = "",
        sort: Annotated[Literal["created", "-created"], Query(description="`-created`: newest first.")] = "-created",
    ) -> KeyPage:
        """The project's keys. A cursor goes on in the order, and with the filters, of the page that gave it."""
        which = WhichKeys(include_revoked, created_by, search, oldest_first=sort == "created")
        page, following = await keys.page(caller, which, limit, cursor)
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
