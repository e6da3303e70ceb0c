"""How long an audio can be at most, told from its bytes alone, without decoding it."""

import struct
from typing import Final

_LEAST_RATE: Final = 750
"""Bytes per second of the thinnest codec that speech is sent in: Opus at 6 kbit/s (RFC 6716 section 2.1.1)."""
_USUAL_RATE: Final = 4_000
"""Bytes per second of speech as it is usually compressed: 32 kbit/s."""
_FORMAT: Final = struct.Struct("<4xI4s4sIHHIIHH")
"""The first 36 bytes of a WAV file whose format comes first, as nearly all have it."""
_UNCOMPRESSED: Final = frozenset({1, 3, 0xFFFE})


def longest_milliseconds(body: bytes, start: int, end: int) -> tuple[int, bool]:
    """The most that `body[start:end]` can last, and whether that is how long it lasts: uncompressed WAV says it."""
    rate = _wav_rate(body, start, end)
    return -(-(end - start) * 1000 // (rate or _LEAST_RATE)), rate is not None


def likely_milliseconds(longest: int) -> int:
    """What a bound that is not exact comes to as speech is usually compressed."""
    return -(-longest * _LEAST_RATE // _USUAL_RATE)


def _wav_rate(body: bytes, start: int, end: int) -> int | None:
    """Bytes per second of uncompressed WAV, from what a player goes by; None for everything else."""
    if not body.startswith(b"RIFF", start) or end - start < _FORMAT.size:
        return None
    _, kind, chunk, _, format_, channels, samples, _, _, bits = _FORMAT.unpack_from(body, start)
    rate = samples * channels * (bits // 8)
    if (kind, chunk) != (b"WAVE", b"fmt ") or format_ not in _UNCOMPRESSED or rate < _LEAST_RATE:
        return None
    return rate
