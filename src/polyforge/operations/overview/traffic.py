"""The last hour of a project's calls, minute by minute, pure.

Latencies are kept as counts per step, so that a minute of a million calls takes as little room as one of ten: to the
millisecond below 0.2 s, and in steps of at most 5 % above. What a percentile tells is the middle of its step.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from polyforge.kernel.money import Micros

MINUTE: Final = 60
MINUTES: Final = 60
STEPS: Final = ((200, 1), (2_000, 10), (20_000, 100), (200_000, 1_000))
"""Below so many milliseconds latencies are told apart by so many; beyond the last by `LONGEST_STEP`."""
LONGEST_STEP: Final = 10_000


class Slice(msgspec.Struct, frozen=True, gc=False):
    """The calls of one minute whose latency is in one step."""

    minute: int
    """Since the epoch."""
    step: int
    """The lowest latency of the step, in milliseconds."""
    requests: int
    errors: int
    input_tokens: int
    output_tokens: int
    cost: Micros
    price: Micros


class Minute(msgspec.Struct, frozen=True):
    """The calls that began in a minute."""

    requests: int = 0
    errors: int = 0
    refused: int = 0
    """Requests that were turned away before they were calls; not among `requests`."""
    input_tokens: int = 0
    output_tokens: int = 0
    cost: Micros = 0
    price: Micros = 0
    steps: Mapping[int, int] = {}
    """Requests by the step of their latency."""


QUIET: Final = Minute()


def step_of(milliseconds: int) -> int:
    """The step of a latency, as the query computes it."""
    for below, width in STEPS:
        if milliseconds < below:
            return milliseconds // width * width
    return milliseconds // LONGEST_STEP * LONGEST_STEP


def middle_of(step: int) -> float:
    """What is told of a latency in this step, in milliseconds."""
    width = next((width for below, width in STEPS if step < below), LONGEST_STEP)
    return float(step) if width == 1 else step + width / 2


def minute_of(slices: Iterable[Slice], refused: int = 0) -> Minute:
    """Slices of one minute as a whole."""
    found = list(slices)
    steps: dict[int, int] = {}
    for each in found:
        steps[each.step] = steps.get(each.step, 0) + each.requests
    return Minute(
        requests=sum(each.requests for each in found),
        errors=sum(each.errors for each in found),
        refused=refused,
        input_tokens=sum(each.input_tokens for each in found),
        output_tokens=sum(each.output_tokens for each in found),
        cost=sum(each.cost for each in found),
        price=sum(each.price for each in found),
        steps=steps,
    )


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
