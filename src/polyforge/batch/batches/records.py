"""Batches as they are known of."""

from typing import Final

import msgspec

from polyforge.batch.tables.records import Exchange
from polyforge.database.scopes import Scope
from polyforge.dialects.openai_batches import (
    BatchObject,
    BatchProblem,
    BatchUsage,
    Counts,
    Problems,
    Status,
    batch_id,
)
from polyforge.dialects.openai_files import file_id
from polyforge.kernel.money import Micros

KIND: Final = "batch"
QUEUE: Final = "batches"
UNFINISHED: Final[tuple[Status, ...]] = ("validating", "in_progress", "finalizing", "cancelling")


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch of a project."""

    id: str
    owner_id: str
    job_id: str
    endpoint: str
    status: Status
    input_file_id: str
    output_file_id: str | None
    error_file_id: str | None
    output_seconds: float | None
    counts: Counts
    price_micros: Micros
    usage: BatchUsage
    problems: list[BatchProblem]
    labels: dict[str, str]
    exchange: Exchange | None
    """What it reads and writes where that is no file."""
    created_at: float
    window_ends_at: float
    in_progress_at: float | None
    finalizing_at: float | None
    cancelling_at: float | None
    ended_at: float | None

    @property
    def finished(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status not in UNFINISHED


def part_key(scope: Scope, ulid: str, kind: str, number: int) -> str:
    """Where answers of a part of the lines lie until all are there; `kind` is `output` or `errors`."""
    return f"{parts_prefix(scope, ulid)}{kind}-{number:06}"


def parts_prefix(scope: Scope, ulid: str) -> str:
    """What the keys of all parts of a batch begin with."""
    return f"{scope.project_id}/batches/{ulid}/"


def described(batch: Batch) -> BatchObject:
    """A batch as callers see it."""
    ended = _whole(batch.ended_at)
    return BatchObject(
        id=batch_id(batch.id),
        endpoint=batch.endpoint,
        errors=Problems(batch.problems) if batch.problems else None,
        input_file_id=file_id(batch.input_file_id),
        status=batch.status,
        output_file_id=None if batch.output_file_id is None else file_id(batch.output_file_id),
        error_file_id=None if batch.error_file_id is None else file_id(batch.error_file_id),
        created_at=int(batch.created_at),
        in_progress_at=_whole(batch.in_progress_at),
        expires_at=int(batch.window_ends_at),
        finalizing_at=_whole(batch.finalizing_at),
        completed_at=ended if batch.status == "completed" else None,
        failed_at=ended if batch.status == "failed" else None,
        expired_at=ended if batch.status == "expired" else None,
        cancelling_at=_whole(batch.cancelling_at),
        cancelled_at=ended if batch.status == "cancelled" else None,
        request_counts=batch.counts,
        usage=batch.usage if batch.counts.total else None,
        metadata=batch.labels or None,
    )


def _whole(at: float | None) -> int | None:
    return None if at is None else int(at)
