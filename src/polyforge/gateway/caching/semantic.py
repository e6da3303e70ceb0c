"""Answers to questions that mean the same: an index of questions in the memory of each gateway worker.

Two requests can share an answer only when everything but the last message of the user is the same: project, model,
system prompt, tools, parameters, all earlier messages. Among such, the last messages are compared: by an embedding
model for likeness, and by what they say for what decides (see `agreement`). The answers themselves lie in the cache.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from polyforge.gateway.caching.agreement import Facts, agree
from polyforge.ports.likeness import Likeness, Vector

MOST_ALIKE: Final = 1000
"""Questions that are remembered of one conversation."""
_CANDIDATES: Final = 5


class Question(msgspec.Struct, frozen=True):
    """The last message of a conversation. `partition` stands for all that comes before and around it."""

    partition: str
    text: str
    facts: Facts


class _Bucket:
    """The questions of one partition, the oldest replaced when there are too many."""

    def __init__(self, vectors: Likeness, size: int) -> None:
        self.vectors = vectors
        self.size = size
        self.entries: list[tuple[Facts, str]] = []
        self.next = 0

    def add(self, vector: Vector, facts: Facts, key: str) -> int:
        """Remember a question; how many more there are than before."""
        if len(self.entries) < MOST_ALIKE:
            self.vectors.put(len(self.entries), vector)
            self.entries.append((facts, key))
            return 1
        self.vectors.put(self.next, vector)
        self.entries[self.next] = facts, key
        self.next = (self.next + 1) % MOST_ALIKE
        return 0

    def nearest(self, vector: Vector, facts: Facts, threshold: float) -> list[str]:
        near = [
            self.entries[place]
            for place, likeness in self.vectors.nearest(vector, _CANDIDATES)
            if likeness >= threshold
        ]
        return [key for others, key in near if agree(facts, others)]


class SemanticIndex:
    """The questions that a gateway worker remembers, those of the latest conversations."""

    def __init__(self, make: Callable[[], Likeness]) -> None:
        self._make = make
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._entries = 0

    def __len__(self) -> int:
        return self._entries

    @property
    def nbytes(self) -> int:
        """Bytes that the vectors take."""
        return sum(bucket.vectors.nbytes for bucket in self._buckets.values())

    def nearest(self, question: Question, vector: Vector, threshold: float) -> list[str]:
        """Where the answers lie to questions that mean the same, the most alike first."""
        bucket = self._buckets.get(question.partition)
        if bucket is None or bucket.size != len(vector):
            return []
        self._buckets.move_to_end(question.partition)
        return bucket.nearest(vector, question.facts, threshold)

    def add(self, question: Question, vector: Vector, key: str, max_entries: int) -> None:
        """Remember where the answer to a question lies, and let go of the conversations that waited longest."""
        bucket = self._buckets.get(question.partition)
        if bucket is None or bucket.size != len(vector):
            self._forget(question.partition)
            bucket = self._buckets[question.partition] = _Bucket(self._make(), len(vector))
        self._buckets.move_to_end(question.partition)
        self._entries += bucket.add(vector, question.facts, key)
        while self._entries > max_entries and len(self._buckets) > 1:
            self._forget(next(iter(self._buckets)))

    def _forget(self, partition: str) -> None:
        bucket = self._buckets.pop(partition, None)
        self._entries -= 0 if bucket is None else len(bucket.entries)
