"""A file of JSON lines on this machine, for what collects logs from files."""

import asyncio
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from polyforge.kernel.request_log import RequestBatch, line_of
from polyforge.ports.secret_source import SecretSource
from polyforge.telemetry.line_file import LineFile


class Settings(BaseModel):
    """A file, and how much is kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path = Field(description="The file; its folder must exist.")
    max_bytes: int = Field(default=100_000_000, ge=1, description="A file that would grow beyond is put aside.")
    keep: int = Field(default=10, ge=1, le=1000, description="How many files that were put aside are kept.")
    gather_seconds: float = Field(default=0.0, ge=0, le=3600, description="How long requests wait for others.")


class FileSink:
    """Appends a line per request."""

    def __init__(self, settings: Settings) -> None:
        self._file = LineFile(settings.path, settings.max_bytes, settings.keep)
        self.gather_seconds = settings.gather_seconds

    async def open(self, secrets: SecretSource) -> None:
        """Nothing: the file is opened for each batch."""

    async def close(self) -> None:
        """Nothing is held between batches."""

    async def send(self, batch: RequestBatch) -> None:
        """Append them."""
        lines = await asyncio.to_thread(lambda: [line_of(request) for request in batch.requests])
        await self._file.append(lines)


ADAPTER = FileSink
