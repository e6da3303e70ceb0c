"""The eight hop times of a request, as it passes them."""

from itertools import pairwise
from time import perf_counter_ns

HOPS = ("server", "auth", "dialect", "admission", "guardrails", "routing", "dispatch", "settlement")
"""The hops in order; hop `i` lies between `marks[i]` and `marks[i + 1]`."""


class Hops:
    """Nanoseconds of a monotonic clock at the start of a request and at the end of each hop that it got through.

    On the hottest path `hops.marks.append(perf_counter_ns())` says the same as `hops.mark()` and costs half.
    """

    __slots__ = ("marks", "waited")

    def __init__(self) -> None:
        self.marks = [perf_counter_ns()]
        self.waited = 0
        """Nanoseconds spent waiting for upstreams, added to by whoever waits."""

    def mark(self) -> None:
        """A hop is over."""
        self.marks.append(perf_counter_ns())

    @property
    def total_ns(self) -> int:
        """Nanoseconds from the start to the last mark."""
        return self.marks[-1] - self.marks[0]

    @property
    def overhead_ns(self) -> int:
        """Nanoseconds that were ours: the total without the wait for upstreams."""
        marks = self.marks
        return max(0, marks[-1] - marks[0] - self.waited)

    def microseconds(self) -> list[int]:
        """Whole microseconds per hop, in the order of `HOPS`; shorter when the request ended early."""
        return [(after - before) // 1000 for before, after in pairwise(self.marks)]
