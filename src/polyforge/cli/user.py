"""`polyforge user`: accounts over the management API."""

from typing import Annotated, Any

import typer

from polyforge.cli.client import ApiClient, segment
from polyforge.cli.errors import CommandError
from polyforge.cli.lazy import plain_app
from polyforge.cli.login import read_password
from polyforge.cli.options import DEFAULT, Data, Json, Key, Url, connect
from polyforge.cli.output import show, show_all, to_minute

app = plain_app("Create, list, disable and remove users.")

PATH = "/api/v1/users"

Who = Annotated[str, typer.Argument(metavar="USER", help="The user's id or e-mail address.")]


@app.command("create")
def create(
    email: Annotated[str, typer.Argument(help="The e-mail address, which is what they sign in with.")],
    name: Annotated[str, typer.Option(help="What they are called. [default: the e-mail address]")] = "",
    role: Annotated[str | None, typer.Option(help="A role in your whole organization.")] = None,
    operator: Annotated[bool, typer.Option("--operator", help="They look after the whole installation.")] = False,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from a pipe.")] = False,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a user. The first one operates the installation and owns the default organization."""
    password = read_password(password_stdin, twice=True)
    body = {"email": email, "name": name or email, "password": password, "role": role, "operator": operator}
    show(connect(url, key, data).post(PATH, body), as_json)


@app.command("list")
def list_users(url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show all users of the installation, newest first."""
    users = list(connect(url, key, data).pages(PATH))
    headers = ["id", "email", "name", "verified", "second factor", "operator", "created", "disabled"]
    show_all(users, headers, [_row(each) for each in users], as_json)


@app.command("show")
def show_user(who: Who, url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show one user."""
    show(_find(connect(url, key, data), who), as_json)


@app.command("disable")
def disable(who: Who, url: Url = DEFAULT, key: Key = None, data: Data = None) -> None:
    """Shut a user out, everywhere and at once."""
    client = connect(url, key, data)
    disabled = client.post(f"{PATH}/{segment(user_id(client, who))}/disable")
    typer.echo(f"disabled {who}")
    for project, count in disabled["keys"].items():
        typer.echo(f"{count} API keys that they made in project {project} still work", err=True)
    if disabled["keys"]:
        typer.echo(f"`polyforge key list --created-by {disabled['id']}` shows those of your project", err=True)


@app.command("enable")
def enable(who: Who, url: Url = DEFAULT, key: Key = None, data: Data = None) -> None:
    """Let a user in again."""
    client = connect(url, key, data)
    client.post(f"{PATH}/{segment(user_id(client, who))}/enable")
    typer.echo(f"enabled {who}")


@app.command("rm")
def remove(who: Who, url: Url = DEFAULT, key: Key = None, data: Data = None) -> None:
    """Delete a user with memberships, sessions and links."""
    client = connect(url, key, data)
    client.delete(f"{PATH}/{segment(user_id(client, who))}")
    typer.echo(f"removed {who}")


def user_id(client: ApiClient, who: str) -> str:
    """The id of a user who is named by id or by e-mail address."""
    return str(_find(client, who)["id"]) if "@" in who else who


def _find(client: ApiClient, who: str) -> dict[str, Any]:
    if "@" not in who:
        return client.get(f"{PATH}/{segment(who)}")
    found = client.get(PATH, {"email": who})["data"]
    if not found:
        raise CommandError(f"there is no user {who!r}")
    return found[0]


def _row(user: dict[str, Any]) -> list[object]:
    return [
        user["id"],
        user["email"],
        user["name"],
        user["verified"],
        user["second_factor"],
        user["operator"],
        to_minute(user["created_at"]),
        to_minute(user["disabled_at"]),
    ]
