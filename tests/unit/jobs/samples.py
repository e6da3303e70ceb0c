"""Jobs for tests."""

from typing import Any

from polyforge.jobs.records import AskedBy, Job, Progress
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID
from tests.unit.tenancy.samples import NOW

JOB_ID = "job_01J0000000000000000000000A"


def sample_job(**changes: Any) -> Job:
    """A queued job of the default project."""
    values: dict[str, Any] = {
        "id": JOB_ID,
        "organization_id": DEFAULT_ORGANIZATION_ID,
        "project_id": DEFAULT_PROJECT_ID,
        "kind": "sample",
        "title": "Sample",
        "queue": "default",
        "priority": 5,
        "state": "queued",
        "run_after": NOW,
        "args": {},
        "dedup_key": None,
        "asked_by": AskedBy("0000000000000000000000000K", "sample"),
        "schedule_id": None,
        "attempt": 1,
        "max_attempts": 1,
        "timeout_seconds": None,
        "created_at": NOW,
        "started_at": None,
        "ended_at": None,
        "worker": None,
        "takeovers": 0,
        "progress": Progress(),
        "waiting_for": None,
        "result": None,
        "error": None,
        "cancel_requested": False,
    }
    return Job(**{**values, **changes})
