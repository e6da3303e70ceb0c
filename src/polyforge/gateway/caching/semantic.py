"""Answers to questions that mean the same: an index of questions in the memory of each gateway worker.

Two requests can share an answer only when everything but the last message of the user is the same: project, model,
system prompt, tools, parameters, all earlier messages. Among such, the last messages are compared: by an embedding
model for likeness, and by what they say for what decides (see `agreement`). The answers themselves lie in the cache.
"""

from collections import OrderedDict
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from polyforge.gateway.caching.agreement import Facts, agree

MOST_ALIKE: Final = 1000
"""Questions that are remembered of one conversation."""
_CANDIDATES: Final = 5
_FIRST_ROWS: Final = 1
"""Most conversations are asked one question; rows of vectors are what an index of them is made of."""

Vector = NDArray[np.float32]


class Question(msgspec.Struct, frozen=True):
    """The last message of a conversation. `partition` stands for all that comes before and around it."""

    partition: str
    text: str
    facts: Facts


class _Bucket:
    """The questions of one partition, the oldest replaced when there are too many."""

    def __init__(self, dimensions: int) -> None:
        self.vectors: Vector = np.zeros((_FIRST_ROWS, dimensions), np.float32)
        self.entries: list[tuple[Facts, str]] = []
        self.next = 0

    def add(self, vector: Vector, facts: Facts, key: str) -> int:
        """Remember a question; how many more there are than before."""
        if len(self.entries) < MOST_ALIKE:
            if len(self.entries) == len(self.vectors):
                self.vectors = np.concatenate((self.vectors, np.zeros_like(self.vectors)))
            self.vectors[len(self.entries)] = vector
            self.entries.append((facts, key))
            return 1
        self.vectors[self.next], self.entries[self.next] = vector, (facts, key)
        self.next = (self.next + 1) % MOST_ALIKE
        return 0

    def nearest(self, vector: Vector, facts: Facts, threshold: float) -> list[str]:
        likeness = self.vectors[: len(self.entries)] @ vector
        best = np.argsort(-likeness)[:_CANDIDATES]
        near = [self.entries[int(row)] for row in best if likeness[row] >= threshold]
        return [key for others, key in near if agree(facts, others)]


class SemanticIndex:
    """The questions that a gateway worker remembers, those of the latest conversations."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._entries = 0

    def __len__(self) -> int:
        return self._entries

    def nearest(self, question: Question, vector: Vector, threshold: float) -> list[str]:
        """Where the answers lie to questions that mean the same, the most alike first."""
        bucket = self._buckets.get(question.partition)
        if bucket is None or bucket.vectors.shape[1] != vector.shape[0]:
            return []
        self._buckets.move_to_end(question.partition)
        return bucket.nearest(vector, question.facts, threshold)

    def add(self, question: Question, vector: Vector, key: str, max_entries: int) -> None:
        """Remember where the answer to a question lies, and let go of the conversations that waited longest."""
        bucket = self._buckets.get(question.partition)
        if bucket is None or bucket.vectors.shape[1] != vector.shape[0]:
            self._forget(question.partition)
            bucket = self._buckets[question.partition] = _Bucket(vector.shape[0])
        self._buckets.move_to_end(question.partition)
        self._entries += bucket.add(vector, question.facts, key)
        while self._entries > max_entries and len(self._buckets) > 1:
            self._forget(next(iter(self._buckets)))

    def _forget(self, partition: str) -> None:
        bucket = self._buckets.pop(partition, None)
        self._entries -= 0 if bucket is None else len(bucket.entries)


def unit(values: Any) -> Vector | None:
    """A vector of length one in the same direction; None where there is none."""
    vector = np.asarray(values, np.float32)
    length = float(np.linalg.norm(vector))
    return vector / np.float32(length) if vector.ndim == 1 and np.isfinite(length) and length > 0 else None
