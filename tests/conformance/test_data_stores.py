"""Every store of data against the suite of its port, and what each does beside."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from polyforge.adapters.data_stores import az, folder, gs, s3
from polyforge.kernel.errors import Invalid
from polyforge.kernel.ids import new_ulid
from polyforge.ports.data_store import DataStore
from tests.conformance.audit_sinks import NoSecrets
from tests.conformance.data_stores import DataSuite, whole
from tests.conformance.objects import pieces
from tests.support.moto import KEY, REGION, SECRET, Buckets, buckets

__all__ = ["buckets"]


class TestFolder(DataSuite):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[DataStore]:
        store = folder.FolderData(folder.Settings(path=tmp_path / "lake"), tmp_path)
        await store.open(NoSecrets())
        yield store
        await store.close()


class TestS3(DataSuite):
    @pytest.fixture
    async def store(self, buckets: Buckets, tmp_path: Path) -> AsyncIterator[DataStore]:
        settings = {
            "bucket": buckets.bucket(f"b-{new_ulid().lower()}"),
            "prefix": "team/data",
            "endpoint": buckets.url,
            "region": REGION,
            "access_key_id": KEY,
            "secret_access_key": SECRET,
        }
        store = s3.S3Data(s3.Settings.model_validate(settings), tmp_path)
        await store.open(NoSecrets())
        yield store
        await store.close()


async def test_files_of_others_are_read_and_links_lead_nowhere(tmp_path: Path) -> None:
    lake, outside = tmp_path / "lake", tmp_path / "outside"
    for each in (lake, outside):
        each.mkdir()
    (lake / "in.csv").write_text("a")
    (outside / "secret.csv").write_text("b")
    (lake / "out").symlink_to(outside)
    (lake / "link.csv").symlink_to(outside / "secret.csv")
    store = folder.FolderData(folder.Settings(path=lake), tmp_path)
    assert await whole(store, "in.csv") == b"a"
    for path in ("link.csv", "out/secret.csv"):
        with pytest.raises(Invalid, match="leads out"):
            await whole(store, path)
        with pytest.raises(Invalid, match="leads out"):
            await store.put(path, pieces(b"x"))
    assert (outside / "secret.csv").read_text() == "b"


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (s3.Settings, {"bucket": "lake"}),
        (gs.Settings, {"bucket": "lake"}),
        (az.Settings, {"account": "lake", "container": "data"}),
        (folder.Settings, {}),
    ],
)
def test_what_may_be_read_is_named(kind: type[BaseModel], values: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=r"prefix|path"):
        kind.model_validate(values)
