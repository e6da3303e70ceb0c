"""Pages of a long history: each is read by an index and looks at a bounded part; on SQLite and on PostgreSQL."""

import re
import time
from statistics import median
from typing import Any

import pytest
from sqlalchemy import BigInteger, ColumnElement, Double, Text, case, cast, func, insert, literal, select

from polyforge.database.database import Database
from polyforge.tenancy.callers import ALL
from polyforge.tenancy.history import store
from polyforge.tenancy.history.records import Which
from polyforge.tenancy.history.service import HistoryService
from polyforge.tenancy.ledger_rows import DAY_SECONDS
from polyforge.tenancy.tables import usage_records
from tests.support.databases import Place
from tests.support.plans import plan_of, reads
from tests.unit.tenancy.samples import NOW, caller, record

MANY, IN_A_SOAK, TRIES = 10_000, 1_000_000, 20
SEEN_OF_MANY = 300
AT_ONCE = 20_000
LIMIT = 100
ID_START = 10_000_000_000_000_000
KEYS = 50
RARELY = 1_000
READER = caller(ALL)
INDEX = "ix_usage_records_project_id"
ASTRAY = re.compile(r"Seq Scan|SCAN usage_records(?! USING)|TEMP B-TREE")
SORTS, BOUNDED = re.compile(r"(?<!Incremental )Sort  \("), "started_at >="
"""Only what a page looks at is sorted by PostgreSQL, never all there is."""
ONE_WITH_TIES = 2
"""Comparisons that make up one bound on the time: of two bounds SQLite uses one, and goes through the rest."""
PAGES = {
    "all of it": Which(),
    "one key of fifty": Which(key=("K" + "0" * 24 + "7",)),
    "what failed, one of a thousand": Which(status=("error",)),
    "what nothing is": Which(model=("absent",)),
    "what failed in three days": Which(status=("error",), since=NOW, until=NOW + 3 * DAY_SECONDS),
    "a day in the middle": Which(since=NOW + DAY_SECONDS, until=NOW + 2 * DAY_SECONDS),
}


async def fill(place: Place, count: int) -> None:
    """That many requests of the default project, four in a second, made by the database itself."""
    database = Database(place.settings, place.data, patience=600)
    await database.open()
    for first in range(0, count, AT_ONCE):
        await _fill_some(database, first, min(first + AT_ONCE, count) - 1)
    async with database.bare() as connection:
        await connection.exec_driver_sql("ANALYZE usage_records")
    await database.close()


async def _fill_some(database: Database, first: int, last: int) -> None:
    numbers = select(literal(first, BigInteger).label("number")).cte("numbers", recursive=True)
    numbers = numbers.union_all(select(numbers.c.number + 1).where(numbers.c.number < last))
    number = numbers.c.number
    varied: dict[str, ColumnElement[Any]] = {
        "id": literal("01HF7YAT00") + func.substr(cast(number + ID_START, Text), 2),
        "key_id": literal("K" + "0" * 23) + func.substr(cast(number % KEYS + 100, Text), 2),
        "started_at": literal(NOW, Double) + number / 4.0,
        "status": case((number % RARELY == 0, "error"), else_="ok"),
        "details": literal(b"\x90", usage_records.c.details.type),
    }
    values = {name: varied.get(name, _same(name)) for name in usage_records.c.keys()}  # noqa: SIM118  # not a mapping
    async with database.write() as session:
        await session.change(insert(usage_records).from_select(list(values), select(*values.values())))


def _same(name: str) -> ColumnElement[Any]:
    column, usual = usage_records.c[name], record()
    plain: dict[str, Any] = {"day": 0, "cost_micros": 40, "price_micros": 50, "exact": True}
    default = "" if isinstance(column.type, Text) or column.type.python_type is str else 0
    return literal(plain.get(name, getattr(usual, name, default)), column.type)


@pytest.mark.soak
@pytest.mark.timeout(3_600)
async def test_pages_of_a_long_history_are_read_by_an_index(
    place: Place, database: Database, soak: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How long a page takes is printed, not judged: half of some tries took no longer."""
    count, tries = (IN_A_SOAK, TRIES) if soak else (MANY, 1)
    if not soak:
        monkeypatch.setattr(store, "MOST_SEEN", SEEN_OF_MANY)
    await fill(place, count)
    middle = f"{NOW + count / 8:.9f}~"
    for title, which in PAGES.items():
        for where, cursor in (("the newest", None), ("the middle", middle)):
            with reads(database) as seen:
                took = [await _page(database, which, cursor) for _ in range(tries)]
            print(f"{database.dialect}: {median(took) * 1000:.1f} ms for {title}, from {where} of {count}")
            for statement in {each[0]: each for each in seen if "FROM usage_records" in each[0]}.values():
                bounds = [statement[0].count(f"started_at {sign}") for sign in "<>"]
                assert max(bounds) <= ONE_WITH_TIES, statement
                plan = await plan_of(database, statement)
                assert INDEX in plan, plan
                assert ASTRAY.search(plan) is None, plan
                assert BOUNDED in plan or SORTS.search(plan) is None, plan


async def _page(database: Database, which: Which, cursor: str | None) -> float:
    """How many seconds a page took, which must be in order, and full unless it looks for something."""
    began = time.monotonic()
    entries, following = await HistoryService(database).page(READER, which, LIMIT, cursor)
    took = time.monotonic() - began
    starts = [entry.started_at for entry in entries]
    assert starts == sorted(starts, reverse=True)
    if which is PAGES["all of it"]:
        assert (len(entries), following is None) == (LIMIT, False)
    return took
