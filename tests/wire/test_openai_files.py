"""OpenAI's official client against /v1/files, on a real installation."""

from pathlib import Path

import openai
import pytest
from openai import OpenAI

from tests.support.clients import Response
from tests.support.server import Key, Polyforge

LARGE = 12 * 1024 * 1024


@pytest.fixture
def client(house: Polyforge) -> OpenAI:
    return client_of(house, house.create_key(scopes=["files:read", "files:write"]))


def client_of(house: Polyforge, key: Key) -> OpenAI:
    return OpenAI(base_url=f"{house.url}/v1", api_key=key.key, max_retries=0)


def test_a_file_goes_there_and_back(client: OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"custom_id": "1"}\n' * 1000)
    with path.open("rb") as opened:
        file = client.files.create(file=opened, purpose="batch")
    assert (file.filename, file.bytes, file.purpose, file.status) == ("lines.jsonl", 19_000, "batch", "processed")
    assert file.expires_at
    assert client.files.retrieve(file.id) == file
    assert client.files.content(file.id).read() == path.read_bytes()
    deleted = client.files.delete(file.id)
    assert (deleted.id, deleted.deleted) == (file.id, True)
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_a_large_file_streams_both_ways(client: OpenAI, tmp_path: Path) -> None:
    content = bytes(range(256)) * (LARGE // 256)
    file = client.files.create(file=("large.bin", content), purpose="user_data")
    assert file.bytes == LARGE
    with client.files.with_streaming_response.content(file.id) as answer:
        assert answer.headers["content-length"] == str(LARGE)
        answer.stream_to_file(tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content
    part = client.files.with_raw_response.content(file.id, extra_headers={"range": "bytes=1000-1009"})
    assert (part.status_code, part.content) == (206, content[1_000:1_010])


def test_lists_are_paged_by_the_client(house: Polyforge) -> None:
    own = client_of(house, house.create_key(scopes=["files:read", "files:write"]))
    ids = [own.files.create(file=(f"{number}.txt", b"x"), purpose="evals").id for number in range(5)]
    found = [file.id for file in own.files.list(limit=2, purpose="evals", order="asc")]
    assert found == ids
    assert [file.id for file in own.files.list(purpose="evals", order="desc")] == ids[::-1]
    first = own.files.list(limit=2, purpose="evals", order="asc")
    assert first.has_more
    assert [file.id for file in own.files.list(after=ids[3], purpose="evals", order="asc")] == ids[4:]


def test_when_a_file_goes_is_said_with_it(client: OpenAI) -> None:
    file = client.files.create(
        file=("a", b"x"), purpose="user_data", expires_after={"anchor": "created_at", "seconds": 7_200}
    )
    assert file.expires_at is not None
    assert abs(file.expires_at - file.created_at - 7_200) <= 60


def test_refusals_are_openais(client: OpenAI, house: Polyforge) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.files.create(file=("a", b"x"), purpose="fun")  # pyright: ignore[reportArgumentType]
    assert refused.value.param == "purpose"
    with pytest.raises(openai.NotFoundError):
        client.files.content("file-none")
    with pytest.raises(openai.PermissionDeniedError, match="files:write"):
        client_of(house, house.create_key()).files.create(file=("a", b"x"), purpose="batch")
    with pytest.raises(openai.AuthenticationError):
        OpenAI(base_url=f"{house.url}/v1", api_key="pf-none", max_retries=0).files.list()


def test_without_a_form_nothing_is_uploaded(house: Polyforge) -> None:
    key = house.create_key(scopes=["files:write"]).key
    answer: Response = house.call("/v1/files", key=key, method="POST", json={"purpose": "batch"})
    assert answer.status == 400
    assert "multipart/form-data" in answer.json["error"]["message"]


def test_who_hangs_up_in_the_middle_harms_nobody(client: OpenAI) -> None:
    file = client.files.create(file=("large.bin", bytes(LARGE)), purpose="user_data")
    with client.files.with_streaming_response.content(file.id) as answer:
        assert next(answer.iter_bytes(1_000))
    assert client.files.retrieve(file.id) == file
    assert len(client.files.content(file.id).read()) == LARGE
