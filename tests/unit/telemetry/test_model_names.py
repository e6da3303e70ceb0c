"""Which model names get series of their own."""

import fcntl
from pathlib import Path

from polyforge.telemetry.families import NONE, OTHER
from polyforge.telemetry.model_names import ModelNames


def test_declared_names_have_series_from_the_start_and_patterns_have_none() -> None:
    names = ModelNames(None, ["assistant", "openai/*"], 10)
    assert names.label("assistant", answered=False) == ("assistant", True)
    assert names.label("openai/*", answered=False) == (OTHER, False)


def test_a_request_without_a_model_is_none() -> None:
    assert ModelNames(None, [], 10).label(None, answered=True) == (NONE, True)


def test_an_unknown_name_counts_once_it_was_answered() -> None:
    names = ModelNames(None, [], 10)
    assert names.label("openai/gpt-9", answered=False) == (OTHER, False)
    assert names.label("openai/gpt-9", answered=True) == ("openai/gpt-9", True)
    assert names.label("openai/gpt-9", answered=False) == ("openai/gpt-9", True)


def test_names_past_the_bound_are_other_for_good() -> None:
    names = ModelNames(None, ["declared"], 3)
    seen = {names.label(f"m{number}", answered=True)[0] for number in range(1000)}
    assert seen == {"m0", "m1", OTHER}


def test_more_declared_names_than_the_bound_allows() -> None:
    names = ModelNames(None, [f"m{number}" for number in range(5)], 3)
    assert [names.label(f"m{number}", answered=True)[0] for number in range(5)] == ["m0", "m1", "m2", OTHER, OTHER]


def test_the_bound_is_one_for_all_workers(tmp_path: Path) -> None:
    workers = [ModelNames(tmp_path / "models", [], 10) for _ in range(4)]
    seen = {
        worker.label(f"w{index}-m{number}", answered=True)[0]
        for number in range(20)
        for index, worker in enumerate(workers)
    }
    assert len(seen - {OTHER}) == 10
    shared = (tmp_path / "models").read_text().splitlines()
    assert all(worker.label(name, answered=True) == (name, True) for worker in workers for name in shared)


def test_a_list_that_another_worker_holds_is_not_waited_for(tmp_path: Path) -> None:
    names = ModelNames(tmp_path / "models", [], 10)
    with (tmp_path / "models").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert names.label("m", answered=True) == (OTHER, False)
    assert names.label("m", answered=True) == ("m", True)


def test_names_that_would_break_the_list_are_other(tmp_path: Path) -> None:
    names = ModelNames(tmp_path / "models", [], 10)
    for name in ("a\nb", "\x00", "\ud800", "", OTHER, NONE):
        assert names.label(name, answered=True)[0] == OTHER
    assert names.label("x" * 5000, answered=True)[0] == "x" * 128


def test_names_that_are_declared_later_have_series_while_there_is_room() -> None:
    names = ModelNames(None, ["a"], 3)
    names.label("answered", answered=True)
    names.declare(["a", "b", "c", "x/*"])
    assert [names.label(name, answered=False)[0] for name in ("a", "answered", "b", "c")] == [
        "a",
        "answered",
        "b",
        OTHER,
    ]
    assert names.label("another", answered=True) == (OTHER, False)
