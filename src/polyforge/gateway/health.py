"""Which deployments are left alone for now, shared by the workers of one machine.

One 8-byte time per deployment in a memory-mapped file. A store of 8 aligned bytes is whole, and two workers that fail
at once write nearly the same time, so no lock is needed.
"""

import mmap
import os
import struct
from pathlib import Path

from polyforge.kernel.clock import Clock

_TIME = struct.Struct("<d")


class Health:
    """Until when each deployment cools down, in wall time."""

    def __init__(self, path: Path, deployments: int, clock: Clock) -> None:
        self._path = path
        self._size = max(1, deployments) * _TIME.size
        self._clock = clock
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
        return 0.0 if self._map is None else _TIME.unpack_from(self._map, deployment * _TIME.size)[0]

    def cool(self, deployment: int, seconds: float) -> None:
        """Leave the deployment alone for `seconds`, or longer if it already was to be."""
        self.cool_until(deployment, self._clock.now() + seconds)

    def cool_until(self, deployment: int, until: float) -> None:
        """Leave the deployment alone until then, or longer if it already was to be."""
        if self._map is not None and until > self.cooling_until(deployment):
            _TIME.pack_into(self._map, deployment * _TIME.size, until)
