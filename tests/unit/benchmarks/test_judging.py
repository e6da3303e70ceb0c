"""The scorecard's verdicts: what counts as right, and what never does."""

import dataclasses

import pytest

from benchmarks.scorecard.hearing import Heard
from benchmarks.scorecard.judging import (
    Judgement,
    judge_broken_stream,
    judge_disconnect,
    judge_failing_guardrail,
    judge_hang,
    judge_metering,
    judge_race,
    judge_revocation,
    judge_sharing,
    judge_split_address,
    judge_stall,
    judge_throttling,
)

STREAM = Heard(200, text="one two", whole=True)
ADDRESS = "jane.doe@example.org"


def verdict(judgement: Judgement) -> str:
    assert judgement.observed
    return judgement.verdict


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        (dataclasses.replace(STREAM, error="it broke"), "right"),
        (dataclasses.replace(STREAM, whole=False), "right"),
        (Heard(502, error="it broke", whole=True), "right"),
        (STREAM, "wrong"),
        (dataclasses.replace(STREAM, done=True), "wrong"),
        (dataclasses.replace(STREAM, done=True, error="it broke"), "wrong"),
        (dataclasses.replace(STREAM, whole=False, silent=True), "wrong"),
        (dataclasses.replace(STREAM, error="it broke", unreadable=1), "wrong"),
    ],
)
def test_a_broken_stream_must_not_look_whole(heard: Heard, expected: str) -> None:
    assert verdict(judge_broken_stream(heard)) == expected


def test_a_stall_must_end_in_time() -> None:
    ended = dataclasses.replace(STREAM, error="idle", seconds=6.0)
    assert verdict(judge_stall(ended, 9.0)) == "right"
    assert verdict(judge_stall(ended, 5.0)) == "wrong"


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        (Heard(504, seconds=5.1), "right"),
        (Heard(408, seconds=5.1), "right"),
        (Heard(504, seconds=9.5), "wrong"),
        (Heard(500, seconds=5.1), "wrong"),
        (Heard(0, silent=True, seconds=12.0), "wrong"),
    ],
)
def test_a_hang_must_come_to_a_timeout(heard: Heard, expected: str) -> None:
    assert verdict(judge_hang(heard, 9.0)) == expected


@pytest.mark.parametrize(
    ("status", "headers", "calls", "expected"),
    [
        (429, {"retry-after": "30"}, 3, "right"),
        (503, {"retry-after": "30"}, 1, "right"),
        (429, {"retry-after": "30"}, 4, "wrong"),
        (429, {"llm_provider-retry-after": "30"}, 3, "wrong"),
        (500, {"retry-after": "30"}, 3, "wrong"),
        (0, {}, 3, "wrong"),
    ],
)
def test_retry_after_must_arrive_and_be_kept_to(
    status: int, headers: dict[str, str], calls: int, expected: str
) -> None:
    assert verdict(judge_throttling([Heard(status, headers=headers)] * 3, calls)) == expected


@pytest.mark.parametrize(("seconds", "expected"), [(0.1, "right"), (2.5, "wrong"), (None, "wrong")])
def test_who_leaves_must_be_noticed(seconds: float | None, expected: str) -> None:
    assert verdict(judge_disconnect(seconds, 2.0, 3.0)) == expected


@pytest.mark.parametrize(
    ("without_choices", "metered", "expected"),
    [(0, (7, 3), "right"), (1, (7, 3), "wrong"), (0, (7, 2), "wrong"), (0, None, "wrong")],
)
def test_metering_must_be_exact_and_unseen(
    without_choices: int, metered: tuple[int, int] | None, expected: str
) -> None:
    heard = dataclasses.replace(STREAM, done=True, without_choices=without_choices)
    assert verdict(judge_metering(heard, metered, (7, 3))) == expected


@pytest.mark.parametrize(
    ("statuses", "calls", "expected"),
    [
        ([200] * 2 + [429] * 3, 2, "right"),
        ([200] * 2 + [402] * 3, 2, "right"),
        ([200] * 3 + [429] * 2, 3, "wrong"),
        ([200] * 1 + [429] * 4, 1, "wrong"),
        ([200] * 2 + [429] * 3, 3, "wrong"),
        ([200] * 2 + [429] * 2 + [500], 2, "wrong"),
        ([200] * 2 + [429] * 2 + [0], 2, "wrong"),
    ],
)
def test_a_budget_is_spent_exactly(statuses: list[int], calls: int, expected: str) -> None:
    assert verdict(judge_race(statuses, calls, room=2)) == expected


def test_a_shared_answer_is_wrong() -> None:
    assert verdict(judge_sharing(shared=True)) == "wrong"
    assert verdict(judge_sharing(shared=False)) == "right"


@pytest.mark.parametrize(
    ("seconds", "accepted", "expected"), [(0.5, 0, "right"), (0.5, 1, "wrong"), (3.0, 0, "wrong"), (None, 0, "wrong")]
)
def test_a_revoked_key_must_end_soon_and_for_good(seconds: float | None, accepted: int, expected: str) -> None:
    assert verdict(judge_revocation(seconds, accepted, 2.0)) == expected


@pytest.mark.parametrize(
    ("status", "calls", "expected"), [(500, 0, "right"), (446, 0, "right"), (200, 1, "wrong"), (500, 1, "wrong")]
)
def test_what_cannot_be_checked_is_blocked(status: int, calls: int, expected: str) -> None:
    assert verdict(judge_failing_guardrail(Heard(status), calls)) == expected


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        (Heard(200, text="Write to [EMAIL].", done=True, whole=True), "right"),
        (Heard(200, text="Write to ", error="blocked", whole=True), "right"),
        (Heard(200, text=f"Write to {ADDRESS}.", done=True, whole=True), "wrong"),
        (Heard(200, text=f"Write to {ADDRESS}", error="too late", whole=True), "wrong"),
        (Heard(200, text="Write to jane.doe@", error="too late", whole=True), "wrong"),
        (Heard(200, text="Write to @example.org", done=True, whole=True), "wrong"),
    ],
)
def test_no_part_of_an_address_comes_out(heard: Heard, expected: str) -> None:
    assert verdict(judge_split_address(heard, ADDRESS)) == expected
