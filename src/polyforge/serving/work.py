"""A caller's request on its way through the scheduler: a ticket, and the work that it is made of."""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence

from polyforge.kernel.errors import Invalid, PolyforgeError
from polyforge.kernel.tensors import Parameter
from polyforge.ports.model_backend import ModelRequest, Outputs
from polyforge.serving.plan import Plan
from polyforge.serving.splitting import Part, rejoined

NANOSECONDS = 1_000_000_000
MICROSECONDS = 1_000_000
MAX_NUMBER = 1 << 64


class BackendBroke(Exception):
    """A backend raised what it should not; the cause says what."""


Answer = Outputs | PolyforgeError | BackendBroke
Waiting = OrderedDict["Work", None]
"""Work that waits, oldest first; any of it can leave at once."""


class Ticket:
    """One caller's request until it is answered. Its future is set on the event loop, also when nobody waits for it.

    Times are of the monotonic clock: `deadline` and `due` (the end of waiting) in seconds, the others in nanoseconds.
    """

    __slots__ = (
        "_answers",
        "_missing",
        "_order",
        "deadline",
        "done_ns",
        "due",
        "future",
        "held",
        "late_at",
        "level",
        "queued_ns",
        "slot",
        "started_ns",
        "waiting",
        "works",
    )

    def __init__(self, parts: Sequence[Part], within: float) -> None:
        self.queued_ns = time.monotonic_ns()
        self.deadline = self.due = self.queued_ns / NANOSECONDS + within
        self.late_at = float("inf")
        self.level = 0
        self.slot: int | None = None
        self.started_ns = 0
        self.done_ns = 0
        self.waiting = 0
        self.held: Answer | None = None
        self.future: asyncio.Future[Outputs] = asyncio.get_running_loop().create_future()
        self.works = [Work(self, place, part) for place, part in enumerate(parts)]
        self._answers: list[Outputs] = [()] * len(parts)
        self._missing = len(parts)
        self._order: deque[Ticket] | None = None

    def line_up(self, order: "deque[Ticket]") -> None:
        """Be answered after all that are in `order` already."""
        self._order = order
        order.append(self)

    def hurry(self, plan: Plan, parameters: Mapping[str, Parameter]) -> None:
        """Take the priority and the time to wait from what the caller asks for and the plan allows, or Invalid."""
        self.level = level_of(plan, parameters)
        policy = plan.policy_of(self.level)
        asked = number_of(parameters, "timeout") if policy.allow_timeout_override or not policy.timeout_us else 0
        times = [microseconds for microseconds in (asked, policy.timeout_us) if microseconds]
        if not times:
            return
        end = self.queued_ns / NANOSECONDS + min(times) / MICROSECONDS
        if policy.timeout_action == "DELAY":
            self.late_at = end
        else:
            self.due = min(self.due, end)

    def expired(self, now: float) -> bool:
        """Whether its time is over: that to wait, or once it has begun that to be answered."""
        return now >= (self.deadline if self.started_ns else self.due)

    def settle(self, work: "Work", answer: Answer) -> None:
        """One work is computed; the ticket is answered with the last of them, or with the first that fails."""
        if self.future.done() or self.held is not None:
            return
        if isinstance(answer, BaseException):
            self.finish(answer)
            return
        self._answers[work.place] = answer
        self._missing -= 1
        if not self._missing:
            self.finish(self._whole())

    def finish(self, answer: Answer) -> None:
        """Answer the caller, after those whose answers are to come before."""
        if self._order is None:
            self._give(answer)
            return
        self.held = answer
        self.pass_on()

    def pass_on(self) -> None:
        """Give out the answers that wait for no other, if this model's answers keep their order."""
        order = self._order
        while order and (order[0].future.done() or order[0].held is not None):
            first = order.popleft()
            if first.held is not None:
                first._give(first.held)  # noqa: SLF001  of the same class

    def release(self) -> None:
        """Let go of the work. A ticket and its work hold each other, and what was sent with them may be large."""
        self.works = []
        self._answers = []

    def _give(self, answer: Answer) -> None:
        if self.future.done():
            return
        if isinstance(answer, BaseException):
            self.future.set_exception(answer)
        else:
            self.future.set_result(answer)

    def _whole(self) -> Answer:
        if len(self.works) == 1:
            return self._answers[0]
        try:
            return rejoined([work.part for work in self.works], self._answers)
        except ValueError as error:
            broken = BackendBroke("the backend's answers to the parts of a request do not fit together")
            broken.__cause__ = error
            return broken


class Work:
    """What of a ticket goes into one run. While it waits, `queue` holds it."""

    __slots__ = ("length", "part", "place", "queue", "rows", "ticket")

    def __init__(self, ticket: Ticket, place: int, part: Part) -> None:
        self.ticket = ticket
        self.place = place
        self.part = part
        self.rows = part.rows
        self.length = part.request.size // max(1, part.rows)
        self.queue: Waiting | None = None

    @property
    def request(self) -> ModelRequest:
        """What the backend is given."""
        return self.part.request


def level_of(plan: Plan, parameters: Mapping[str, Parameter]) -> int:
    """The priority level of a request; 0 and levels that there are not stand for the default one.

    Who asks for a more urgent one than callers may have gets the most urgent that they may.
    """
    if not plan.levels:
        return 0
    asked = number_of(parameters, "priority")
    return max(asked, plan.top_level) if 0 < asked <= plan.levels else plan.default_level


def number_of(parameters: Mapping[str, Parameter], name: str) -> int:
    """A parameter that counts something, 0 when it is not there; Invalid when it is no such number."""
    asked = parameters.get(name, 0)
    if isinstance(asked, bool) or not isinstance(asked, int) or not 0 <= asked < MAX_NUMBER:
        what = "a number of microseconds" if name == "timeout" else "a whole number"
        raise Invalid(f"'{name}' must be {what}", param=f"parameters.{name}")
    return asked
