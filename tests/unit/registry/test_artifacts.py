"""Artifacts: what comes in whole, once, and only if it may; and what is refused, with the reason."""

import asyncio
import io
import os
import pickle
import stat
import struct
import tarfile
import time
import zipfile
from collections.abc import AsyncGenerator
from hashlib import sha256
from pathlib import Path

import pytest

from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import Invalid, NotFound, PolyforgeError, TooLarge, Unavailable
from polyforge.ports.model_source import SourceFile, SourceListing, SourceReference
from polyforge.registry.artifacts.downloading import Progress
from polyforge.registry.artifacts.fetching import Fetched, Fetcher
from polyforge.registry.artifacts.folder import ArtifactFolder
from polyforge.registry.artifacts.manifest import Manifest, ManifestFile, decode_manifest
from polyforge.registry.artifacts.paths import check_paths
from polyforge.registry.artifacts.pickles import MAX_DIRECTORY_BYTES, refuse_pickle
from polyforge.registry.artifacts.settings import ArtifactSettings
from polyforge.registry.artifacts.unpacking import unpack
from tests.support.waiting import eventually_async

REFERENCE = SourceReference("test:model")


class Source:
    """Files in memory. `breaks` are how many bytes the next readings give before they fail."""

    def __init__(self, files: dict[str, bytes], *, revision: str = "1", hashes: bool = False) -> None:
        self.files = files
        self.revision = revision
        self.hashes = hashes
        self.archive = False
        self.vouched = False
        self.breaks: list[int] = []
        self.readings: list[tuple[str, int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: PolyforgeError = Unavailable("the line broke")

    async def open(self, secrets: object) -> None: ...

    async def close(self) -> None: ...

    async def listing(self, reference: SourceReference) -> SourceListing:
        files = tuple(
            SourceFile(path, len(content), sha256(content).hexdigest() if self.hashes else None)
            for path, content in self.files.items()
        )
        return SourceListing(files, self.revision, archive=self.archive, vouched=self.vouched)

    async def read(
        self, reference: SourceReference, listing: SourceListing, file: SourceFile, offset: int
    ) -> AsyncGenerator[bytes]:
        self.readings.append((file.path, offset))
        await self.gate.wait()
        content = self.files[file.path][offset:]
        if self.breaks:
            most = self.breaks.pop(0)
            if most:
                yield content[:most]
            raise self.failure
        for start in range(0, len(content), 3):
            yield content[start : start + 3]


class Place:
    """A store and what fills it."""

    def __init__(self, root: Path, source: Source, **limits: float) -> None:
        self.source = source
        self.folder = ArtifactFolder(root)
        settings = ArtifactSettings.model_validate({"keep_free_bytes": 0, "attempts": 2, **limits})
        self.clock = FakeClock(time.time())
        self.fetcher = Fetcher(self.folder, {"test": source}, settings, self.clock)

    async def fetch(self, *include: str, progress: Progress | None = None) -> Fetched:
        return await self.fetcher.fetch(REFERENCE, include, progress or Progress())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between attempts."""
    monkeypatch.setattr("polyforge.registry.artifacts.downloading._FIRST_PAUSE", 0.0)
    monkeypatch.setattr("polyforge.registry.artifacts.fetching._LOCK_SECONDS", 0.001)


async def test_a_model_lies_in_a_folder_named_by_the_hash_of_its_manifest(tmp_path: Path) -> None:
    place = Place(tmp_path, Source({"b/model.onnx": b"weights", "a.json": b"{}"}))
    progress = Progress()
    artifact = (await place.fetch(progress=progress)).artifact
    assert (artifact.folder / "b/model.onnx").read_bytes() == b"weights"
    manifest = (artifact.folder.parent / "manifest.json").read_bytes()
    assert artifact.digest == sha256(manifest).hexdigest() == artifact.folder.parent.name
    assert decode_manifest(manifest) == artifact.manifest
    assert [file.path for file in artifact.manifest.files] == ["a.json", "b/model.onnx"]
    assert (progress.done, progress.total, progress.step) == (9, 9, "fetched")
    assert not list((tmp_path / "partial").iterdir())
    assert not stat.S_IMODE((artifact.folder / "a.json").stat().st_mode) & 0o222


async def test_the_same_files_are_the_same_artifact_wherever_they_come_from(tmp_path: Path) -> None:
    first, second = Source({"a": b"1", "b": b"2"}), Source({"b": b"2", "a": b"1"}, revision="other")
    one = (await Place(tmp_path, first).fetch()).artifact
    two = (await Place(tmp_path, second).fetch()).artifact
    assert one == two
    assert Place(tmp_path, first).folder.digests() == [one.digest]


@pytest.mark.usefixtures("quick")
async def test_a_broken_download_goes_on_where_it_stopped(tmp_path: Path) -> None:
    source = Source({"model": b"0123456789"})
    source.breaks = [4, 3]
    artifact = (await Place(tmp_path, source).fetch()).artifact
    assert source.readings == [("model", 0), ("model", 4), ("model", 7)]
    assert (artifact.folder / "model").read_bytes() == b"0123456789"


@pytest.mark.usefixtures("quick")
async def test_attempts_without_a_byte_come_to_an_end_and_a_later_fetch_goes_on(tmp_path: Path) -> None:
    source = Source({"model": b"0123456789"})
    source.breaks = [4, 0, 0]
    with pytest.raises(Unavailable, match="the line broke"):
        await Place(tmp_path, source).fetch()
    source.breaks, source.readings = [], []
    await Place(tmp_path, source).fetch()
    assert source.readings == [("model", 4)]


@pytest.mark.usefixtures("quick")
async def test_what_cannot_pass_is_not_tried_again(tmp_path: Path) -> None:
    source = Source({"model": b"0123456789"})
    source.breaks, source.failure = [4], NotFound("it is gone")
    with pytest.raises(NotFound, match="it is gone"):
        await Place(tmp_path, source).fetch()
    assert len(source.readings) == 1


@pytest.mark.usefixtures("quick")
async def test_a_cancelled_download_leaves_no_artifact_and_goes_on_later(tmp_path: Path) -> None:
    source = Source({"a": b"first", "b": b"second"})
    place = Place(tmp_path, source)
    source.gate.clear()
    task = asyncio.create_task(place.fetch())
    await eventually_async(lambda: bool(source.readings))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert place.folder.digests() == []
    source.gate.set()
    assert (await place.fetch()).artifact.manifest.size == 11


@pytest.mark.usefixtures("quick")
async def test_without_a_revision_nothing_of_an_earlier_attempt_is_used(tmp_path: Path) -> None:
    source = Source({"model": b"0123456789"}, revision="")
    source.breaks = [4]
    await Place(tmp_path, source).fetch()
    assert source.readings == [("model", 0), ("model", 0)]


@pytest.mark.usefixtures("quick")
async def test_however_many_ask_one_of_them_downloads(tmp_path: Path) -> None:
    source = Source({"model": b"0123456789"})
    places = [Place(tmp_path, source) for _ in range(5)]
    source.gate.clear()
    tasks = [asyncio.create_task(place.fetch()) for place in places]
    await eventually_async(lambda: bool(source.readings))
    await asyncio.sleep(0.02)
    source.gate.set()
    found = await asyncio.gather(*tasks)
    assert source.readings == [("model", 0)]
    assert len({each.artifact.digest for each in found}) == 1


async def test_a_file_that_another_artifact_has_is_not_fetched_again(tmp_path: Path) -> None:
    source = Source({"tokenizer": b"words", "model": b"old"}, hashes=True)
    source.vouched = True
    place = Place(tmp_path, source)
    old = (await place.fetch()).artifact
    source.files, source.revision, source.readings = {"tokenizer": b"words", "model": b"new"}, "2", []
    new = (await place.fetch()).artifact
    assert source.readings == [("model", 0)]
    assert (old.folder / "tokenizer").samefile(new.folder / "tokenizer")
    assert place.folder.remove(old.digest)
    assert (new.folder / "tokenizer").read_bytes() == b"words"
    assert place.folder.damaged(new.digest) == []
    assert place.folder.remove(new.digest)
    assert not place.folder.remove(new.digest)
    assert not list((tmp_path / "blobs").glob("*/*"))


async def test_who_only_knows_the_hash_of_a_file_does_not_get_it(tmp_path: Path) -> None:
    private = Source({"model": b"private"})
    await Place(tmp_path, private).fetch()
    guessed = Source({"model": b"privatX"})

    async def listing(reference: SourceReference) -> SourceListing:
        return SourceListing((SourceFile("model", 7, sha256(b"private").hexdigest()),), "guess")

    guessed.listing = listing
    with pytest.raises(Invalid, match="its SHA-256 is"):
        await Place(tmp_path, guessed).fetch()


async def test_a_wrong_hash_is_refused_and_what_came_is_not_kept(tmp_path: Path) -> None:
    source = Source({"model": b"0123456789"}, hashes=True)
    place = Place(tmp_path, source)
    good = await source.listing(REFERENCE)
    source.files = {"model": b"012345678X"}

    async def listing(reference: SourceReference) -> SourceListing:
        return good

    source.listing = listing
    with pytest.raises(Invalid, match="its SHA-256 is"):
        await place.fetch()
    source.files = {"model": b"0123456789"}
    assert (await place.fetch()).artifact.manifest.size == 10


async def test_a_source_may_not_send_more_than_it_said(tmp_path: Path) -> None:
    source = Source({"model": b"0123"})
    good = await source.listing(REFERENCE)
    source.files = {"model": b"0123456789"}

    async def listing(reference: SourceReference) -> SourceListing:
        return good

    source.listing = listing
    with pytest.raises(Invalid, match="more than the 4 bytes"):
        await Place(tmp_path, source).fetch()


async def test_too_many_bytes_and_too_many_files_are_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    source = Source({"a": b"0123", "b": b"0123"})
    with pytest.raises(TooLarge, match="8 bytes"):
        await Place(tmp_path, source, max_bytes=7).fetch()
    with pytest.raises(TooLarge, match="2 files"):
        await Place(tmp_path, source, max_files=1).fetch()
    with pytest.raises(Unavailable, match="the disk has"):
        await Place(tmp_path, source, keep_free_bytes=2**62).fetch()
    assert source.readings == []


async def test_only_files_that_are_asked_for_are_fetched(tmp_path: Path) -> None:
    source = Source({"onnx/model.onnx": b"1", "onnx/model_fp16.onnx": b"2", "config.json": b"3"})
    artifact = (await Place(tmp_path, source).fetch("*.json", "onnx/model.onnx")).artifact
    assert [file.path for file in artifact.manifest.files] == ["config.json", "onnx/model.onnx"]
    with pytest.raises(NotFound, match="include"):
        await Place(tmp_path, source).fetch("*.bin")


async def test_an_unknown_scheme_names_the_known_ones(tmp_path: Path) -> None:
    place = Place(tmp_path, Source({}))
    with pytest.raises(Invalid, match="'gopher' is no kind of source here; there are test"):
        await place.fetcher.fetch(SourceReference("gopher://x"), (), Progress())
    with pytest.raises(NotFound, match="no files"):
        await place.fetch()


async def test_damage_on_the_disk_is_found(tmp_path: Path) -> None:
    place = Place(tmp_path, Source({"a": b"1", "b": b"2"}))
    artifact = (await place.fetch()).artifact
    assert place.folder.damaged(artifact.digest) == []
    (artifact.folder / "b").chmod(0o644)
    (artifact.folder / "b").write_bytes(b"3")
    assert place.folder.damaged(artifact.digest) == ["b"]
    changed = Manifest.of([ManifestFile("a", 1, sha256(b"1").hexdigest())])
    (artifact.folder.parent / "manifest.json").write_bytes(changed.encode())
    with pytest.raises(Invalid, match="was changed"):
        place.folder.get(artifact.digest)


async def test_an_artifact_that_was_asked_for_again_is_not_taken_away_as_unused(tmp_path: Path) -> None:
    place = Place(tmp_path, Source({"model": b"0123456789"}))
    digest = (await place.fetch()).artifact.digest
    os.utime(tmp_path / "artifacts" / digest, (1.0, 1.0))
    assert place.folder.unpinned(older_than=2.0) == [digest]
    await place.fetch()
    assert not place.folder.remove(digest, older_than=2.0)
    assert place.folder.damaged(digest) == []
    assert place.folder.remove(digest)


@pytest.mark.usefixtures("quick")
async def test_what_was_fetched_in_part_goes_after_some_days_but_not_what_is_being_fetched(tmp_path: Path) -> None:
    source = Source({"model": b"0123456789"})
    place = Place(tmp_path, source, keep_partial_days=1)
    source.breaks = [4, 0, 0]
    with pytest.raises(Unavailable):
        await place.fetch()
    assert await place.fetcher.sweep() == 0
    place.clock.advance(2 * 86_400)
    key = next((tmp_path / "partial").iterdir()).name
    lock = place.folder.try_lock(key)
    assert lock is not None
    assert await place.fetcher.sweep() == 0
    os.close(lock)
    assert await place.fetcher.sweep() == 1
    assert not list((tmp_path / "partial").iterdir())


# --- archives ---


def _zip(files: dict[str, bytes], *, link: str | None = None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        if link is not None:
            info = zipfile.ZipInfo(link)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, "/etc/passwd")
    return out.getvalue()


def _tar(*members: tuple[str, bytes | str], kind: bytes = tarfile.SYMTYPE) -> bytes:
    """Files by name; a text stands for a link to it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = kind, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


async def test_an_archive_is_unpacked_without_the_one_folder_around_everything(tmp_path: Path) -> None:
    source = Source({"model.zip": _zip({"minilm/config.json": b"{}", "minilm/onnx/model.onnx": b"w"})})
    source.archive = True
    artifact = (await Place(tmp_path, source).fetch()).artifact
    assert [file.path for file in artifact.manifest.files] == ["config.json", "onnx/model.onnx"]
    assert not list((tmp_path / "partial").iterdir())


async def test_what_is_to_stay_free_on_the_disk_stays_so_when_an_archive_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source({"model.zip": _zip({"weights": bytes(100_000)})})
    source.archive = True
    place = Place(tmp_path, source, keep_free_bytes=10_000)
    monkeypatch.setattr(place.folder, "free_bytes", lambda: 50_000)
    with pytest.raises(Invalid, match="the archive holds more than 40000 bytes, and the disk has room for no more"):
        await place.fetch()
    monkeypatch.setattr(place.folder, "free_bytes", lambda: 500_000)
    assert (await place.fetch()).artifact.manifest.size == 100_000


async def test_what_is_wrong_with_an_archive_is_told(tmp_path: Path) -> None:
    source = Source({"model.zip": _zip({"../evil": b"x"})})
    source.archive = True
    with pytest.raises(Invalid, match="leads out of it"):
        await Place(tmp_path, source).fetch()
    assert not (tmp_path / "partial" / "evil").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(_zip({"../evil": b"x"}), "leads out", id="zip slip"),
        pytest.param(_zip({"/etc/evil": b"x"}), "leads out", id="absolute"),
        pytest.param(_zip({"a\\..\\b": b"x"}), "characters", id="backslashes"),
        pytest.param(_zip({}, link="model.onnx"), "a link or a device", id="link in a zip"),
        pytest.param(_tar(("model.onnx", "/etc/passwd")), "a link or a device", id="link in a tar"),
        pytest.param(_tar(("a", b"x"), ("b", "a"), kind=tarfile.LNKTYPE), "a link or a device", id="hard link"),
        pytest.param(_tar(("pipe", ""), kind=tarfile.FIFOTYPE), "a link or a device", id="pipe"),
        pytest.param(_tar(("../evil", b"x")), "leads out", id="tar slip"),
        pytest.param(_tar(("a", b"x"), ("a", b"y")), "twice", id="twice"),
        pytest.param(_tar(("a", b"x"), ("a/b", b"y")), "twice, or is both", id="file and folder"),
        pytest.param(_tar(("Model", b"x"), ("model", b"y")), "same file on some disks", id="upper and lower case"),
        pytest.param(_zip({"a": b"x" * 5_000_000}), "more than 1000000 bytes", id="bomb"),
        pytest.param(_zip({str(number): b"" for number in range(101)}), "more than 100 files", id="many files"),
        pytest.param(_zip({}), "holds no files", id="empty"),
        pytest.param(_zip({"a": b"x" * 100})[:-30], "broken", id="zip cut off"),
        pytest.param(_tar(("a", os.urandom(10_000)))[:-5000], "broken", id="tar cut off"),
        pytest.param(b"no archive at all", "broken", id="no archive"),
    ],
)
def test_archives_that_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    archive, out = tmp_path / "archive", tmp_path / "out" / "inner"
    archive.write_bytes(content)
    out.mkdir(parents=True)
    with pytest.raises(Invalid, match=reason):
        unpack(archive, out, 100, 1_000_000)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["archive", "out"]
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["inner"]
    assert not any(each.is_symlink() for each in out.rglob("*"))


