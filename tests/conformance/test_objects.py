"""Every store of objects against the suite of its port, and what each does beside."""

import asyncio
import json
import os
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from polyforge.adapters.objects import az, folder, gs, memory, s3
from polyforge.kernel.errors import Unavailable
from polyforge.kernel.ids import new_ulid
from polyforge.ports.objects import ObjectStore
from tests.conformance.audit_sinks import NoSecrets
from tests.conformance.objects import LARGE, ObjectSuite, broken, keys, pieces, whole
from tests.support import clouds
from tests.support.moto import KEY, REGION, SECRET, Buckets, buckets
from tests.support.ports import refusing_port
from tests.support.vault import Secrets

__all__ = ["buckets"]


class TestMemory(ObjectSuite):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> ObjectStore:
        return memory.MemoryObjects(memory.Settings(), tmp_path)


class TestFolder(ObjectSuite):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[ObjectStore]:
        store = folder.FolderObjects(folder.Settings(), tmp_path)
        await store.open(NoSecrets())
        yield store
        await store.close()


class TestS3(ObjectSuite):
    @pytest.fixture
    async def store(self, buckets: Buckets, tmp_path: Path) -> AsyncIterator[ObjectStore]:
        store = s3.S3Objects(bucket_settings(buckets), tmp_path)
        await store.open(NoSecrets())
        yield store
        await store.close()


class TestGoogle(ObjectSuite):
    """Against a stand-in that speaks Google's XML API, without TLS and OAuth."""

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[ObjectStore]:
        with clouds.running(clouds.Google) as cloud:
            store = gs.GoogleObjects(google_settings(cloud), tmp_path)
            await store.open(NoSecrets())
            yield store
            await store.close()


class TestAzure(ObjectSuite):
    """Against a stand-in that speaks Azure's API, and looks at signatures."""

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[ObjectStore]:
        with clouds.running(clouds.Azure) as cloud:
            store = az.AzureObjects(azure_settings(cloud), tmp_path)
            await store.open(NoSecrets())
            yield store
            await store.close()


class OverHttp(gs.Settings):
    """Google's own is always TLS."""

    def client_options(self) -> dict[str, Any]:
        return {**super().client_options(), "allow_http": True}


def google_settings(cloud: clouds.CloudServer, **settings: object) -> gs.Settings:
    key = {
        "gcs_base_url": cloud.url,
        "disable_oauth": True,
        "client_email": "",
        "private_key": "",
        "private_key_id": "",
    }
    return OverHttp.model_validate({"bucket": clouds.PLACE, "service_account_key": json.dumps(key), **settings})


def azure_settings(cloud: clouds.CloudServer, **settings: object) -> az.Settings:
    given = {"account": clouds.ACCOUNT, "account_key": clouds.ACCOUNT_KEY, "container": clouds.PLACE}
    return az.Settings.model_validate({**given, "endpoint": f"{cloud.url}/{clouds.ACCOUNT}", **settings})


def bucket_settings(buckets: Buckets, **settings: object) -> s3.Settings:
    """A bucket of its own."""
    return s3.Settings.model_validate(
        {
            "bucket": buckets.bucket(f"b-{new_ulid().lower()}"),
            "endpoint": buckets.url,
            "region": REGION,
            "access_key_id": KEY,
            "secret_access_key": SECRET,
            **settings,
        }
    )


# --- memory ---


async def test_memory_has_an_end(tmp_path: Path) -> None:
    store = memory.MemoryObjects(memory.Settings(max_bytes=1024), tmp_path)
    await store.put("p/a", pieces(bytes(1000)))
    await store.put("p/a", pieces(bytes(1024)))
    with pytest.raises(Unavailable):
        await store.put("p/b", pieces(b"x"))
    assert await keys(store, "p/") == ["p/a"]


# --- folder ---


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


async def test_only_their_owner_can_read_files(tmp_path: Path) -> None:
    store = folder.FolderObjects(folder.Settings(), tmp_path)
    await store.put("p/files/a", pieces(b"a"))
    (path,) = files(tmp_path)
    assert path.is_relative_to(tmp_path / folder.FOLDER / "p")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_what_breaks_off_leaves_no_file(tmp_path: Path) -> None:
    store = folder.FolderObjects(folder.Settings(), tmp_path)
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the content raises
        await store.put("p/a", broken(bytes(1_000_000)))
    assert files(tmp_path) == []


async def test_what_was_left_behind_long_ago_is_removed_and_nothing_else(tmp_path: Path) -> None:
    incoming = tmp_path / folder.FOLDER / ".incoming"
    incoming.mkdir(parents=True)
    old, new = incoming / new_ulid(), incoming / new_ulid()
    for path in (old, new):
        path.write_bytes(b"half")
    long_ago = time.time() - 2 * 86_400
    os.utime(old, (long_ago, long_ago))
    store = folder.FolderObjects(folder.Settings(), tmp_path)
    await store.open(NoSecrets())
    assert files(tmp_path) == [new]


async def test_a_folder_that_is_none_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    store = folder.FolderObjects(folder.Settings(path=tmp_path / "file"), tmp_path)
    with pytest.raises(Unavailable, match="folder of objects"):
        await store.put("p/a", pieces(b"a"))
    with pytest.raises(Unavailable, match="folder of objects"):
        await store.stat("p/a")


async def test_two_processes_see_the_same_objects(tmp_path: Path) -> None:
    one, other = (folder.FolderObjects(folder.Settings(), tmp_path) for _ in range(2))
    await one.put("p/a", pieces(b"a"))
    assert await whole(other, "p/a") == b"a"
    await other.delete("p/a")
    assert await keys(one, "p/") == []


