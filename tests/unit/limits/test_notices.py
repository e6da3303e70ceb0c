"""Notices of limits, and what becomes of them while they cannot be written."""

from typing import Any

import pytest

from polyforge.kernel.errors import Unavailable
from polyforge.tenancy.limits.counters import Notice
from polyforge.tenancy.limits.notices import LimitNotices
from tests.unit.limits.limit_samples import limit


class _Down:
    """A database that breaks off while more is told."""

    def __init__(self) -> None:
        self.notices: LimitNotices | None = None

    def write(self) -> Any:
        assert self.notices is not None
        for at in range(1000, 1100):
            self.notices.tell(_notice(at))
        raise Unavailable("the database is down")


def _notice(at: int) -> Notice:
    return Notice(limit(), "s", None, 1, 1, float(at))


async def test_what_cannot_be_written_makes_room_for_what_is_new() -> None:
    database: Any = _Down()
    notices = database.notices = LimitNotices(database)
    for at in range(1000):
        notices.tell(_notice(at))
    with pytest.raises(Unavailable):
        await notices.flush()
    waiting = [notice.at for notice in notices._waiting]
    assert waiting == [float(at) for at in range(100, 1100)]
