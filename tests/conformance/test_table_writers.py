"""Every format of tables against what its port promises, and what each does beside."""

import csv
import io
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib import import_module
from typing import Any

import pyarrow.parquet
import pytest

from polyforge.adapters.table_writers.csv import CsvWriter
from polyforge.adapters.table_writers.parquet import ParquetWriter
from polyforge.kernel.errors import Invalid
from polyforge.ports.table_writer import Cell, Column, TableWriter
from polyforge.tenancy.usage.exporting import FORMATS
from polyforge.wiring.adapters import available
from polyforge.wiring.usage import make_writer

COLUMNS = [
    Column("day", "date"),
    Column("hour", "time"),
    Column("end_user", "text"),
    Column("requests", "integer"),
    Column("price_usd", "money"),
]
HOUR = datetime(2026, 1, 31, 12, tzinfo=UTC)
ROWS: list[list[Cell]] = [
    [date(2026, 1, 31), HOUR, 'é, "quoted"\nand more', 2**40, Decimal("0.000004")],
    [date(2026, 1, 31), HOUR, "", 0, Decimal("-12345678901.500000")],
    [None, None, None, None, None],
]
Read = Callable[[bytes], list[list[str]]]


def read_csv(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode(), newline="")))


def read_parquet(content: bytes) -> list[list[str]]:
    table: Any = pyarrow.parquet.read_table(io.BytesIO(content))
    rows = [[_text(cell) for cell in row.values()] for row in table.to_pylist()]
    return [table.column_names, *rows]


def _text(cell: Any) -> str:
    return "" if cell is None else cell.isoformat().replace("+00:00", "Z") if isinstance(cell, date) else str(cell)


FORMATS_READ: list[tuple[Callable[[], TableWriter], Read]] = [(CsvWriter, read_csv), (ParquetWriter, read_parquet)]


def written(writer: TableWriter, *parts: Sequence[Sequence[Cell]]) -> bytes:
    return writer.begin(COLUMNS) + b"".join(writer.add(part) for part in parts) + writer.end()


@pytest.mark.parametrize(("make", "read"), FORMATS_READ)
def test_rows_come_back_as_they_were(make: Callable[[], TableWriter], read: Read) -> None:
    names, *rows = read(written(make(), ROWS[:1], ROWS[1:]))
    assert names == [column.name for column in COLUMNS]
    assert rows == [[_text(cell) for cell in row] for row in ROWS]


@pytest.mark.parametrize(("make", "read"), FORMATS_READ)
def test_a_table_may_be_empty(make: Callable[[], TableWriter], read: Read) -> None:
    assert read(written(make())) == read(written(make(), [])) == [[column.name for column in COLUMNS]]


@pytest.mark.parametrize(("make", "read"), FORMATS_READ)
def test_rows_leave_when_they_are_added(make: Callable[[], TableWriter], read: Read) -> None:
    writer = make()
    parts = [writer.begin(COLUMNS), *(writer.add(ROWS * 100) for _ in range(20)), writer.end()]
    assert all(len(part) > 500 for part in parts[1:-1])
    assert len(read(b"".join(parts))) == 1 + 20 * 300


def test_a_spreadsheet_computes_nothing_that_a_caller_wrote() -> None:
    for text in ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1"):
        row: list[Cell] = [None, None, text, -1, Decimal(-1)]
        assert read_csv(written(CsvWriter(), [row]))[1] == ["", "", f"'{text}", "-1", "-1"]


async def test_writers_are_made_by_name() -> None:
    assert sorted(FORMATS) == available("table_writers")
    for name in FORMATS:
        assert (await make_writer(name)).suffix == name
    with pytest.raises(Invalid, match="there is no format 'xlsx'; there are csv, parquet"):
        await make_writer("xlsx")


async def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("polyforge.wiring.adapters.import_module", _only_folders(missing))
    with pytest.raises(Invalid, match=r"^parquet needs a library; pip install 'polyforge\[parquet\]'$") as refused:
        await make_writer("parquet")
    assert refused.value.param == "format"


def _only_folders(missing: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda name: import_module(name) if name.count(".") == 2 else missing(name)
