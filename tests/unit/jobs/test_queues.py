"""Which of the jobs that are due go first."""

from collections.abc import Callable, Mapping

from polyforge.jobs.queues import Candidate, Queue, choose
from polyforge.jobs.settings import JobSettings

NOTHING: Mapping[tuple[str, str], int] = {}
PLAIN = Queue("default")


def due(id_: str, project: str = "one", *, queue: str = "default", rank: int = 5, at: float = 0.0) -> Candidate:
    return Candidate(id_, queue, project, rank, at)


def limits(**queues: Queue) -> Callable[[str], Queue]:
    return lambda name: queues.get(name, Queue(name))


def test_the_first_priority_goes_first_whoever_came_before() -> None:
    found = [due("b", rank=5, at=1), due("c", rank=0, at=9), due("a", rank=9, at=0)]
    assert choose(found, NOTHING, {}, limits(), 3) == ["c", "b", "a"]


def test_what_a_worker_began_goes_before_everything() -> None:
    found = [due("new", rank=0, at=0), due("begun", rank=-1, at=9)]
    assert choose(found, NOTHING, {}, limits(), 1) == ["begun"]


def test_of_one_project_the_oldest_goes_first() -> None:
    found = [due("late", at=3), due("early", at=1), due("middle", at=2)]
    assert choose(found, NOTHING, {}, limits(), 2) == ["early", "middle"]


def test_projects_take_turns_however_many_jobs_one_has() -> None:
    found = [due(f"many{number}", "many", at=number) for number in range(10)] + [due("few", "few", at=100)]
    assert choose(found, NOTHING, {}, limits(), 4) == ["many0", "few", "many1", "many2"]


def test_the_project_with_the_fewest_running_goes_first() -> None:
    found = [due("busy", "busy", at=0), due("idle", "idle", at=9)]
    assert choose(found, {("default", "busy"): 3}, {}, limits(), 1) == ["idle"]


def test_what_a_project_runs_in_other_queues_counts_for_its_turn() -> None:
    found = [due("busy", "busy", at=0), due("idle", "idle", at=9)]
    assert choose(found, {("other", "busy"): 1}, {}, limits(), 1) == ["idle"]


def test_no_more_than_the_limit_of_a_queue() -> None:
    found = [due(f"b{number}", queue="batch", at=number) for number in range(5)] + [due("other", at=9)]
    rules = limits(batch=Queue("batch", running=2))
    assert choose(found, {("batch", "two"): 1}, {}, rules, 5) == ["b0", "other"]


def test_no_more_than_the_limit_of_a_project_in_a_queue() -> None:
    found = [due("a1", "a", at=0), due("a2", "a", at=1), due("b1", "b", at=2)]
    rules = limits(default=Queue("default", per_project=1))
    assert choose(found, NOTHING, {}, rules, 5) == ["a1", "b1"]


def test_no_more_than_the_rate_of_a_queue() -> None:
    found = [due(str(number), at=number) for number in range(5)]
    rules = limits(default=Queue("default", per_minute=4))
    assert choose(found, NOTHING, {"default": 2}, rules, 5) == ["0", "1"]


def test_no_more_than_there_is_room_for() -> None:
    assert choose([due("a"), due("b")], NOTHING, {}, limits(), 0) == []


def test_a_queue_that_the_settings_do_not_name_has_no_limits() -> None:
    settings = JobSettings.model_validate({"queues": {"batch": {"running": 2}}})
    assert settings.queue("other") == Queue("other")
    assert settings.queue("batch") == Queue("batch", running=2)
