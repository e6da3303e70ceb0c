"""Which of some vectors point most like another one."""

from typing import Protocol

Vector = bytes
"""Little-endian 32-bit floats, one after the other."""


class Likeness(Protocol):
    """Vectors of one dimension in numbered places, from 0 on. All in memory; used from one thread.

    Two vectors are as alike as the cosine of the angle between them; one that has no direction is like none.
    """

    def put(self, place: int, vector: Vector) -> None:
        """Keep a vector in a place: in one that is taken, instead of what was there; else in the next."""
        ...

    def nearest(self, vector: Vector, count: int) -> list[tuple[int, float]]:
        """The places of those most alike, at most so many, each with how alike it is, the most alike first."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes that the vectors take."""
        ...
