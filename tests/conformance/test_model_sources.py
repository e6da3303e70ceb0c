"""What every source of models does; what is particular to each is in tests/unit/adapters."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple, cast

import pytest

from polyforge.adapters.model_sources import azure_blobs, file, https
from polyforge.kernel.errors import Invalid, NotFound, PolyforgeError
from polyforge.ports.model_source import ModelSource, SourceFile, SourceReference
from polyforge.ports.secret_source import SecretSource
from polyforge.registry.artifacts.paths import check_paths
from tests.support.file_server import FileServer, serving_files
from tests.support.model_places import CONTENT, HASH, azure_page, hub, registry, s3_page, storage


class Place(NamedTuple):
    """A source, a model of one file there, something that is not there, and what is no address of its kind."""

    source: ModelSource
    model: SourceReference
    absent: SourceReference
    wrong: SourceReference


def _file(server: FileServer, folder: Path) -> Place:
    (folder / "model.onnx").write_bytes(CONTENT)
    at = folder.as_uri()
    source = file.FileSource(file.Settings(folders=(folder,)))
    return Place(source, _at(at), _at(f"{at}/absent"), _at("file://elsewhere/m"))


def _https(server: FileServer, folder: Path) -> Place:
    server.files["/m/model.onnx"] = CONTENT
    source = https.HttpsSource(https.Settings(allowed_hosts=("127.0.0.1",)))
    absent = SourceReference(f"{server.url}/absent", HASH)
    return Place(source, SourceReference(f"{server.url}/m/model.onnx", HASH), absent, _at(f"{server.url}/m/model.onnx"))


def _hugging_face(server: FileServer, folder: Path) -> Place:
    source = hub(server, "model.onnx")
    server.statuses["/api/models/org/absent/revision/main"] = [404] * 5
    return Place(source, _at("hf://org/name@v1"), _at("hf://org/absent"), _at("hf://a/b/c"))


def _object_storage(server: FileServer, folder: Path) -> Place:
    server.files["/models/?list-type=2&prefix=m"] = s3_page("m/model.onnx")
    server.files["/models/?list-type=2&prefix=absent"] = s3_page()
    server.files["/models/m/model.onnx"] = CONTENT
    return Place(storage(server, "models"), _at("s3://models/m"), _at("s3://models/absent"), _at("s3://models/m?x"))


def _azure(server: FileServer, folder: Path) -> Place:
    server.files["/models?restype=container&comp=list&prefix=m"] = azure_page("m/model.onnx")
    server.files["/models?restype=container&comp=list&prefix=absent"] = azure_page()
    server.files["/models/m/model.onnx"] = CONTENT
    source = azure_blobs.AzureBlobSource(azure_blobs.Settings(endpoint=server.url, containers=("models",)))
    return Place(source, _at("az://models/m"), _at("az://models/absent"), _at("az://models/m?x"))


def _mlflow(server: FileServer, folder: Path) -> Place:
    return Place(registry(server), _at("mlflow:churn/3"), _at("mlflow:absent/3"), _at("mlflow:churn"))


def _at(url: str) -> SourceReference:
    return SourceReference(url)


PLACES: dict[str, Callable[[FileServer, Path], Place]] = {
    "file": _file,
    "https": _https,
    "hugging_face": _hugging_face,
    "object_storage": _object_storage,
    "azure_blobs": _azure,
    "mlflow": _mlflow,
}


@pytest.fixture(params=PLACES)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    async with serving_files() as server:
        made = PLACES[request.param](server, tmp_path)
        await made.source.open(cast(SecretSource, object()))
        yield made
        await made.source.close()


async def _model(place: Place) -> SourceFile:
    listing = await place.source.listing(place.model)
    return next(each for each in listing.files if each.path.endswith("model.onnx"))


async def test_it_lists_paths_that_may_lie_in_a_folder_with_their_sizes(place: Place) -> None:
    listing = await place.source.listing(place.model)
    check_paths(each.path for each in listing.files)
    assert (await _model(place)).size == len(CONTENT)
    assert not listing.archive


async def test_the_same_content_has_the_same_revision(place: Place) -> None:
    first, second = [await place.source.listing(place.model) for _ in range(2)]
    assert first == second
    assert first.revision


@pytest.mark.parametrize("offset", [0, 1, 255, len(CONTENT) - 1, len(CONTENT)])
async def test_it_reads_from_any_byte_on(place: Place, offset: int) -> None:
    listing = await place.source.listing(place.model)
    pieces = place.source.read(place.model, listing, await _model(place), offset)
    assert b"".join([piece async for piece in pieces]) == CONTENT[offset:]


async def test_reading_may_end_early(place: Place) -> None:
    listing = await place.source.listing(place.model)
    for _ in range(3):
        pieces = place.source.read(place.model, listing, await _model(place), 0)
        assert CONTENT.startswith(await anext(pieces))
        await pieces.aclose()


async def test_what_is_not_there_is_not_found_and_what_is_no_address_is_refused(place: Place) -> None:
    with pytest.raises(NotFound):
        await place.source.listing(place.absent)
    with pytest.raises(Invalid) as refused:
        await place.source.listing(place.wrong)
    assert refused.value.param in ("source", "sha256")


async def test_a_place_that_is_gone_is_no_defect_of_ours(place: Place, tmp_path: Path) -> None:
    model = await _model(place)
    listing = await place.source.listing(place.model)
    (tmp_path / "model.onnx").unlink(missing_ok=True)
    gone = SourceFile(model.path, model.size, model.sha256, model.locator.replace("model.onnx", "gone.onnx"))
    reference = SourceReference(place.model.url.replace("model.onnx", "gone.onnx"), place.model.sha256)
    with pytest.raises(PolyforgeError):
        await anext(place.source.read(reference, listing, gone, 0))
