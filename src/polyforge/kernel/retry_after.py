"""When a server says to try again. Source: RFC 9110 section 10.2.3, and the `-ms` headers of OpenAI and Azure."""

import math
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime


def read_retry_after(header: Callable[[str], str | None]) -> float | None:
    """Seconds to wait, from `retry-after-ms`, `x-ms-retry-after-ms` or `retry-after`; None without a usable one."""
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        milliseconds = _number(header(name))
        if milliseconds is not None:
            return milliseconds / 1000
    text = header("retry-after")
    seconds = _number(text)
    if seconds is None and text:
        seconds = _seconds_until(text)
    return seconds


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else math.nan
    except ValueError:
        return None
    return value if 0 <= value < math.inf else None


def _seconds_until(date: str) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
