"""Jobs on behalf of callers, within their projects: submitting, watching, cancelling, trying again."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.database.sessions import ReadSession, WriteSession
from polyforge.jobs.making import check_json, check_new, is_text, row_of
from polyforge.jobs.records import JOB_PREFIX, Job, JobFilter, LogLine, NewJob
from polyforge.jobs.settings import JobSettings
from polyforge.jobs.store import NOT_WAITING, JobEditor, JobStore
from polyforge.jobs.waiting import reason
from polyforge.jobs.working_store import JobReader, lease_time, note
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Conflict, Invalid, NotFound
from polyforge.kernel.ids import new_ulid
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.people.paging import is_id

MAX_QUEUED: Final = 10_000
"""Of one project."""
MAX_WAITING: Final = 10_000
"""Of one project: jobs that wait for somebody or for a time."""
MAX_MESSAGES: Final = 100
"""Of one job, that it has not taken."""
MAX_MESSAGE_BYTES: Final = 64 * 1024
MAX_TOPIC: Final = 64
_TRIES: Final = 10
_CLEAN: Final[Mapping[str, Any]] = {
    "takeovers": 0,
    "strikes": 0,
    "started_at": None,
    "ended_at": None,
    "worker": None,
    "error": None,
    "result": None,
    "ran_seconds": None,
    "cancel_requested": False,
    **NOT_WAITING,
}


class JobService:
    """What callers do with the jobs of their project."""

    def __init__(self, database: Database, clock: Clock, recorder: Recorder, settings: JobSettings) -> None:
        self._database = database
        self._clock = clock
        self._recorder = recorder
        self._settings = settings

    async def submit(
        self, session: WriteSession, caller: Caller, new: NewJob, *, schedule_id: str | None = None
    ) -> Job:
        """Add a job in the caller's transaction; it runs only if that commits.

        The last thing to do in it, after the recorder. The unfinished job with the same `dedup_key` where there is one.
        Invalid for what a job cannot be, Conflict when the project has too many that are queued, or that wait.
        """
        check_new(new)
        scope, now = _scope(caller), self._clock.now()
        editor = JobEditor(session, scope, self._database.dialect)
        if await editor.reaches("queued", MAX_QUEUED):
            raise Conflict(f"{MAX_QUEUED} jobs of this project are queued, which is the most; wait or cancel some")
        if await editor.reaches("waiting", MAX_WAITING):
            raise Conflict(
                f"{MAX_WAITING} jobs of this project wait for somebody or for a time, which is the most;"
                " see to what they wait for, or cancel some"
            )
        values = row_of(new, caller, now, schedule_id)
        if (same := await _same(editor, new, values)) is not None:
            return same
        job = await editor.find(values["id"])
        assert job is not None, "it was added in this transaction"
        await note(session, job, "job.queued", now, state="queued")
        return job

    async def start(self, caller: Caller, new: NewJob, *, schedule_id: str | None = None) -> Job:
        """The same in a transaction of its own; the job says what it waits for."""
        async with self._database.write(_scope(caller)) as session:
            job = await self.submit(session, caller, new, schedule_id=schedule_id)
        return (await self._explained([job]))[0]

    async def get(self, caller: Caller, job_id: str) -> Job:
        """One job with what it waits for; NotFound otherwise."""
        async with self._database.read(_scope(caller)) as session:
            job = await _existing(JobStore(session, _scope(caller)), job_id)
        return (await self._explained([job]))[0]

    async def find_within(self, session: ReadSession, caller: Caller, job_id: str) -> Job | None:
        """A job as its row is, without what it waits for while it is queued; None where there is none."""
        return await JobStore(session, _scope(caller)).find(job_id)

    async def page(
        self, caller: Caller, limit: int, cursor: str | None, which: JobFilter
    ) -> tuple[list[Job], str | None]:
        """Up to `limit` jobs, the newest first, and the cursor of the next page, None after the last."""
        if cursor is not None and not is_job_id(cursor):
            raise Invalid("the cursor is not one that a list gave", param="cursor")
        scope = _scope(caller)
        async with self._database.read(scope) as session:
            found = await JobStore(session, scope).page(limit + 1, cursor, which)
        shown = await self._explained(found[:limit])
        return shown, shown[-1].id if len(found) > limit else None

    async def cancel(self, caller: Caller, job_id: str) -> Job:
        """End a job: at once when no worker has it, else as soon as its worker sees it. Conflict for a finished one."""
        scope, now = _scope(caller), self._clock.now()
        async with self._database.write(scope) as session:
            editor = JobEditor(session, scope, self._database.dialect)
            job = await _existing(editor, job_id, lock=True)
            if job.finished:
                raise Conflict(f"the job has {_ENDED[job.state]} already")
            values: dict[str, Any] = {"cancel_requested": True}
            if job.state == "queued" or job.let_go:
                values |= {"state": "cancelled", "ended_at": now, **NOT_WAITING}
            await editor.change(job_id, values)
            await self._recorder.changed(session, caller, "jobs", "job.cancelled", _subject(job), None, None)
        return await self.get(caller, job_id)

    async def retry(self, caller: Caller, job_id: str) -> Job:
        """Try a failed or cancelled job again; the steps that it completed keep their results. Conflict for others."""
        scope, now = _scope(caller), self._clock.now()
        async with self._database.write(scope) as session:
            editor = JobEditor(session, scope, self._database.dialect)
            job = await _existing(editor, job_id, lock=True)
            if job.state not in ("failed", "cancelled"):
                raise Conflict(f"only a failed or cancelled job can be tried again; this one is {job.state}")
            if job.dedup_key is not None and await editor.unfinished(job.kind, job.dedup_key) is not None:
                raise Conflict("another job does the same now; wait for it, or cancel it first")
            attempt = job.attempt + 1
            tries = {"attempt": attempt, "max_attempts": max(job.max_attempts, attempt)}
            again = {"state": "queued", "rank": job.priority, "run_after": now}
            await editor.change(job_id, {**_CLEAN, **tries, **again})
            await self._recorder.changed(
                session, caller, "jobs", "job.retried", _subject(job), None, {"attempt": attempt}
            )
        return await self.get(caller, job_id)

    async def logs(self, caller: Caller, job_id: str, after: int, limit: int) -> Sequence[LogLine]:
        """Up to `limit` lines of a job's log that come after the line `after`, in order; NotFound without the job."""
        scope = _scope(caller)
        async with self._database.read(scope) as session:
            store = JobStore(session, scope)
            await _existing(store, job_id)
            return await store.logs(job_id, after, limit)

    async def tell(self, caller: Caller, job_id: str, topic: str, message: Mapping[str, Any]) -> None:
        """Give a message to a job that waits for it now or later (`JobContext.wait_for`); each is taken once."""
        async with self._database.write(_scope(caller)) as session:
            await self.tell_within(session, caller, job_id, topic, message)

    async def tell_within(
        self,
        session: WriteSession,
        caller: Caller,
        job_id: str,
        topic: str,
        message: Mapping[str, Any],
        *,
        bounded: bool = True,
    ) -> None:
        """The same in the caller's transaction; not `bounded` for who has a bound of its own."""
        text = check_json("message", message, MAX_MESSAGE_BYTES)
        if not 0 < len(topic) <= MAX_TOPIC or not is_text(topic):
            raise Invalid(f"the topic must have 1 to {MAX_TOPIC} characters, none of them NUL", param="topic")
        editor = JobEditor(session, _scope(caller), self._database.dialect)
        job = await _existing(editor, job_id, lock=True)
        if job.finished:
            raise Conflict(f"the job has {_ENDED[job.state]} already; nothing listens any more")
        if bounded and await editor.messages(job_id, MAX_MESSAGES) >= MAX_MESSAGES:
            raise Conflict(f"{MAX_MESSAGES} messages wait for this job already, which is the most")
        at = self._clock.now()
        await editor.tell({"id": new_ulid(), "job_id": job_id, "topic": topic, "message": text, "at": at})
        if job.let_go:
            await editor.wake(job_id, topic, at)

    async def _explained(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs, those that are queued with what they wait for."""
        if not any(job.state == "queued" for job in jobs):
            return list(jobs)
        async with self._database.read() as session:
            return await _explain(session, jobs, self._settings, self._database, self._clock)


async def _same(editor: JobEditor, new: NewJob, values: Mapping[str, Any]) -> Job | None:
    """Add the job; the unfinished one that does the same instead, where there is one."""
    for _ in range(_TRIES):
        if await editor.add(values):
            return None
        same = await editor.unfinished(new.kind, new.dedup_key or "")
        if same is not None:
            return same
    raise Conflict("others submit and end the same job at the same time; try again")


async def _explain(
    session: ReadSession, jobs: Sequence[Job], settings: JobSettings, database: Database, clock: Clock
) -> list[Job]:
    reader, now = JobReader(session), clock.now()
    standing = await reader.standing(now, await lease_time(session, database.dialect, clock))
    explained: list[Job] = []
    for job in jobs:
        if job.state == "queued":
            ahead = 0 if job.run_after > now else await reader.ahead(job.id)
            waiting_for = reason(job, settings.queue(job.queue), standing, ahead, now)
            job = msgspec.structs.replace(job, waiting_for=waiting_for)  # noqa: PLW2901
        explained.append(job)
    return explained


def is_job_id(text: str) -> bool:
    """Whether a text can be the id of a job."""
    return text.startswith(JOB_PREFIX) and is_id(text[len(JOB_PREFIX) :])


_ENDED: Final = {"succeeded": "succeeded", "failed": "failed", "cancelled": "been cancelled"}


async def _existing(store: JobStore, job_id: str, *, lock: bool = False) -> Job:
    found = None
    if is_job_id(job_id):
        found = await (store.locked(job_id) if lock and isinstance(store, JobEditor) else store.find(job_id))
    if found is None:
        raise NotFound(f"there is no job {job_id[:40]!r}")
    return found


def _subject(job: Job) -> Subject:
    return Subject("job", job.id, job.organization_id, job.project_id)


def _scope(caller: Caller) -> Scope:
    return Scope(caller.organization_id, caller.project_id)
