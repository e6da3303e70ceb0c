"""Sums of usage: questions, spans, tags, and what a month will come to."""

import random
from itertools import pairwise
from math import isclose, sin
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyforge.kernel.errors import Invalid
from polyforge.tenancy.usage.forecasting import expected
from polyforge.tenancy.usage.questions import parse_groups
from polyforge.tenancy.usage.spans import parts_of
from polyforge.tenancy.usage.sums import UsageRow, Used, by_tag, total

DAY, HOUR = 86_400, 3_600


def test_groups_come_in_any_order_with_spaces_and_twice() -> None:
    assert parse_groups("key, day,key,").groups == ("day", "key")
    assert parse_groups("").groups == ()
    assert (parse_groups("tag:team,model").groups, parse_groups("tag:team").tag) == (("model", "tag"), "team")


@pytest.mark.parametrize(("groups", "named"), [("key,users", "'users'"), ("day,hour", "two units of time")])
def test_groups_that_cannot_be_are_named(groups: str, named: str) -> None:
    with pytest.raises(Invalid, match=named) as refused:
        parse_groups(groups)
    assert refused.value.param == "group_by"


def test_the_total_is_the_sum_of_the_rows() -> None:
    rows = [UsageRow(("a",), Used(requests=1, errors=1, input_tokens=2, cost_micros=4))] * 3
    assert total(rows) == Used(requests=3, errors=3, input_tokens=6, cost_micros=12)
    assert total([]) == Used()


def test_a_call_counts_for_each_of_its_tags_or_once_for_the_value_of_one() -> None:
    rows = [
        UsageRow(("small", "app=chat,team=red"), Used(requests=1)),
        UsageRow(("small", "team=red"), Used(requests=2)),
        UsageRow(("small", "team"), Used(requests=4)),
        UsageRow(("large", ""), Used(requests=8)),
    ]
    every = {row.labels: row.used.requests for row in by_tag(rows, 1, None)}
    expected_ = {("large", ""): 8, ("small", "app=chat"): 1, ("small", "team"): 4, ("small", "team=red"): 3}
    assert every == expected_
    teams = {row.labels: row.used.requests for row in by_tag(rows, 1, "team")}
    assert teams == {("large", ""): 8, ("small", ""): 4, ("small", "red"): 3}


@given(since=st.integers(0, 5 * DAY), length=st.integers(0, 5 * DAY), hourly=st.booleans())
def test_parts_cover_a_span_without_gaps_and_calls_only_broken_hours(since: int, length: int, hourly: bool) -> None:
    parts = parts_of(since, since + length, hourly=hourly)
    edges = [(part.start, part.end) for part in parts]
    assert all(before[1] == after[0] for before, after in pairwise(edges))
    assert sum(end - start for start, end in edges) == length
    for kept, start, end in parts:
        if kept == "calls":
            assert start // HOUR == (end - 1) // HOUR
        else:
            size = HOUR if kept == "hours" else DAY
            assert start % size == end % size == 0
        if kept == "hours" and not hourly:
            assert start // DAY == (end - 1) // DAY
    assert not hourly or all(part.kept != "days" for part in parts)
    assert sum(part.kept == "calls" for part in parts) <= 2


def test_a_forecast_of_an_even_use_is_that_use() -> None:
    assert expected([100.0] * 30, 2, [0.5, 1, 1]) == pytest.approx((250, 250, 250))
    assert expected([0.0] * 10, 0, [1.0] * 5) == (0, 0, 0)


def test_a_forecast_knows_weekends_and_trends() -> None:
    weekly = [100.0, 100, 100, 100, 100, 10, 0]
    mean, low, high = expected(weekly * 4, 0, [1.0] * 14)
    assert isclose(mean, 2 * sum(weekly), rel_tol=0.02)
    assert low <= mean <= high
    mean, _, _ = expected([float(day) for day in range(28)], 3, [1.0] * 7)
    assert isclose(mean, sum(range(28, 35)), rel_tol=0.1)
    falling, low, _ = expected([float(30 - day) for day in range(28)], 3, [1.0] * 30)
    assert 0 <= low <= falling < 60


def test_four_of_five_months_end_in_the_range() -> None:
    dice, hits = random.Random(3), 0
    for _ in range(300):
        days = [max(0.0, dice.gauss(100, 20)) for _ in range(56)]
        _, low, high = expected(days[:41], 0, [1.0] * 15)
        hits += low <= sum(days[41:]) <= high
    assert 210 <= hits <= 270


def test_the_range_grows_with_how_uneven_days_are() -> None:
    calm: list[float] = [100 + 5 * sin(day) for day in range(21)]
    wild: list[float] = [100 + 50 * sin(day) for day in range(21)]
    widths: list[Any] = [high - low for _, low, high in (expected(days, 0, [1.0] * 10) for days in (calm, wild))]
    assert widths[1] > 5 * widths[0] > 0
    assert fmean(wild) > 0
