"""ULIDs: 128-bit ids that sort by time (https://github.com/ulid/spec), 26 characters of Crockford base 32."""

import os
import time

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = tuple(a + b for a in ALPHABET for b in ALPHABET)
_LENGTH = 26
_RANDOM_BITS = 80
_RANDOM_MASK = (1 << _RANDOM_BITS) - 1
_POOL_BYTES = 4_000


class UlidFactory:
    """Makes ULIDs that rise within one process; draws random bytes in bulk, because a system call per id is dear."""

    def __init__(self) -> None:
        self._last_ms = 0
        self._last_random = 0
        self._prefix = ""
        self._pool = b""
        self._used = 0

    def __call__(self) -> str:
        """A new id, larger than any that this factory gave before."""
        ms = time.time_ns() // 1_000_000
        if ms > self._last_ms:
            self._last_ms = ms
            self._last_random = self._draw()
            self._prefix = _base32(ms, 50)
        else:
            self._last_random = (self._last_random + 1) & _RANDOM_MASK
        return self._prefix + _base32(self._last_random, _RANDOM_BITS)

    def _draw(self) -> int:
        if self._used + 10 > len(self._pool):
            self._pool = os.urandom(_POOL_BYTES)
            self._used = 0
        start = self._used
        self._used = start + 10
        return int.from_bytes(self._pool[start : start + 10])


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
