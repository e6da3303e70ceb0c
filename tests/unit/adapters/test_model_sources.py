"""Sources of models: what they list, how they read from the middle, and whom they do not ask."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from polyforge.adapters.model_sources import azure_blobs, file, https, hugging_face, mlflow
from polyforge.dialects.object_lists import decode_azure, decode_s3
from polyforge.kernel.errors import Conflict, Denied, Invalid, NotFound, PolyforgeError, Unavailable, UpstreamFailed
from polyforge.ports.model_source import ModelSource, SourceListing, SourceReference
from polyforge.ports.secret_source import SecretSource
from tests.support.file_server import FileServer, serving_files
from tests.support.model_places import (
    COMMIT,
    CONTENT,
    HASH,
    TOKEN,
    azure_page,
    hub,
    registry,
    s3_page,
    storage,
)


@pytest.fixture
async def server() -> AsyncIterator[FileServer]:
    async with serving_files() as files:
        files.files["/models/model.onnx"] = CONTENT
        yield files


def ours(url: str, digest: str | None = None) -> SourceReference:
    return SourceReference(url, digest, trusted=True)


async def read(
    source: ModelSource,
    reference: SourceReference,
    listing: SourceListing | None = None,
    offset: int = 0,
    number: int = 0,
) -> bytes:
    listing = listing or await source.listing(reference)
    return b"".join([piece async for piece in source.read(reference, listing, listing.files[number], offset)])


# --- file ---


async def test_a_folder_is_listed_without_what_is_hidden(tmp_path: Path) -> None:
    for path in ("config.json", "1/model.onnx", ".git/config", ".hidden"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(path.encode())
    source = file.FileSource(file.Settings())
    reference = ours(tmp_path.as_uri())
    listing = await source.listing(reference)
    assert [(each.path, each.size) for each in listing.files] == [("config.json", 11), ("1/model.onnx", 12)]
    assert not listing.archive
    assert await read(source, reference, listing, 2, 1) == b"model.onnx"
    assert (await source.listing(reference)).revision == listing.revision
    (tmp_path / "config.json").write_bytes(b"{}")
    assert (await source.listing(reference)).revision != listing.revision
    with pytest.raises(Conflict, match="was changed while"):
        await read(source, reference, listing)


async def test_one_file_is_a_model_and_an_archive_is_to_be_unpacked(tmp_path: Path) -> None:
    source = file.FileSource(file.Settings())
    (tmp_path / "my model.onnx").write_bytes(CONTENT)
    (tmp_path / "model.tar.gz").write_bytes(b"x")
    reference = ours((tmp_path / "my model.onnx").as_uri(), HASH)
    listing = await source.listing(reference)
    assert [(each.path, each.sha256) for each in listing.files] == [("my model.onnx", HASH)]
    assert await read(source, reference, listing) == CONTENT
    assert (await source.listing(ours((tmp_path / "model.tar.gz").as_uri()))).archive
    with pytest.raises(Invalid, match="a folder has none"):
        await source.listing(ours(tmp_path.as_uri(), HASH))


async def test_links_and_pipes_in_a_folder_are_refused(tmp_path: Path) -> None:
    source = file.FileSource(file.Settings())
    for number, make in enumerate(
        [
            lambda at: (at / "model.onnx").symlink_to("/etc/passwd"),
            lambda at: (at / "1").symlink_to("/etc"),
            lambda at: os.mkfifo(at / "model.onnx"),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        make(folder)
        with pytest.raises(Invalid, match="is a link or a device"):
            await source.listing(ours(folder.as_uri()))


async def test_a_file_that_became_a_link_is_not_followed(tmp_path: Path) -> None:
    source = file.FileSource(file.Settings())
    model = tmp_path / "model.onnx"
    model.write_bytes(b"x")
    reference = ours(tmp_path.as_uri())
    listing = await source.listing(reference)
    model.unlink()
    model.symlink_to("/etc/passwd")
    with pytest.raises(Conflict, match="can no longer be read"):
        await read(source, reference, listing)


async def test_others_get_at_declared_folders_only_and_learn_nothing_of_the_rest(tmp_path: Path) -> None:
    shared, private = tmp_path / "shared", tmp_path / "private"
    for folder in (shared, private):
        folder.mkdir()
        (folder / "model.onnx").write_bytes(b"x")
    (shared / "way-out").symlink_to(private)
    source = file.FileSource(file.Settings(folders=(shared,)))
    assert len((await source.listing(SourceReference((shared / "model.onnx").as_uri()))).files) == 1
    told: set[str] = set()
    for path in ("private", "private/model.onnx", "private/absent", "shared/way-out", "shared/../private", "sharedx"):
        with pytest.raises(Denied) as refused:
            await source.listing(SourceReference(f"file://{tmp_path}/{path}"))
        told.add(refused.value.message)
    assert len(told) == 1
    with pytest.raises(NotFound, match="no file or folder"):
        await source.listing(SourceReference(f"file://{shared}/absent"))


@pytest.mark.parametrize("url", ["file://host/folder", "file:relative", "file:///a?b", "file:///a#b", "file:///a%00b"])
async def test_addresses_of_files_that_are_none(url: str) -> None:
    with pytest.raises(Invalid, match=r"^source"):
        await file.FileSource(file.Settings()).listing(ours(url))


# --- https ---


async def test_one_file_behind_a_url(server: FileServer) -> None:
    source = https.HttpsSource(https.Settings(allowed_hosts=("127.0.0.1",)))
    server.tags["/models/model.onnx"] = '"one"'
    reference = SourceReference(f"{server.url}/models/model.onnx?x=1#sha256={HASH}")
    listing = await source.listing(reference)
    assert [(each.path, each.size, each.sha256) for each in listing.files] == [("model.onnx", len(CONTENT), HASH)]
    assert (listing.revision, listing.archive) == (HASH, False)
    assert await read(source, reference, listing) == CONTENT
    assert await read(source, reference, listing, 100) == CONTENT[100:]
    assert server.downloads[-1].headers["range"] == "bytes=100-"
    assert await read(source, reference, listing, len(CONTENT)) == b""
    server.tags["/models/model.onnx"] = '"two"'
    with pytest.raises(Conflict, match="was changed"):
        await read(source, reference, listing, 100)


async def test_a_server_without_ranges_sends_all_and_the_rest_is_taken(server: FileServer) -> None:
    server.ranges = False
    source = https.HttpsSource(https.Settings())
    reference = ours(f"{server.url}/models/model.onnx", HASH)
    assert (await source.listing(reference)).files[0].size == len(CONTENT)
    assert await read(source, reference, offset=300) == CONTENT[300:]


async def test_redirects_are_followed_a_few_times(server: FileServer) -> None:
    source = https.HttpsSource(https.Settings(allowed_hosts=("127.0.0.1",)))
    server.redirects = {"/a": "/b", "/b": f"{server.url}/models/model.onnx", "/circle": "/circle"}
    assert await read(source, ours(f"{server.url}/a", HASH)) == CONTENT
    with pytest.raises(Unavailable, match="redirects more than 5 times"):
        await source.listing(ours(f"{server.url}/circle", HASH))


async def test_a_redirect_does_not_lead_into_a_private_network(server: FileServer) -> None:
    """Not even one of somebody who may name such hosts: this one was not named."""
    server.redirects["/a"] = f"http://localhost:{server.port}/models/model.onnx"
    with pytest.raises(Denied, match="localhost"):
        await https.HttpsSource(https.Settings()).listing(ours(f"{server.url}/a", HASH))
    assert [each.path for each in server.requests] == ["/a"]


@pytest.mark.parametrize(
    ("url", "error", "reason"),
    [
        ("https://127.0.0.1/m", Denied, "private network"),
        ("https://169.254.169.254/m", Denied, "private network"),
        ("https://[::1]/m", Denied, "private network"),
        ("https://[::ffff:10.0.0.1]/m", Denied, "private network"),
        ("https://[64:ff9b::a00:1]/m", Denied, "private network"),
        ("https://0.0.0.0/m", Denied, "private network"),
        ("http://127.0.0.1/m", Denied, "without TLS"),
        ("https://user:secret@example.com/m", Invalid, "credentials"),
        ("https:///m", Invalid, "must be an"),
    ],
)
async def test_addresses_that_are_not_asked(url: str, error: type[PolyforgeError], reason: str) -> None:
    with pytest.raises(error, match=reason) as raised:
        await https.HttpsSource(https.Settings()).listing(SourceReference(url, HASH))
    assert "secret" not in raised.value.message


async def test_a_hash_has_to_be_given() -> None:
    source = https.HttpsSource(https.Settings())
    with pytest.raises(Invalid, match="give the SHA-256"):
        await source.listing(ours("https://example.com/model.onnx"))
    with pytest.raises(Invalid, match="is not the sha256"):
        await source.listing(ours(f"https://example.com/model.onnx#sha256={'0' * 64}", HASH))


@pytest.mark.parametrize(
    ("status", "error", "retryable"),
    [
        (404, NotFound, False),
        (403, Denied, False),
        (401, Denied, False),
        (503, Unavailable, True),
        (429, Unavailable, True),
        (400, Invalid, False),
    ],
)
async def test_what_a_refusal_means(
    server: FileServer, status: int, error: type[PolyforgeError], retryable: bool
) -> None:
    server.statuses["/models/model.onnx"] = [status]
    with pytest.raises(error) as raised:
        await https.HttpsSource(https.Settings()).listing(ours(f"{server.url}/models/model.onnx", HASH))
    assert raised.value.retryable is retryable


async def test_a_connection_that_ends_early_is_something_that_may_pass(server: FileServer) -> None:
    source = https.HttpsSource(https.Settings())
    reference = ours(f"{server.url}/models/model.onnx", HASH)
    listing = await source.listing(reference)
    server.breaks = [100]
    with pytest.raises(PolyforgeError) as raised:
        await read(source, reference, listing)
    assert raised.value.retryable


# --- hugging face ---


async def test_a_repository_is_listed_at_its_commit_and_read_from_where_the_hub_sends_one(server: FileServer) -> None:
    source = hub(server, "onnx/model.onnx", "pytorch_model.bin", "training_args.bin", ".gitattributes")
    reference = SourceReference("hf://org/name@v1")
    listing = await source.listing(reference)
    assert [(each.path, each.size, each.sha256) for each in listing.files] == [
        ("onnx/model.onnx", len(CONTENT), HASH),
        ("config.json", 2, None),
    ]
    assert (listing.revision, listing.pinned) == (COMMIT, f"hf://org/name@{COMMIT}")
    assert await read(source, reference, listing, 100) == CONTENT[100:]
    assert await read(source, reference, listing, number=1) == b"{}"
    by_path = {each.path.partition("?")[0]: each.headers.get("authorization") for each in server.requests}
    assert by_path[f"/org/name/resolve/{COMMIT}/onnx/model.onnx"] == f"Bearer {TOKEN}"
    assert by_path["/storage"] is None


async def test_a_repository_of_pickles_alone_is_refused(server: FileServer) -> None:
    source = hub(server, "pytorch_model.bin")
    info = server.files["/api/models/org/name/revision/main"].replace(b"config.json", b"model.pt")
    server.files["/api/models/org/name/revision/main"] = info
    with pytest.raises(Invalid, match="run code when read"):
        await source.listing(SourceReference("hf://org/name"))


@pytest.mark.parametrize(
    "url", ["hf://", "hf://a/b/c", "hf:org/name", "hf://org/", "hf://org/name?x", "hf://-org/na..me"]
)
async def test_names_that_no_model_of_the_hub_has(server: FileServer, url: str) -> None:
    with pytest.raises(Invalid, match=r"^source"):
        await hub(server).listing(SourceReference(url))
    assert not server.requests


def _fill_cache(cache: Path) -> None:
    """As the library leaves it: a snapshot of links to files by their hashes."""
    model = cache / "models--org--name"
    for folder in ("blobs", "refs", f"snapshots/{COMMIT}/onnx"):
        (model / folder).mkdir(parents=True)
    (model / "refs/main").write_text(COMMIT)
    (model / "blobs/b1").write_bytes(CONTENT)
    (model / f"snapshots/{COMMIT}/onnx/model.onnx").symlink_to("../../../blobs/b1")


async def test_without_the_hub_its_cache_is_used(server: FileServer, tmp_path: Path) -> None:
    _fill_cache(tmp_path)
    source = hugging_face.HuggingFaceSource(hugging_face.Settings(endpoint=server.url, offline=True, cache=tmp_path))
    reference = SourceReference("hf://org/name")
    listing = await source.listing(reference)
    assert [(each.path, each.size) for each in listing.files] == [("onnx/model.onnx", len(CONTENT))]
    assert listing.revision == COMMIT
    assert await read(source, reference, listing, 300) == CONTENT[300:]
    assert not server.requests
    with pytest.raises(NotFound, match="not in the cache"):
        await source.listing(SourceReference("hf://org/other"))
    (tmp_path / f"models--org--name/snapshots/{COMMIT}/evil.onnx").symlink_to("/etc/passwd")
    with pytest.raises(Invalid, match="leads out"):
        await source.listing(reference)


async def test_while_the_hub_is_away_the_cache_is_for_who_runs_the_machine(tmp_path: Path) -> None:
    _fill_cache(tmp_path)
    async with serving_files() as gone:
        url = gone.url
    source = hugging_face.HuggingFaceSource(hugging_face.Settings(endpoint=url, cache=tmp_path, timeout_seconds=1))
    assert (await source.listing(ours("hf://org/name"))).revision == COMMIT
    for reference in (SourceReference("hf://org/name"), ours("hf://org/other")):
        with pytest.raises(Unavailable):
            await source.listing(reference)


# --- object storage ---


def _is_signed(server: FileServer) -> bool:
    """Whether AWS's own signer would have signed all requests as they were."""
    for request in server.requests:
        signed = request.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
        theirs = AWSRequest("GET", f"{server.url}{request.path}", headers={k: request.headers[k] for k in signed})
        theirs.context["timestamp"] = request.headers["x-amz-date"]
        signer = auth.S3SigV4Auth(Credentials("AKID", "s3cret"), "s3", "eu-central-1")
        text = signer.string_to_sign(theirs, signer.canonical_request(theirs))
        if not request.headers["authorization"].endswith(f"Signature={signer.signature(text, theirs)}"):
            return False
    return True


