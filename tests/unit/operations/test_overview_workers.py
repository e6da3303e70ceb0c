"""What the overview tells of workers, from what the lease table has."""

from polyforge.jobs.records import WorkerSeen
from polyforge.operations.overview.attention import of_components
from polyforge.operations.overview.machine import workers_of

NOW = 1_000.0


def seen(machine: str, seconds_ago: float, index: int = 0, running: int = 0) -> WorkerSeen:
    """A worker that was heard of so long ago."""
    return WorkerSeen(
        executor_id=f"{machine}-{seconds_ago}",
        machine=machine,
        session="s",
        index=index,
        started_at=NOW - 100,
        lease_until=NOW - seconds_ago + 15,
        seen_at=NOW - seconds_ago,
        running=running,
    )


def test_those_that_live_say_what_they_do() -> None:
    first, second = workers_of([seen("b", 1, running=2), seen("a", 4)], NOW)
    assert (first.name, first.state, first.detail) == ("a/0", "ok", "runs 0 jobs")
    assert (second.name, second.detail) == ("b/0", "runs 2 jobs")
    assert second.seen_at is not None
    assert of_components([first, second]) == []


def test_one_that_is_lost_is_down_until_another_takes_its_place() -> None:
    (lost,) = workers_of([seen("a", 40)], NOW)
    assert (lost.state, lost.detail) == ("down", "was not heard of for 40 s")
    (told,) = of_components([lost])
    assert (told.severity, told.code, told.subject) == ("critical", "component_down", "worker/a/0")
    (again,) = workers_of([seen("a", 40), seen("a", 1)], NOW)
    assert again.state == "ok"
    states = {each.name: each.state for each in workers_of([seen("a", 40), seen("b", 1), seen("a", 60)], NOW)}
    assert states == {"a/0": "down", "b/0": "ok"}


def test_of_several_lost_ones_of_a_place_the_last_is_told() -> None:
    (lost,) = workers_of([seen("a", 30), seen("a", 90)], NOW)
    assert lost.detail == "was not heard of for 30 s"
