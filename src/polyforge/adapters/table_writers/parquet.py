"""Apache Parquet, for whoever goes on with data frames or a warehouse."""

from collections.abc import Sequence
from typing import Any, Final

import pyarrow  # pyright: ignore[reportMissingTypeStubs]
from pyarrow import parquet  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from polyforge.ports.table_writer import Cell, Column, Kind

_arrow: Final[Any] = pyarrow
_parquet: Final[Any] = parquet
"""They have no types."""
_TYPES: Final[dict[Kind, Any]] = {
    "text": _arrow.string(),
    "integer": _arrow.int64(),
    "money": _arrow.decimal128(18, 6),
    "date": _arrow.date32(),
    "time": _arrow.timestamp("us", tz="UTC"),
}


class _Outbox:
    """What a file is to the library: it is written to from the beginning to the end."""

    closed = False

    def __init__(self) -> None:
        self._waiting: list[bytes] = []
        self._position = 0

    def write(self, content: bytes) -> int:
        """Keep it until it is taken."""
        self._waiting.append(bytes(content))
        self._position += len(content)
        return len(content)

    def tell(self) -> int:
        """Bytes so far."""
        return self._position

    def flush(self) -> None:
        """Nothing waits for more."""

    def close(self) -> None:
        """Nothing is to be let go."""

    def writable(self) -> bool:
        """That is all it is for."""
        return True

    def readable(self) -> bool:
        """What is written is gone."""
        return False

    def seekable(self) -> bool:
        """No footer is written before the rows."""
        return False

    def take(self) -> bytes:
        """What was written since the last time."""
        taken, self._waiting = b"".join(self._waiting), []
        return taken


class ParquetWriter:
    """A row group for every part of the rows that comes."""

    media_type = "application/vnd.apache.parquet"
    suffix = "parquet"

    def begin(self, columns: Sequence[Column]) -> bytes:
        """The magic number."""
        self._outbox = _Outbox()
        self._schema = _arrow.schema([_arrow.field(column.name, _TYPES[column.kind]) for column in columns])
        self._writer = _parquet.ParquetWriter(self._outbox, self._schema)
        return self._outbox.take()

    def add(self, rows: Sequence[Sequence[Cell]]) -> bytes:
        """A row group."""
        if rows:
            columns = zip(zip(*rows, strict=True), self._schema, strict=True)
            arrays = [_arrow.array(column, field.type) for column, field in columns]
            self._writer.write_table(_arrow.Table.from_arrays(arrays, schema=self._schema))
        return self._outbox.take()

    def end(self) -> bytes:
        """The footer, which says where everything is."""
        self._writer.close()
        return self._outbox.take()


ADAPTER = ParquetWriter
