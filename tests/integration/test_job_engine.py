"""The journal of steps as DBOS keeps it, on SQLite and on PostgreSQL."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from polyforge.database.settings import DatabaseSettings
from polyforge.jobs.engine import SQLITE_FILE, Engine
from polyforge.jobs.journal import Fenced
from polyforge.kernel.errors import Unavailable
from polyforge.kernel.ids import new_ulid
from tests.support.databases import Place
from tests.support.ports import free_port


@pytest.fixture
async def engine(place: Place) -> AsyncIterator[Engine]:
    opened = Engine(place.settings, place.data)
    await opened.open()
    yield opened
    await opened.close()


def giving(result: bytes) -> Callable[[], Awaitable[bytes]]:
    async def work() -> bytes:
        return result

    return work


async def steps(engine: Engine, run_id: str, *names: str) -> None:
    async def body() -> None:
        for name in names:
            assert await engine.step(name, giving(b'{"of":"%s"}' % name.encode())) == b'{"of":"%s"}' % name.encode()

    await engine.run(run_id, body)


async def test_what_steps_gave_is_found_by_name_over_all_runs(engine: Engine) -> None:
    first, second = new_ulid(), new_ulid()
    await steps(engine, first, "a", "b")
    await steps(engine, second, "c")
    kept = await engine.kept([first, second])
    assert {name: await engine.value(each) for name, each in kept.items()} == {
        "a": b'{"of":"a"}',
        "b": b'{"of":"b"}',
        "c": b'{"of":"c"}',
    }


async def test_more_steps_than_are_read_at_a_time(engine: Engine) -> None:
    run_id, names = new_ulid(), [str(number) for number in range(120)]
    await steps(engine, run_id, *names)
    kept = await engine.kept([run_id])
    assert set(kept) == set(names)
    assert await engine.value(kept["117"]) == b'{"of":"117"}'


async def test_steps_at_the_same_time_each_keep_their_own(engine: Engine) -> None:
    run_id = new_ulid()

    async def body() -> None:
        found = await asyncio.gather(*[engine.step(str(n), giving(b"%d" % n)) for n in range(10)])
        assert found == [b"%d" % n for n in range(10)]

    await engine.run(run_id, body)
    kept = await engine.kept([run_id])
    assert {name: await engine.value(each) for name, each in kept.items()} == {str(n): b"%d" % n for n in range(10)}


async def test_a_step_that_fails_is_not_kept_and_can_be_taken_again(engine: Engine) -> None:
    run_id = new_ulid()

    async def fail() -> bytes:
        raise Unavailable("not now")

    async def body() -> None:
        with pytest.raises(Unavailable, match="not now"):
            await engine.step("only", fail)
        assert await engine.kept([run_id]) == {}
        await engine.step("only", giving(b"1"))

    await engine.run(run_id, body)
    assert set(await engine.kept([run_id])) == {"only"}


async def test_a_step_that_is_cancelled_is_not_kept(engine: Engine) -> None:
    run_id, begun = new_ulid(), asyncio.Event()

    async def wait() -> bytes:
        begun.set()
        await asyncio.Event().wait()
        return b"1"

    async def body() -> None:
        step = asyncio.create_task(engine.step("long", wait))
        await begun.wait()
        step.cancel()
        with pytest.raises(asyncio.CancelledError):
            await step

    await engine.run(run_id, body)
    assert await engine.kept([run_id]) == {}


async def test_nothing_is_kept_of_a_run_that_was_taken_over(engine: Engine) -> None:
    run_id, done = new_ulid(), list[str]()

    async def taken_over() -> bytes:
        await engine.fence([run_id])
        return b"1"

    async def late() -> bytes:
        done.append("late")
        return b"2"

    async def body() -> None:
        await engine.step("before", giving(b"0"))
        with pytest.raises(Fenced):
            await engine.step("during", taken_over)
        with pytest.raises(Fenced):
            await engine.step("after", late)

    with pytest.raises(Fenced):
        await engine.run(run_id, body)
    assert set(await engine.kept([run_id])) == {"before"}
    assert done == [], "a step of it does not even begin"


async def test_no_id_runs_twice(engine: Engine) -> None:
    run_id, done = new_ulid(), list[str]()
    await steps(engine, run_id, "a")

    async def body() -> None:
        done.append("again")

    with pytest.raises(Fenced):
        await engine.run(run_id, body)
    assert done == []


async def test_what_is_forgotten_is_gone(engine: Engine) -> None:
    run_id = new_ulid()
    await steps(engine, run_id, "a")
    await engine.forget([run_id, new_ulid()])
    assert await engine.kept([run_id]) == {}


async def test_what_was_kept_is_there_after_a_restart_under_another_id(place: Place) -> None:
    run_id = new_ulid()
    first = Engine(place.settings, place.data)
    await first.open()
    await steps(first, run_id, "a")
    await first.close()
    second = Engine(place.settings, place.data)
    await second.open()
    kept = await second.kept([run_id])
    assert await second.value(kept["a"]) == b'{"of":"a"}'
    await second.close()
    assert first.executor_id != second.executor_id


async def test_threads_are_there_after_it_was_closed(place: Place) -> None:
    engine = Engine(place.settings, place.data)
    await engine.open()
    await steps(engine, new_ulid(), "a")
    await engine.close()
    assert await asyncio.to_thread(lambda: "done") == "done"


async def test_what_it_keeps_is_json_and_no_pickle(tmp_path: Path) -> None:
    engine = Engine(DatabaseSettings(), tmp_path)
    await engine.open()
    await steps(engine, new_ulid(), "a")
    await engine.close()
    connection = sqlite3.connect(tmp_path / SQLITE_FILE)
    kept = connection.execute("SELECT output, serialization FROM operation_outputs").fetchall()
    assert kept == [('{"of":"a"}', "polyforge_json")]
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


async def test_a_database_that_is_down_is_told_of(tmp_path: Path) -> None:
    url = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    engine = Engine(DatabaseSettings(url=url, timeout_seconds=1), tmp_path)
    with pytest.raises(Unavailable):
        await engine.open()
