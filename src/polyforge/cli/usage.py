"""`polyforge usage`: what was used, and what it cost."""

from typing import Annotated, Any

import typer

from polyforge.cli.lazy import plain_app
from polyforge.cli.options import DEFAULT, Data, Json, Key, Url, connect
from polyforge.cli.output import print_json, print_table, to_usd

app = plain_app()

GROUPS = {"key": ("key", "key_name"), "model": ("model",), "project": ("project",), "day": ("day",)}
"""From what sums are grouped by to the fields that name the group."""
COUNTS = ("requests", "errors", "input_tokens", "output_tokens")
AMOUNTS = ("cost_usd", "price_usd")


@app.command()
def usage(
    group_by: Annotated[str, typer.Option(help="Any of key, model, project, day, with commas between.")] = "model",
    since: Annotated[
        str | None, typer.Option(help="From this time on, as in 2026-01-31. [default: 30 days ago]")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Up to this time. [default: now]")] = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show requests, tokens, cost and price, summed by group."""
    query = {"group_by": group_by, "since": since, "until": until}
    answer: dict[str, Any] = connect(url, key, data).get("/api/v1/usage", query)
    if as_json:
        print_json(answer)
        return
    names = [name for group, fields in GROUPS.items() if group in group_by.split(",") for name in fields]
    rows = [[row.get(name) for name in names] + _sums(row) for row in answer["data"]]
    if names:
        rows.append(["total", *[""] * (len(names) - 1), *_sums(answer["totals"])])
    print_table([*names, *COUNTS, *AMOUNTS], rows or [_sums(answer["totals"])])


def _sums(row: dict[str, Any]) -> list[Any]:
    return [row[name] for name in COUNTS] + [to_usd(row[name]) for name in AMOUNTS]
