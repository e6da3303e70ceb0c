"""The port to tables that are no text: read as lines of JSON, and written again with columns added."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec


class TableLimits(msgspec.Struct, frozen=True):
    """What a table may be read into."""

    max_rows: int
    max_row_bytes: int


class ColumnFiles(Protocol):
    """One format. Files come from others, so they are read by a process of its own, with bounds.

    Invalid for what is no such file, or too large; NotConfigured where a library is missing.
    """

    async def names(self, source: Path) -> list[str]:
        """The columns of a table."""
        ...

    async def rows(self, source: Path, target: Path, columns: Sequence[str], limits: TableLimits) -> None:
        """Write these columns of a table into `target`: a line of JSON for each row, in order."""
        ...

    async def join(self, source: Path, answers: Path, target: Path, *, failed_only: bool) -> None:
        """Write a table with columns added into `target`.

        `answers` has a line of JSON for each row, an object of the columns to add, whose first is the answer (text, or
        a list of numbers) and second the error. With `failed_only`, only rows that have one.
        """
        ...
