"""A batch from its file to its answers: whatever is killed when, no line is lost, doubled or out of its place."""

import json
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from polyforge.batch.batches import kind as kinds
from polyforge.batch.batches import sources
from polyforge.batch.batches.records import described
from polyforge.batch.batches.tables import batches
from polyforge.batch.files.tables import files
from polyforge.database.database import Database
from polyforge.dialects.openai_batches import batch_id, decode_request
from polyforge.dialects.openai_files import file_id
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import Conflict, Denied, Invalid, MethodNotAllowed, NotFound, RateLimited
from polyforge.server.batches import Batches
from polyforge.server.once import Once
from polyforge.tenancy.callers import Caller
from tests.support.batches import CHAT, DAY, EMBEDDINGS, ME, STRANGER, Killed, Room, chat, texts, ulid


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def room(database: Database, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    monkeypatch.setattr(sources, "PART_LINES", 5)
    # What was asked when it was killed can be told where one part goes on at a time.
    monkeypatch.setattr(kinds, "PARTS_AT_ONCE", 1)
    return Room(database, clock, tmp_path)


async def test_a_batch_runs_to_its_end(room: Room) -> None:
    batch = await room.create(chat(12), metadata={"who": "me"})
    assert (batch.status, batch.window_ends_at) == ("validating", batch.created_at + DAY)
    result = await room.run(batch)
    ended = await room.service.get(ME, batch.id)
    shown = described(ended)
    assert (shown.status, shown.completed_at, shown.metadata) == ("completed", int(room.clock.now()), {"who": "me"})
    assert (shown.request_counts.total, shown.request_counts.completed, shown.request_counts.failed) == (12, 12, 0)
    assert shown.usage is not None
    assert (shown.usage.input_tokens, shown.usage.output_tokens, shown.usage.total_tokens) == (12, 24, 36)
    assert (ended.price_micros, ended.error_file_id) == (120, None)
    output = await room.lines(ended.output_file_id)
    assert [line["custom_id"] for line in output] == [f"c{n}" for n in range(12)]
    assert [line["response"]["body"]["said"] for line in output] == list(range(12))
    assert result["output_file_id"] == shown.output_file_id
    assert room.context.told[-1] == (12, 12)
    file = await room.files.get(ME, ended.output_file_id or "")
    assert (file.purpose, file.name) == ("batch_output", f"{batch_id(batch.id)}_output.jsonl")
    assert [each.key async for each in room.objects.list(f"{ME.project_id}/batches/")] == []


async def test_refusals_are_in_a_file_of_their_own(room: Room) -> None:
    room.models.refuse = lambda text: Invalid("odd") if int(text) % 2 else None
    batch = await room.create(chat(7), output_expires_after={"anchor": "created_at", "seconds": 7_200})
    await room.run(batch)
    ended = await room.service.get(ME, batch.id)
    assert (ended.status, ended.counts.completed, ended.counts.failed) == ("completed", 4, 3)
    assert [line["custom_id"] for line in await room.lines(ended.error_file_id)] == ["c1", "c3", "c5"]
    assert (await room.files.get(ME, ended.output_file_id or "")).expires_at == room.clock.now() + 7_200


async def test_it_goes_on_wherever_it_was_killed(room: Room) -> None:
    """Before, inside and after every step there is; done ones are not done again, and nothing is doubled."""
    batch = await room.create(chat(12))
    kept: dict[str, str] = {}
    killed: set[tuple[str, str]] = set()

    def kill(when: str, name: str) -> bool:
        if (when, name) in killed:
            return False
        killed.add((when, name))
        return True

    for _ in range(100):
        try:
            await room.run(batch, kept, kill)
            break
        except Killed:
            room.clock.advance(1.0)
    steps = ["validate", "part-0", "part-1", "part-2", "output", "errors", "end", "tidy"]
    assert killed == {(when, name) for when in ("before", "inside", "after") for name in steps}
    ended = await room.service.get(ME, batch.id)
    assert [line["custom_id"] for line in await room.lines(ended.output_file_id)] == [f"c{n}" for n in range(12)]
    assert (ended.status, ended.counts.completed, ended.usage.input_tokens) == ("completed", 12, 12)
    # A part that was killed inside is made again, and no other.
    assert set(room.models.asked.values()) == {2}
    assert await room.count(files) == 2


@pytest.mark.parametrize("parts_at_once", [2, 5])
async def test_it_goes_on_wherever_it_was_killed_with_several_parts_at_once(
    room: Room, monkeypatch: pytest.MonkeyPatch, parts_at_once: int
) -> None:
    monkeypatch.setattr(kinds, "PARTS_AT_ONCE", parts_at_once)
    room.models.refuse = lambda text: Invalid("odd") if text == "7" else None
    batch = await room.create(chat(23))
    kept: dict[str, str] = {}
    killed: list[str] = []
    dice = Random(parts_at_once)

    def kill(when: str, name: str) -> bool:
        if not name.startswith("part-") or len(killed) >= 12 or dice.random() > 0.3:
            return False
        killed.append(f"{when} {name}")
        return True

    result = None
    while result is None:
        with suppress(Killed):
            result = await room.run(batch, kept, kill)
    assert len(killed) > 3
    assert (result["status"], result["completed"], result["failed"]) == ("completed", 22, 1)
    ended = await room.service.get(ME, batch.id)
    output = await room.lines(ended.output_file_id)
    assert [line["custom_id"] for line in output] == [f"c{n}" for n in range(23) if n != 7]
    assert [line["custom_id"] for line in await room.lines(ended.error_file_id)] == ["c7"]
    assert (ended.counts.completed, ended.counts.failed, ended.usage.input_tokens) == (22, 1, 22)
    assert room.context.told[-1] == (23, 23)


async def test_lines_for_one_model_are_sent_together(room: Room) -> None:
    batch = await room.create(texts(12), EMBEDDINGS)
    await room.run(batch)
    ended = await room.service.get(ME, batch.id)
    output = await room.lines(ended.output_file_id)
    assert [line["response"]["body"]["data"][0]["embedding"] for line in output] == [[float(n)] for n in range(12)]
    assert ended.price_micros == 3 * 10


async def test_a_file_that_will_not_do_fails_with_its_lines(room: Room) -> None:
    batch = await room.create(chat(2) + b"{\n" + chat(1))
    await room.run(batch)
    shown = described(await room.service.get(ME, batch.id))
    assert (shown.status, shown.failed_at) == ("failed", int(room.clock.now()))
    assert shown.errors is not None
    assert [(found.code, found.line) for found in shown.errors.data] == [
        ("invalid_json_line", 3),
        ("duplicate_custom_id", 4),
    ]
    assert not room.models.asked


async def test_a_file_that_was_deleted_fails_it(room: Room) -> None:
    batch = await room.create(chat(2))
    await room.files.delete(ME, batch.input_file_id)
    await room.run(batch)
    assert [found.code for found in (await room.service.get(ME, batch.id)).problems] == ["file_not_found"]


async def test_a_cancelled_batch_ends_with_what_it_has(room: Room) -> None:
    batch = await room.create(chat(12))
    kept: dict[str, str] = {}
    with pytest.raises(Killed):
        await room.run(batch, kept, lambda when, name: (when, name) == ("after", "part-0"))
    cancelled = await room.service.cancel(ME, batch.id)
    assert (cancelled.status, described(cancelled).cancelling_at) == ("cancelling", int(room.clock.now()))
    await room.run(batch, kept)
    ended = await room.service.get(ME, batch.id)
    assert (ended.status, ended.counts.completed, ended.counts.failed) == ("cancelled", 5, 7)
    assert len(await room.lines(ended.output_file_id)) == 5
    undone = await room.lines(ended.error_file_id)
    assert [line["error"]["code"] for line in undone] == ["batch_cancelled"] * 7
    assert len(room.models.asked) == 5
    with pytest.raises(Conflict):
        await room.service.cancel(ME, batch.id)


async def test_one_that_is_cancelled_before_it_begins_calls_nobody(room: Room) -> None:
    batch = await room.create(chat(3))
    await room.service.cancel(ME, batch.id)
    await room.run(batch)
    assert (await room.service.get(ME, batch.id)).status == "cancelled"
    assert not room.models.asked


async def test_when_its_time_is_over_it_ends_with_what_it_has(room: Room) -> None:
    batch = await room.create(chat(12))
    kept: dict[str, str] = {}
    with pytest.raises(Killed):
        await room.run(batch, kept, lambda when, name: (when, name) == ("after", "part-1"))
    room.clock.advance(DAY)
    await room.run(batch, kept)
    ended = await room.service.get(ME, batch.id)
    assert (ended.status, ended.counts.completed, ended.counts.failed) == ("expired", 10, 2)
    assert described(ended).expired_at == int(room.clock.now())


async def test_a_revoked_key_stops_it(room: Room) -> None:
    def revoked(caller: Caller) -> Caller:
        raise Denied(f"the key {caller.key_name!r} was revoked")

    batch = await room.create(chat(12))
    kept: dict[str, str] = {}
    with pytest.raises(Killed):
        await room.run(batch, kept, lambda when, name: (when, name) == ("after", "part-0"))
    room.standing = revoked
    await room.run(batch, kept)
    ended = await room.service.get(ME, batch.id)
    assert (ended.status, ended.counts.completed, ended.counts.failed) == ("failed", 5, 7)
    assert [found.code for found in ended.problems] == ["access_revoked"]
    assert len(room.models.asked) == 5


async def test_what_a_batch_needs_is_asked_for_at_once(room: Room) -> None:
    for wrong in ("user_data", "vision"):
        other = await room.upload(b"x", wrong)
        with pytest.raises(Invalid, match="not for batch"):
            await room.service.create(ME, decode_request(json.dumps(asked(other)).encode()))
    for absent in ("file-none", file_id(ulid(9))):
        with pytest.raises(NotFound):
            await room.service.create(ME, decode_request(json.dumps(asked(absent)).encode()))
    for wrong_field in (
        {"endpoint": "/v1/images/generations"},
        {"completion_window": "1h"},
        {"metadata": {str(number): "x" for number in range(17)}},
        {"metadata": {"x": "y" * 513}},
        {"output_expires_after": {"anchor": "created_at", "seconds": 5}},
        {"input_file_id": 7},
    ):
        with pytest.raises(Invalid) as refused:
            decode_request(json.dumps({**asked("file-x"), **wrong_field}).encode())
        assert (refused.value.param or "").partition(".")[0] == next(iter(wrong_field))


def asked(input_file: str) -> dict[str, Any]:
    return {"input_file_id": input_file, "endpoint": CHAT, "completion_window": "24h"}


async def test_only_so_many_are_unfinished(database: Database, clock: FakeClock, tmp_path: Path) -> None:
    room = Room(database, clock, tmp_path, max_unfinished=2)
    first = await room.create(chat(1))
    await room.create(chat(1))
    with pytest.raises(RateLimited):
        await room.create(chat(1))
    await room.run(first)
    await room.create(chat(1))


async def test_a_job_that_was_cancelled_cancels_its_batch(room: Room) -> None:
    batch = await room.create(chat(1))
    await room.jobs.cancel(ME, batch.job_id)
    assert (await room.service.get(ME, batch.id)).status == "cancelled"


async def test_another_project_sees_nothing(room: Room) -> None:
    batch = await room.create(chat(1))
    assert (await room.service.page(STRANGER, 10, None)) == ([], False)
    for call in (room.service.get, room.service.cancel):
        with pytest.raises(NotFound):
            await call(STRANGER, batch.id)
    foreign = json.dumps(asked(file_id(batch.input_file_id))).encode()
    with pytest.raises(NotFound):
        await room.service.create(STRANGER, decode_request(foreign))


async def test_rows_go_with_their_time_and_so_do_parts(room: Room) -> None:
    batch = await room.create(chat(12))
    with pytest.raises(Killed):
        await room.run(batch, {}, lambda when, name: (when, name) == ("after", "part-1"))
    assert await room.pruning.step() == 0
    room.clock.advance(90 * DAY)
    assert await room.pruning.step() == 1
    assert await room.count(batches) == 0
    assert [each.key async for each in room.objects.list(f"{ME.project_id}/batches/")] == []


# --- over HTTP ---


async def call(room: Room, method: str, path: str, body: Any = None, query: str = "", caller: Caller = ME) -> Any:
    content = b"" if body is None else json.dumps(body).encode()
    scope = {"method": method, "path": path, "query_string": query.encode(), "headers": []}
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await Batches(room.service, Once(room.idempotency, 65_536)).answer(scope, receive, send, caller)
    assert sent[0]["status"] == 200
    return json.loads(sent[1]["body"])


async def test_the_paths_of_batches(room: Room) -> None:
    made = await call(room, "POST", "/v1/batches", asked(await room.upload(chat(3))))
    assert (made["object"], made["status"], made["endpoint"]) == ("batch", "validating", CHAT)
    other = await call(room, "POST", "/v1/batches", asked(await room.upload(chat(3))))
    assert await call(room, "GET", f"/v1/batches/{made['id']}") == made
    page = await call(room, "GET", "/v1/batches", query="limit=1")
    assert ([each["id"] for each in page["data"]], page["has_more"]) == ([other["id"]], True)
    page = await call(room, "GET", "/v1/batches", query=f"after={other['id']}")
    assert ([each["id"] for each in page["data"]], page["has_more"]) == ([made["id"]], False)
    assert (await call(room, "POST", f"/v1/batches/{made['id']}/cancel"))["status"] == "cancelling"


async def test_each_path_needs_its_permissions(room: Room) -> None:
    input_file = await room.upload(chat(1))
    batch = await room.create(chat(1))
    for lacking, method, path in (
        ("inference", "POST", "/v1/batches"),
        ("files:read", "POST", "/v1/batches"),
        ("files:write", "POST", "/v1/batches"),
        ("inference", "POST", f"/v1/batches/{batch_id(batch.id)}/cancel"),
        ("files:read", "GET", "/v1/batches"),
        ("files:read", "GET", f"/v1/batches/{batch_id(batch.id)}"),
    ):
        with pytest.raises(Denied, match=lacking):
            await call(room, method, path, asked(input_file), caller=replace(ME, scopes=ME.scopes - {lacking}))
    assert await room.count(batches) == 1


async def test_paths_and_methods_that_are_none_are_told(room: Room) -> None:
    for method, path in (("DELETE", "/v1/batches"), ("POST", "/v1/batches/b"), ("GET", "/v1/batches/b/cancel")):
        with pytest.raises(MethodNotAllowed):
            await call(room, method, path)
    for path in ("/v1/batches/", "/v1/batches/a/b", "/v1/batches/nothing"):
        with pytest.raises(NotFound):
            await call(room, "GET", path)