async def test_who_reads_goes_on_when_it_is_replaced(tmp_path: Path) -> None:
    store = folder.FolderObjects(folder.Settings(), tmp_path)
    await store.put("p/a", pieces(b"1" * 2_000_000))
    reading = store.get("p/a")
    beginning = await anext(reading)
    await store.put("p/a", pieces(b"2" * 10))
    assert set(beginning + b"".join([piece async for piece in reading])) == {ord("1")}


# --- S3 ---


async def test_it_lies_below_the_prefix(buckets: Buckets, tmp_path: Path) -> None:
    settings = bucket_settings(buckets, prefix="mine/here")
    store = s3.S3Objects(settings, tmp_path)
    await store.open(NoSecrets())
    await store.put("p/files/a", pieces(b"a"))
    listed = await asyncio.to_thread(buckets.client.list_objects_v2, Bucket=settings.bucket)
    assert [each["Key"] for each in listed["Contents"]] == ["mine/here/p/files/a"]
    await store.close()


async def test_a_large_object_goes_up_in_parts(buckets: Buckets, tmp_path: Path) -> None:
    settings = bucket_settings(buckets)
    store = s3.S3Objects(settings, tmp_path)
    await store.open(NoSecrets())
    await store.put("p/large", pieces(bytes(LARGE)))
    await store.put("p/small", pieces(bytes(100)))
    tags = {
        each["Key"].rpartition("/")[2]: each["ETag"].strip('"')
        for each in (await asyncio.to_thread(buckets.client.list_objects_v2, Bucket=settings.bucket))["Contents"]
    }
    # The ETag of an object that was made of parts ends with how many they were.
    assert int(tags["large"].partition("-")[2]) > 1
    assert "-" not in tags["small"]
    await store.close()


async def test_a_storage_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with refusing_port() as port:
        settings = s3.Settings.model_validate(
            {
                "bucket": "absent",
                "endpoint": f"http://127.0.0.1:{port}",
                "region": REGION,
                "access_key_id": KEY,
                "secret_access_key": SECRET,
                "timeout_seconds": 1,
            }
        )
        store = s3.S3Objects(settings, tmp_path)
        await store.open(NoSecrets())
        for size in (10, LARGE):
            with pytest.raises(Unavailable) as refused:
                await store.put("p/a", pieces(bytes(size)))
            assert SECRET not in refused.value.message
        with pytest.raises(Unavailable):
            await store.stat("p/a")
        with pytest.raises(Unavailable):
            await keys(store, "p/")
        await store.close()


async def test_a_bucket_that_is_not_there_is_no_missing_object(buckets: Buckets, tmp_path: Path) -> None:
    settings = bucket_settings(buckets).model_copy(update={"bucket": "absent"})
    store = s3.S3Objects(settings, tmp_path)
    await store.open(NoSecrets())
    for size in (1, LARGE):
        with pytest.raises(Unavailable, match="bucket"):
            await store.put("p/a", pieces(bytes(size)))
    await store.close()


async def test_keys_may_be_secrets_that_come_later(buckets: Buckets, tmp_path: Path) -> None:
    settings = bucket_settings(buckets, access_key_id="secret:key", secret_access_key="secret:secret")
    store = s3.S3Objects(settings, tmp_path)
    secrets = Secrets()
    await store.open(secrets)
    with pytest.raises(Unavailable):
        await store.put("p/a", pieces(b"a"))
    secrets.put("key", KEY)
    secrets.put("secret", SECRET)
    await store.put("p/a", pieces(b"a"))
    assert await whole(store, "p/a") == b"a"
    await store.close()


@pytest.mark.parametrize("wrong", [{"access_key_id": "a"}, {"session_token": "t"}, {"bucket": "A"}, {"prefix": "../x"}])
def test_settings_of_s3_that_do_not_fit_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        s3.Settings.model_validate({"bucket": "fine", **wrong})


# --- Google, Azure ---


async def test_what_is_wrong_with_google_and_azure_is_told(tmp_path: Path) -> None:
    with clouds.running(clouds.Google) as google, clouds.running(clouds.Azure) as azure:
        wrong: list[ObjectStore] = [
            gs.GoogleObjects(google_settings(google, bucket="absent"), tmp_path),
            az.AzureObjects(azure_settings(azure, container="absent"), tmp_path),
            az.AzureObjects(azure_settings(azure, account_key="c2VzYW1l"), tmp_path),
            gs.GoogleObjects(
                gs.Settings.model_validate({"bucket": "files", "service_account_key": "no JSON"}), tmp_path
            ),
        ]
        for store in wrong:
            await store.open(NoSecrets())
            with pytest.raises(Unavailable) as refused:
                await store.put("p/a", pieces(b"a"))
            assert "c2VzYW1l" not in refused.value.message
            await store.close()


async def test_objects_of_google_and_azure_lie_below_the_prefix(tmp_path: Path) -> None:
    with clouds.running(clouds.Google) as google, clouds.running(clouds.Azure) as azure:
        for cloud, store in (
            (google, gs.GoogleObjects(google_settings(google, prefix="mine/here"), tmp_path)),
            (azure, az.AzureObjects(azure_settings(azure, prefix="mine/here"), tmp_path)),
        ):
            await store.open(NoSecrets())
            await store.put("p/large", pieces(bytes(LARGE)))
            assert list(cloud.objects) == ["mine/here/p/large"]
            assert cloud.parts == {}
            await store.close()
