"""Routes of jobs and of their schedules."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Protocol

from fastapi import APIRouter, Depends, Header, Path, Query, Response
from pydantic import AfterValidator

from polyforge.database.events.log import Stream
from polyforge.database.texts import storable
from polyforge.jobs.log_streams import LogStreams
from polyforge.jobs.records import JobFilter, NewSchedule, State
from polyforge.jobs.schedules import ScheduleService
from polyforge.jobs.schemas import (
    MAX_PAGE,
    JobPage,
    JobView,
    LogPage,
    NewScheduleBody,
    ScheduleChange,
    SchedulePage,
    ScheduleView,
    line_of,
    schedule_of,
    summary_of,
    view_of,
)
from polyforge.jobs.service import JobService
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Invalid
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.frames import Framed, StreamFrames, place_of
from polyforge.tenancy.permission import Permission

STREAMS: Final[frozenset[Stream]] = frozenset({"jobs"})
LAST_SEQUENCE: Final = 2**63 - 1
_MOST_VALUES: Final = 20
_FRAMES: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"text/event-stream": {}}}}

Scheduled = Mapping[str, Callable[[Mapping[str, Any]], None]]
"""What raises Invalid for arguments that jobs of a kind cannot have, by kind."""
Reader = Annotated[Caller, Depends(Permission("jobs:read"))]
Editor = Annotated[Caller, Depends(Permission("jobs:write"))]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
JobId = Annotated[str, Path(max_length=64), AfterValidator(storable)]
LastId = Annotated[
    str | None, Header(max_length=19, description="Go on after the one with this id, as browsers say it on resuming.")
]
After = Annotated[int | None, Query(ge=0, le=LAST_SEQUENCE, description="The same, for who cannot set headers.")]


class Following(Protocol):
    """Who gives callers the events that they may see."""

    def subscribe(
        self, caller: Caller, streams: frozenset[Stream] | None, after: int | None, resource_id: str | None = None
    ) -> Framed:
        """A stream of events, to be released."""
        ...

    def release(self, stream: Any) -> None:
        """Nobody reads it any more."""
        ...


def router(
    jobs: JobService,
    schedules: ScheduleService,
    logs: LogStreams,
    events: Following,
    clock: Clock,
    scheduled: Scheduled,
) -> APIRouter:
    """The routes under /api/v1/jobs. `scheduled` are the kinds that callers may have made again and again, by name."""
    routes = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])
    # Before those of single jobs, whose ids would take their place.
    _add_schedules(routes, schedules, clock, scheduled)
    _add_streams(routes, jobs, logs, events)
    _add_reading(routes, jobs, clock)
    _add_changing(routes, jobs, clock)
    return routes


def _add_reading(routes: APIRouter, jobs: JobService, clock: Clock) -> None:
    @routes.get("")
    async def list_jobs(
        caller: Reader,
        state: Annotated[
            list[State], Query(max_length=6, description="Only jobs in this state; may be repeated.")
        ] = [],  # noqa: B006  # FastAPI copies it
        kind: Annotated[list[str], Query(max_length=_MOST_VALUES, description="Only of this kind.")] = [],  # noqa: B006
        queue: Annotated[list[str], Query(max_length=_MOST_VALUES, description="Only of this queue.")] = [],  # noqa: B006
        schedule: Annotated[str | None, Query(max_length=64, description="Only what this schedule made.")] = None,
        limit: Limit = 100,
        cursor: Annotated[str, Query(max_length=64), AfterValidator(storable)] = "",
    ) -> JobPage:
        """The project's jobs, newest first, each with how far it is and what it waits for."""
        which = JobFilter(tuple(state), _stored(kind), _stored(queue), None if schedule is None else storable(schedule))
        found, following = await jobs.page(caller, limit, cursor or None, which)
        now = clock.now()
        return JobPage(data=[summary_of(each, now) for each in found], next_cursor=following)

    @routes.get("/{job_id}")
    async def get_job(caller: Reader, job_id: JobId) -> JobView:
        """One job."""
        return view_of(await jobs.get(caller, job_id), clock.now())

    @routes.get("/{job_id}/logs")
    async def list_job_logs(
        caller: Reader,
        job_id: JobId,
        limit: Limit = 500,
        cursor: Annotated[int, Query(ge=0, le=LAST_SEQUENCE, description="Lines after this one.")] = 0,
    ) -> LogPage:
        """What a job wrote, oldest first."""
        found = await jobs.logs(caller, job_id, cursor, limit)
        following = found[-1].seq if len(found) == limit else None
        return LogPage(data=[line_of(each) for each in found], next_cursor=following)


