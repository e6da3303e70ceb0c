"""The times that a schedule means. Pure."""

from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import CroniterError, croniter

from polyforge.kernel.errors import Invalid

_FIELDS: Final = 5
_MAX_CRON: Final = 100
_MAX_ZONE: Final = 64


def next_time(cron: str, timezone: str, after: float) -> float:
    """The first moment later than `after` that a schedule means; Invalid names the field that cannot be read.

    By the clocks of the time zone: what they skip in spring is made up for at once, and what they show twice in autumn
    counts once.
    """
    zone = _zone(timezone)
    if len(cron) > _MAX_CRON or len(cron.split()) != _FIELDS:
        raise Invalid(
            "cron must have five fields: minute, hour, day of the month, month, day of the week, as in `0 6 * * 1-5`",
            param="cron",
        )
    try:
        found = croniter(cron, datetime.fromtimestamp(after, zone)).get_next(datetime)
    except (CroniterError, ValueError, KeyError) as error:
        raise Invalid(f"cron cannot be read, or never comes: {error}", param="cron") from error
    return found.astimezone(UTC).timestamp()


def _zone(timezone: str) -> ZoneInfo:
    if not timezone or len(timezone) > _MAX_ZONE:
        raise Invalid("timezone must be a name such as `Europe/Berlin`", param="timezone")
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        message = f"there is no time zone {timezone[:40]!r}; give a name such as `Europe/Berlin`"
        raise Invalid(message, param="timezone") from error
