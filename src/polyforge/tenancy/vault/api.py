"""Routes of secrets. None of them shows a value."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from polyforge.kernel.clock import utc
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.permission import Permission
from polyforge.tenancy.schemas import MAX_PAGE
from polyforge.tenancy.vault.records import StoredSecret
from polyforge.tenancy.vault.schemas import (
    RESERVED,
    NewSecret,
    SealedWith,
    SealingView,
    SecretChanges,
    SecretName,
    SecretPage,
    SecretView,
)
from polyforge.tenancy.vault.sealing import Sealing, SealingReport
from polyforge.tenancy.vault.service import VaultService

Reader = Annotated[Caller, Depends(Permission("secrets:read"))]
Editor = Annotated[Caller, Depends(Permission("secrets:write"))]
Operator = Annotated[Caller, Depends(Permission("secrets:operate"))]


def router(vault: VaultService, sealing: Sealing) -> APIRouter:
    """The routes under /api/v1/secrets."""
    routes = APIRouter(prefix="/api/v1/secrets", tags=["secrets"])
    # Before the secrets themselves, because it looks like one of them.
    _add_sealing(routes, sealing)
    _add_secrets(routes, vault)
    return routes


def _add_sealing(routes: APIRouter, sealing: Sealing) -> None:
    @routes.get(f"/{RESERVED}")
    async def get_sealing(caller: Operator) -> SealingView:
        """How far sealing everything with the current master key has come."""
        return _sealing(await sealing.report())


def _add_secrets(routes: APIRouter, vault: VaultService) -> None:
    @routes.post("", status_code=201)
    async def create_secret(caller: Editor, body: NewSecret) -> SecretView:
        """Keep a secret. Its value cannot be read again, only used."""
        return _view(await vault.create(caller, body))

    @routes.get("")
    async def list_secrets(
        caller: Reader,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
        cursor: Annotated[str | None, Query(max_length=26)] = None,
    ) -> SecretPage:
        """The organization's secrets, newest first, without their values."""
        page, following = await vault.page(caller, limit, cursor)
        return SecretPage(data=[_view(secret) for secret in page], next_cursor=following)

    @routes.get("/{name}")
    async def get_secret(caller: Reader, name: SecretName) -> SecretView:
        """One secret, without its value."""
        return _view(await vault.get(caller, name))

    @routes.put("/{name}")
    async def change_secret(caller: Editor, name: SecretName, body: SecretChanges) -> SecretView:
        """Give a secret a new value, or other projects; within a second everybody uses it."""
        return _view(await vault.change(caller, name, body))

    @routes.delete("/{name}", status_code=204)
    async def remove_secret(caller: Editor, name: SecretName) -> Response:
        """Take a secret away; within a second nobody can use it."""
        await vault.remove(caller, name)
        return Response(status_code=204)


def _view(secret: StoredSecret) -> SecretView:
    return SecretView(
        id=secret.id,
        name=secret.name,
        version=secret.version,
        projects=None if secret.projects is None else list(secret.projects),
        created_at=utc(secret.created_at),
        changed_at=utc(secret.changed_at),
    )


def _sealing(report: SealingReport) -> SealingView:
    data = [
        SealedWith(master=master, rows=rows, current=master == report.current, available=master in report.available)
        for master, rows in sorted(report.rows.items())
    ]
    return SealingView(current=report.current, left=report.left, data=data)
