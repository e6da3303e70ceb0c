"""Apache Parquet, read and written by a process of its own."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from polyforge.isolation.apart import Apart, program_of
from polyforge.kernel.errors import BrokenOff, Invalid, NotConfigured
from polyforge.ports.column_files import TableLimits
from polyforge.telemetry.logs import get_logger

_log = get_logger(__name__)
_PROGRAM: Final = program_of("polyforge.adapters.column_files.arrow.program")


def _say(line: str) -> None:
    _log.info("what reads and writes Parquet says", line=line)


class ParquetFiles:
    """Row groups are read and written in slices, so that memory is bounded."""

    def __init__(self, apart: Apart) -> None:
        self._apart = apart

    async def names(self, source: Path) -> list[str]:
        """The columns of a table."""
        return await self._work("names", source=str(source))

    async def rows(self, source: Path, target: Path, columns: Sequence[str], limits: TableLimits) -> None:
        """Write these columns of a table as lines of JSON."""
        bounds = {"most": limits.max_rows, "longest": limits.max_row_bytes}
        await self._work("rows", source=str(source), target=str(target), columns=list(columns), **bounds)

    async def join(self, source: Path, answers: Path, target: Path, *, failed_only: bool) -> None:
        """Write a table with columns added."""
        paths = {"source": str(source), "answers": str(answers), "target": str(target)}
        await self._work("join", **paths, failed_only=failed_only)

    async def _work(self, do: str, **asked: Any) -> Any:
        """What the program gives; Invalid with its words when it refuses, or what it reads breaks it."""
        if find_spec("pyarrow") is None:
            raise NotConfigured("Parquet needs a library where batches run: pip install 'polyforge[parquet]'")
        try:
            return await self._apart.work(_PROGRAM, {"do": do, **asked}, subject="reading the table", said=_say)
        except BrokenOff as error:
            raise Invalid(f"the table could not be read: it is broken ({error.message})") from error


ADAPTER = ParquetFiles
