"""`polyforge cache`: what answers that were given again saved, and letting go of them."""

from typing import Annotated, Any

import typer

from polyforge.cli.client import segment
from polyforge.cli.lazy import plain_app
from polyforge.cli.options import DEFAULT, Data, Json, Key, Url, connect
from polyforge.cli.output import print_json, print_table, to_usd

app = plain_app("Show what answers that were given again saved, and let go of them.")

PATH = "/api/v1/cache"


@app.command("stats")
def stats(
    since: Annotated[
        str | None, typer.Option(help="From this time on, as in 2026-01-31. [default: 30 days ago]")
    ] = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show hits, misses and savings by model."""
    answer: dict[str, Any] = connect(url, key, data).get(PATH, {"since": since})
    if as_json:
        print_json(answer)
        return
    rows = [
        [row["model"], row["hits"], row["misses"], f"{row['hit_rate']:.1%}", to_usd(row["saved_usd"])]
        for row in answer["data"]
    ]
    print_table(["model", "hits", "misses", "hit rate", "saved"], rows)


@app.command("clear")
def clear(
    model: Annotated[str | None, typer.Option(help="Only the answers of this model. [default: all]")] = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
) -> None:
    """Let go of the answers that are kept for the project."""
    connect(url, key, data).delete(PATH if model is None else f"{PATH}?model={segment(model)}")
    typer.echo("cleared")
