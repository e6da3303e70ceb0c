"""OpenAI's files: what is asked for, and what is refused."""

import json

import pytest

from polyforge.dialects import openai_files as files
from polyforge.kernel.errors import Invalid, NotFound

ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


def test_a_list_is_asked_for() -> None:
    assert files.read_listing(b"") == files.Listing(10_000, "desc", None, None)
    asked = f"limit=2&order=asc&after=file-{ULID}&purpose=batch".encode()
    assert files.read_listing(asked) == files.Listing(2, "asc", ULID, "batch")


@pytest.mark.parametrize("query", [b"limit=0", b"limit=10001", b"limit=x", b"limit=-1", b"order=up"])
def test_a_list_that_cannot_be_is_refused(query: bytes) -> None:
    with pytest.raises(Invalid):
        files.read_listing(query)


@pytest.mark.parametrize("id_", ["", "file-", ULID, f"batch_{ULID}", f"file-{ULID}0", "file-" + "U" * 26, "file-../x"])
def test_what_cannot_be_an_id_is_not_found(id_: str) -> None:
    with pytest.raises(NotFound) as refused:
        files.ulid_of(id_)
    assert "there is no file" in refused.value.message


def test_an_id_is_an_id() -> None:
    assert files.ulid_of(files.file_id(ULID)) == ULID
    assert files.ulid_of(f"file-{ULID.lower()}") == ULID


@pytest.mark.parametrize(
    "fields",
    [
        {"expires_after[anchor]": "created_at"},
        {"expires_after[seconds]": "3600"},
        {"expires_after[anchor]": "last_active_at", "expires_after[seconds]": "3600"},
        {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3599"},
        {"expires_after[anchor]": "created_at", "expires_after[seconds]": "2592001"},
        {"expires_after[anchor]": "created_at", "expires_after[seconds]": "soon"},
        {"expires_after[anchor]": "created_at", "expires_after[seconds]": "9" * 5_000},
    ],
)
def test_an_expiry_that_cannot_be_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        files.read_expiry(fields)


def test_what_a_form_says() -> None:
    assert files.read_expiry({}) is None
    assert files.read_expiry({"expires_after[anchor]": "created_at", "expires_after[seconds]": "7200"}) == 7_200
    assert files.read_purpose({"purpose": "batch"}) == "batch"
    for fields in ({}, {"purpose": "batch_output"}, {"purpose": ""}):
        with pytest.raises(Invalid):
            files.read_purpose(fields)


def test_a_page_says_where_it_ends() -> None:
    file = files.FileObject(id="file-1", bytes=3, created_at=1, filename="a", purpose="batch")
    page = json.loads(files.encode_page([file], [file.id], more=True))
    assert (page["first_id"], page["last_id"], page["has_more"]) == ("file-1", "file-1", True)
    assert page["data"][0]["status"] == "processed"
    assert json.loads(files.encode_page([], [], more=False))["first_id"] is None
