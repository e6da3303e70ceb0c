"""`polyforge budget`: the limits that count money."""

from polyforge.cli.lazy import plain_app
from polyforge.cli.limit import HEADERS, row_of
from polyforge.cli.options import DEFAULT, Data, Json, Key, Url, connect
from polyforge.cli.output import show_all

app = plain_app("Show budgets: the limits that count money. `polyforge limit` sets and changes them.")


@app.callback()
def budget() -> None:
    """Show budgets: the limits that count money. `polyforge limit` sets and changes them."""


@app.command("list")
def list_budgets(url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show all budgets, newest first, and how they stand."""
    limits = list(connect(url, key, data).pages("/api/v1/budgets"))
    show_all(limits, HEADERS, [row_of(each) for each in limits], as_json)
