"""Apache Parquet, read and written by a process of its own."""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec

from polyforge.isolation.environment import child_environment
from polyforge.isolation.memory import own_bytes
from polyforge.kernel.errors import Invalid, NotConfigured
from polyforge.ports.column_files import TableLimits

_MODULE: Final = "polyforge.adapters.column_files.arrow.program"
_REFUSED: Final = 3
_SECONDS: Final = 1800.0
_MEMORY_BYTES: Final = 2 * 1024**3
_WATCH_SECONDS: Final = 0.1
_MESSAGE_BYTES: Final = 2_000
_BROKEN: Final = "the table could not be read: it is broken, or too large for this machine"
_names: Final = msgspec.json.Decoder(list[str]).decode


class ParquetFiles:
    """Row groups are read and written in slices, so that memory is bounded."""

    async def names(self, source: Path) -> list[str]:
        """The columns of a table."""
        return _names(await _run("names", str(source)))

    async def rows(self, source: Path, target: Path, columns: Sequence[str], limits: TableLimits) -> None:
        """Write these columns of a table as lines of JSON."""
        wanted = msgspec.json.encode(list(columns)).decode()
        await _run("rows", str(source), str(target), wanted, str(limits.max_rows), str(limits.max_row_bytes))

    async def join(self, source: Path, answers: Path, target: Path, *, failed_only: bool) -> None:
        """Write a table with columns added."""
        await _run("join", str(source), str(answers), str(target), "failed" if failed_only else "all")


async def _run(*arguments: str) -> bytes:
    """What the program says; Invalid with its words when it refuses."""
    if find_spec("pyarrow") is None:
        raise NotConfigured("Parquet needs a library where batches run: pip install 'polyforge[parquet]'")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        _MODULE,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=child_environment(),
    )
    watcher = asyncio.create_task(_watch(process), name="memory of a reader of tables")
    try:
        async with asyncio.timeout(_SECONDS):
            said, told = await process.communicate()
    except TimeoutError as error:
        raise Invalid(f"reading the table took longer than {_SECONDS:g} seconds") from error
    finally:
        watcher.cancel()
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        raise Invalid(told[:_MESSAGE_BYTES].decode(errors="replace") if process.returncode == _REFUSED else _BROKEN)
    return said


async def _watch(process: asyncio.subprocess.Process) -> None:
    """Kill it when it takes too much memory: a small file may hold a large table."""
    while process.returncode is None:
        if (own_bytes(process.pid) or 0) > _MEMORY_BYTES:
            with suppress(ProcessLookupError):
                process.kill()
        await asyncio.sleep(_WATCH_SECONDS)


ADAPTER = ParquetFiles