def test_a_tar_is_unpacked(tmp_path: Path) -> None:
    archive, out = tmp_path / "archive", tmp_path / "out"
    archive.write_bytes(_tar(("./1/model.onnx", b"w"), ("config.pbtxt", b"c")))
    out.mkdir()
    unpack(archive, out, 2, 2)
    assert (out / "1/model.onnx").read_bytes() == b"w"


# --- names and content ---


@pytest.mark.parametrize(
    "paths",
    [
        [""],
        ["/a"],
        ["a/"],
        ["a//b"],
        ["./a"],
        ["a/../b"],
        [".."],
        ["C:/a"],
        ["a\\b"],
        ["a\x00"],
        ["a\n"],
        ["a" * 256],
        ["a/" * 16 + "b"],
        ["é", "e\u0301"],
        ["a", "a/b/c"],
        ["a", "A"],
    ],
)
def test_paths_that_no_model_may_have(paths: list[str]) -> None:
    with pytest.raises(Invalid):
        check_paths(paths)


def test_paths_that_models_have() -> None:
    check_paths(["1/model.onnx", "1_Pooling/config.json", "modèle été.json", "a.b-c_d/.gitattributes"])


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.getenv, ("HOME",)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_is_found_whatever_its_name(tmp_path: Path, protocol: int) -> None:
    for content in (_Evil(), {"a": 1}, [1, 2], b"bytes"):
        file = tmp_path / "file"
        file.write_bytes(pickle.dumps(content, protocol))
        with pytest.raises(Invalid, match="runs code when it is read"):
            refuse_pickle("weights.bin", file)


