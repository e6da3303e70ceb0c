"""Of which waiting jobs a worker lets go, and what these wait for."""

import pytest

from polyforge.jobs import resting
from polyforge.jobs.records import WaitingFor
from polyforge.jobs.resting import Resting, Wait, rest_of, to_let_go

NOW = 1_000.0
HOLD = 60.0


def some(count: int, seconds: float = 10.0, project: str = "p", until: float | None = None) -> list[Resting]:
    """So many jobs, of which each waits a little shorter than the one before."""
    return [
        Resting(f"{project}{number}", project, 1, seconds - number / 1_000, until and NOW + until)
        for number in range(count)
    ]


def test_what_waits_for_long_is_let_go() -> None:
    assert to_let_go([*some(1, 61, "a"), *some(1, 59, "b")], NOW, HOLD) == ["a0"]


@pytest.mark.parametrize(("until", "chosen"), [(59.0, []), (61.0, ["p0"]), (None, ["p0"])])
def test_what_is_due_soon_is_held(until: float | None, chosen: list[str]) -> None:
    assert to_let_go(some(1, 100, until=until), NOW, HOLD) == chosen


def test_what_was_begun_often_is_held_for_longer() -> None:
    often = [Resting("often", "p", 40, 100.0, None), Resting("seldom", "p", 2, 100.0, None)]
    assert to_let_go(often, NOW, HOLD) == ["seldom"]
    assert to_let_go([Resting("often", "p", 40, 181.0, None)], NOW, HOLD) == ["often"]


def test_where_many_of_a_project_wait_the_longest_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resting, "KEPT_OF_PROJECT", 3)
    assert to_let_go([*some(5, project="a"), *some(3, project="b")], NOW, HOLD) == ["a0", "a1"]
    assert to_let_go(some(5, until=20.0), NOW, HOLD) == ["p0", "p1"]
    assert to_let_go(some(5, until=4.0), NOW, HOLD) == []


def test_where_many_wait_in_all_the_longest_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resting, "KEPT", 3)
    assert to_let_go([*some(2, 10, "a"), *some(3, 20, "b")], NOW, HOLD) == ["b0", "b1"]


def test_only_some_are_let_go_at_a_time() -> None:
    assert len(to_let_go(some(200, 100), NOW, HOLD)) == resting.AT_ONCE


def test_a_job_rests_on_the_first_of_its_waits_to_be_over() -> None:
    person, pause = WaitingFor("approval", "Ada has to say"), WaitingFor("sleep", "sleeps")
    waits = {
        "a": Wait(person, None, "t2"),
        "b": Wait(pause, 7.0),
        "c": Wait(person, 5.0, "t1"),
        "d": Wait(person, 9.0, "t1"),
    }
    rest = rest_of(waits)
    assert (rest.waiting_for, rest.until, rest.topics, rest.steps) == (person, 5.0, ("t1", "t2"), ("a", "c", "d"))
    assert rest_of({"a": Wait(person, None, "t")}).until is None
