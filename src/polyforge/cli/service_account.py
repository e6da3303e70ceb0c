"""`polyforge service-account`: programs that act in their own name, over the management API."""

from typing import Annotated, Any

import typer

from polyforge.cli.client import segment
from polyforge.cli.lazy import plain_app
from polyforge.cli.options import DEFAULT, Data, Json, Key, Url, connect
from polyforge.cli.output import show, show_all, to_minute

app = plain_app("Create, list, rotate and disable service accounts.")

PATH = "/api/v1/service-accounts"

AccountId = Annotated[
    str, typer.Argument(metavar="ID", help="The account's id, as `polyforge service-account list` shows it.")
]


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What it is called.")],
    role: Annotated[str, typer.Option("--role", help="The role, as `polyforge org role list` shows it.")],
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a service account in your project, and print its secret this once."""
    _show_issued(connect(url, key, data).post(PATH, {"name": name, "role": role}), as_json)


@app.command("list")
def list_accounts(url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show the service accounts of your project, newest first."""
    accounts = list(connect(url, key, data).pages(PATH))
    show_all(accounts, ["id", "name", "role", "created", "disabled"], [_row(each) for each in accounts], as_json)


@app.command("rotate")
def rotate(
    account_id: AccountId, url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False
) -> None:
    """Give a service account a new secret, and print it this once; the old one ends at once."""
    _show_issued(connect(url, key, data).post(f"{PATH}/{segment(account_id)}/rotate"), as_json)


@app.command("disable")
def disable(account_id: AccountId, url: Url = DEFAULT, key: Key = None, data: Data = None) -> None:
    """Stop a service account from acting; its tokens end with it."""
    connect(url, key, data).post(f"{PATH}/{segment(account_id)}/disable")
    typer.echo(f"disabled {account_id}")


@app.command("enable")
def enable(account_id: AccountId, url: Url = DEFAULT, key: Key = None, data: Data = None) -> None:
    """Let a service account act again."""
    connect(url, key, data).post(f"{PATH}/{segment(account_id)}/enable")
    typer.echo(f"enabled {account_id}")


def _row(account: dict[str, Any]) -> list[object]:
    moments = [to_minute(account["created_at"]), to_minute(account["disabled_at"])]
    return [account["id"], account["name"], account["role"], *moments]


def _show_issued(account: dict[str, Any], as_json: bool) -> None:
    show(account, as_json)
    if not as_json:
        typer.echo("\nKeep the secret now: it cannot be shown again.", err=True)
