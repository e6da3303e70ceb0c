"""Parquet in a process of its own: what it gives, what it refuses, and that it does not take the machine along."""

import json
from pathlib import Path
from typing import Any

import pyarrow  # pyright: ignore[reportMissingTypeStubs]
import pytest
from pyarrow import parquet  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from polyforge.adapters.column_files import parquet as adapter
from polyforge.adapters.column_files.parquet import ParquetFiles
from polyforge.jobs.settings import HeavySettings
from polyforge.kernel.errors import Invalid, NotConfigured
from polyforge.ports.column_files import TableLimits

ARROW: Any = pyarrow
PARQUET: Any = parquet
FILES = ParquetFiles(HeavySettings().apart())
ROOMY = TableLimits(1_000, 10_000)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    columns = {
        "text": ARROW.array(["é", None, "c"]),
        "bytes": ARROW.array([b"\xff", b"", b"x"]),
        "deep": ARROW.array([{"a": [1, 2]}, None, {"a": []}]),
    }
    PARQUET.write_table(ARROW.table(columns), tmp_path / "table")
    return tmp_path / "table"


async def test_rows_are_lines_of_json(table: Path, tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    assert await FILES.names(table) == ["text", "bytes", "deep"]
    await FILES.rows(table, lines, ["deep", "text"], ROOMY)
    assert [json.loads(line) for line in lines.read_text().splitlines()] == [
        {"text": "é", "deep": {"a": [1, 2]}},
        {"text": None, "deep": None},
        {"text": "c", "deep": {"a": []}},
    ]
    await FILES.rows(table, lines, [], ROOMY)
    assert lines.read_text() == "{}\n" * 3


async def test_what_is_too_large_is_refused(table: Path, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="3 rows, more than 2"):
        await FILES.rows(table, tmp_path / "lines", ["text"], TableLimits(2, 10_000))
    with pytest.raises(Invalid, match="more than 5 bytes"):
        await FILES.rows(table, tmp_path / "lines", ["text"], TableLimits(3, 5))


@pytest.mark.parametrize("content", [b"", b"PAR1PAR1", b"PAR1" + bytes(100) + b"\xff\xff\xff\x7fPAR1", b"text"])
async def test_what_is_no_parquet_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "table").write_bytes(content)
    with pytest.raises(Invalid, match=r"no Parquet|broken"):
        await FILES.names(tmp_path / "table")


async def test_answers_must_be_as_many_as_rows(table: Path, tmp_path: Path) -> None:
    row = {"answer": "a", "error": None, "input_tokens": 1, "output_tokens": 1, "price_usd": 0.0}
    answers = tmp_path / "answers"
    answers.write_text(f"{json.dumps(row)}\n" * 2)
    with pytest.raises(Invalid, match="answers"):
        await FILES.join(table, answers, tmp_path / "target", failed_only=False)


async def test_a_missing_library_is_named(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "find_spec", lambda _: None)
    with pytest.raises(NotConfigured, match=r"polyforge\[parquet\]"):
        await FILES.names(table)
