"""Batches on a real installation, with OpenAI's own client: killed workers and full providers lose no line."""

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI
from openai.types import Batch

from tests.support.behaviours import Answer, Fail
from tests.support.commands import Commands
from tests.support.server import ALL, Polyforge, stopping
from tests.support.settings import UPSTREAM_KEY, settings, solo
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

SOAK = bool(os.environ.get("POLYFORGE_SOAK"))
pytestmark = [pytest.mark.integration, pytest.mark.timeout(7_200 if SOAK else 900)]
EMBEDDER = "polyforge/static-minilm"
SCOPES = ["inference", "files:read", "files:write", "jobs:read"]
ENDED = {"completed", "failed", "expired", "cancelled"}
PATIENCE = 3_000.0 if SOAK else 300.0
KILLS = 3
LAKE = "lake"


@pytest.fixture(scope="module")
def provider() -> Iterator[Upstream]:
    server = Upstream(api_key=UPSTREAM_KEY).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def house(provider: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Polyforge]:
    # Few lines in a call, so that there is time to be killed in.
    folder = tmp_path_factory.mktemp("batches")
    lake = folder / LAKE
    lake.mkdir()
    store = {"use": "folder", "path": str(lake), "projects": ["*"]}
    batches = {"inputs_at_once": 4, "lines_at_once": 4, "stores": {LAKE: store}}
    models = {**solo("crowded"), **solo("steady"), **solo("plain"), **solo("full"), **solo("rows")}
    server = Polyforge(
        folder,
        settings(provider, models, batches=batches, gateway={"cooldown_seconds": 1}),
        roles=ALL,
    )
    with stopping(server):
        yield server


@pytest.fixture
def client(house: Polyforge) -> OpenAI:
    return OpenAI(base_url=f"{house.url}/v1", api_key=house.create_key(scopes=SCOPES).key, max_retries=2)


def lines(endpoint: str, bodies: list[dict[str, Any]]) -> bytes:
    return b"".join(
        json.dumps({"custom_id": f"line-{number}", "method": "POST", "url": endpoint, "body": body}).encode() + b"\n"
        for number, body in enumerate(bodies)
    )


