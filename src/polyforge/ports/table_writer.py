"""The port to formats of tables, for people who go on elsewhere with what they export."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Literal, Protocol

import msgspec

Kind = Literal["text", "integer", "money", "date", "time"]
Cell = str | int | Decimal | date | datetime | None


class Column(msgspec.Struct, frozen=True):
    """One column. Money is in USD with six digits after the point, times are in UTC."""

    name: str
    kind: Kind


class TableWriter(Protocol):
    """Writes one table as a stream of bytes. Not for event loops: it computes, and may be slow."""

    media_type: str
    suffix: str
    """Of the name of a file."""

    def begin(self, columns: Sequence[Column]) -> bytes:
        """What comes before the first row."""
        ...

    def add(self, rows: Sequence[Sequence[Cell]]) -> bytes:
        """Some rows, each with a cell for every column."""
        ...

    def end(self) -> bytes:
        """What comes after the last row."""
        ...
