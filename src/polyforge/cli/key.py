"""`polyforge key`: API keys over the management API."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from polyforge.cli.client import segment
from polyforge.cli.lazy import plain_app
from polyforge.cli.options import DEFAULT, Data, Json, Key, Url, connect
from polyforge.cli.output import show, show_all, to_minute, to_usd

app = plain_app("Create, list, rotate and revoke API keys.")

PATH = "/api/v1/keys"

KeyId = Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `polyforge key list` shows it.")]


class Period(StrEnum):
    """How long a budget lasts."""

    TOTAL = "total"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="May do this; repeat it for more. [default: inference, models:read]")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="May use this model, or `prefix/*`; repeat it for more. [default: all]")
    ] = None,
    budget_usd: Annotated[float | None, typer.Option(help="Most that its calls may be priced.")] = None,
    budget_period: Annotated[Period | None, typer.Option(help="When the budget starts again. [default: total]")] = None,
    rpm: Annotated[int | None, typer.Option(help="Requests per minute.")] = None,
    tpm: Annotated[int | None, typer.Option(help="Tokens per minute.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Requests in flight at once.")] = None,
    expires_at: Annotated[str | None, typer.Option(help="When it stops working, as in 2026-12-31T18:00Z.")] = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a key, and print it this once."""
    given = {
        "name": name,
        "scopes": scope,
        "models": model,
        "budget_usd": budget_usd,
        "budget_period": budget_period,
        "rpm": rpm,
        "tpm": tpm,
        "concurrency": concurrency,
        "expires_at": expires_at,
    }
    body = {field: value for field, value in given.items() if value not in (None, [])}
    _show_issued(connect(url, key, data).post(PATH, body), as_json)


@app.command("list")
def list_keys(
    revoked: Annotated[bool, typer.Option("--revoked", help="Revoked ones too.")] = False,
    created_by: Annotated[
        str | None, typer.Option(help="Id of a user, a service account or a key: what it made only.")
    ] = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show all keys, newest first."""
    query = {"include_revoked": "true" if revoked else None, "created_by": created_by}
    keys = list(connect(url, key, data).pages(PATH, query))
    headers = ["id", "name", "prefix", "scopes", "models", "budget", "rpm", "tpm", "concurrency", "created", "ends"]
    show_all(keys, headers, [_row(each) for each in keys], as_json)


@app.command("show")
def show_key(key_id: KeyId, url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show one key, without its secret."""
    show(connect(url, key, data).get(f"{PATH}/{segment(key_id)}"), as_json)


@app.command("rotate")
def rotate(
    key_id: KeyId,
    grace_seconds: Annotated[int, typer.Option(help="How long the old secret works beside the new one.")] = 0,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Give a key a new secret, and print it this once; limits, budget and usage stay with it."""
    path = f"{PATH}/{segment(key_id)}/rotate"
    _show_issued(connect(url, key, data).post(path, {"grace_seconds": grace_seconds}), as_json)


@app.command("revoke")
def revoke(key_id: KeyId, url: Url = DEFAULT, key: Key = None, data: Data = None) -> None:
    """End a key; within a second nothing accepts it."""
    connect(url, key, data).delete(f"{PATH}/{segment(key_id)}")
    typer.echo(f"revoked {key_id}")


def _row(key: dict[str, Any]) -> list[object]:
    ends = key["revoked_at"] or key["expires_at"]
    state = f"revoked {to_minute(ends)}" if key["revoked_at"] else to_minute(ends)
    return [
        key["id"],
        key["name"],
        key["prefix"],
        key["scopes"],
        "all" if key["models"] is None else key["models"],
        _budget(key),
        key["rpm"],
        key["tpm"],
        key["concurrency"],
        to_minute(key["created_at"]),
        state,
    ]


def _budget(key: dict[str, Any]) -> str | None:
    if key["budget_usd"] is None:
        return None
    return f"{to_usd(key['budget_usd'])} USD per {key['budget_period']}".replace("per total", "in all")


def _show_issued(key: dict[str, Any], as_json: bool) -> None:
    show(key, as_json)
    if not as_json:
        typer.echo("\nKeep the key now: it cannot be shown again.", err=True)
