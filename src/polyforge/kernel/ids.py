"""ULIDs: 128-bit ids that sort by time (https://github.com/ulid/spec), 26 characters of Crockford base 32."""

import os
import time

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = tuple(a + b for a in ALPHABET for b in ALPHABET)
_LENGTH = 26
_LOW_BITS = 20
_LOW_MASK = (1 << _LOW_BITS) - 1
_POOL_BYTES = 4_096
_DRAW = 8


class UlidFactory:
    """Makes ULIDs that rise within one process.

    Random bytes are drawn in bulk, because a system call per id is dear, and within a millisecond only the last 20 bits
    count up.
    """

    def __init__(self) -> None:
        self._last_ms = 0
        self._prefix = ""
        self._low = 0
        self._pool = memoryview(b"").cast("H")
        self._used = 0

    def __call__(self) -> str:
        """A new id, larger than any that this factory gave before."""
        ms = time.time_ns() // 1_000_000
        self._low += 1
        if ms > self._last_ms or self._low > _LOW_MASK:
            self._begin(max(ms, self._last_ms + 1))
        low = self._low
        return self._prefix + _PAIRS[low >> 10] + _PAIRS[low & 1023]

    def _begin(self, ms: int) -> None:
        a, b, c, d, e, f, high, low = self._draw()
        pairs = _PAIRS
        self._last_ms = ms
        self._prefix = (
            f"{pairs[ms >> 40]}{pairs[ms >> 30 & 1023]}{pairs[ms >> 20 & 1023]}"
            f"{pairs[ms >> 10 & 1023]}{pairs[ms & 1023]}"
            f"{pairs[a & 1023]}{pairs[b & 1023]}{pairs[c & 1023]}{pairs[d & 1023]}{pairs[e & 1023]}{pairs[f & 1023]}"
        )
        self._low = (high << 10 & _LOW_MASK | low & 1023) >> 1

    def _draw(self) -> "memoryview[int]":
        """Eight random numbers of 16 bits."""
        if self._used + _DRAW > len(self._pool):
            self._pool = memoryview(os.urandom(_POOL_BYTES)).cast("H")
            self._used = 0
        start = self._used
        self._used = start + _DRAW
        return self._pool[start : start + _DRAW]


def _base32(value: int, bits: int) -> str:
    pairs = _PAIRS
    return "".join([pairs[value >> shift & 1023] for shift in range(bits - 10, -1, -10)])


def encode(value: int) -> str:
    """The 26 characters of a 128-bit number."""
    return _base32(value, 130)


def decode(ulid: str) -> int:
    """The 128-bit number of a ULID; ValueError when it is none."""
    if len(ulid) != _LENGTH:
        raise ValueError(f"a ULID has {_LENGTH} characters, not {len(ulid)}")
    value = 0
    for character in ulid.upper():
        value = value << 5 | ALPHABET.index(character)
    if value >> 128:
        raise ValueError("the value is larger than 128 bits")
    return value


new_ulid = UlidFactory()
