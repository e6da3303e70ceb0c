"""How each deployment does, shared by the workers of one machine: until when it is left alone, and how quick it is.

One record of eight doubles per deployment in a memory-mapped file: until when it cools down, why, and for whole answers
and for first tokens each a mean, its weight and when it was last changed. A store of 8 aligned bytes is whole. Two
workers that fail at once write nearly the same time, and of two that measure at once one sample may be lost, so no lock
is needed.
"""

import mmap
import os
import struct
from math import exp, log
from pathlib import Path
from typing import Final, Literal, get_args

from polyforge.kernel.clock import Clock

Cause = Literal["failure", "rate", "quota"]
"""Why a deployment is left alone: it failed, it had too many requests, or the account has no credit left."""
CAUSES: Final[tuple[Cause, ...]] = get_args(Cause)

_RECORD_BYTES: Final = 64
_NUMBER: Final = struct.Struct("<d")
_CAUSE_AT: Final = 8
_MEAN: Final = struct.Struct("<ddd")
_WHOLE_AT: Final = 16
_FIRST_TOKEN_AT: Final = 40
_FORGOTTEN_WEIGHT: Final = 0.01


class Health:
    """The file, as one process sees it. A measurement counts half after `half_life` seconds."""

    def __init__(self, path: Path, deployments: int, clock: Clock, half_life: float = 60.0) -> None:
        self._path = path
        self._size = max(1, deployments) * _RECORD_BYTES
        self._clock = clock
        self._decay = log(2) / half_life
        self._map: mmap.mmap | None = None

    def open(self) -> None:
        """Map the file, making it first if it is not there."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(fd).st_size < self._size:
                os.ftruncate(fd, self._size)
            self._map = mmap.mmap(fd, self._size)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Unmap."""
        if self._map is not None:
            self._map.close()
            self._map = None

    def cooling_until(self, deployment: int) -> float:
        """When the deployment may be tried again; a time in the past when it may be now."""
        return 0.0 if self._map is None else _NUMBER.unpack_from(self._map, deployment * _RECORD_BYTES)[0]

    def cause(self, deployment: int) -> Cause:
        """Why the deployment was left alone last."""
        if self._map is None:
            return "failure"
        return CAUSES[int(_NUMBER.unpack_from(self._map, deployment * _RECORD_BYTES + _CAUSE_AT)[0])]

    def cool(self, deployment: int, seconds: float, cause: Cause = "failure") -> None:
        """Leave the deployment alone for `seconds`, or longer if it already was to be."""
        self.cool_until(deployment, self._clock.now() + seconds, cause)

    def cool_until(self, deployment: int, until: float, cause: Cause = "failure") -> None:
        """Leave the deployment alone until then, or longer if it already was to be."""
        if self._map is not None and until > self.cooling_until(deployment):
            at = deployment * _RECORD_BYTES
            _NUMBER.pack_into(self._map, at + _CAUSE_AT, float(CAUSES.index(cause)))
            _NUMBER.pack_into(self._map, at, until)

    def observe(self, deployment: int, stream: bool, seconds: float) -> None:
        """Count in how long the deployment took: to the first token of a stream, or for a whole answer."""
        if self._map is None:
            return
        at, now = deployment * _RECORD_BYTES + (_FIRST_TOKEN_AT if stream else _WHOLE_AT), self._clock.now()
        mean, weight, then = _MEAN.unpack_from(self._map, at)
        weight = 1.0 + (weight * exp((then - now) * self._decay) if then < now else weight)
        _MEAN.pack_into(self._map, at, mean + (seconds - mean) / weight, weight, now)

    def latency(self, deployment: int, stream: bool) -> float | None:
        """How long the deployment takes lately, in seconds; None when nobody has tried for long."""
        if self._map is None:
            return None
        at = deployment * _RECORD_BYTES + (_FIRST_TOKEN_AT if stream else _WHOLE_AT)
        mean, weight, then = _MEAN.unpack_from(self._map, at)
        left = weight * exp(min(0.0, then - self._clock.now()) * self._decay)
        return mean if left >= _FORGOTTEN_WEIGHT else None
