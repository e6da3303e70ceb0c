"""The artifacts on this machine, in one folder that all its processes share.

    blobs/ab/abcd...         each file once, by its SHA-256
    artifacts/<digest>/      manifest.json, and files/ with hard links to blobs: what a backend loads
    fetched/<key>            the digest that a source gave, by what was asked for and which revision it was
    partial/<key>/           what is being fetched
    pins/<name>              the digest that somebody outside of the database needs
    locks/                   whoever holds the lock of a file there is the only one on this machine

An artifact appears by the rename of its folder, after its files have reached the disk: it is there whole, or not.
All functions here block, and are to be called in threads.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from hashlib import file_digest, sha256
from math import inf
from pathlib import Path
from typing import Final

import msgspec

from polyforge.kernel.errors import Invalid, NotFound, Unavailable
from polyforge.kernel.ids import new_ulid
from polyforge.registry.artifacts.manifest import Manifest, ManifestFile, check_digest, decode_manifest
from polyforge.registry.artifacts.pickles import refuse_pickle

_FOLDERS: Final = ("blobs", "artifacts", "fetched", "partial", "pins", "locks")
_MANIFEST: Final = "manifest.json"
_FILES: Final = "files"
_STORE: Final = "store"
_READ_ONLY: Final = 0o444
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EXDEV, errno.ENOSYS})


class Artifact(msgspec.Struct, frozen=True):
    """One artifact that is there whole; nobody writes into `folder`."""

    digest: str
    folder: Path
    manifest: Manifest


class ArtifactFolder:
    """The store under one folder, made when it is first used."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def prepare(self) -> None:
        """Make the folders; Unavailable when that is not possible."""
        try:
            for name in _FOLDERS:
                (self._root / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"the folder of artifacts cannot be used: {error.strerror}") from error

    def find(self, digest: str) -> Artifact | None:
        """An artifact, None when it is not on this machine; Invalid when its manifest is not what its name says."""
        home = self._home(digest)
        try:
            manifest = decode_manifest((home / _MANIFEST).read_bytes())
        except FileNotFoundError:
            return None
        if manifest.digest != digest:
            raise Invalid(f"the manifest of artifact {digest} was changed")
        return Artifact(digest, home / _FILES, manifest)

    def get(self, digest: str) -> Artifact:
        """An artifact; NotFound when it is not on this machine."""
        found = self.find(digest)
        if found is None:
            raise NotFound(f"the artifact {digest} is not on this machine")
        return found

    def damaged(self, digest: str) -> list[str]:
        """The paths of files that are no longer what the manifest says; reads all of them."""
        artifact = self.get(digest)
        return [file.path for file in artifact.manifest.files if not _is_whole(artifact.folder / file.path, file)]

    def digests(self) -> list[str]:
        """All artifacts, by name."""
        return sorted(each.name for each in (self._root / "artifacts").iterdir() if not each.name.startswith("."))

    def use(self, digest: str) -> Artifact | None:
        """The same as `find`, for who needs it: nobody takes it away as unused for a while."""
        with self.held(_STORE):
            found = self.find(digest)
            if found is not None:
                os.utime(self._home(digest))
        return found

    def pin(self, name: str, digest: str | None) -> None:
        """Keep an artifact under a name of one's own, instead of the one kept under it before; None: keep none."""
        pin = self._root / "pins" / sha256(name.encode()).hexdigest()
        if digest is None:
            pin.unlink(missing_ok=True)
        else:
            self._write(pin, check_digest(digest))

    def unpinned(self, older_than: float) -> list[str]:
        """Artifacts that nobody pinned, and that nobody fetched since then, in seconds since the epoch."""
        self.prepare()
        pinned = {pin.read_text() for pin in (self._root / "pins").iterdir() if not pin.name.startswith(".")}
        return [each for each in self.digests() if each not in pinned and self._age(each) < older_than]

    def _age(self, digest: str) -> float:
        return self._home(digest).stat().st_mtime

    def free_bytes(self) -> int:
        """What the disk has room for."""
        return shutil.disk_usage(self._root).free

    # Putting in and taking out

    def commit(self, source: Path, paths: dict[str, Path]) -> Artifact:
        """Make an artifact of files by path, which are moved out of `source`; the one that there is if it is the same.

        Invalid when a file is a pickle, is no plain file, or cannot lie beside the others.
        """
        try:
            files = [_described(path, file) for path, file in paths.items()]
        except OSError as error:
            raise Unavailable(f"what was fetched cannot be read: {error.strerror}") from error
        if not files:
            raise Invalid("the model has no files")
        manifest = Manifest.of(files)
        digest = manifest.digest
        with self.held(_STORE):
            if self.find(digest) is None:
                self._add(manifest, paths)
            os.utime(self._home(digest))
        shutil.rmtree(source, ignore_errors=True)
        return self.get(digest)

    def _add(self, manifest: Manifest, paths: dict[str, Path]) -> None:
        draft = self._root / "artifacts" / f".{new_ulid()}"
        try:
            self._fill(draft, manifest, paths)
            draft.rename(self._home(manifest.digest))
            _synchronise(self._root / "artifacts")
        except OSError as error:
            shutil.rmtree(draft, ignore_errors=True)
            raise Unavailable(f"the artifact cannot be written: {error.strerror}") from error

    def remove(self, digest: str, older_than: float = inf) -> bool:
        """Take an artifact away, with those of its files that no other artifact has.

        False when it was not there, or somebody has used it since `older_than`, in seconds since the epoch.
        """
        with self.held(_STORE):
            artifact = self.find(digest)
            if artifact is None or self._age(digest) >= older_than:
                return False
            trash = self._root / "artifacts" / f".{new_ulid()}"
            self._home(digest).rename(trash)
            shutil.rmtree(trash, ignore_errors=True)
            for file in artifact.manifest.files:
                self._drop_unused(self._blob(file.sha256))
            return True

    def sweep(self, older_than: float) -> int:
        """Remove what was fetched in part and not touched since `older_than`, in seconds since the epoch; how many.

        Blobs of no artifact, which a process left that ended while it put one in, go too.
        """
        removed = 0
        for folder in list((self._root / "partial").iterdir()):
            with suppress(FileNotFoundError):
                newest = max(each.stat().st_mtime for each in [folder, *folder.rglob("*")])
                if newest < older_than and self._sweep(folder):
                    removed += 1
        with self.held(_STORE):
            for blob in (self._root / "blobs").glob("*/*"):
                if blob.stat().st_mtime < older_than:
                    self._drop_unused(blob)
        return removed

    def _sweep(self, folder: Path) -> bool:
        lock = self.try_lock(folder.name)
        if lock is None:
            return False
        try:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)
        return True

    def _fill(self, draft: Path, manifest: Manifest, paths: dict[str, Path]) -> None:
        for file in manifest.files:
            blob = self._keep(paths[file.path], file)
            target = draft / _FILES / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            _link(blob, target)
        (draft / _MANIFEST).write_bytes(manifest.encode())
        _synchronise(draft / _MANIFEST)
        for folder in [draft, *(each for each in draft.rglob("*") if each.is_dir())]:
            _synchronise(folder)

    def _keep(self, file: Path, described: ManifestFile) -> Path:
        """The blob with the content of a file, which is moved there unless there is one."""
        blob = self._blob(described.sha256)
        if blob.exists() and blob.stat().st_size == described.size:
            return blob
        blob.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.chmod(_READ_ONLY)
        _synchronise(file)
        file.rename(blob)
        return blob

    def _drop_unused(self, blob: Path) -> None:
        with suppress(FileNotFoundError):
            if blob.stat().st_nlink == 1:
                blob.unlink()

    def link_known(self, digest: str, size: int, target: Path) -> bool:
        """Put a file there that some artifact has already; False when none has it."""
        blob = self._blob(check_digest(digest))
        with self.held(_STORE):
            if not blob.exists() or blob.stat().st_size != size:
                return False
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            _link(blob, target)
        return True

    # What was fetched, and what is being fetched

    def remembered(self, key: str) -> Artifact | None:
        """What this key gave when it was fetched, if it is still here; that counts as using it."""
        try:
            digest = check_digest((self._root / "fetched" / key).read_text())
        except (FileNotFoundError, UnicodeDecodeError, Invalid):
            # There is none, or a power cut left a file without its content.
            return None
        return self.use(digest)

    def remember(self, key: str, digest: str) -> None:
        """Keep in mind what a key gave."""
        self._write(self._root / "fetched" / key, digest)

    def _write(self, path: Path, text: str) -> None:
        draft = path.with_name(f".{new_ulid()}")
        draft.write_text(text)
        draft.rename(path)

    def workplace(self, key: str, *, resume: bool) -> Path:
        """The folder for what is being fetched, empty unless to `resume`; only for who holds the lock of the key."""
        folder = self._root / "partial" / key
        if not resume:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def try_lock(self, name: str) -> int | None:
        """A descriptor that holds a lock of this machine until it is closed, or its process ends; None: it is held."""
        descriptor = os.open(self._root / "locks" / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    @contextmanager
    def held(self, name: str) -> Generator[None]:
        """Wait for a lock that nobody holds for long."""
        descriptor = os.open(self._root / "locks" / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _home(self, digest: str) -> Path:
        return self._root / "artifacts" / check_digest(digest)

    def _blob(self, digest: str) -> Path:
        return self._root / "blobs" / digest[:2] / digest


def hash_of(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as opened:
        return file_digest(opened, "sha256").hexdigest()


def _described(path: str, file: Path) -> ManifestFile:
    if file.is_symlink() or not file.is_file():
        raise Invalid(f"{path}: is a link or a device, not a file")
    refuse_pickle(path, file)
    return ManifestFile(path, file.stat().st_size, hash_of(file))


def _is_whole(path: Path, file: ManifestFile) -> bool:
    try:
        return path.stat().st_size == file.size and hash_of(path) == file.sha256
    except OSError:
        return False


def _link(blob: Path, target: Path) -> None:
    """A second name for a file, or where the disk has no such thing, a copy."""
    try:
        target.hardlink_to(blob)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(blob, target)
        target.chmod(_READ_ONLY)
        _synchronise(target)


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