def begin(client: OpenAI, endpoint: Any, bodies: list[dict[str, Any]]) -> Batch:
    file = client.files.create(file=("in.jsonl", lines(endpoint, bodies)), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h")


def ended(client: OpenAI, batch: Batch) -> Batch:
    def look() -> Batch | None:
        now = client.batches.retrieve(batch.id)
        return now if now.status in ENDED else None

    found = eventually(look, "the end of the batch", PATIENCE)
    assert found is not None
    return found


def answers(client: OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    assert file_id is not None
    return [json.loads(line) for line in client.files.content(file_id).text.splitlines()]


def completed(batch: Batch) -> int:
    return batch.request_counts.completed if batch.request_counts else 0


@pytest.mark.soak
def test_a_batch_outlives_its_workers(house: Polyforge, client: OpenAI, soak: bool) -> None:
    count = 50_000 if soak else 5_000
    bodies = [{"model": EMBEDDER, "input": f"line {number} of many"} for number in range(count)]
    batch = begin(client, "/v1/embeddings", bodies)
    for kill in range(1, KILLS + 1):

        def reached(least: int = count * kill // 10) -> bool:
            now = client.batches.retrieve(batch.id)
            assert now.status not in ENDED, f"it ended before it was killed {KILLS} times"
            return completed(now) >= least and bool(house.pids("worker"))

        eventually(reached, f"enough lines before kill {kill}", PATIENCE)
        house.kill("worker")
    done = ended(client, batch)
    assert (done.status, completed(done), done.error_file_id) == ("completed", count, None)
    found = answers(client, done.output_file_id)
    assert [line["custom_id"] for line in found] == [f"line-{number}" for number in range(count)]
    assert all(line["response"]["status_code"] == 200 for line in found)
    vectors = [line["response"]["body"]["data"][0]["embedding"] for line in found]
    assert {len(vector) for vector in vectors} == {256}
    # Each line has the answer to its own words: the same as when it is asked for alone.
    for number in (0, count // 2, count - 1):
        alone = client.embeddings.create(model=EMBEDDER, input=bodies[number]["input"], encoding_format="float")
        assert vectors[number] == pytest.approx(alone.data[0].embedding, abs=1e-6)


def test_a_provider_that_has_no_room_is_waited_for(provider: Upstream, client: OpenAI) -> None:
    refusal = Fail(429, headers={"retry-after": "1"})
    provider.script(
        "crowded", *[refusal if number % 5 == 2 else Answer("fine") for number in range(60)], Answer("fine")
    )
    bodies = [
        {"model": "crowded", "messages": [{"role": "user", "content": f"say {number}"}], "max_tokens": 5}
        for number in range(40)
    ]
    done = ended(client, begin(client, "/v1/chat/completions", bodies))
    assert (done.status, completed(done), done.error_file_id) == ("completed", 40, None)
    found = answers(client, done.output_file_id)
    assert [line["custom_id"] for line in found] == [f"line-{number}" for number in range(40)]
    assert {line["response"]["body"]["choices"][0]["message"]["content"] for line in found} == {"fine"}


@pytest.mark.soak
def test_a_batch_outlives_its_workers_while_its_provider_has_no_room(
    provider: Upstream, house: Polyforge, client: OpenAI, soak: bool
) -> None:
    """Chats this time, and every fiftieth call is refused for a second: complete and in order all the same."""
    count = 5_000 if soak else 500
    fine = Answer("fine", before_head=0.01)
    refusal = Fail(429, headers={"retry-after": "1"})
    provider.script("full", *[refusal if number % 50 == 49 else fine for number in range(2 * count)], fine)
    bodies = [
        {"model": "full", "messages": [{"role": "user", "content": f"say {number}"}], "max_tokens": 5}
        for number in range(count)
    ]
    batch = begin(client, "/v1/chat/completions", bodies)
    for kill in range(1, KILLS + 1):
        asked = len(provider.requests("full"))
        provider.wait_for("full", asked + count // (KILLS + 2), PATIENCE)
        assert client.batches.retrieve(batch.id).status not in ENDED, f"it ended before it was killed {KILLS} times"
        eventually(lambda: bool(house.pids("worker")), f"a worker for kill {kill}", PATIENCE)
        house.kill("worker")
    done = ended(client, batch)
    assert (done.status, completed(done), done.error_file_id) == ("completed", count, None)
    found = answers(client, done.output_file_id)
    assert [line["custom_id"] for line in found] == [f"line-{number}" for number in range(count)]
    assert {line["response"]["body"]["choices"][0]["message"]["content"] for line in found} == {"fine"}
    once = {each.json["messages"][0]["content"] for each in provider.requests("full")}
    assert len(once) == count


def test_a_call_that_was_paid_for_is_not_made_again(provider: Upstream, house: Polyforge, client: OpenAI) -> None:
    """The worker is killed in the middle of a part: answers that it had are given again."""
    provider.script("steady", Answer("fine", before_head=0.05))
    count = 60
    bodies = [
        {"model": "steady", "messages": [{"role": "user", "content": f"once {number}"}], "max_tokens": 5}
        for number in range(count)
    ]
    batch = begin(client, "/v1/chat/completions", bodies)
    provider.wait_for("steady", count // 3)
    house.kill("worker")
    done = ended(client, batch)
    assert (done.status, completed(done)) == ("completed", count)
    asked = Counter(each.json["messages"][0]["content"] for each in provider.requests("steady"))
    assert len(asked) == count
    # Only what was under way when the worker was killed is asked for twice.
    assert sum(asked.values()) - count <= 4


def test_what_is_wrong_is_told(client: OpenAI) -> None:
    bodies = [{"model": EMBEDDER, "input": "fine"}, {"model": "nobody-has-it", "input": "x"}]
    done = ended(client, begin(client, "/v1/embeddings", bodies))
    assert (done.status, completed(done)) == ("completed", 1)
    (refused,) = answers(client, done.error_file_id)
    assert (refused["custom_id"], refused["response"]["status_code"]) == ("line-1", 404)
    file = client.files.create(file=("in.jsonl", b"no JSON\n"), purpose="batch")
    wrong = client.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h")
    failed = ended(client, wrong)
    assert failed.status == "failed"
    assert failed.errors is not None
    assert [(each.code, each.line) for each in failed.errors.data or []] == [("invalid_json_line", 1)]


def test_progress_and_cost_are_the_jobs_too(house: Polyforge, client: OpenAI) -> None:
    done = ended(client, begin(client, "/v1/embeddings", [{"model": EMBEDDER, "input": "one"}]))
    newest = house.api("GET", "/jobs?kind=batch&limit=1").json["data"][0]["id"]

    def over() -> dict[str, Any] | None:
        job = house.api("GET", f"/jobs/{newest}").json
        return job if job["state"] == "succeeded" else None

    job = eventually(over, "the end of the job", PATIENCE)
    assert job is not None
    assert job["result"]["output_file_id"] == done.output_file_id
    assert (job["progress"]["done"], job["progress"]["total"], job["progress"]["unit"]) == (1, 1, "lines")


def commands(house: Polyforge) -> Commands:
    return Commands(house, house.create_key(scopes=SCOPES).key, "batch", patience=PATIENCE)


def test_a_table_is_answered_from_the_command_line(house: Polyforge, provider: Upstream) -> None:
    """A row for a row, though its worker is killed; what it read and wrote is shown and listed."""
    polyforge = commands(house)
    lake, count = house.folder / LAKE, 100
    provider.script("rows", Answer("fine", before_head=0.05))
    (lake / "in.csv").write_text("id,text\n" + "".join(f'{n},"words, {n}"\n' for n in range(count)))
    messages = [{"role": "user", "content": "{{text}}"}]
    body = json.dumps({"model": "rows", "messages": messages, "max_tokens": 5})
    made = polyforge.json("create", "--store", LAKE, "--input", "in.csv", "--body", body)
    provider.wait_for("rows", count // 3)
    house.kill("worker")
    told = polyforge.run("show", made["id"], "--wait", "--json")
    assert f"of {count}" in told.stderr
    done = json.loads(told.stdout)
    assert (done["status"], done["counts"]) == ("completed", {"total": count, "completed": count, "failed": 0})
    rows = list(csv.DictReader(io.StringIO((lake / "in.answers.csv").read_bytes().decode(), newline="")))
    assert [(row["id"], row["text"]) for row in rows] == [(str(n), f"words, {n}") for n in range(count)]
    assert {row["answer"] for row in rows} == {"fine"}
    assert {each.json["messages"][0]["content"] for each in provider.requests("rows")} == {row["text"] for row in rows}
    assert polyforge("result", made["id"]) == "lake: in.answers.csv\n"
    assert made["id"] in polyforge("list")


def test_a_file_is_sent_and_fetched_from_the_command_line(house: Polyforge, tmp_path: Path) -> None:
    polyforge = commands(house)
    file = tmp_path / 'my "calls".jsonl'
    file.write_bytes(lines("/v1/embeddings", [{"model": EMBEDDER, "input": f"{n}"} for n in range(3)]))
    made = polyforge.json("create", str(file), "--wait")
    assert (made["status"], made["table"]) == ("completed", None)
    fetched = tmp_path / "answers.jsonl"
    polyforge("result", made["id"], "--output", str(fetched))
    assert [json.loads(line)["custom_id"] for line in fetched.read_text().splitlines()] == [
        "line-0",
        "line-1",
        "line-2",
    ]
    assert polyforge("result", made["id"]) == fetched.read_text()


def test_lines_that_go_together_are_one_call_in_the_log(house: Polyforge) -> None:
    """What is logged and counted is what the model was asked: four texts in a call, as the settings have it."""
    key = house.create_key(scopes=SCOPES)
    own = OpenAI(base_url=f"{house.url}/v1", api_key=key.key, max_retries=2)
    done = ended(own, begin(own, "/v1/embeddings", [{"model": EMBEDDER, "input": f"text {n}"} for n in range(10)]))
    records = house.settled(key, 3)
    assert len(records) == 3
    assert done.usage is not None
    assert sum(record["input_tokens"] for record in records) == done.usage.input_tokens


def test_its_lines_are_in_the_request_log(house: Polyforge) -> None:
    key = house.create_key(scopes=SCOPES)
    own = OpenAI(base_url=f"{house.url}/v1", api_key=key.key, max_retries=2)
    bodies = [{"model": "plain", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5} for _ in range(3)]
    batch = begin(own, "/v1/chat/completions", bodies)
    assert ended(own, batch).status == "completed"
    records = house.settled(key, 3)
    assert {record["tags"] for record in records} == {f"batch={batch.id.removeprefix('batch_')}"}
