"""Comma-separated values (RFC 4180), which every spreadsheet opens."""

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from polyforge.ports.table_writer import Cell, Column

_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r")
"""What spreadsheets take for a formula begins like this
(https://owasp.org/www-community/attacks/CSV_Injection)."""


class CsvWriter:
    """Lines in UTF-8; text that a spreadsheet would compute begins with an apostrophe."""

    media_type = "text/csv; charset=utf-8"
    suffix = "csv"

    def begin(self, columns: Sequence[Column]) -> bytes:
        """The names of the columns."""
        return self.add([[column.name for column in columns]])

    def add(self, rows: Sequence[Sequence[Cell]]) -> bytes:
        """A line for each."""
        text = io.StringIO()
        csv.writer(text).writerows([_written(cell) for cell in row] for row in rows)
        return text.getvalue().encode()

    def end(self) -> bytes:
        """Nothing."""
        return b""


def _written(cell: Cell) -> str:
    if isinstance(cell, datetime):
        return cell.isoformat().replace("+00:00", "Z")
    if isinstance(cell, str) and cell.startswith(_FORMULAS):
        return f"'{cell}"
    return "" if cell is None else str(cell)


ADAPTER = CsvWriter
