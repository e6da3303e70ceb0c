"""What the commands of usage and costs have in common: their questions, their tables, and files."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer

from polyforge.cli.client import ApiClient
from polyforge.cli.errors import CommandError
from polyforge.cli.output import print_json, print_table
from polyforge.cli.saving import write_file

By = Annotated[
    str,
    typer.Option(
        "--by",
        "--group-by",
        help="Any of project, key, user, end_user, model, provider, deployment, task, tag, tag:<name>, and one of "
        "month, day, hour, with commas between.",
    ),
]
Since = Annotated[str | None, typer.Option(help="From this time on: 2026-01-31, or 12h, 7d, 4w ago. [default: 30d]")]
Until = Annotated[str | None, typer.Option(help="Up to this time. [default: now]")]
Where = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="Only such calls, as in model=gpt-5 or tag=team=red; may be repeated."),
]
Organization = Annotated[bool, typer.Option("--organization", help="All projects of the organization.")]
Csv = Annotated[Path | None, typer.Option(help="Save sums by day or hour in this file.")]
Parquet = Annotated[Path | None, typer.Option(help="Save sums by day or hour in this file, as Apache Parquet.")]

FILTERS: Final = ("project", "key", "user", "end_user", "model", "provider", "deployment", "task", "tag")
UNITS: Final = ("month", "day", "hour")
MOST_GROUPS: Final = "10000"
_AGO: Final = re.compile(r"(\d{1,5})([hdw])")
_HOURS: Final = {"h": 1, "d": 24, "w": 168}
_BAR: Final = 24
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"


class Sums(NamedTuple):
    """The columns of a table of sums, and how to fill them."""

    headers: list[str]
    cells: Callable[[dict[str, Any]], list[Any]]


def query_of(by: str, since: str | None, until: str | None, where: list[str] | None) -> dict[str, Any]:
    """The question as the API takes it; CommandError for a condition that is none."""
    query: dict[str, Any] = {"group_by": by, "since": _moment(since), "until": _moment(until)}
    for condition in where or []:
        name, equals, value = condition.partition("=")
        if not equals or name not in FILTERS:
            raise CommandError(f"--where takes {', '.join(FILTERS)}, as in model=gpt-5, not {condition!r}")
        query.setdefault(name, []).append(value)
    return query


def _moment(given: str | None) -> str | None:
    ago = _AGO.fullmatch(given or "")
    if ago is None:
        return given
    return (datetime.now(UTC) - timedelta(hours=int(ago[1]) * _HOURS[ago[2]])).isoformat(timespec="seconds")


def show_sums(answer: dict[str, Any], sums: Sums, by: str, as_json: bool) -> None:
    """A row for each group with a bar for its price, dearest first unless it goes by time, and the total."""
    if as_json:
        print_json(answer)
        return
    groups = [name.strip().partition(":")[0] for name in by.split(",") if name.strip()]
    rows: list[dict[str, Any]] = answer["data"]
    names = [name for group in groups for name in (group, f"{group}_name") if any(name in row for row in rows)]
    if not names:
        print_table(sums.headers, [sums.cells(answer["totals"])])
        return
    if not set(groups) & set(UNITS):
        rows = sorted(rows, key=lambda row: (-row["price_usd"], -row["requests"]))
    measure = "price_usd" if any(row["price_usd"] for row in rows) else "requests"
    bars = bars_of([row[measure] for row in rows])
    table = [[row.get(name) for name in names] + sums.cells(row) + [bar] for row, bar in zip(rows, bars, strict=True)]
    total = ["total", *[""] * (len(names) - 1), *sums.cells(answer["totals"]), " "]
    print_table([*names, *sums.headers, measure.removesuffix("_usd")], [*table, total])


def bars_of(amounts: Sequence[float]) -> list[str]:
    """Bars as long as the amounts are great."""
    most = max(amounts, default=0.0)
    if most <= 0:
        return [" "] * len(amounts)
    eighths = [max(0, round(amount / most * _BAR * 8)) for amount in amounts]
    return [("█" * (length // 8) + _EIGHTHS[length % 8]).rstrip() or " " for length in eighths]


def save(
    client: ApiClient, query: Mapping[str, Any], organization: bool, csv: Path | None, parquet: Path | None
) -> None:
    """Save sums by day, or by the unit that was asked for; the files are there when they are whole."""
    groups = str(query["group_by"] or "")
    by_time = groups if set(UNITS) & set(groups.split(",")) else ",".join(filter(None, ["day", groups]))
    path = "/api/v1/organization/usage/export" if organization else "/api/v1/usage/export"
    for file, format_ in ((csv, "csv"), (parquet, "parquet")):
        if file is not None:
            write_file(client.chunks(path, {**query, "group_by": by_time, "format": format_}), file)
            typer.echo(f"saved {file}")
