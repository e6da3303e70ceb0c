"""Objects as files of a folder, for one machine, or for several that share a disk.

`<folder>/<project>/<two hex digits>/<rest of the key, its slashes written as +>`: two digits of a hash keep folders
small, and a flat name leaves no empty folders behind. What is still coming lies in `.incoming`, on the same disk.
"""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from pathlib import Path
from typing import BinaryIO, Final, ParamSpec, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from polyforge.kernel.errors import NotFound, Unavailable
from polyforge.kernel.ids import new_ulid
from polyforge.ports.objects import ObjectFacts, Stored, check_key, check_prefix
from polyforge.ports.secret_source import SecretSource
from polyforge.telemetry.logs import get_logger

FOLDER: Final = "objects"
_INCOMING: Final = ".incoming"
_log = get_logger(__name__)
_PIECE: Final = 512 * 1024
_LEFT_BEHIND_SECONDS: Final = 86_400.0
"""So long ago something must have been written last to be of an upload that nobody finishes."""
P = ParamSpec("P")
Result = TypeVar("Result")


class Settings(BaseModel):
    """Objects as files, readable by their owner only."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path | None = Field(default=None, description="The folder; default: `objects` in the data folder.")


class FolderObjects:
    """One file per object; written beside, made durable, then renamed."""

    def __init__(self, settings: Settings, data: Path) -> None:
        self._root = settings.path or data / FOLDER

    async def open(self, secrets: SecretSource) -> None:
        """Remove what uploads left behind that were broken off."""
        try:
            await asyncio.to_thread(_sweep, self._root / _INCOMING)
        except OSError as error:
            _log.warning("what uploads left behind could not be removed", reason=str(error))

    async def close(self) -> None:
        """Nothing to let go of."""

    async def put(self, key: str, content: AsyncIterable[bytes]) -> Stored:
        """Keep what comes; Unavailable when the disk does not take it."""
        path = self._path(key)
        draft = self._root / _INCOMING / new_ulid()
        try:
            file = await _in_thread(_begin, draft)
            try:
                stored = await _fill(file, content)
                await _in_thread(_complete, file, draft, path)
            finally:
                await _in_thread(_leave, file, draft)
        except OSError as error:
            raise _failed(error) from error
        return stored

    async def get(self, key: str, first: int = 0, count: int | None = None) -> AsyncGenerator[bytes]:
        """The bytes of an object."""
        path = self._path(key)
        try:
            file = await _in_thread(_open_at, path, first)
        except FileNotFoundError:
            raise NotFound("there is no such object") from None
        except OSError as error:
            raise _failed(error) from error
        try:
            left = count
            while left is None or left > 0:
                piece = await _in_thread(file.read, _PIECE if left is None else min(left, _PIECE))
                if not piece:
                    return
                if left is not None:
                    left -= len(piece)
                yield piece
        except OSError as error:
            raise _failed(error) from error
        finally:
            file.close()

    async def stat(self, key: str) -> ObjectFacts | None:
        """What is known of an object."""
        path = self._path(key)
        try:
            facts = await asyncio.to_thread(path.stat)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _failed(error) from error
        return ObjectFacts(key, facts.st_size, facts.st_mtime)

    async def delete(self, key: str) -> None:
        """Let go of an object."""
        path = self._path(key)
        try:
            await asyncio.to_thread(path.unlink, missing_ok=True)
        except OSError as error:
            raise _failed(error) from error

    async def list(self, prefix: str) -> AsyncGenerator[ObjectFacts]:
        """The objects whose keys begin with a prefix."""
        project, _, rest = check_prefix(prefix).partition("/")
        try:
            found = await asyncio.to_thread(_names, self._root / project, _flat(rest))
        except OSError as error:
            raise _failed(error) from error
        for name in sorted(found, key=_unflat):
            # What was deleted meanwhile is left out.
            if (facts := await self.stat(f"{project}/{_unflat(name)}")) is not None:
                yield facts

    def _path(self, key: str) -> Path:
        project, _, rest = check_key(key).partition("/")
        shard = hashlib.sha256(rest.encode()).hexdigest()[:2]
        return self._root / project / shard / _flat(rest)


def _flat(rest: str) -> str:
    """A path as one name: no segment of a key holds a plus."""
    return rest.replace("/", "+")


def _unflat(name: str) -> str:
    return name.replace("+", "/")


def _names(project: Path, beginning: str) -> list[str]:
    found: list[str] = []
    if not project.is_dir():
        return found
    for shard in os.scandir(project):
        if shard.is_dir(follow_symlinks=False):
            found += [entry.name for entry in os.scandir(shard.path) if entry.name.startswith(beginning)]
    return found


def _begin(draft: Path) -> BinaryIO:
    draft.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)


async def _in_thread(work: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
    """What a thread makes of it. It is waited for even when the call is cancelled: it holds a file open."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


async def _fill(file: BinaryIO, content: AsyncIterable[bytes]) -> Stored:
    """Write what comes, in pieces that are worth a thread's while."""
    digest = hashlib.sha256()
    size = length = 0
    waiting: list[bytes] = []
    async for piece in content:
        waiting.append(piece)
        length += len(piece)
        if length >= _PIECE:
            await _in_thread(_write, file, digest.update, waiting)
            size += length
            waiting, length = [], 0
    await _in_thread(_write, file, digest.update, waiting)
    return Stored(size + length, digest.hexdigest())


def _write(file: BinaryIO, update: Callable[[bytes], object], pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    update(whole)
    view = memoryview(whole)
    while view:
        view = view[file.write(view) :]


def _complete(file: BinaryIO, draft: Path, path: Path) -> None:
    os.fsync(file.fileno())
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _leave(file: BinaryIO, draft: Path) -> None:
    file.close()
    draft.unlink(missing_ok=True)


def _open_at(path: Path, first: int) -> BinaryIO:
    file = path.open("rb", buffering=0)
    file.seek(first)
    return file


def _sweep(incoming: Path) -> None:
    if not incoming.is_dir():
        return
    for entry in os.scandir(incoming):
        try:
            if time.time() - entry.stat().st_mtime > _LEFT_BEHIND_SECONDS:
                Path(entry.path).unlink()
        except FileNotFoundError:
            # Another process does the same.
            continue


def _failed(error: OSError) -> Unavailable:
    return Unavailable(f"the folder of objects does not work: {error.strerror or error}", retry_after=5.0)


ADAPTER = FolderObjects
