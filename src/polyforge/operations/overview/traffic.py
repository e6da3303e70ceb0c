"""The last hour of a project's calls, minute by minute, pure."""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from polyforge.tenancy.ledger_minutes import middle_of

MINUTES: Final = 60


class Minute(msgspec.Struct, frozen=True):
    """The calls that began in a minute."""

    requests: int = 0
    errors: int = 0
    refused: int = 0
    """Requests that were turned away before they were calls; not among `requests`."""
    input_tokens: int = 0
    output_tokens: int = 0
    steps: Mapping[int, int] = {}
    """Requests by the step of their latency, as `tenancy.ledger_minutes` has it."""


QUIET: Final = Minute()


def total(minutes: Iterable[Minute]) -> Minute:
    """Minutes as one."""
    found = list(minutes)
    steps: dict[int, int] = {}
    for each in found:
        for step, count in each.steps.items():
            steps[step] = steps.get(step, 0) + count
    sums = {name: sum(getattr(each, name) for each in found) for name in Minute.__struct_fields__ if name != "steps"}
    return Minute(**sums, steps=steps)


def percentile(steps: Mapping[int, int], share: float) -> float | None:
    """The latency, in milliseconds, that this share of requests did not exceed; None without requests."""
    rank = share * sum(steps.values())
    passed = 0
    for step in sorted(steps):
        passed += steps[step]
        if passed >= rank and passed:
            return middle_of(step)
    return None
