"""The files of one listing, one after the other, each continued where it stopped and hashed when it is whole."""

import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

from polyforge.kernel.errors import Invalid, PolyforgeError, TimedOut, Unavailable
from polyforge.ports.model_source import ModelSource, SourceFile, SourceListing, SourceReference
from polyforge.registry.artifacts.folder import ArtifactFolder, hash_of
from polyforge.registry.artifacts.settings import ArtifactSettings

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0


class Progress:
    """How far fetching has come. `step` is what is being done, in a few words; `total` is None until it is known."""

    def __init__(self) -> None:
        self.step = "looking"
        self.done = 0
        self.total: int | None = None


class Download:
    """Fetches what `listing` lists into the folder `place`."""

    def __init__(
        self,
        folder: ArtifactFolder,
        source: ModelSource,
        reference: SourceReference,
        listing: SourceListing,
        place: Path,
        settings: ArtifactSettings,
        progress: Progress,
    ) -> None:
        self._folder = folder
        self._source = source
        self._reference = reference
        self._listing = listing
        self._place = place
        self._settings = settings
        self._progress = progress
        self._before = 0
        """Bytes of the files that are whole."""

    async def run(self) -> dict[str, Path]:
        """Where each file is, by its path in the model. What went wrong for good is raised; it may be tried again."""
        paths: dict[str, Path] = {}
        for number, file in enumerate(self._listing.files):
            target = self._place / str(number)
            size = await asyncio.to_thread(_size, target)
            if size is None and not await self._have(file, target):
                await self._fetch(file, target)
            self._before += await asyncio.to_thread(_size, target) or 0
            self._progress.done = self._before
            paths[file.path] = target
        return paths

    async def _have(self, file: SourceFile, target: Path) -> bool:
        """Whether another artifact has this file, which then is this one's too."""
        if file.sha256 is None or file.size is None or not self._listing.vouched:
            return False
        return await asyncio.to_thread(self._folder.link_known, file.sha256, file.size, target)

    async def _fetch(self, file: SourceFile, target: Path) -> None:
        """Ask for the rest while more of it comes, and a few times when none does."""
        part = target.with_name(f"{target.name}.part")
        left, pause, reached = self._settings.attempts, _FIRST_PAUSE, await asyncio.to_thread(_size, part) or 0
        while (failure := await self._attempt(file, part)) is not None:
            size = await asyncio.to_thread(_size, part) or 0
            if size > reached:
                left, pause, reached = self._settings.attempts, _FIRST_PAUSE, size
            left -= 1
            if left <= 0:
                raise failure
            await asyncio.sleep(min(max(pause, failure.retry_after or 0.0), _LONGEST_PAUSE))
            pause *= 2
        await self._verify(file, part)
        await asyncio.to_thread(part.rename, target)

    async def _attempt(self, file: SourceFile, part: Path) -> PolyforgeError | None:
        """None once the file is whole, else what may pass."""
        try:
            await self._receive(file, part)
        except PolyforgeError as error:
            if not error.retryable:
                raise
            return error
        return None

    async def _receive(self, file: SourceFile, part: Path) -> None:
        size = await asyncio.to_thread(_size, part) or 0
        if not self._listing.revision:
            # What comes now may be of another file than what came before.
            await asyncio.to_thread(part.unlink, missing_ok=True)
            size = 0
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        pieces = self._source.read(self._reference, self._listing, file, size)
        try:
            while not _is_full(file, size) and (piece := await self._next(pieces)) is not None:
                size += len(piece)
                self._check(file, size)
                await asyncio.to_thread(_write, descriptor, piece)
                self._progress.done = self._before + size
        except OSError as error:
            raise Unavailable(f"{file.path}: cannot be written: {error.strerror}") from error
        finally:
            os.close(descriptor)
            await pieces.aclose()
        if file.size is not None and size < file.size:
            raise Unavailable(f"{file.path}: the source sent {size} of {file.size} bytes")

    def _check(self, file: SourceFile, size: int) -> None:
        most = self._settings.max_bytes - self._before if file.size is None else file.size
        if size > most:
            raise Invalid(f"{file.path}: the source sends more than the {most} bytes that it may have")

    async def _next(self, pieces: AsyncGenerator[bytes]) -> bytes | None:
        try:
            async with asyncio.timeout(self._settings.stall_seconds):
                return await anext(pieces, None)
        except TimeoutError as error:
            raise TimedOut("the source sent nothing for too long") from error

    async def _verify(self, file: SourceFile, part: Path) -> None:
        """What was fetched wrong is not kept: continuing it could not make it right."""
        if file.sha256 is None:
            return
        found = await asyncio.to_thread(hash_of, part)
        if found != file.sha256:
            await asyncio.to_thread(part.unlink)
            raise Invalid(f"{file.path}: its SHA-256 is {found}, not {file.sha256}", param="sha256")


def _is_full(file: SourceFile, size: int) -> bool:
    return size == file.size


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.exists() else None


def _write(descriptor: int, piece: bytes) -> None:
    """All of it, past Python's buffers: what counts as fetched is in the file, also when this process ends now."""
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]
