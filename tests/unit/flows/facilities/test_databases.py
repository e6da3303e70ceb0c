"""Databases are read from, and nothing else."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from polyforge.flows.facilities import sqlite_reading
from polyforge.flows.facilities.databases import Databases
from polyforge.flows.facilities.settings import ConnectionSettings
from polyforge.flows.facilities.statements import check_statement, numbered
from polyforge.flows.running.contract import SqlTable
from polyforge.flows.running.turns import working_time
from polyforge.kernel.errors import Invalid, NotFound, PolyforgeError, TimedOut, Unavailable
from tests.support.node_calls import ME
from tests.support.postgres import Postgres
from tests.support.waiting import eventually_async

DAY = "2020-01-02"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "odd name?.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE sales (id INTEGER, name TEXT, price REAL, extra BLOB)")
        rows = [(n, f"n{n}", n / 2, bytes([n])) for n in range(5)]
        connection.executemany("INSERT INTO sales VALUES (?, ?, ?, ?)", rows)
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest, file: Path) -> Iterator[Databases]:
    if request.param == "sqlite":
        yield reading(f"sqlite:///{file}")
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    name = "flow_reading"
    postgres.execute(f"CREATE DATABASE {name}")
    postgres.execute("CREATE TABLE sales (id int, name text, price float8, extra bytea)", name)
    postgres.execute(
        "INSERT INTO sales SELECT n, 'n' || n, n / 2.0, decode(lpad(to_hex(n), 2, '0'), 'hex')"
        " FROM generate_series(0, 4) n",
        name,
    )
    yield reading(postgres.url(name))
    postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


def reading(url: str, **more: Any) -> Databases:
    return Databases({"sales": ConnectionSettings.model_validate({"url": url, **more})})


async def ask(databases: Databases, sql: str, rows: int = 100, seconds: float = 60.0, **values: Any) -> SqlTable:
    return await databases.query(ME, "sales", sql, values, rows=rows, seconds=seconds)


async def test_rows_are_found(databases: Databases) -> None:
    found = await ask(databases, "SELECT id, name, price, extra FROM sales WHERE id >= :n ORDER BY id;", n=3)
    assert list(found.rows) == [
        {"id": 3, "name": "n3", "price": 1.5, "extra": "Aw=="},
        {"id": 4, "name": "n4", "price": 2.0, "extra": "BA=="},
    ]
    assert not found.truncated
    two = await ask(databases, "SELECT id FROM sales ORDER BY id", rows=2)
    assert (list(two.rows), two.truncated) == ([{"id": 0}, {"id": 1}], True)
    assert list((await ask(databases, "SELECT id FROM sales WHERE id > 99")).rows) == []


async def test_what_is_given_is_a_value_and_never_a_piece_of_the_query(databases: Databases) -> None:
    sly = "x' OR '1'='1'; DROP TABLE sales; --"
    assert list((await ask(databases, "SELECT name FROM sales WHERE name = :name", name=sly)).rows) == []
    assert len((await ask(databases, "SELECT name FROM sales")).rows) == 5


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM sales",
        "INSERT INTO sales VALUES (9, 'x', 1, NULL)",
        "UPDATE sales SET id = 1",
        "DROP TABLE sales",
        "CREATE TABLE other (a int)",
        "SELECT 1; DROP TABLE sales",
        "SELECT 1;; SELECT 2",
        "/* SELECT */ DROP TABLE sales",
        "WITH gone AS (DELETE FROM sales RETURNING *) SELECT * FROM gone",
        "WITH a AS (SELECT 1) DELETE FROM sales",
        "WITH a AS (SELECT 1) INSERT INTO sales SELECT 1, 'a', 1, NULL",
        "SELECT * INTO other FROM sales",
        "PRAGMA journal_mode = DELETE",
        "ATTACH DATABASE '/tmp/polyforge-other.db' AS other",
        "VACUUM INTO '/tmp/polyforge-other.db'",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "COMMIT",
        "COPY sales TO '/tmp/polyforge-other.csv'",
        "SELECT load_extension('x')",
        "SELECT * FROM sales FOR UPDATE",
        "",
        "SELECT a AS x, b AS x FROM (SELECT 1 AS a, 2 AS b) t",
        "SELECT :nobody",
    ],
)
async def test_nothing_but_reading_is_possible(databases: Databases, sql: str) -> None:
    with pytest.raises(PolyforgeError) as caught:
        await ask(databases, sql)
    assert isinstance(caught.value, Invalid), caught.value
    assert len((await ask(databases, "SELECT id FROM sales")).rows) == 5
    assert not list(Path("/tmp").glob("polyforge-other*"))  # noqa: ASYNC240


async def test_a_query_that_takes_too_long_is_stopped(databases: Databases) -> None:
    endless = "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n) SELECT count(*) AS c FROM n"
    with pytest.raises(TimedOut):
        await ask(databases, endless, seconds=0.3)


async def test_an_answer_that_is_too_large_is_refused(file: Path) -> None:
    small = reading(f"sqlite:///{file}", max_bytes=2_000)
    with pytest.raises(Invalid, match="more than 2000 bytes"):
        await ask(small, "SELECT 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' AS a FROM sales, sales, sales, sales")
    with pytest.raises(Invalid, match="too big"):
        await ask(small, "SELECT zeroblob(100000000)")
    few = reading(f"sqlite:///{file}", max_rows=2)
    assert (await ask(few, "SELECT id FROM sales")).truncated


async def test_a_database_that_sends_too_much_is_hung_up_on(postgres: Postgres) -> None:
    small = reading(postgres.url("postgres"), max_bytes=2_000)
    # Its rows would be refused too, but only once many of them were in memory.
    with pytest.raises(Invalid, match="sends more than 16781216 bytes"):
        await ask(small, "SELECT repeat('x', 1000000) AS a FROM generate_series(1, 100)")
    late = "SELECT CASE WHEN n > 300 THEN repeat('x', 100000000) ELSE '' END AS a FROM generate_series(1, 400) n"
    with pytest.raises(Invalid, match="sends more than"):
        await ask(reading(postgres.url("postgres")), late, rows=1_000)
    assert len((await ask(small, "SELECT 1 AS a FROM generate_series(1, 50)")).rows) == 50


async def test_cancelling_stops_the_query(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    began, ended, read = threading.Event(), threading.Event(), sqlite_reading._read

    def watched(*arguments: Any) -> SqlTable:
        began.set()
        try:
            return read(*arguments)
        finally:
            ended.set()

    monkeypatch.setattr(sqlite_reading, "_read", watched)
    running = asyncio.create_task(ask(reading(f"sqlite:///{file}", seconds=3_000), endless, seconds=3_000))
    await eventually_async(began.is_set)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()


async def test_waiting_for_a_place_takes_nothing_of_the_time_of_a_node(file: Path) -> None:
    endless = "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    one, limits = reading(f"sqlite:///{file}", at_once=1, seconds=3_000), list[asyncio.Timeout]()

    async def node() -> SqlTable:
        async with working_time(60) as limit:
            limits.append(limit)
            return await ask(one, "SELECT 1 AS a")

    first = asyncio.create_task(ask(one, endless, seconds=3_000))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(node())
    await eventually_async(lambda: bool(limits) and limits[0].when() is None)
    first.cancel()
    assert len((await waiting).rows) == 1
    assert limits[0].when() is not None


async def test_who_may_not_use_a_connection_sees_none(file: Path) -> None:
    walled = reading(f"sqlite:///{file}", projects=("p2",))
    with pytest.raises(NotFound, match="no connection"):
        await ask(walled, "SELECT 1")
    found = await walled.query(replace(ME, project_id="p2"), "sales", "SELECT 1 AS a", {}, rows=1, seconds=9)
    assert list(found.rows) == [{"a": 1}]
    with pytest.raises(NotFound):
        await walled.query(ME, "other", "SELECT 1", {}, rows=1, seconds=9)


async def test_a_database_that_is_not_there_is_said_so_without_its_address() -> None:
    for url in ("sqlite:////nowhere/at/all.db", "postgresql://me:hunter2@127.0.0.1:1/none"):
        with pytest.raises(Unavailable) as caught:
            await ask(reading(url), "SELECT 1")
        assert "hunter2" not in caught.value.message
        assert "nowhere" not in caught.value.message


async def test_types_that_json_has_not_are_written_as_text(postgres: Postgres) -> None:
    found = await ask(
        reading(postgres.url("postgres")),
        "SELECT :day::text::date AS day, 12.50::numeric AS price, 1e400::numeric AS much, 'NaN'::float8 AS nan,"
        " '{\"a\": [1]}'::jsonb AS j, ARRAY[1, 2] AS list, 9007199254740993 AS big, '1h'::interval AS wait,"
        " 'a8098c1a-f86e-11da-bd1a-00112444be1e'::uuid AS id, true AS yes, NULL AS none, ':x' AS text",
        day=DAY,
    )
    row = dict(found.rows[0])
    assert str(row.pop("much")).startswith("1")
    assert row == {
        "day": DAY, "price": 12.5, "nan": "nan", "j": {"a": [1]}, "list": [1, 2], "big": "9007199254740993",
        "wait": 3600.0, "id": "a8098c1a-f86e-11da-bd1a-00112444be1e", "yes": True, "none": None, "text": ":x",
    }  # fmt: skip


async def test_an_input_of_another_type_says_how_to_mend_it(postgres: Postgres) -> None:
    with pytest.raises(Invalid, match="as in `:name::int`"):
        await ask(reading(postgres.url("postgres")), "SELECT 1 WHERE :n > 1", n="many")


def test_names_are_found_outside_of_what_is_quoted() -> None:
    sql = "SELECT ':a', \":b\", a::int, :c, $x$ :d $x$, E'\\':e' -- :f\n/* :g */ FROM t WHERE x = :c AND y = :h"
    text, names = numbered(sql, {"c", "h"})
    assert names == ["c", "h"]
    assert text == sql.replace(":c", "$1").replace(":h", "$2")


@pytest.mark.parametrize(
    "sql", ["SELECT 1", " -- a\n select 1 ;", "/* b */WITH a AS (SELECT 1) SELECT 1; -- c", "VALUES (1)"]
)
def test_a_query_may_begin_and_end_like_this(sql: str) -> None:
    check_statement(sql)


@pytest.mark.parametrize("piece", ["/*", "'", '"', "$a$", "E'\\", "$$", "--", "/* */", "$a$ $b$", "''"])
def test_a_query_of_many_pieces_is_gone_through_once(piece: str) -> None:
    sql = f"SELECT {piece * (20_000 // len(piece))}"
    check_statement(sql)
    assert numbered(sql, ())[1] == []


def test_an_address_that_cannot_be_one_is_refused() -> None:
    for url in ("mysql://a", "sqlite:///", "/etc/passwd"):
        with pytest.raises(ValueError, match="must begin with") as caught:
            ConnectionSettings.model_validate({"url": url})
        assert "passwd" not in str(caught.value).partition("input_value")[0]
