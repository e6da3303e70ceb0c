"""Responses that are kept for a project: found again, hidden from others, expired, removed, and never pretended."""

import json
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from sqlalchemy import func, select, text, update

from polyforge.database.database import Database
from polyforge.database.pruning import ExpiryPruning
from polyforge.database.settings import DatabaseSettings
from polyforge.dialects.openai_responses.facts import decode_response
from polyforge.dialects.openai_responses.state import Kept
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import Denied, NotFound, TooLarge, Unavailable
from polyforge.secrets.sealing import MasterKeys
from polyforge.server.responses import Conversations
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.responses.service import BELONGS_TO, REST_SECONDS, Responses
from polyforge.tenancy.responses.settings import ResponseSettings
from polyforge.tenancy.responses.tables import responses
from polyforge.tenancy.vault.sealing import SealedColumn, Sealing
from tests.support.ports import refusing_port

OLD, NEW = b"o" * 32, b"n" * 32
DAY = 86_400


def ulid(digit: int) -> str:
    return f"{digit:026d}"


def caller(organization: int = 1, project: int = 11) -> Caller:
    return Caller(ulid(5), "k", ulid(organization), ulid(project), frozenset())


def kept(text: str = "hello") -> Kept:
    return Kept(
        [msgspec.Raw(json.dumps({"type": "message", "role": "user", "content": text}).encode())],
        msgspec.Raw(json.dumps({"id": "resp_1", "output": []}).encode()),
    )


def told(found: dict[str, Kept]) -> dict[str, Any]:
    return {id_: json.loads(msgspec.json.encode(one)) for id_, one in found.items()}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def room(database: Database, clock: FakeClock, master: MasterKeys | None = None, **settings: Any) -> Responses:
    return Responses(ResponseSettings(**settings), database, clock, master or MasterKeys([OLD]))


@pytest.fixture
def service(database: Database, clock: FakeClock) -> Responses:
    return room(database, clock)


async def count(database: Database) -> int:
    async with database.read() as session:
        return await session.scalar(select(func.count()).select_from(responses))


async def test_what_is_kept_is_found_as_it_was(service: Responses, database: Database) -> None:
    words = "Ünïcode, and much of it " * 1000
    assert await service.keep(caller(), ulid(1), "assistant", kept(words))
    assert told(await service.find(caller(), [ulid(1), ulid(2)])) == told({ulid(1): kept(words)})
    async with database.read() as session:
        row = await session.first(select(responses))
    assert row is not None
    assert b"much of it" not in row["sealed"]
    assert len(row["sealed"]) < len(words) / 10


async def test_another_project_finds_and_removes_nothing(service: Responses, database: Database) -> None:
    assert await service.keep(caller(), ulid(1), "assistant", kept())
    for foreign in (caller(project=12), caller(organization=2, project=11), caller(2, 21)):
        assert await service.find(foreign, [ulid(1)]) == {}
        assert not await service.remove(foreign, ulid(1))
    assert await count(database) == 1


async def refusal(work: Awaitable[object]) -> tuple[str, str | None]:
    with pytest.raises(NotFound) as caught:
        await work
    return caught.value.message, caught.value.param


async def test_a_foreign_response_is_refused_as_one_that_is_not_there(service: Responses) -> None:
    """On every path, and where a request refers to it."""
    conversations = Conversations(service, 1_000_000)
    present, absent = ulid(1), ulid(2)
    assert await service.keep(caller(), present, "assistant", kept())
    mine = replace(caller(), scopes=frozenset({"inference"}))
    foreign = replace(mine, project_id=ulid(12))

    async def refused(who: Caller, id_: str) -> list[tuple[str, str | None]]:
        path = f"/v1/responses/resp_{id_}"
        bodies = (
            {"model": "m", "input": "x", "previous_response_id": f"resp_{id_}"},
            {"model": "m", "input": [{"type": "item_reference", "id": f"msg_{id_}_0"}]},
        )
        requests = [decode_response(json.dumps(body).encode()) for body in bodies]
        return [
            await refusal(conversations.answer("GET", path, b"", who)),
            await refusal(conversations.answer("GET", f"{path}/input_items", b"", who)),
            await refusal(conversations.answer("DELETE", path, b"", who)),
            *[await refusal(conversations.recall(who, request)) for request in requests],
        ]

    told_of_absent = await refused(mine, absent)
    told_of_foreign = await refused(foreign, present)
    assert [(message.replace(present, absent), param) for message, param in told_of_foreign] == told_of_absent
    assert json.loads(await conversations.answer("GET", f"/v1/responses/resp_{present}", b"", mine))["id"] == "resp_1"
    with pytest.raises(Denied):
        await conversations.answer("GET", f"/v1/responses/resp_{present}", b"", replace(mine, scopes=frozenset()))


