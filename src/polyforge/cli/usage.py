"""`polyforge usage`: what was used, and what it cost."""

from typing import Any

from polyforge.cli.lazy import plain_app
from polyforge.cli.options import DEFAULT, Data, Json, Key, Url, connect
from polyforge.cli.output import to_usd
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

COUNTS = ("requests", "errors", "input_tokens", "output_tokens")
AMOUNTS = ("cost_usd", "price_usd")


@app.command()
def usage(
    by: By = "model",
    since: Since = None,
    until: Until = None,
    where: Where = None,
    organization: Organization = False,
    csv: Csv = None,
    parquet: Parquet = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show requests, tokens, cost and price, summed by group; or save them by day or hour as a file."""
    query = query_of(by, since, until, where)
    client = connect(url, key, data)
    if csv is not None or parquet is not None:
        save(client, query, organization, csv, parquet)
        return
    path = "/api/v1/organization/usage" if organization else "/api/v1/usage"
    show_sums(client.get(path, {**query, "limit": MOST_GROUPS}), Sums([*COUNTS, *AMOUNTS], _sums), by, as_json)


def _sums(row: dict[str, Any]) -> list[Any]:
    return [row[name] for name in COUNTS] + [to_usd(row[name]) for name in AMOUNTS]
