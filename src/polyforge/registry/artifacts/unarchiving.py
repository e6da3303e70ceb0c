"""Has an archive unpacked by a program of its own, with limits on its time, its memory and what comes out."""

import asyncio
import shutil
import sys
from pathlib import Path
from typing import Final

from polyforge.isolation.environment import child_environment
from polyforge.kernel.errors import Invalid
from polyforge.registry.artifacts.settings import ArtifactSettings
from polyforge.registry.artifacts.unpacking import REFUSED

_MODULE: Final = "polyforge.registry.artifacts.unpacking"
_MESSAGE_BYTES: Final = 2_000
_BROKEN: Final = "the archive could not be unpacked: it is broken, or too large for this machine"


async def unarchive(archive: Path, folder: Path, settings: ArtifactSettings) -> dict[str, Path]:
    """The files that came out into `folder`, by path; Invalid says what is wrong with the archive."""
    await asyncio.to_thread(_empty, folder)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        _MODULE,
        str(archive),
        str(folder),
        str(settings.max_files),
        str(settings.max_bytes),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=child_environment(),
    )
    try:
        async with asyncio.timeout(settings.unpack_seconds):
            _, told = await process.communicate()
    except TimeoutError as error:
        raise Invalid(f"unpacking the archive took longer than {settings.unpack_seconds:g} seconds") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        said = told[:_MESSAGE_BYTES].decode(errors="replace") if process.returncode == REFUSED else _BROKEN
        raise Invalid(said, param="source")
    return await asyncio.to_thread(_found, folder)


def _found(folder: Path) -> dict[str, Path]:
    """Without the one folder that holds everything, unless its name is the number of a version."""
    files = {each.relative_to(folder).as_posix(): each for each in folder.rglob("*") if not each.is_dir()}
    tops = {path.partition("/")[0] for path in files}
    top = next(iter(tops)) if len(tops) == 1 else ""
    if not top or top in files or top.isdigit():
        return files
    return {path.removeprefix(f"{top}/"): file for path, file in files.items()}


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