def _add_changing(routes: APIRouter, jobs: JobService, clock: Clock) -> None:
    @routes.post("/{job_id}/cancel")
    async def cancel_job(caller: Editor, job_id: JobId) -> JobView:
        """End a job: at once while it is queued, else as soon as its worker sees it."""
        return view_of(await jobs.cancel(caller, job_id), clock.now())

    @routes.post("/{job_id}/retry")
    async def retry_job(caller: Editor, job_id: JobId) -> JobView:
        """Try a failed or cancelled job again; steps that were done keep their results."""
        return view_of(await jobs.retry(caller, job_id), clock.now())


def _add_streams(routes: APIRouter, jobs: JobService, logs: LogStreams, events: Following) -> None:
    @routes.get("/events", status_code=200, response_class=StreamFrames, responses=_FRAMES)
    async def follow_jobs(caller: Reader, after: After = None, last_event_id: LastId = None) -> StreamFrames:
        """Follow what happens to the project's jobs as server-sent events, from now on or after a given one."""
        return StreamFrames(events, events.subscribe(caller, STREAMS, place_of(after, last_event_id, LAST_SEQUENCE)))

    @routes.get("/{job_id}/events", status_code=200, response_class=StreamFrames, responses=_FRAMES)
    async def follow_job(
        caller: Reader, job_id: JobId, after: After = None, last_event_id: LastId = None
    ) -> StreamFrames:
        """Follow what happens to one job, from now on or after a given event."""
        found = await jobs.get(caller, job_id)
        return StreamFrames(
            events, events.subscribe(caller, STREAMS, place_of(after, last_event_id, LAST_SEQUENCE), found.id)
        )

    @routes.get("/{job_id}/logs/stream", status_code=200, response_class=StreamFrames, responses=_FRAMES)
    async def follow_job_logs(
        caller: Reader, job_id: JobId, after: After = None, last_event_id: LastId = None
    ) -> StreamFrames:
        """What a job wrote and writes, a line in each event; an event `end` with its state once it is over."""
        return StreamFrames(
            logs, await logs.subscribe(caller, job_id, place_of(after, last_event_id, LAST_SEQUENCE) or 0)
        )


def _check_repeated(scheduled: Scheduled, kind: str, args: Mapping[str, Any]) -> None:
    if kind not in scheduled:
        known = ", ".join(sorted(scheduled))
        raise Invalid(f"{kind!r} is no kind that can be made again and again; there are: {known}", param="kind")
    scheduled[kind](args)


def _add_schedules(routes: APIRouter, schedules: ScheduleService, clock: Clock, scheduled: Scheduled) -> None:
    @routes.get("/schedules")
    async def list_job_schedules(caller: Reader) -> SchedulePage:
        """What is made again and again in the project."""
        return SchedulePage(data=[schedule_of(each) for each in await schedules.all(caller)], next_cursor=None)

    @routes.post("/schedules", status_code=201)
    async def create_job_schedule(caller: Editor, body: NewScheduleBody) -> ScheduleView:
        """Have a job made again and again; it acts as who asks for it here."""
        _check_repeated(scheduled, body.kind, body.args)
        return schedule_of(await schedules.create(caller, NewSchedule(**body.model_dump())))

    @routes.get("/schedules/{schedule_id}")
    async def get_job_schedule(caller: Reader, schedule_id: JobId) -> ScheduleView:
        """One schedule."""
        return schedule_of(await schedules.get(caller, schedule_id))

    @routes.patch("/schedules/{schedule_id}")
    async def change_job_schedule(caller: Editor, schedule_id: JobId, body: ScheduleChange) -> ScheduleView:
        """Change a schedule, or pause it; its jobs act as who changed it last."""
        changes = body.model_dump(exclude_unset=True)
        if body.args is not None:
            _check_repeated(scheduled, (await schedules.get(caller, schedule_id)).kind, body.args)
        for name, value in changes.items():
            if value is None:
                raise Invalid("must not be null", param=name)
        return schedule_of(await schedules.change(caller, schedule_id, changes))

    @routes.delete("/schedules/{schedule_id}", status_code=204)
    async def remove_job_schedule(caller: Editor, schedule_id: JobId) -> Response:
        """Let a schedule go; jobs that it made stay."""
        await schedules.remove(caller, schedule_id)
        return Response(status_code=204)

    @routes.post("/schedules/{schedule_id}/run", status_code=201)
    async def run_job_schedule(caller: Editor, schedule_id: JobId) -> JobView:
        """Make its job now, beside those at its times."""
        return view_of(await schedules.run_now(caller, schedule_id), clock.now())


def _stored(values: list[str]) -> tuple[str, ...]:
    return tuple(storable(value) for value in values)
