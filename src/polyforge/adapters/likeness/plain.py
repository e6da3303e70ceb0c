"""Vectors as lists: no library, and slow from some hundred vectors on. It says what the others must do."""

import math
import struct
from operator import mul

from pydantic import BaseModel, ConfigDict

from polyforge.ports.likeness import Vector

_FLOAT_BYTES = 4


class Settings(BaseModel):
    """Nothing to choose."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Plain:
    """Compares with one vector after the other."""

    def __init__(self, settings: Settings) -> None:
        self._vectors: list[tuple[float, ...]] = []

    @property
    def nbytes(self) -> int:
        """Bytes that the vectors take."""
        return _FLOAT_BYTES * sum(map(len, self._vectors))

    def put(self, place: int, vector: Vector) -> None:
        """Keep a vector in a place: in one that is taken, instead of what was there; else in the next."""
        self._vectors[place : place + 1] = [_unit(vector)]

    def nearest(self, vector: Vector, count: int) -> list[tuple[int, float]]:
        """The places of those most alike, at most so many, each with how alike it is, the most alike first."""
        unit = _unit(vector)
        found = [(place, sum(map(mul, unit, other))) for place, other in enumerate(self._vectors)]
        return sorted(found, key=lambda each: -each[1])[:count]


def _unit(vector: Vector) -> tuple[float, ...]:
    """Of length one; of length nothing where there is no direction."""
    values = struct.unpack(f"<{len(vector) // _FLOAT_BYTES}f", vector)
    length = math.hypot(*values)
    return tuple(value / length if math.isfinite(length) and length > 0 else 0.0 for value in values)


ADAPTER = Plain
