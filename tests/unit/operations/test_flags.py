"""For whom a flag is on."""

import pytest

from polyforge.operations.flags.flags import Setting, place_of

PROJECT, OTHER = "0" * 25 + "A", "0" * 25 + "B"


def test_a_flag_is_off_for_all_on_for_all_or_on_for_some_projects() -> None:
    assert not Setting(False).on("f", PROJECT, None)
    assert Setting(True).on("f", PROJECT, None)
    assert Setting(True, (PROJECT,)).on("f", PROJECT, None)
    assert not Setting(True, (PROJECT,)).on("f", OTHER, None)
    assert not Setting(True, ()).on("f", PROJECT, None)
    assert not Setting(False, (PROJECT,)).on("f", PROJECT, None)


@pytest.mark.parametrize("share", [0.0, 1.0, 25.0, 99.0, 100.0])
def test_a_share_is_as_large_as_it_says(share: float) -> None:
    on = sum(Setting(True, None, share).on("f", PROJECT, f"user-{number}") for number in range(10_000))
    assert abs(on - share * 100) < 150


def test_a_subject_that_is_in_stays_in_as_the_share_grows() -> None:
    subjects = [f"user-{number}" for number in range(1000)]
    before: set[str] = set()
    for share in (1.0, 5.0, 20.0, 50.0, 90.0):
        now = {subject for subject in subjects if Setting(True, None, share).on("f", PROJECT, subject)}
        assert before <= now
        before = now


def test_the_place_of_a_subject_is_the_same_in_every_version_of_python_and_another_for_each_flag() -> None:
    assert place_of("f", "user-1") == pytest.approx(16.1228, abs=0.0001)
    half = {subject for subject in map(str, range(1000)) if place_of("f", subject) < 50}
    other = {subject for subject in map(str, range(1000)) if place_of("g", subject) < 50}
    assert 180 < len(half & other) < 320


def test_without_a_subject_a_project_is_in_or_out_as_a_whole() -> None:
    assert Setting(True, None, 50.0).on("f", PROJECT, None) == (place_of("f", PROJECT) < 50)
