"""The times that schedules mean."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from polyforge.jobs.cron import next_time
from polyforge.kernel.errors import Invalid

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("* * * * *", "2026-01-01T10:00:30", "2026-01-01T10:01:00"),
        ("0 6 * * *", "2026-01-01T06:00:00", "2026-01-02T06:00:00"),
        ("0 6 * * 1-5", "2026-01-02T07:00:00", "2026-01-05T06:00:00"),
        ("*/15 8-9 * * *", "2026-01-01T08:50:00", "2026-01-01T09:00:00"),
        ("0 0 29 2 *", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
    ],
)
def test_the_next_time_is_later(cron: str, after: str, expected: str) -> None:
    assert next_time(cron, "UTC", at(after)) == at(expected)


def test_times_are_those_of_the_time_zone() -> None:
    found = next_time("0 6 * * *", "Europe/Berlin", at("2026-07-01T00:00:00"))
    assert found == at("2026-07-01T04:00:00")


def test_in_spring_a_day_of_23_hours_has_its_time() -> None:
    """Clocks go from 2:00 to 3:00 on 29 March 2026 in Berlin."""
    day_before = at("2026-03-28T06:00:00", "Europe/Berlin")
    assert next_time("0 6 * * *", "Europe/Berlin", day_before) == day_before + 23 * 3_600


def test_in_autumn_a_day_of_25_hours_has_its_time_once() -> None:
    """Clocks go from 3:00 back to 2:00 on 25 October 2026 in Berlin."""
    day_before = at("2026-10-24T06:00:00", "Europe/Berlin")
    first = next_time("0 6 * * *", "Europe/Berlin", day_before)
    assert first == day_before + 25 * 3_600
    assert datetime.fromtimestamp(next_time("0 6 * * *", "Europe/Berlin", first), BERLIN).day == 26


def test_times_that_the_clocks_skip_or_show_twice_still_rise() -> None:
    moment = at("2026-03-28T12:00:00", "Europe/Berlin")
    days = []
    for _ in range(3):
        moment = next_time("30 2 * * *", "Europe/Berlin", moment)
        days.append(datetime.fromtimestamp(moment, BERLIN).day)
    assert days == [29, 30, 31]


@pytest.mark.parametrize("cron", ["", "* * * *", "* * * * * *", "61 * * * *", "x * * * *", "@daily", "* " * 60])
def test_what_cannot_be_read_names_the_field(cron: str) -> None:
    with pytest.raises(Invalid) as caught:
        next_time(cron, "UTC", 0.0)
    assert caught.value.param == "cron"


def test_a_day_that_never_comes_is_refused() -> None:
    with pytest.raises(Invalid) as caught:
        next_time("0 0 31 2 *", "UTC", 0.0)
    assert caught.value.param == "cron"


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "../../etc/passwd", "x" * 100])
def test_a_time_zone_that_is_none_names_the_field(zone: str) -> None:
    with pytest.raises(Invalid) as caught:
        next_time("* * * * *", zone, 0.0)
    assert caught.value.param == "timezone"
