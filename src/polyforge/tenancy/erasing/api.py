"""The route that forgets a person."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from polyforge.database.texts import storable
from polyforge.kernel.errors import Invalid
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.erasing.records import Person
from polyforge.tenancy.erasing.schemas import ErasedView
from polyforge.tenancy.erasing.service import ErasingService
from polyforge.tenancy.permission import Permission

Eraser = Annotated[Caller, Depends(Permission("requests:delete"))]


def router(erasing: ErasingService) -> APIRouter:
    """The route under /api/v1/requests that takes away."""
    routes = APIRouter(prefix="/api/v1/requests", tags=["requests"])

    @routes.delete("")
    async def delete_requests(
        caller: Eraser,
        user: Annotated[str | None, Query(min_length=1, max_length=26, description="A user, by id.")] = None,
        end_user: Annotated[
            str | None, Query(min_length=1, max_length=256, description="As callers name them.")
        ] = None,
        cursor: Annotated[str | None, Query(max_length=60)] = None,
    ) -> ErasedView:
        """Remove a person's payloads, feedback, conversations, files, runs of flows, batches and jobs.

        The end user of requests is named by a pseudonym, and what was used stays counted. What goes on in a user's
        name is cancelled. A call does a bounded part of it: call again until there is no `next_cursor`.
        """
        done = await erasing.erase(caller, _person(user, end_user), cursor)
        return ErasedView(
            requests=done.requests,
            payloads=done.payloads,
            feedback=done.feedback,
            conversations=done.conversations,
            files=done.files,
            runs=done.runs,
            batches=done.batches,
            jobs=done.jobs,
            going_on=done.going_on,
            next_cursor=None if done.place is None else str(done.place),
        )

    return routes


def _person(user: str | None, end_user: str | None) -> Person:
    if (user is None) == (end_user is None):
        raise Invalid("say who it is: either a user or an end user", param="end_user")
    return Person("end_user" if user is None else "user", storable(user or end_user or ""))
