"""A Triton repository that is looked at again and again: what changes in it is taken up while the host answers.

A model is loaded, or loaded anew, once two looks in a row have seen the same files: one that is still being copied
waits. What cannot be loaded is tried again when its files change, or when another model was taken up.
"""

import asyncio
import os
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Final

from polyforge.kernel.errors import Invalid, PolyforgeError
from polyforge.serving.triton.control import ModelControl
from polyforge.serving.triton.layout import TritonRepository
from polyforge.telemetry.logs import get_logger

MAX_FILES: Final = 10_000
"""Of one model; what is beyond is not looked at."""
MAX_DEPTH: Final = 8
"""Folders in folders that are looked into; links may lead in circles."""
NOT_LOOKED_AT: Final = "__pycache__"
"""Python writes it beside what it reads."""

_log = get_logger(__name__)

Marks = dict[str, bytes]
"""By model, what changes when any of its files does."""


class RepositoryPoller:
    """Looks into `folder` every `seconds`, and has `control` take up what changed since `begin`."""

    def __init__(self, folder: Path, control: ModelControl, seconds: float) -> None:
        self._folder = folder
        self._control = control
        self._seconds = seconds
        self._taken: Marks = {}
        self._last: Marks = {}
        self._failed: set[str] = set()
        self._complaint = ""

    async def begin(self) -> None:
        """Note how the repository is, before every model of it is loaded."""
        self._taken = await self._marks() or {}
        self._last = dict(self._taken)

    async def follow(self) -> None:
        """Look again and again until this is cancelled."""
        while True:
            await asyncio.sleep(self._seconds)
            try:
                await self.look()
            except Exception:  # noqa: BLE001  what is served goes on being served
                _log.exception("the model repository could not be followed")

    async def look(self) -> None:
        """Take up what changed before the last look, and has not since."""
        marks = await self._marks()
        if marks is None:
            return
        changed = [name for name, mark in marks.items() if self._last.get(name) == mark != self._taken.get(name)]
        gone = [name for name in self._taken if name not in marks and name not in self._last]
        self._last = marks
        for name in gone:
            del self._taken[name]
            self._failed.discard(name)
            await self._unload(name)
        for name in changed:
            self._taken[name] = marks[name]
        await self._load_all(changed)

    async def _load_all(self, changed: Iterable[str]) -> None:
        fresh = [name for name in changed if await self._load(name)]
        if not fresh:
            return
        failed = self._failed.union(self._control.failing.intersection(self._taken))
        # An ensemble knows what the models that it is made of take and give.
        for name in sorted(failed.union(self._control.ensembles_of(fresh)) - set(fresh)):
            await self._load(name)

    async def _load(self, name: str) -> bool:
        try:
            await self._control.load(name)
        except PolyforgeError as error:
            self._failed.add(name)
            _log.error("a changed model is not taken up", model=name, reason=error.message)
            return False
        self._failed.discard(name)
        _log.info("a model of the repository was taken up", model=name)
        return True

    async def _unload(self, name: str) -> None:
        if self._control.serves(name):
            await self._control.unload(name)
            _log.info("a model has left the repository", model=name)

    async def _marks(self) -> Marks | None:
        """None when the repository cannot be read; that is logged once."""
        try:
            marks = await asyncio.to_thread(marks_of, self._folder)
        except Invalid as error:
            if error.message != self._complaint:
                _log.error("the model repository stays as it is", reason=error.message)
            self._complaint = error.message
            return None
        self._complaint = ""
        return marks


def marks_of(repository: Path) -> Marks:
    """What tells a change of each model of a repository; Invalid when it cannot be read."""
    return {name: _mark(repository / name) for name in TritonRepository(repository, ()).names()}


def _mark(folder: Path) -> bytes:
    digest = blake2b(digest_size=16)
    for seen in sorted(_seen(folder)):
        digest.update(repr(seen).encode())
    return digest.digest()


def _seen(folder: Path) -> Iterator[tuple[str, int, int, int]]:
    """Paths of files with their size, time and number on the disk; and of folders, which may be versions, alone."""
    count = 0
    for place, folders, files in os.walk(folder, followlinks=True):
        inside = Path(place).relative_to(folder)
        folders[:] = [name for name in folders if name != NOT_LOOKED_AT and len(inside.parts) < MAX_DEPTH]
        yield str(inside), 0, 0, 0
        for name in files:
            count += 1
            if count > MAX_FILES:
                return
            yield _seen_file(Path(place, name), str(inside / name))


def _seen_file(path: Path, name: str) -> tuple[str, int, int, int]:
    try:
        found = path.stat()
    except OSError:
        # It went while it was looked at, or its link leads nowhere.
        return name, -1, 0, 0
    return name, found.st_size, found.st_mtime_ns, found.st_ino
