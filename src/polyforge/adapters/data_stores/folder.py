"""Data in a folder of this machine, or of a disk that several share, as it lies there."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from polyforge.adapters.objects import folder
from polyforge.kernel.errors import Invalid, NotFound
from polyforge.ports.data_store import check_path
from polyforge.ports.objects import ObjectFacts


class Settings(BaseModel):
    """The folder. What is written is readable by whoever runs this."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path = Field(description="The folder; links in it must not lead out of it.")


class FolderData(folder.FolderObjects):
    """Files where their paths say."""

    def __init__(self, settings: Settings, data: Path) -> None:
        super().__init__(folder.Settings(path=settings.path.absolute()), data)

    async def stat(self, key: str) -> ObjectFacts | None:
        """What is known of a file."""
        return await super().stat(key) if await asyncio.to_thread(self._path(key).is_file) else None

    async def get(self, key: str, first: int = 0, count: int | None = None) -> AsyncGenerator[bytes]:
        """The bytes of a file."""
        if not await asyncio.to_thread(self._path(key).is_file):
            raise NotFound(f"there is no file {key!r}")
        async with aclosing(super().get(key, first, count)) as pieces:
            async for piece in pieces:
                yield piece

    def _path(self, key: str) -> Path:
        root = self._root.resolve()
        found = (root / check_path(key)).resolve()
        if not found.is_relative_to(root):
            raise Invalid(f"{key!r} leads out of the store")
        return found


ADAPTER = FolderData