async def test_objects_below_a_prefix_are_a_model(server: FileServer) -> None:
    listed = "/models/?list-type=2&prefix=minilm"
    server.files[listed] = s3_page("minilm/config.json", "minilm/", "minilm-large/x", following="more=")
    server.files["/models/?continuation-token=more%3D&list-type=2&prefix=minilm"] = s3_page(
        "minilm/onnx/a model+1.onnx"
    )
    server.files["/models/minilm/onnx/a%20model%2B1.onnx"] = CONTENT
    server.tags["/models/minilm/onnx/a%20model%2B1.onnx"] = '"e-0"'
    source = storage(server, "models")
    await source.open(cast(SecretSource, object()))
    reference = SourceReference("s3://models/minilm")
    listing = await source.listing(reference)
    assert [each.path for each in listing.files] == ["config.json", "onnx/a model+1.onnx"]
    assert await read(source, reference, listing, 100, 1) == CONTENT[100:]
    assert server.requests[-1].headers["if-match"] == '"e-0"'
    assert _is_signed(server)
    assert len(server.requests) == 3
    server.files[listed] = s3_page("minilm/config.json", "minilm/new")
    assert (await source.listing(reference)).revision != listing.revision
    server.tags["/models/minilm/onnx/a%20model%2B1.onnx"] = '"other"'
    with pytest.raises(Conflict, match="was changed"):
        await read(source, reference, listing, 100, 1)
    await source.close()


