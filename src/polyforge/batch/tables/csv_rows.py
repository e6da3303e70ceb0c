"""Comma-separated values (RFC 4180) as they come: rows, and the lines of them again. Pure."""

import csv
import io
import re
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing
from typing import Any, Final

import msgspec

from polyforge.batch.batches.reading import raw_lines
from polyforge.kernel.errors import Invalid, TooLarge

_BOM: Final = b"\xef\xbb\xbf"
_FORMULA: Final = re.compile(r"[=+\-@\t\r]")
"""What spreadsheets take for a formula begins like this (https://owasp.org/www-community/attacks/CSV_Injection)."""
_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")


class Row(msgspec.Struct, frozen=True, gc=False):
    """One row, and the line on which it begins."""

    line: int
    cells: list[str]


async def csv_rows(pieces: AsyncIterable[bytes], longest: int, delimiter: str) -> AsyncGenerator[Row]:
    """The rows, with their header first; TooLarge for one that is too long, Invalid for one that cannot be read."""
    csv.field_size_limit(max(csv.field_size_limit(), longest))
    held, first, inside = bytearray(), 0, False
    async with aclosing(raw_lines(pieces, longest, blank=True)) as lines:
        async for raw in lines:
            if held:
                held += b"\n"
            elif not raw.content.strip():
                continue
            else:
                first = raw.number
            held += raw.content.removeprefix(_BOM) if raw.number == 1 else raw.content
            if len(held) > longest:
                raise TooLarge(f"the row on line {first} has more than {longest} bytes; is a quote left open?")
            # A row ends where all quotes are closed. Each line is looked at once, however long its row is.
            if raw.content.count(b'"') % 2:
                inside = not inside
            if not inside:
                yield _row(first, bytes(held), delimiter)
                held.clear()
    if held:
        raise Invalid(f"line {first}: a quote is opened and never closed")


def _row(line: int, content: bytes, delimiter: str) -> Row:
    try:
        text = content.decode().removesuffix("\r")
        return Row(line, next(csv.reader([text], delimiter=delimiter, strict=True)))
    except UnicodeDecodeError:
        raise Invalid(f"line {line}: it is not UTF-8; save the table as UTF-8") from None
    except csv.Error as error:
        raise Invalid(f"line {line}: {error}") from None


def csv_lines(rows: Iterable[Iterable[str]], delimiter: str) -> bytes:
    """Rows as lines."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def answer_cell(value: Any) -> str:
    """A value of ours in a cell; a text that a spreadsheet would compute begins with an apostrophe, unless a number."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return msgspec.json.encode(value).decode()
    return f"'{value}" if _FORMULA.match(value) and not _NUMBER.fullmatch(value) else value
