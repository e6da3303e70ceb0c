"""What a worker counts of jobs."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from polyforge.jobs.records import QueueCount, State
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import Unavailable
from polyforge.telemetry.metrics import Metrics
from polyforge.wiring.jobs import CountedKind, JobGauges

NOW = 1_000.0


@pytest.fixture
def metrics() -> Metrics:
    opened = Metrics(None, "worker-0")
    opened.open()
    return opened


class Overview:
    """Tells what a test says."""

    def __init__(self, *counts: QueueCount) -> None:
        self.found = list(counts)

    async def counts(self) -> list[QueueCount]:
        if not self.found:
            raise Unavailable("the database is down")
        return self.found


class Kind:
    """A kind that ends as a test says."""

    name = "kind"

    def __init__(self, end: Callable[[], Any]) -> None:
        self._end = end

    async def run(self, context: Any) -> Any:
        del context
        return self._end()


def count(queue: str, state: State, number: int, oldest_at: float = NOW) -> QueueCount:
    return QueueCount(queue, state, number, oldest_at)


def page(metrics: Metrics) -> str:
    return metrics.render().decode()


async def test_jobs_are_counted_by_queue_and_state_and_none_is_left_over(metrics: Metrics) -> None:
    overview: Any = Overview(count("batch", "queued", 3, NOW - 60), count("batch", "running", 1))
    gauges = JobGauges(overview, metrics, FakeClock(NOW))
    await gauges.measure()
    assert 'polyforge_jobs{queue="batch",state="queued"} 3' in page(metrics)
    assert 'polyforge_job_oldest_queued_seconds{queue="batch"} 60' in page(metrics)
    overview.found = [count("batch", "running", 2)]
    await gauges.measure()
    assert 'polyforge_jobs{queue="batch",state="queued"} 0' in page(metrics)
    assert 'polyforge_jobs{queue="batch",state="running"} 2' in page(metrics)
    assert 'polyforge_job_oldest_queued_seconds{queue="batch"} 0' in page(metrics)


async def test_measuring_goes_on_when_the_database_is_away(metrics: Metrics) -> None:
    overview: Any = Overview()
    task = asyncio.create_task(JobGauges(overview, metrics, FakeClock(NOW)).run())
    await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def _fail() -> None:
    raise ValueError("broke")


def _cancel() -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("end", "cancelled", "outcome"),
    [
        (lambda: 1, False, "succeeded"),
        (_fail, False, "failed"),
        (_cancel, True, "cancelled"),
        (_cancel, False, "left"),
    ],
)
async def test_runs_are_counted_by_how_they_ended(
    metrics: Metrics, end: Callable[[], Any], cancelled: bool, outcome: str
) -> None:
    context: Any = SimpleNamespace(cancelled=cancelled)
    (result,) = await asyncio.gather(CountedKind(Kind(end), metrics).run(context), return_exceptions=True)
    assert (result == 1) is (outcome == "succeeded")
    assert f'polyforge_job_runs_total{{kind="kind",outcome="{outcome}"}} 1' in page(metrics)