async def test_one_object_may_be_an_archive(server: FileServer) -> None:
    server.files["/models/?list-type=2&prefix=a%2Fm.zip"] = s3_page("a/m.zip", "a/m.zip.sha")
    source = storage(server)
    await source.open(cast(SecretSource, object()))
    listing = await source.listing(ours("s3://models/a/m.zip", HASH))
    assert [(each.path, each.sha256) for each in listing.files] == [("m.zip", HASH)]
    assert listing.archive


async def test_buckets_that_nobody_opened_to_all_are_not_asked(server: FileServer) -> None:
    source = storage(server, "models")
    await source.open(cast(SecretSource, object()))
    with pytest.raises(Denied, match="buckets that the settings name"):
        await source.listing(SourceReference("s3://private/minilm"))
    for url in ("s3://", "s3://UPPER/x", "s3://models/a?b", "s3://../x"):
        with pytest.raises(Invalid, match="should look like"):
            await source.listing(ours(url))
    assert not server.requests
    server.files["/models/?list-type=2&prefix=absent"] = s3_page()
    with pytest.raises(NotFound, match="nothing in the bucket"):
        await source.listing(ours("s3://models/absent"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no xml",
        s3_page("a")[:-10],
        b"<a>" * 20,
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        s3_page("a").replace(b"<Size>", b"<Size>x"),
    ],
)
def test_lists_of_objects_that_are_none(body: bytes) -> None:
    with pytest.raises(UpstreamFailed, match="cannot be read"):
        decode_s3(body)
    with pytest.raises(UpstreamFailed, match="cannot be read"):
        decode_azure(body.replace(b"Contents", b"Blob").replace(b"Key", b"Name").replace(b"Size", b"Content-Length"))


