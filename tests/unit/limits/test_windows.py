"""When limits start again."""

from datetime import UTC, datetime

import pytest

from polyforge.tenancy.limits.windows import NEVER, check_window, rolling_seconds, window_end, window_start

THURSDAY = datetime(2026, 1, 1, 13, 45, 10, tzinfo=UTC).timestamp()


def at(*parts: int) -> float:
    return datetime(*parts, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("window", "start", "end"),
    [
        ("hour", at(2026, 1, 1, 13), at(2026, 1, 1, 14)),
        ("day", at(2026, 1, 1), at(2026, 1, 2)),
        ("week", at(2025, 12, 29), at(2026, 1, 5)),
        ("month", at(2026, 1, 1), at(2026, 2, 1)),
        ("total", 0.0, NEVER),
        ("minute", THURSDAY - 60, THURSDAY + 60),
        ("rolling:90", THURSDAY - 90, THURSDAY + 90),
    ],
)
def test_windows_begin_and_end(window: str, start: float, end: float) -> None:
    assert check_window(window) == window
    assert window_start(window, THURSDAY) == start
    assert window_end(window, THURSDAY) == end


@pytest.mark.parametrize(
    "window", ["", "year", "rolling", "rolling:", "rolling:60s", "rolling:-60", "Day", "rolling:060"]
)
def test_what_is_no_window(window: str) -> None:
    with pytest.raises(ValueError, match="must be one of"):
        check_window(window)


@pytest.mark.parametrize("seconds", [1, 59, 2_592_001, 99_999_999])
def test_what_is_too_short_or_too_long(seconds: int) -> None:
    with pytest.raises(ValueError, match="must roll over 60 to 2592000 seconds"):
        check_window(f"rolling:{seconds}")


def test_only_two_kinds_roll() -> None:
    assert [rolling_seconds(window) for window in ("minute", "rolling:600", "hour", "total", "")] == [60, 600, 0, 0, 0]
