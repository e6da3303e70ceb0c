"""Reads and writes Parquet for `adapters.column_files.parquet`, which says what is asked for."""

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import pyarrow  # pyright: ignore[reportMissingTypeStubs]
from pyarrow import compute, parquet  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from polyforge.isolation.program import Refusal, serve_work

_SLICE: Final = 500
_arrow: Final[Any] = pyarrow
_parquet: Final[Any] = parquet
_compute: Final[Any] = compute
"""They have no types."""
_encode: Final = msgspec.json.Encoder(enc_hook=str).encode
_objects: Final = msgspec.json.Decoder(dict[str, Any]).decode


def names(source: str) -> list[str]:
    """The columns of a table."""
    return _parquet.ParquetFile(source).schema_arrow.names


def rows(source: str, target: str, columns: Sequence[str], most: int, longest: int) -> None:
    """Write columns of a table as lines of JSON."""
    file, wanted = _parquet.ParquetFile(source), list(columns)
    if file.metadata.num_rows > most:
        raise Refusal(f"the table has {file.metadata.num_rows} rows, more than {most}; split it")
    with Path(target).open("wb") as lines:
        # Also without columns each row is a line.
        for batch in file.iter_batches(batch_size=_SLICE, columns=wanted or file.schema_arrow.names[:1]):
            _write(lines, batch.to_pylist(), set(wanted), longest)


def _write(lines: IO[bytes], found: Sequence[dict[str, Any]], wanted: set[str], longest: int) -> None:
    for row in found:
        line = _encode({name: value for name, value in row.items() if name in wanted})
        if len(line) > longest:
            raise Refusal(f"a row has more than {longest} bytes")
        lines.write(line + b"\n")


def join(source: str, answers: str, target: str, *, failed_only: bool) -> None:
    """Write a table with columns added."""
    file = _parquet.ParquetFile(source)
    with Path(answers).open("rb") as lines:
        kind = _kind_of(answers)
        writer: Any = None
        for batch in file.iter_batches(batch_size=_SLICE):
            table = _joined(
                _arrow.Table.from_batches([batch]), [_objects(line) for line in islice(lines, batch.num_rows)], kind
            )
            if failed_only:
                table = table.filter(_compute.is_valid(table.column(len(batch.schema.names) + 1)))
            writer = writer or _parquet.ParquetWriter(target, table.schema)
            writer.write_table(table)
        if writer is None:
            raise Refusal("the table has no rows")
        writer.close()


def _joined(table: Any, added: Sequence[dict[str, Any]], kind: Any) -> Any:
    if len(added) != table.num_rows:
        raise Refusal("there are not as many answers as rows")
    types = [kind, _arrow.string(), _arrow.int64(), _arrow.int64(), _arrow.float64()]
    for name, type_ in zip(added[0], types, strict=True):
        table = table.append_column(name, _arrow.array([row[name] for row in added], type_))
    return table


def _kind_of(answers: str) -> Any:
    """Numbers in a list where there are any, else text."""
    with Path(answers).open("rb") as lines:
        given = (next(iter(_objects(line).values())) for line in lines)
        first = next((each for each in given if each is not None), None)
    return _arrow.list_(_arrow.float32()) if isinstance(first, list) else _arrow.string()


def work(asked: dict[str, Any]) -> object:
    """Do as asked; Refusal for a table that will not do."""
    does: dict[str, Callable[..., object]] = {"names": names, "rows": rows, "join": join}
    do = does[asked.pop("do")]
    try:
        return do(**asked)
    except (_arrow.ArrowException, OSError) as error:
        told = str(error).partition("\n")[0][:300]
        raise Refusal(f"it is no Parquet that can be read: {told}") from error


if __name__ == "__main__":
    serve_work(work)
