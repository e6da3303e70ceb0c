"""When a limit holds in every worker: each says so in its log, at the level `debug`."""

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final

from tests.support.server import Polyforge
from tests.support.waiting import eventually

DEBUG: Final[dict[str, Any]] = {"log_level": "debug"}
"""The section `telemetry` that whoever waits here needs."""


@contextmanager
def in_force(*places: Polyforge) -> Generator[list[str]]:
    """Wait at the end until every worker of these installations knows what was done to the limits of the list."""
    since = [len(place.log) for place in places]
    limit_ids: list[str] = []
    yield limit_ids
    for place, start in zip(places, since, strict=True):
        for limit_id in limit_ids:
            eventually(_known_everywhere(place, start, limit_id), f"limit {limit_id} in every worker")


def _known_everywhere(place: Polyforge, start: int, limit_id: str) -> Callable[[], bool]:
    def known() -> bool:
        lines = [line for line in place.log[start:].splitlines() if "limits are in force" in line and limit_id in line]
        return len({json.loads(line)["process"] for line in lines}) == place.workers

    return known
