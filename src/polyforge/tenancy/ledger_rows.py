"""Usage records as rows, and what rows come to by hour and by day. Pure, and written for what one record costs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, NamedTuple, TypeVar

from msgspec.structs import astuple

from polyforge.tenancy.ledger.records import CORRECTION, REFUSED, UsageRecord
from polyforge.tenancy.tables import MEASURES

HOUR_SECONDS: Final = 3_600
DAY_SECONDS: Final = 86_400
HOURS_PER_DAY: Final = 24

FAILED: Final = ("error", "interrupted")
ANSWERED: Final = ("ok", "cancelled")

TYPES: Final = {
    "id": "text",
    "key_id": "text",
    "organization_id": "text",
    "project_id": "text",
    "task": "text",
    "model": "text",
    "provider": "text",
    "deployment": "text",
    "status": "text",
    "http_status": "smallint",
    "started_at": "double precision",
    "duration_ms": "bigint",
    "period_start": "bigint",
    "input_tokens": "bigint",
    "cache_read_tokens": "bigint",
    "cache_write_tokens": "bigint",
    "output_tokens": "bigint",
    "reasoning_tokens": "bigint",
    "exact": "boolean",
    "audio_input_tokens": "bigint",
    "audio_output_tokens": "bigint",
    "image_input_tokens": "bigint",
    "images": "bigint",
    "milliseconds": "bigint",
    "characters": "bigint",
    "cost_micros": "bigint",
    "price_micros": "bigint",
    "stream": "boolean",
    "user_id": "text",
    "end_user": "text",
    "tags": "text",
    "cached": "text",
    "saved_micros": "bigint",
    "error": "text",
    "details": "bytea",
}
"""The columns of a row with their PostgreSQL types: the fields of a record in their order, those of its usage among
them. `day` is missing, which the databases compute."""

GROUPS: Final = ("key_id", "user_id", "end_user", "task", "model", "provider", "deployment", "tags")
"""What sums are kept by, beside the time and the project: what makes a series."""
SERIES_TYPES: Final = {"organization_id": "text", "project_id": "text", "id": "bigint", **dict.fromkeys(GROUPS, "text")}
"""The columns of a series with their PostgreSQL types."""
SUM_TYPES: Final = {
    "organization_id": "text",
    "project_id": "text",
    "span": "integer",
    "series_id": "bigint",
    **dict.fromkeys(MEASURES, "bigint"),
}
"""The columns of a sum with their PostgreSQL types; `span` is the hour or the day."""

Row = tuple[Any, ...]
_Measures = list[int]
_Place = tuple[str, int, int]
"""Project, hour or day, and series."""
_Key = TypeVar("_Key", bound=tuple[Any, ...])

_MOST_KNOWN: Final = 20_000
_AT: Final = {name: index for index, name in enumerate(TYPES)}
_USAGE_AT: Final = UsageRecord.__struct_fields__.index("usage")
_STARTED, _PERIOD, _SAVED = _AT["started_at"], _AT["period_start"], _AT["saved_micros"]
_MODEL, _PROVIDER, _DEPLOYMENT, _END_USER = _AT["model"], _AT["provider"], _AT["deployment"], _AT["end_user"]
_WHOSE: Final = slice(_AT["key_id"], _AT["status"] + 1)
_FOR: Final = slice(_AT["user_id"], _AT["cached"] + 1)
_NUMBERS: Final = slice(_AT["duration_ms"], _AT["price_micros"] + 1)
# Not to be summed, though they stand between numbers that are.
_SKIPPED: Final = tuple(_AT[name] - _NUMBERS.start for name in ("exact", "period_start"))
_PRICE: Final = MEASURES.index("price_micros")
_HEAD: Final = len(SUM_TYPES) - len(MEASURES)


class Sums(NamedTuple):
    """What rows come to, each list in the order of its keys, so that two writers cannot deadlock."""

    spending: list[Row]
    """Key, period and price."""
    series: list[Row]
    hours: list[Row]
    days: list[Row]


class KnownSeries:
    """Series that are in the database for sure, as far as this process remembers."""

    def __init__(self) -> None:
        self._places: set[tuple[str, int]] = set()

    def lacks(self, series: Iterable[Row]) -> list[Row]:
        """Those that have to be added."""
        return [row for row in series if (row[1], row[2]) not in self._places]

    def remember(self, series: Iterable[Row]) -> None:
        """They are there now: the transaction that added them is committed."""
        if len(self._places) > _MOST_KNOWN:
            self._places.clear()
        self._places.update((row[1], row[2]) for row in series)


def row_of(record: UsageRecord) -> Row:
    """One row, in the order of `TYPES`."""
    fields = astuple(record)
    row = fields[:_USAGE_AT] + astuple(fields[_USAGE_AT]) + fields[_USAGE_AT + 1 :]
    if "\0" in row[_MODEL] or "\0" in row[_PROVIDER] or "\0" in row[_DEPLOYMENT] or "\0" in row[_END_USER]:
        return _storable(row)
    return row


def _storable(row: Row) -> Row:
    """PostgreSQL cannot store NUL, and a record that can never be written would block its journal for ever."""
    return tuple(field.replace("\0", "\ufffd") if isinstance(field, str) else field for field in row)


def sums_of(rows: Iterable[Row]) -> Sums:
    """What rows of calls add to the counters of budgets and to the sums by hour and by day."""
    spending: dict[tuple[str, int], int] = {}
    series: dict[tuple[str, int], Row] = {}
    hours: dict[_Place, Row] = {}
    for (key, org, project, task, model, provider, deployment, status, *whom, period, hour), group in _grouped(rows):
        if status == REFUSED:
            continue
        user, end_user, tags, cached = whom
        measures = _measured(group, status, cached)
        spent = (key, period)
        spending[spent] = spending.get(spent, 0) + measures[_PRICE]
        groups = (key, user, end_user, task, model, provider, deployment, tags)
        id_ = series_of(groups)
        series[project, id_] = (org, project, id_, *groups)
        _add(hours, (org, project, int(hour), id_), measures)
    in_order = _sorted(hours)
    return Sums([(*spent, spending[spent]) for spent in sorted(spending)], _sorted(series), in_order, _by_day(in_order))


def _sorted(rows: Mapping[_Key, Row]) -> list[Row]:
    return [rows[key] for key in sorted(rows)]


def _grouped(rows: Iterable[Row]) -> Iterator[tuple[Row, list[Row]]]:
    groups: dict[Row, list[Row]] = {}
    for row in rows:
        group = (*row[_WHOSE], *row[_FOR], row[_PERIOD], row[_STARTED] // HOUR_SECONDS)
        found = groups.get(group)
        if found is None:
            groups[group] = [row]
        else:
            found.append(row)
    return iter(groups.items())


def _measured(group: Sequence[Row], status: str, cached: str) -> _Measures:
    """The measures of rows that ended alike."""
    if len(group) == 1:
        totals: _Measures = [*group[0][_NUMBERS]]
    else:
        totals = [sum(column) for column in zip(*[row[_NUMBERS] for row in group], strict=True)]
    for index in _SKIPPED:
        del totals[index]
    count = 0 if status == CORRECTION else len(group)
    failed, answered = status in FAILED, status in ANSWERED
    saved = sum(row[_SAVED] for row in group) if cached else 0
    return [count, count * failed, count * answered, count if cached else 0, *totals, saved]


def _add(sums: dict[_Place, Row], head: Row, measures: Iterable[int]) -> None:
    """Add measures to the sum with this head, which may not be there yet."""
    place = head[1:4]
    known = sums.get(place)
    if known is not None:
        measures = map(int.__add__, known[_HEAD:], measures)
    sums[place] = (*head, *measures)


def _by_day(hours: Sequence[Row]) -> list[Row]:
    if len({row[2] for row in hours}) == 1:
        return [(row[0], row[1], row[2] // HOURS_PER_DAY, *row[3:]) for row in hours]
    days: dict[_Place, Row] = {}
    for row in hours:
        _add(days, (row[0], row[1], row[2] // HOURS_PER_DAY, row[3]), row[_HEAD:])
    return _sorted(days)


@lru_cache(maxsize=8192)
def series_of(groups: tuple[str, ...]) -> int:
    """The id of the series with these `GROUPS`: 63 bits of a digest, so that nobody has to hand out numbers."""
    return int.from_bytes(blake2b("\0".join(groups).encode(), digest_size=8).digest()) >> 1


def adding_series(source: str) -> str:
    """SQL that adds series that are not there; `source` gives them, as `VALUES (...)` or a query."""
    columns = ", ".join(SERIES_TYPES)
    return f"INSERT INTO usage_series ({columns}) {source} ON CONFLICT (project_id, id) DO NOTHING"


def adding_sums(table: str, unit: str, source: str) -> str:
    """SQL that adds to the sums of `table`."""
    columns = ", ".join(unit if name == "span" else name for name in SUM_TYPES)
    adding = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in MEASURES)
    return (
        f"INSERT INTO {table} ({columns}) {source} "  # constants
        f"ON CONFLICT (project_id, {unit}, series_id) DO UPDATE SET {adding}"
    )
