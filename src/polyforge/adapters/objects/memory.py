"""Objects in the memory of one process: for trying things out, and what others are measured by."""

import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterable
from pathlib import Path
from typing import Final

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from polyforge.kernel.errors import NotFound, Unavailable
from polyforge.ports.objects import ObjectFacts, Stored, check_key, check_prefix
from polyforge.ports.secret_source import SecretSource

_PIECE: Final = 256 * 1024


class Settings(BaseModel):
    """Objects in the memory of each process, gone when it ends: for trials of one process alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_bytes: int = Field(default=256 * 1024 * 1024, ge=1024, description="Most memory for objects.")


class _Object(msgspec.Struct, frozen=True):
    content: bytes
    modified_at: float


class MemoryObjects:
    """A dictionary."""

    def __init__(self, settings: Settings, data: Path) -> None:
        del data
        self._max_bytes = settings.max_bytes
        self._objects: dict[str, _Object] = {}

    async def open(self, secrets: SecretSource) -> None:
        """It is ready."""

    async def close(self) -> None:
        """Forget everything."""
        self._objects.clear()

    async def put(self, key: str, content: AsyncIterable[bytes]) -> Stored:
        """Keep what comes; Unavailable when that is too much."""
        check_key(key)
        room = self._max_bytes - sum(len(each.content) for name, each in self._objects.items() if name != key)
        whole = bytearray()
        async for piece in content:
            whole += piece
            if len(whole) > room:
                raise Unavailable("there is no room for it in memory; use a folder (`objects: {use: folder}`)")
        self._objects[key] = _Object(bytes(whole), time.time())
        return Stored(len(whole), hashlib.sha256(whole).hexdigest())

    async def get(self, key: str, first: int = 0, count: int | None = None) -> AsyncGenerator[bytes]:
        """The bytes of an object."""
        found = self._objects.get(check_key(key))
        if found is None:
            raise NotFound("there is no such object")
        wanted = memoryview(found.content)[first : None if count is None else first + count]
        for start in range(0, len(wanted), _PIECE):
            yield bytes(wanted[start : start + _PIECE])

    async def stat(self, key: str) -> ObjectFacts | None:
        """What is known of an object."""
        found = self._objects.get(check_key(key))
        return None if found is None else ObjectFacts(key, len(found.content), found.modified_at)

    async def delete(self, key: str) -> None:
        """Let go of an object."""
        self._objects.pop(check_key(key), None)

    async def list(self, prefix: str) -> AsyncGenerator[ObjectFacts]:
        """The objects whose keys begin with a prefix."""
        check_prefix(prefix)
        for key in sorted(self._objects):
            found = self._objects.get(key)
            if found is not None and key.startswith(prefix):
                yield ObjectFacts(key, len(found.content), found.modified_at)


ADAPTER = MemoryObjects
