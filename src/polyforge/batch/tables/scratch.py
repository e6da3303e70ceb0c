"""Files of this machine for as long as a table is read or written."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from polyforge.kernel.errors import TooLarge, Unavailable

_PIECE: Final = 1024 * 1024
_LEFT_BEHIND_SECONDS: Final = 2 * 86_400.0
"""So old is what belongs to a worker that was killed."""


class Scratch:
    """A folder below which each use has one of its own."""

    def __init__(self, root: Path, max_bytes: int) -> None:
        self._root = root
        self._max_bytes = max_bytes

    @asynccontextmanager
    async def folder(self) -> AsyncGenerator[Path]:
        """A folder that is gone afterwards."""
        try:
            found = await asyncio.to_thread(self._made)
        except OSError as error:
            raise Unavailable(f"there is no room for a table: {error.strerror}", retry_after=5.0) from error
        try:
            yield found
        finally:
            await asyncio.to_thread(shutil.rmtree, found, ignore_errors=True)

    async def write(self, path: Path, content: AsyncIterable[bytes]) -> None:
        """A file of what comes; TooLarge when that does not end."""
        size = 0
        try:
            with path.open("wb") as file:
                async for piece in content:
                    size += len(piece)
                    if size > self._max_bytes:
                        raise TooLarge(f"the table has more than {self._max_bytes} bytes; split it")
                    await asyncio.to_thread(file.write, piece)
        except OSError as error:
            raise Unavailable(f"there is no room for a table: {error.strerror}", retry_after=5.0) from error

    async def read(self, path: Path) -> AsyncGenerator[bytes]:
        """What is in a file."""
        with path.open("rb") as file:
            while piece := await asyncio.to_thread(file.read, _PIECE):
                yield piece

    def _made(self) -> Path:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for each in self._root.iterdir():
            with suppress(FileNotFoundError):
                if time.time() - each.stat().st_mtime > _LEFT_BEHIND_SECONDS:
                    shutil.rmtree(each, ignore_errors=True)
        return Path(tempfile.mkdtemp(dir=self._root))