# --- mlflow ---


@pytest.mark.parametrize(
    "url", ["mlflow:churn/3", "mlflow:churn@champion", "mlflow:models:/churn/3", "mlflow://churn/3"]
)
async def test_a_version_of_a_registry_is_read_through_its_server(server: FileServer, url: str) -> None:
    source = registry(server)
    reference = SourceReference(url)
    listing = await source.listing(reference)
    assert [(each.path, each.size) for each in listing.files] == [("MLmodel", 2), ("data/model.onnx", len(CONTENT))]
    assert listing.pinned == "mlflow:churn/3"
    assert await read(source, reference, listing, 9, 1) == CONTENT[9:]
    assert {each.headers["authorization"] for each in server.requests} == {"Bearer s3cret"}


async def test_what_the_registry_cannot_give_is_told(server: FileServer) -> None:
    for url in ("mlflow:churn", "mlflow:churn/latest", "mlflow:a/b/3", "mlflow:churn/0"):
        with pytest.raises(Invalid, match="should look like"):
            await registry(server).listing(SourceReference(url))
    with pytest.raises(Invalid, match="it lies at s3://bucket/m, so add it from there"):
        await registry(server, "s3://bucket/m").listing(SourceReference("mlflow:churn/3"))
    with pytest.raises(NotFound):
        await registry(server).listing(SourceReference("mlflow:absent/3"))
    server.files["/api/2.0/mlflow/model-versions/get?name=churn&version=3"] = b"<html>"
    with pytest.raises(UpstreamFailed, match="something else"):
        await _registry_of(server).listing(SourceReference("mlflow:churn/3"))


