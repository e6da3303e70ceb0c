"""Routes of batches: those over tables are made here, all are shown and cancelled."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from polyforge.batch.batches.service import BatchService
from polyforge.batch.tables.schemas import MAX_PAGE, NewBatch, StoreList, TableBatchPage, TableBatchView, view_of
from polyforge.dialects.openai_batches import batch_id, batch_ulid
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.permission import Permission
from polyforge.tenancy.policy import authorize

Reader = Annotated[Caller, Depends(Permission("files:read"))]
Maker = Annotated[Caller, Depends(Permission("files:write"))]
BatchId = Annotated[str, Path(max_length=64)]


def router(batches: BatchService) -> APIRouter:
    """The routes under /api/v1/batches."""
    routes = APIRouter(prefix="/api/v1/batches", tags=["batches"])

    @routes.get("")
    async def list_batches(
        caller: Reader,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20,
        cursor: Annotated[str, Query(max_length=64)] = "",
    ) -> TableBatchPage:
        """The project's batches, of files and of tables, newest first."""
        found, more = await batches.page(caller, limit, batch_ulid(cursor) if cursor else None, of_files=False)
        return TableBatchPage(
            data=[view_of(each) for each in found], next_cursor=batch_id(found[-1].id) if more else None
        )

    @routes.post("", status_code=201)
    async def create_batch(caller: Maker, body: NewBatch) -> TableBatchView:
        """Have a call made for each row of a table, and its answers written beside it."""
        authorize(caller, "files:read")
        authorize(caller, "inference")
        return view_of(await batches.create_for_table(caller, body.endpoint, body.exchange(), body.metadata))

    @routes.get("/stores")
    async def list_batch_stores(caller: Reader) -> StoreList:
        """The stores of data that batches of the project may read and write."""
        return StoreList(data=batches.stores(caller))

    @routes.get("/{batch}")
    async def get_batch(caller: Reader, batch: BatchId) -> TableBatchView:
        """One batch."""
        return view_of(await batches.get(caller, batch_ulid(batch)))

    @routes.post("/{batch}/cancel")
    async def cancel_batch(caller: Maker, batch: BatchId) -> TableBatchView:
        """Have a batch end soon, with the answers that it has."""
        return view_of(await batches.cancel(caller, batch_ulid(batch)))

    return routes
