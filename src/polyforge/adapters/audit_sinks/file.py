"""A file on this machine, for what collects logs from files. Full ones are kept under numbers, `.1` the latest."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from polyforge.ports.secret_source import SecretSource
from polyforge.telemetry.line_file import LineFile


class Settings(BaseModel):
    """A file, and how much is kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path = Field(description="The file; its folder must exist.")
    max_bytes: int = Field(default=100_000_000, ge=1, description="A file that would grow beyond is put aside.")
    keep: int = Field(default=10, ge=1, le=1000, description="How many files that were put aside are kept.")


class FileSink:
    """Appends lines, and has them on the disk before it says so."""

    def __init__(self, settings: Settings) -> None:
        self._file = LineFile(settings.path, settings.max_bytes, settings.keep)

    async def open(self, secrets: SecretSource) -> None:
        """Nothing: the file is opened for each batch."""

    async def close(self) -> None:
        """Nothing is held between batches."""

    async def send(self, lines: Sequence[bytes]) -> None:
        """Append them."""
        await self._file.append(lines)


ADAPTER = FileSink
