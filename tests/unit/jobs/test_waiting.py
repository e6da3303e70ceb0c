"""What queued jobs say that they wait for."""

from typing import Any

import pytest

from polyforge.jobs.queues import Queue
from polyforge.jobs.records import JobError
from polyforge.jobs.waiting import reason
from polyforge.jobs.working_store import Standing
from polyforge.tenancy.defaults import DEFAULT_PROJECT_ID
from tests.unit.jobs.samples import sample_job
from tests.unit.tenancy.samples import NOW

MINE = ("default", DEFAULT_PROJECT_ID)


def told(queue: Queue, ahead: int = 0, workers: int = 1, **standing: Any) -> tuple[str, str]:
    found = Standing(workers, standing.get("running", {}), standing.get("started", {}))
    waiting_for = reason(sample_job(), queue, found, ahead, NOW)
    return waiting_for.code, waiting_for.message


def test_a_job_of_later_says_when() -> None:
    found = reason(sample_job(run_after=NOW + 60), Queue("default"), Standing(0, {}, {}), 0, NOW)
    assert (found.code, found.message) == ("time", "starts at 2023-11-14 22:14:20 UTC")


def test_one_that_failed_says_when_it_is_tried_again() -> None:
    job = sample_job(run_after=NOW + 60, error=JobError("x", "y"))
    found = reason(job, Queue("default"), Standing(0, {}, {}), 0, NOW)
    assert found.message == "is tried again at 2023-11-14 22:14:20 UTC"


def test_without_a_worker_it_says_how_to_start_one() -> None:
    code, message = told(Queue("default"), workers=0)
    assert code == "no_worker"
    assert "polyforge up --role worker" in message


@pytest.mark.parametrize(
    ("queue", "standing", "code", "message"),
    [
        (
            Queue("default", running=2),
            {"running": {MINE: 1, ("default", "other"): 1}},
            "queue",
            "the queue 'default' runs 2 at a time; 3 before this one",
        ),
        (
            Queue("default", per_project=1),
            {"running": {MINE: 1}},
            "project",
            "the queue 'default' runs 1 of a project at a time; 3 before this one",
        ),
        (
            Queue("default", per_minute=5),
            {"started": {"default": 5}},
            "rate",
            "the queue 'default' starts 5 a minute; 3 before this one",
        ),
        (Queue("default", running=2), {"running": {MINE: 1}}, "turn", "a worker has to be free; 3 before this one"),
    ],
)
def test_it_names_the_limit_that_holds_it(queue: Queue, standing: dict[str, Any], code: str, message: str) -> None:
    assert told(queue, 3, **standing) == (code, message)


def test_the_first_of_its_queue_says_so() -> None:
    assert told(Queue("default")) == ("turn", "it is next; a worker has to be free")