def _registry_of(server: FileServer) -> mlflow.MlflowSource:
    return mlflow.MlflowSource(mlflow.Settings(tracking_uri=server.url))


# --- azure ---


async def test_blobs_below_a_prefix_are_a_model(server: FileServer) -> None:
    listed = "/models?restype=container&comp=list&prefix=minilm"
    sas = "sv=2021&sig=a%2Fb%3D"
    server.files[f"{listed}&{sas}"] = azure_page("minilm/config.json", "minilm-large/x", following="m/1")
    server.files[f"{listed}&marker=m%2F1&{sas}"] = azure_page("minilm/a model.onnx")
    server.files["/models/minilm/a%20model.onnx"] = CONTENT
    server.tags["/models/minilm/a%20model.onnx"] = '"0x0"'
    made = {"endpoint": server.url, "sas_token": f"?{sas}", "containers": ["models"]}
    source = azure_blobs.AzureBlobSource(azure_blobs.Settings.model_validate(made))
    reference = SourceReference("az://models/minilm")
    listing = await source.listing(reference)
    assert [(each.path, each.size) for each in listing.files] == [
        ("config.json", len(CONTENT)),
        ("a model.onnx", len(CONTENT)),
    ]
    assert await read(source, reference, listing, 50, 1) == CONTENT[50:]
    assert server.requests[-1].path.endswith(f"?{sas}")
    server.tags["/models/minilm/a%20model.onnx"] = '"0x7"'
    with pytest.raises(Conflict, match="was changed"):
        await read(source, reference, listing, 50, 1)
    with pytest.raises(Denied, match="containers that the settings name"):
        await source.listing(SourceReference("az://private/minilm"))
    with pytest.raises(Invalid, match="should look like"):
        await source.listing(ours("az://UP/x"))
    server.files[f"{listed}&{sas}"] = azure_page()
    with pytest.raises(NotFound, match="nothing in the container"):
        await source.listing(reference)