async def test_what_a_request_refers_to_counts_into_its_size(service: Responses) -> None:
    await service.keep(caller(), ulid(1), "assistant", kept("x" * 1000))
    body = {"model": "m", "input": "y", "previous_response_id": f"resp_{ulid(1)}"}
    request = decode_response(json.dumps(body).encode())
    whole = await Conversations(service, 5000).recall(caller(), request)
    assert [item["content"][:1] for item in json.loads(whole.body)["input"][:1]] == ["x"]
    assert (len(whole.body) > 1000, whole.parts) == (True, 4)
    with pytest.raises(TooLarge):
        await Conversations(service, 1000).recall(caller(), request)


async def test_what_was_removed_is_gone(service: Responses, database: Database) -> None:
    await service.keep(caller(), ulid(1), "assistant", kept())
    assert await service.remove(caller(), ulid(1))
    assert not await service.remove(caller(), ulid(1))
    assert await service.find(caller(), [ulid(1)]) == {}
    assert await count(database) == 0


async def test_what_has_expired_is_not_found_and_is_pruned(database: Database, clock: FakeClock) -> None:
    service = room(database, clock, retention_days=2)
    await service.keep(caller(), ulid(1), "assistant", kept())
    clock.advance(DAY)
    await service.keep(caller(), ulid(2), "assistant", kept())
    pruning = ExpiryPruning(responses, database, clock)
    assert await pruning.step() == 0
    clock.advance(DAY + 1)
    assert list(await service.find(caller(), [ulid(1), ulid(2)])) == [ulid(2)]
    assert not await service.remove(caller(), ulid(1))
    assert await pruning.step() == 1
    assert await count(database) == 1


async def test_what_is_too_large_is_not_kept(database: Database, clock: FakeClock) -> None:
    service = room(database, clock, max_bytes=2000)
    assert await service.keep(caller(), ulid(1), "assistant", kept("x" * 1000))
    assert not await service.keep(caller(), ulid(2), "assistant", kept("x" * 2000))
    assert list(await service.find(caller(), [ulid(1), ulid(2)])) == [ulid(1)]


async def test_without_retention_nothing_is_kept(database: Database, clock: FakeClock) -> None:
    service = room(database, clock, retention_days=0)
    assert not service.keeps
    assert not await service.keep(caller(), ulid(1), "assistant", kept())
    assert await count(database) == 0


async def test_a_row_that_was_moved_to_another_project_does_not_open(service: Responses, database: Database) -> None:
    await service.keep(caller(), ulid(1), "assistant", kept())
    async with database.write() as session:
        await session.change(update(responses).values(project_id=ulid(12)))
    with pytest.raises(Unavailable, match="cannot be opened"):
        await service.find(caller(project=12), [ulid(1)])


async def test_a_new_master_key_seals_them_again(database: Database, clock: FakeClock) -> None:
    await room(database, clock).keep(caller(), ulid(1), "assistant", kept())
    renewing = MasterKeys([NEW, OLD])
    await Sealing(database, renewing, [SealedColumn(responses, "sealed", BELONGS_TO, rows=8)]).run()
    found = await room(database, clock, MasterKeys([NEW])).find(caller(), [ulid(1)])
    assert told(found) == told({ulid(1): kept()})


async def test_a_database_that_is_busy_or_down_keeps_nothing_and_says_so(
    database: Database, clock: FakeClock, kind: str, tmp_path: Path
) -> None:
    async with database.write() as session:
        if kind == "postgresql":
            await session.change(text("LOCK TABLE responses IN ACCESS EXCLUSIVE MODE"))
        service = room(database, clock)
        assert not await service.keep(caller(), ulid(1), "assistant", kept())
    assert not await service.keep(caller(), ulid(2), "assistant", kept()), "it should rest after a failure"
    assert await count(database) == 0
    clock.advance(REST_SECONDS)
    assert await service.keep(caller(), ulid(3), "assistant", kept())
    with refusing_port() as port:
        down = Database(DatabaseSettings(url=f"postgresql://nobody@127.0.0.1:{port}/none"), tmp_path)
        await down.open()
        service = room(down, clock)
        assert not await service.keep(caller(), ulid(1), "assistant", kept())
        with pytest.raises(Unavailable):
            await service.find(caller(), [ulid(1)])
        await down.close()
