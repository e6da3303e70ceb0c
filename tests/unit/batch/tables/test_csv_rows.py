"""CSV as it comes, whatever pieces it comes in."""

import csv
import io
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyforge.batch.tables.csv_rows import Row, answer_cell, csv_lines, csv_rows
from polyforge.kernel.errors import Invalid, TooLarge

CELLS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12)


async def pieces(content: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def read(content: bytes, size: int = 7, longest: int = 10_000, delimiter: str = ",") -> list[Row]:
    return [row async for row in csv_rows(pieces(content, size), longest, delimiter)]


async def test_rows_come_as_they_are_written() -> None:
    text = '\ufeffname,text\r\n"Ann, B.","said ""hi""\r\n\r\nand went"\r\n\r\nBob,\n'
    assert await read(text.encode()) == [
        Row(1, ["name", "text"]),
        Row(2, ["Ann, B.", 'said "hi"\r\n\r\nand went']),
        Row(6, ["Bob", ""]),
    ]
    assert [row.cells for row in await read(b"a;b\n1,5;2", delimiter=";")] == [["a", "b"], ["1,5", "2"]]


async def test_a_row_of_very_many_lines_takes_what_its_length_takes() -> None:
    # Looked at from its beginning for each line, it would not be read within the time that a test has.
    inside = "\n" * 2_000_000
    content = f'a,b\n1,"{inside}"\n2,\n'.encode()
    rows = await read(content, size=1 << 16, longest=1 << 22)
    assert [(row.line, len(row.cells[1])) for row in rows] == [(1, 1), (2, len(inside)), (2_000_003, 0)]


@given(st.lists(st.lists(CELLS, min_size=2, max_size=2), min_size=1, max_size=8), st.integers(1, 64))
async def test_what_is_written_is_read_again(rows: list[list[str]], size: int) -> None:
    # Every cell in quotes: a row of nothing else would be a blank line.
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(rows)
    assert [row.cells for row in await read(text.getvalue().encode(), size)] == rows


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'a,b\n1,"2\n3,4\n', "line 2: a quote is opened"),
        (b'a,b\n1,"2"x\n', "line 2"),
        (b"a,b\n\n1,\xff\n", "line 3: it is not UTF-8"),
    ],
)
async def test_what_is_wrong_is_told_with_its_line(content: bytes, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        await read(content)


async def test_a_row_that_does_not_end_is_too_large() -> None:
    with pytest.raises(TooLarge, match="line 2"):
        await read(b'a\n"' + b"x\n" * 100, longest=50)
    with pytest.raises(TooLarge):
        await read(b"x" * 100, longest=50)


def test_answers_are_no_formulas() -> None:
    values = ["=1+1", "-5", "-5.5e3", "- a list", "fine", None, 7, [0.5, 1.0], {"a": 1}]
    cells = ["'=1+1", "-5", "-5.5e3", "'- a list", "fine", "", "7", "[0.5,1.0]", '{"a":1}']
    assert [answer_cell(value) for value in values] == cells
    assert csv_lines([["a", "b,c"], ["d\re", 'f"']], ",") == b'a,"b,c"\r\n"d\re","f"""\r\n'
