"""Rows of databases as JSON, up to a limit."""

import base64
import datetime
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, cast

import msgspec

from polyforge.flows.bounds import MAX_INTEGER
from polyforge.flows.document import Json
from polyforge.flows.running.contract import SqlTable
from polyforge.kernel.errors import Invalid

_encode: Final = msgspec.json.Encoder().encode


class ReadLimits(msgspec.Struct, frozen=True):
    """How much a query may find, and how long it may take."""

    rows: int
    max_bytes: int
    seconds: float


class Gathering:
    """Rows of one query as they come."""

    def __init__(self, columns: Sequence[str], limits: ReadLimits) -> None:
        twice = [name for place, name in enumerate(columns) if name in columns[:place]]
        if twice:
            raise Invalid(f"two columns are called {twice[0]!r}; name one of them with AS", param="query")
        self._columns = columns
        self._limits = limits
        self._rows: list[Mapping[str, Json]] = []
        self._bytes = 0
        self._more = False

    def add(self, row: Sequence[Any]) -> bool:
        """Take one; whether there is room for others. Invalid where all of them are too large."""
        if len(self._rows) == self._limits.rows:
            self._more = True
            return False
        found = {name: cell(value) for name, value in zip(self._columns, row, strict=True)}
        self._bytes += len(_encode(found))
        if self._bytes > self._limits.max_bytes:
            raise Invalid(f"the query finds more than {self._limits.max_bytes} bytes; ask for less", param="query")
        self._rows.append(found)
        return True

    def table(self) -> SqlTable:
        """All of them."""
        return SqlTable(self._rows, self._more)


def cell(value: Any) -> Json:
    """A value as JSON: numbers that it does not have exactly, times and the like as text."""
    if isinstance(value, dict):
        return {str(key): cell(inner) for key, inner in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [cell(each) for each in cast("Sequence[Any]", value)]
    if isinstance(value, Decimal):
        return _number(value)
    return _scalar(value)


def _scalar(value: Any) -> Json:
    match value:
        case None | bool() | str():
            return value
        case int():
            return value if abs(value) <= MAX_INTEGER else str(value)
        case float():
            return value if math.isfinite(value) else str(value)
        case datetime.datetime() | datetime.date() | datetime.time():
            return value.isoformat()
        case datetime.timedelta():
            return value.total_seconds()
        case bytes():
            return base64.b64encode(value).decode()
        case _:
            return str(value)


def bindable(value: Json) -> Any:
    """What goes into a query for an input: lists and objects as JSON text."""
    return _encode(value).decode() if isinstance(value, dict | list) else value


def _number(value: Decimal) -> Json:
    if not value.is_finite():
        return str(value)
    near = float(value)
    if not math.isfinite(near) or Decimal(repr(near)) != value:
        return str(value)
    return int(value) if value == value.to_integral_value() and abs(value) <= MAX_INTEGER else near
