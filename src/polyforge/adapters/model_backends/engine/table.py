"""Models of tables: one input with a row per case, whose rows have nothing to do with each other.

What several requests bring is one table to the engine, and each gets its rows of what comes out.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from polyforge.adapters.model_backends.engine.arrays import Array, array_of, much_alike, tensor_of
from polyforge.kernel.errors import Invalid, PolyforgeError
from polyforge.kernel.tensors import TensorSpec
from polyforge.ports.model_backend import ModelRequest, Outputs

FEATURES = "features"
PROBABILITIES = "probabilities"
LABEL = "label"
PREDICTION = "prediction"
MAX_COLUMNS = 1 << 20
MAX_CLASSES = 1 << 16
MAX_NOTE = 2000
TRIAL_ROWS = 3
BRIEF_SECONDS = 1e-4
TIMED_RUNS = 5
TIMED_ROWS = (1, 8, 64)

Compute = Callable[[Array], Sequence[Array]]
"""What an engine makes of a table: one array for each output, with a row for each of the table's; or Invalid."""


class TableSettings(BaseModel):
    """Where a model lies and how much of it is computed at once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path = Field(description="Folder of the artifact.")
    file: str | None = Field(
        default=None, description="The model's path in the folder; by default the only one, or the one called model."
    )
    batch_rows: int = Field(
        default=1024, ge=1, le=65536, description="Most rows in one run; 1 runs every request alone."
    )


class LabelledSettings(TableSettings):
    """For files that know their classes by number alone."""

    labels: tuple[str, ...] = Field(
        default=(), max_length=MAX_CLASSES, description="The names of the classes, in the order of their numbers."
    )


def answer_tables(
    batch: Sequence[ModelRequest], given: TensorSpec, outputs: Sequence[TensorSpec], compute: Compute
) -> list[Outputs | PolyforgeError]:
    """The answer to each request, all their rows computed together; a request that is wrong is answered with why."""
    tables = [_table(request, given) for request in batch]
    good = [table for table in tables if not isinstance(table, PolyforgeError)]
    results = _computed(good, given, outputs, compute) if good else ()
    if isinstance(results, PolyforgeError) and len(batch) > 1:
        # One of them is to blame; alone it is found out, and the others are answered.
        return [answer_tables([request], given, outputs, compute)[0] for request in batch]
    answers: list[Outputs | PolyforgeError] = []
    start = 0
    for table in tables:
        if isinstance(table, PolyforgeError):
            answers.append(table)
        elif isinstance(results, PolyforgeError):
            answers.append(results)
        else:
            part = slice(start, start + len(table))
            answers.append(_written(outputs, [result[part] for result in results]))
            start += len(table)
    return answers


def row_dependence(compute: Compute, rows: Array) -> str | None:
    """Why rows may not be computed together, found by doing it; None when nothing speaks against it."""
    alone = [compute(rows[place : place + 1]) for place in range(len(rows))]
    together = compute(rows)
    for place, whole in enumerate(together):
        if len(whole) != len(rows):
            return "it does not give one answer for each row"
        if not all(much_alike(whole[row : row + 1], alone[row][place]) for row in range(len(rows))):
            return "a row's answer changed with the rows beside it in a trial"
    return None


def brief_bytes(compute: Compute, row: Array) -> int:
    """How large a table may be that is computed in no time, as far as copies of one row tell."""
    brief = 0
    for count in TIMED_ROWS:
        table = np.repeat(row, count, axis=0)
        if _seconds(compute, table) > BRIEF_SECONDS:
            break
        brief = table.nbytes
    return brief


def class_names(declared: Sequence[str], count: int) -> tuple[str, ...]:
    """The names of so many classes, their numbers where none are declared; Invalid when others are."""
    if not declared:
        return tuple(map(str, range(count)))
    if len(declared) != count or len(set(declared)) != count:
        raise Invalid(f"labels: the model tells {count} classes apart, name each of them once", param="labels")
    return tuple(declared)


def likeliest(names: Sequence[str], probabilities: Array) -> Array:
    """The name of the likeliest class of each row."""
    return np.array(names, object)[probabilities.argmax(axis=1)]


def columns_note(names: Sequence[str]) -> tuple[str, ...]:
    """What the model's card tells of the columns' order, where the file knows their names."""
    text = ", ".join(names)
    shown = text if len(text) <= MAX_NOTE else f"{text[:MAX_NOTE]}..."
    return (f"columns: {shown}",) if names else ()


def check_columns(count: int, name: str) -> int:
    """The number of columns that a file declares; Invalid when no table has so many."""
    if not 1 <= count <= MAX_COLUMNS:
        raise Invalid(f"{name}: it takes {count} columns; from 1 to {MAX_COLUMNS} are allowed")
    return count


def _table(request: ModelRequest, given: TensorSpec) -> Array | PolyforgeError:
    try:
        table = array_of(request.inputs[given.name])
    except PolyforgeError as error:
        return error
    if table.ndim != len(given.shape) or any(
        wanted not in (-1, size) for wanted, size in zip(given.shape, table.shape, strict=True)
    ):
        return Invalid(
            f"{given.name}: has shape {list(table.shape)}, the model takes {list(given.shape)}", param=given.name
        )
    return table


def _computed(
    tables: Sequence[Array], given: TensorSpec, outputs: Sequence[TensorSpec], compute: Compute
) -> Sequence[Array] | PolyforgeError:
    table = tables[0] if len(tables) == 1 else np.concatenate(tables)
    if not len(table):
        return [np.zeros((0, *(max(size, 0) for size in spec.shape[1:]))) for spec in outputs]
    try:
        results = compute(table)
    except PolyforgeError as error:
        return error
    if any(len(result) != len(table) for result in results):
        return Invalid("the model does not give one answer for each row", param=given.name)
    return results


def _written(outputs: Sequence[TensorSpec], results: Sequence[Array]) -> Outputs:
    return tuple(tensor_of(spec.name, spec.datatype, array) for spec, array in zip(outputs, results, strict=True))


def _seconds(compute: Compute, table: Array) -> float:
    """The least that a few runs took: what the machine did meanwhile is none of the model's."""
    least = float("inf")
    for _ in range(TIMED_RUNS):
        start = time.perf_counter()
        compute(table)
        least = min(least, time.perf_counter() - start)
    return least