def test_pickles_in_zips_and_by_name_are_found_and_weights_are_not(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(_zip({"archive/data.pkl": b"x", "archive/data/0": b"w"}))
    with pytest.raises(Invalid, match="holds a pickle"):
        refuse_pickle("pytorch_model.bin", file)
    file.write_bytes(b"PK\x03\x04 nothing more")
    with pytest.raises(Invalid, match="begins like a zip"):
        refuse_pickle("model.bin", file)
    file.write_bytes(b"c__builtin__\neval\n")
    with pytest.raises(Invalid, match="run code"):
        refuse_pickle("Model.PKL", file)
    for harmless in (b"", b"\x08\x07\x12", b"\x80", b"\x80\x00\x00\x3f", _zip({"weights.npy": b"x"})):
        file.write_bytes(harmless)
        refuse_pickle("model.onnx", file)


async def test_a_model_with_a_pickle_is_refused_whole(tmp_path: Path) -> None:
    place = Place(tmp_path, Source({"model.onnx": b"w", "weights.bin": pickle.dumps({"a": 1})}))
    with pytest.raises(Invalid, match=r"weights\.bin: is a pickle"):
        await place.fetch()
    assert place.folder.digests() == []


def test_a_zip_with_an_absurd_list_of_contents_is_refused_before_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "file"
    listed = MAX_DIRECTORY_BYTES + 1
    with file.open("wb") as opened:
        opened.write(b"PK\x03\x04")
        opened.truncate(4 + listed)
        opened.seek(0, os.SEEK_END)
        # The end of the central directory, as APPNOTE.TXT has it: entries, the directory's size and where it begins.
        opened.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, listed, 4, 0))
    with pytest.raises(Invalid, match="lists more than"):
        refuse_pickle("weights.npz", file)


async def test_what_was_remembered_badly_is_fetched_anew(tmp_path: Path) -> None:
    place = Place(tmp_path, Source({"model.onnx": b"weights"}))
    first = await place.fetch()
    (note,) = (tmp_path / "fetched").iterdir()
    note.write_text("")
    assert (await place.fetch()).artifact.digest == first.artifact.digest
    assert note.read_text() == first.artifact.digest


async def test_a_disk_that_takes_nothing_is_told_and_without_its_paths(tmp_path: Path) -> None:
    place = Place(tmp_path, Source({"model.onnx": b"weights"}))
    await place.fetch()
    (note,) = (tmp_path / "fetched").iterdir()
    note.unlink()
    note.mkdir()
    with pytest.raises(Unavailable, match="the folder of artifacts cannot be used") as caught:
        await place.fetch()
    assert str(tmp_path) not in caught.value.message
