"""Routes of triggers."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import AfterValidator

from polyforge.database.texts import storable
from polyforge.flows.triggers.firing import Firings
from polyforge.flows.triggers.records import Wanted
from polyforge.flows.triggers.schemas import (
    FireBody,
    FiredView,
    FiringPage,
    NewTriggerBody,
    TriggerChange,
    TriggerList,
    TriggerView,
    firing_of,
    view_of,
)
from polyforge.flows.triggers.service import TriggerService
from polyforge.kernel.errors import Invalid
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.permission import Permission

Reader = Annotated[Caller, Depends(Permission("flows:read"))]
Editor = Annotated[Caller, Depends(Permission("flows:write"))]
Runner = Annotated[Caller, Depends(Permission("flows:run"))]
TriggerId = Annotated[str, Path(max_length=64), AfterValidator(storable)]
Limit = Annotated[int, Query(ge=1, le=1_000)]
Cursor = Annotated[str, Query(max_length=64), AfterValidator(storable)]


def router(triggers: TriggerService, firings: Firings, address: str) -> APIRouter:
    """The routes under /api/v1/flow-triggers; `address` is where this installation is reached."""
    routes = APIRouter(prefix="/api/v1/flow-triggers", tags=["flows"])
    _add_reading(routes, triggers, address)
    _add_changing(routes, triggers, address)

    @routes.post("/{trigger_id}/run", status_code=201)
    async def fire_flow_trigger(caller: Runner, trigger_id: TriggerId, body: FireBody) -> FiredView:
        """Begin a run as the trigger would, now; it acts as this caller."""
        fired = await firings.by_hand(caller, trigger_id, body.body)
        return FiredView(run_id=fired.run_id, repeated=fired.repeated)

    return routes


def _add_reading(routes: APIRouter, triggers: TriggerService, address: str) -> None:
    @routes.get("")
    async def list_flow_triggers(
        caller: Reader,
        flow: Annotated[
            str | None, Query(max_length=64, description="Only of the flow with this id."), AfterValidator(_cleaned)
        ] = None,
    ) -> TriggerList:
        """What begins runs of flows in the project."""
        return TriggerList(data=[view_of(each, address) for each in await triggers.all(caller, flow)])

    @routes.get("/{trigger_id}")
    async def get_flow_trigger(caller: Reader, trigger_id: TriggerId) -> TriggerView:
        """One trigger."""
        return view_of(await triggers.get(caller, trigger_id), address)

    @routes.get("/{trigger_id}/runs")
    async def list_trigger_runs(
        caller: Reader, trigger_id: TriggerId, limit: Limit = 100, cursor: Cursor = ""
    ) -> FiringPage:
        """When a trigger fired, and the runs that it began."""
        found, following = await triggers.firings(caller, trigger_id, limit, cursor or None)
        return FiringPage(data=[firing_of(each) for each in found], next_cursor=following)


def _add_changing(routes: APIRouter, triggers: TriggerService, address: str) -> None:
    @routes.post("", status_code=201)
    async def create_flow_trigger(caller: Editor, body: NewTriggerBody) -> TriggerView:
        """Have runs of a flow begin by the clock or when an address is called; they act as who asks for it here."""
        return view_of(await triggers.create(caller, Wanted(**body.model_dump())), address)

    @routes.patch("/{trigger_id}")
    async def change_flow_trigger(caller: Editor, trigger_id: TriggerId, body: TriggerChange) -> TriggerView:
        """Change a trigger, or switch it on or off; its runs act as who changed it last."""
        changes = body.model_dump(exclude_unset=True)
        for name, value in changes.items():
            if value is None:
                raise Invalid("must not be null", param=name)
        return view_of(await triggers.change(caller, trigger_id, changes), address)

    @routes.delete("/{trigger_id}", status_code=204)
    async def remove_flow_trigger(caller: Editor, trigger_id: TriggerId) -> Response:
        """Let a trigger go; runs that it began go on."""
        await triggers.remove(caller, trigger_id)
        return Response(status_code=204)


def _cleaned(value: str | None) -> str | None:
    return None if value is None else storable(value)
