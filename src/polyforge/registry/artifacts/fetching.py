"""Brings a model onto this machine: looks at what there is, waits for its turn, downloads, unpacks, commits."""

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Invalid, NotFound, TimedOut, TooLarge, Unavailable
from polyforge.ports.model_source import ModelSource, SourceFile, SourceListing, SourceReference
from polyforge.registry.artifacts.downloading import Download, Progress
from polyforge.registry.artifacts.folder import Artifact, ArtifactFolder
from polyforge.registry.artifacts.paths import check_paths
from polyforge.registry.artifacts.settings import ArtifactSettings
from polyforge.registry.artifacts.unarchiving import unarchive

_LOCK_SECONDS: Final = 0.2
_DAY: Final = 86_400.0
_LISTING_SECONDS: Final = 120.0
_UNPACKED: Final = "unpacked"
_T = TypeVar("_T")
_encode = msgspec.json.Encoder(order="deterministic").encode


class Fetched(msgspec.Struct, frozen=True):
    """An artifact, and where exactly it came from; `revision` is empty where the source cannot tell."""

    artifact: Artifact
    revision: str
    pinned: str


class Fetcher:
    """Brings models from `sources`, which are found by the scheme of a URL."""

    def __init__(
        self, folder: ArtifactFolder, sources: Mapping[str, ModelSource], settings: ArtifactSettings, clock: Clock
    ) -> None:
        self.folder = folder
        self._sources = sources
        self._settings = settings
        self._clock = clock

    def source_of(self, reference: SourceReference) -> ModelSource:
        """What reads a reference; Invalid when nothing here does."""
        source = self._sources.get(reference.scheme)
        if source is None:
            known = ", ".join(sorted(self._sources))
            raise Invalid(
                f"source: {reference.scheme[:40]!r} is no kind of source here; there are {known}", param="source"
            )
        return source

    async def look(self, reference: SourceReference, include: Sequence[str] = ()) -> SourceListing:
        """What would be fetched; Invalid, NotFound or TooLarge when it cannot be."""
        source = self.source_of(reference)
        try:
            async with asyncio.timeout(_LISTING_SECONDS):
                found = await source.listing(reference)
        except TimeoutError as error:
            raise TimedOut("the source did not say in time what it has") from error
        if not found.archive:
            wanted = _wanted({file.path: file for file in found.files}, include)
            found = msgspec.structs.replace(found, files=tuple(wanted.values()))
        self._check(found.files)
        return found

    async def fetch(self, reference: SourceReference, include: Sequence[str], progress: Progress) -> Fetched:
        """The artifact, fetched unless it is here; whoever asks for the same while it is being fetched waits for it.

        Cancelled or failed half-way, it goes on from there the next time. Unavailable when the disk does not take it.
        """
        try:
            return await self._fetch(reference, include, progress)
        except OSError as error:
            raise Unavailable(f"the folder of artifacts cannot be used: {error.strerror}") from error

    async def _fetch(self, reference: SourceReference, include: Sequence[str], progress: Progress) -> Fetched:
        await asyncio.to_thread(self.folder.prepare)
        listing = await self.look(reference, include)
        key = _key(reference, listing, include)
        progress.step = "waiting for another download of it"
        async with self._turn(key):
            known = await asyncio.to_thread(self.folder.remembered, key) if listing.revision else None
            artifact = known or await self._bring(reference, listing, include, key, progress)
            if listing.revision and known is None:
                await asyncio.to_thread(self.folder.remember, key, artifact.digest)
        progress.done = progress.total = artifact.manifest.size
        progress.step = "fetched"
        return Fetched(artifact, listing.revision, listing.pinned or reference.url)

    async def sweep(self) -> int:
        """Let go of what was fetched in part long ago; how many of them."""
        oldest = self._clock.now() - self._settings.keep_partial_days * _DAY
        await asyncio.to_thread(self.folder.prepare)
        return await asyncio.to_thread(self.folder.sweep, oldest)

    @asynccontextmanager
    async def _turn(self, key: str) -> AsyncGenerator[None]:
        """Wait until nobody on this machine fetches the same."""
        while (lock := self.folder.try_lock(key)) is None:  # noqa: ASYNC110  # other processes tell nobody
            await asyncio.sleep(_LOCK_SECONDS)
        try:
            yield
        finally:
            os.close(lock)

    async def _bring(
        self,
        reference: SourceReference,
        listing: SourceListing,
        include: Sequence[str],
        key: str,
        progress: Progress,
    ) -> Artifact:
        source = self.source_of(reference)
        place = await asyncio.to_thread(self.folder.workplace, key, resume=bool(listing.revision))
        progress.step, progress.total = "fetching", _total(listing.files)
        await self._check_room(progress.total or 0)
        paths = await Download(self.folder, source, reference, listing, place, self._settings, progress).run()
        if listing.archive:
            progress.step = "unpacking"
            paths = _wanted(await self._unpacked(paths[listing.files[0].path], place / _UNPACKED), include)
        progress.step = "verifying"
        return await asyncio.to_thread(self.folder.commit, place, paths)

    async def _unpacked(self, archive: Path, folder: Path) -> dict[str, Path]:
        """The files of an archive, whose size nobody knows before: they may take what the disk has room for."""
        free = await asyncio.to_thread(self.folder.free_bytes)
        room = max(0, free - self._settings.keep_free_bytes)
        if room >= self._settings.max_bytes:
            return await unarchive(archive, folder, self._settings)
        try:
            return await unarchive(archive, folder, self._settings.model_copy(update={"max_bytes": room}))
        except Invalid as error:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            raise Invalid(f"{error.message}, and the disk has room for no more than {room}", param="source") from error

    def _check(self, files: Sequence[SourceFile]) -> None:
        check_paths(file.path for file in files)
        settings = self._settings
        if len(files) > settings.max_files:
            raise TooLarge(f"the model has {len(files)} files; at most {settings.max_files} are allowed")
        total = sum(file.size or 0 for file in files)
        if total > settings.max_bytes or any((file.size or 0) < 0 for file in files):
            raise TooLarge(f"the model has {total} bytes; at most {settings.max_bytes} are allowed")

    async def _check_room(self, wanted: int) -> None:
        free, kept = await asyncio.to_thread(self.folder.free_bytes), self._settings.keep_free_bytes
        if wanted + kept > free:
            raise Unavailable(f"the disk has {free} bytes left; the model needs {wanted}, and {kept} are to stay free")


def _key(reference: SourceReference, listing: SourceListing, include: Sequence[str]) -> str:
    """What is the same for everybody who asks for the same content in the same way."""
    asked = [reference.url, reference.sha256, listing.revision, sorted(include)]
    return sha256(_encode(asked)).hexdigest()


def _wanted(files: Mapping[str, _T], include: Sequence[str]) -> dict[str, _T]:
    """Those that one of the patterns names, all without patterns; NotFound when there are none."""
    found = {
        path: file for path, file in files.items() if not include or any(fnmatchcase(path, each) for each in include)
    }
    if not found:
        why = "there are no files at the source" if not files else "no file of the model is named by `include`"
        raise NotFound(why, param="include" if files else "source")
    return found


def _total(files: Sequence[SourceFile]) -> int | None:
    sizes = [file.size for file in files]
    return None if None in sizes else sum(size or 0 for size in sizes)
