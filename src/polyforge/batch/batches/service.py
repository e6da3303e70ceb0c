"""Batches on behalf of callers: made, looked at, cancelled."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from polyforge.batch.batches.records import KIND, QUEUE, Batch
from polyforge.batch.batches.settings import BatchSettings
from polyforge.batch.batches.store import BatchEditor, BatchStore
from polyforge.batch.files.service import FileService, scope_of
from polyforge.batch.tables.records import Exchange
from polyforge.database.database import Database
from polyforge.dialects.openai_batches import (
    WINDOW_SECONDS,
    BatchProblem,
    BatchRequest,
    BatchUsage,
    Counts,
    batch_id,
)
from polyforge.dialects.openai_files import BATCH, absent, file_id, ulid_of
from polyforge.jobs.records import Job, NewJob
from polyforge.jobs.service import JobService
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Conflict, Invalid, NotFound, RateLimited
from polyforge.kernel.ids import new_ulid
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller

_DAY_SECONDS: Final = 86_400
_PRIORITY: Final = 7
SCOPES: Final = frozenset({"inference", "files:read", "files:write"})
"""What the job of a batch may do in the name of whoever made it."""


class BatchService:
    """Each batch is a row and a job, made in one transaction."""

    def __init__(
        self,
        settings: BatchSettings,
        database: Database,
        files: FileService,
        jobs: JobService,
        clock: Clock,
        recorder: Recorder,
    ) -> None:
        self._settings = settings
        self._database = database
        self._files = files
        self._jobs = jobs
        self._clock = clock
        self._recorder = recorder

    async def create(self, caller: Caller, asked: BatchRequest) -> Batch:
        """Have a batch run; Invalid for a file that will not do, RateLimited when too many are unfinished."""
        file = await self._files.get(caller, ulid_of(asked.input_file_id))
        if file.purpose != BATCH:
            raise Invalid(
                f"{asked.input_file_id} was uploaded for {file.purpose}, not for batch", param="input_file_id"
            )
        expiry = asked.output_expires_after
        values: dict[str, Any] = {
            "endpoint": asked.endpoint,
            "input_file_id": file.id,
            "output_seconds": None if expiry is None else float(expiry.seconds),
            "labels": asked.metadata or {},
        }
        return await self._begin(caller, f"batch of {file.name}", values, {"file": file.id})

    async def create_for_table(
        self, caller: Caller, endpoint: str, exchange: Exchange, labels: Mapping[str, str]
    ) -> Batch:
        """Have a call made for each row of a table; NotFound for a store that the caller's project may not use."""
        store = self._settings.stores.get(exchange.store)
        if store is None or not store.serves(caller.project_id):
            raise NotFound(f"there is no store {exchange.store!r}; the operator declares them", param="store")
        values: dict[str, Any] = {
            "endpoint": endpoint,
            "input_file_id": "",
            "exchange": exchange,
            "labels": dict(labels),
        }
        told = {"store": exchange.store, "input": exchange.input, "output": exchange.output}
        return await self._begin(caller, f"batch of {exchange.input}", values, told)

    def stores(self, caller: Caller) -> list[str]:
        """The stores that the caller's project may use."""
        return sorted(name for name, store in self._settings.stores.items() if store.serves(caller.project_id))

    async def _begin(self, caller: Caller, title: str, values: Mapping[str, Any], told: Mapping[str, str]) -> Batch:
        scope, ulid, now = scope_of(caller), new_ulid(), self._clock.now()
        new = NewJob(kind=KIND, title=title[:100], args={"batch": ulid}, queue=QUEUE, priority=_PRIORITY, scopes=SCOPES)
        async with self._database.write(scope) as session:
            editor = BatchEditor(session, scope)
            if await editor.reaches(self._settings.max_unfinished):
                most = self._settings.max_unfinished
                raise RateLimited(f"{most} batches of this project wait or run, which is the most", retry_after=60.0)
            subject = Subject("batch", ulid, caller.organization_id, caller.project_id)
            noted = {"endpoint": values["endpoint"], **told}
            await self._recorder.noted(session, caller, "batch.created", subject, noted)
            job = await self._jobs.submit(session, caller, new)
            await editor.add(
                {
                    "id": ulid,
                    "owner_id": caller.key_id,
                    "job_id": job.id,
                    "status": "validating",
                    "counts": Counts(),
                    "price_micros": 0,
                    "usage": BatchUsage(),
                    "problems": [],
                    "created_at": now,
                    "window_ends_at": now + WINDOW_SECONDS,
                    "expires_at": now + self._settings.retention_days * _DAY_SECONDS,
                    **values,
                }
            )
        return await self.get(caller, ulid)

    async def get(self, caller: Caller, ulid: str) -> Batch:
        """One batch; NotFound for one that the caller's project does not have."""
        scope = scope_of(caller)
        async with self._database.read(scope) as session:
            found = await BatchStore(session, scope).find(ulid)
        if found is None:
            raise absent(batch_id(ulid), "batch")
        return await self._as_its_job(caller, found)

    async def page(
        self, caller: Caller, limit: int, after: str | None, *, of_files: bool = True
    ) -> tuple[list[Batch], bool]:
        """Batches of the caller's project, or only those of files, the newest first, and whether there are more."""
        scope = scope_of(caller)
        async with self._database.read(scope) as session:
            found: Sequence[Batch] = await BatchStore(session, scope).page(limit + 1, after, of_files=of_files)
        return [await self._as_its_job(caller, each) for each in found[:limit]], len(found) > limit

    async def cancel(self, caller: Caller, ulid: str) -> Batch:
        """Have a batch end soon, with the answers that it has; Conflict for one that has ended."""
        scope, now = scope_of(caller), self._clock.now()
        before = await self.get(caller, ulid)
        if before.finished:
            raise Conflict(f"the batch is {before.status}: there is nothing to cancel")
        async with self._database.write(scope) as session:
            editor = BatchEditor(session, scope)
            if await editor.advance(ulid, "cancelling", {}):
                await editor.change(ulid, {"cancelling_at": now})
            subject = Subject("batch", ulid, caller.organization_id, caller.project_id)
            await self._recorder.noted(session, caller, "batch.cancelled", subject, {})
        return await self.get(caller, ulid)

    async def _as_its_job(self, caller: Caller, batch: Batch) -> Batch:
        """What became of a batch whose job ended without it."""
        if batch.finished:
            return batch
        try:
            job = await self._jobs.get(caller, batch.job_id)
        except NotFound:
            return batch
        if job.state == "cancelled":
            return replace(batch, status="cancelled", ended_at=job.ended_at)
        if job.state == "failed":
            return replace(batch, status="failed", ended_at=job.ended_at, problems=[_problem_of(job)])
        return batch


def input_gone(batch: Batch) -> BatchProblem:
    """What is said of a batch whose file was deleted."""
    return BatchProblem("file_not_found", f"the file {file_id(batch.input_file_id)} was deleted", None, "input_file_id")


def _problem_of(job: Job) -> BatchProblem:
    error = job.error
    if error is None:
        return BatchProblem("internal_error", f"the job {job.id} failed")
    return BatchProblem(error.code, f"{error.message}; POST /api/v1/jobs/{job.id}/retry goes on where it was")
