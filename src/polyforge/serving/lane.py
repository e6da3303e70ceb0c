"""One model in the scheduler: what of it waits, what runs, and which instance is free."""

from collections import deque
from collections.abc import Iterator
from itertools import count

from polyforge.serving.queue import ModelQueue
from polyforge.serving.repository import HostedModel
from polyforge.serving.sequences import Sequences
from polyforge.serving.work import NANOSECONDS, Ticket, Work

_numbers = count(1)


class Lane:
    """One hosted model. A stateful one has a queue for every instance, since its requests are of sequences."""

    def __init__(self, model: HostedModel) -> None:
        self.number = next(_numbers)
        self.model = model
        self.running = 0
        self.order: deque[Ticket] = deque()
        signature = model.signature
        self.elsewhere = signature.elsewhere
        self.slots = (signature.instances or 1) if signature.stateful else 0
        self._limit = signature.instances
        self.sequences = (
            Sequences(
                self.slots, idle_seconds=signature.sequence_idle_seconds, per_instance=signature.sequences_per_instance
            )
            if self.slots
            else None
        )
        self._busy: set[int] = set()
        self._queue = ModelQueue()
        self._bound = [ModelQueue() for _ in range(self.slots)]

    def __iter__(self) -> Iterator[Work]:
        """All work that waits."""
        for queue in (self._queue, *self._bound):
            yield from queue

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        bound = sum([queue.requests for queue in self._bound]) if self._bound else 0
        return self._queue.requests + bound

    @property
    def busy(self) -> bool:
        """Whether anything waits or runs."""
        return self.running > 0 or self.waiting > 0

    def waiting_at(self, level: int) -> int:
        """How many requests wait at a level of priority."""
        return sum(queue.waiting_at(level) for queue in (self._queue, *self._bound))

    def places(self, threads: int) -> int:
        """How many more runs may begin beside those that are under way."""
        limit = self.slots or self.model.plan.instances or threads
        return (limit if self._limit is None else min(limit, self._limit)) - self.running

    def put(self, ticket: Ticket) -> None:
        """Let a request wait."""
        self._queue_of(ticket).put(ticket)

    def remove(self, work: Work) -> bool:
        """Let work go that waits; whether all of its request has gone with it."""
        return self._queue_of(work.ticket).remove(work)

    def head(self) -> Work | None:
        """What would be started next, if any of it can be."""
        if not self.slots:
            return self._queue.head
        heads = [queue.head for queue in self._runnable()]
        return min((work for work in heads if work), key=lambda work: work.ticket.queued_ns, default=None)

    def choose(self, now: float) -> list[Work]:
        """What goes into the next run, with the head; it waits until it is removed."""
        head = self.head()
        if head is None:
            return []
        if self.slots:
            # The requests of an instance's sequences keep their order.
            return [head]
        return self._queue.choose(self.model.plan, now)

    def begin(self, works: list[Work]) -> int:
        """Count a run; the number of its instance."""
        self.running += 1
        slot = works[0].ticket.slot
        if slot is None:
            return 0
        self._busy.add(slot)
        return slot

    def end(self, slot: int) -> None:
        """Count a run no longer."""
        self.running -= 1
        self._busy.discard(slot)

    def urgency(self, work: Work) -> int:
        """The smaller the sooner, among the heads of all models: a level of priority is worth a second of waiting."""
        plan = self.model.plan
        rank = work.ticket.level - plan.default_level + plan.rank if plan.levels else plan.rank
        return work.ticket.queued_ns + rank * NANOSECONDS

    def _queue_of(self, ticket: Ticket) -> ModelQueue:
        return self._queue if ticket.slot is None else self._bound[ticket.slot]

    def _runnable(self) -> list[ModelQueue]:
        return [self._bound[slot] for slot in range(self.slots) if slot not in self._busy]
