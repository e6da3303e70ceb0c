"""`polyforge costs`: what calls cost and brought in, and what the month will come to."""

from typing import Annotated, Any

import typer

from polyforge.cli.lazy import plain_app
from polyforge.cli.options import DEFAULT, Data, Json, Key, Url, connect
from polyforge.cli.output import print_json, print_table, to_usd
from polyforge.cli.sums import (
    MOST_GROUPS,
    By,
    Csv,
    Organization,
    Parquet,
    Since,
    Sums,
    Until,
    Where,
    query_of,
    save,
    show_sums,
)

app = plain_app()

AMOUNTS = ("cost_usd", "price_usd", "margin_usd", "saved_usd")
_FORECAST = ("so_far", "expected", "low", "high")


@app.command()
def costs(
    by: By = "provider",
    since: Since = None,
    until: Until = None,
    where: Where = None,
    forecast: Annotated[bool, typer.Option("--forecast", help="Show what the current month will come to.")] = False,
    organization: Organization = False,
    csv: Csv = None,
    parquet: Parquet = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show cost, price, margin and what kept answers saved, summed by group; or a forecast; or save them as a file."""
    query = query_of(by, since, until, where)
    client = connect(url, key, data)
    path = "/api/v1/organization/costs" if organization else "/api/v1/costs"
    if forecast:
        filters = query_of("", None, None, where)
        _show_forecast(client.get(f"{path}/forecast", filters), as_json)
    elif csv is not None or parquet is not None:
        save(client, query, organization, csv, parquet)
    else:
        show_sums(client.get(path, {**query, "limit": MOST_GROUPS}), Sums(["requests", *AMOUNTS], _sums), by, as_json)


def _sums(row: dict[str, Any]) -> list[Any]:
    return [row["requests"], *(to_usd(row[name]) for name in AMOUNTS)]


def _show_forecast(view: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(view)
        return
    rows = [[name, *(to_usd(view[f"{name}_usd"][each]) for each in _FORECAST)] for name in ("cost", "price")]
    print_table([view["month"], "so far", "expected", "low", "high"], rows)
    typer.echo(view["note"] or f"in USD, by the last {view['days']} days; 8 of 10 months end between low and high")
