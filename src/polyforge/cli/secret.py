"""`polyforge secret`: secrets over the management API, and new master keys."""

from pathlib import Path
from typing import Annotated, Any

import typer

from polyforge.cli.client import ApiClient, segment
from polyforge.cli.errors import CommandError, Refused
from polyforge.cli.lazy import plain_app
from polyforge.cli.options import DEFAULT, Data, Json, Key, Url, connect
from polyforge.cli.output import print_json, print_table, show_all, to_minute
from polyforge.cli.values import read_secret
from polyforge.secrets.master import new_master_key

app = plain_app("Set, list and remove secrets, and renew what seals them.")

PATH = "/api/v1/secrets"
NOT_FOUND = 404

Name = Annotated[str, typer.Argument(metavar="NAME", help="What it is called, as in `secret:NAME`.")]


@app.command("set")
def set_secret(
    name: Name,
    from_file: Annotated[Path | None, typer.Option(help="Read the value from this file.")] = None,
    from_env: Annotated[str | None, typer.Option(help="Read the value from this environment variable.")] = None,
    keep_value: Annotated[bool, typer.Option("--keep-value", help="Change only who may use it.")] = False,
    project: Annotated[
        list[str] | None, typer.Option(help="Id of a project that may use it; repeat it for more. [default: all]")
    ] = None,
    all_projects: Annotated[bool, typer.Option("--all-projects", help="Every project may use it.")] = False,
    no_project: Annotated[bool, typer.Option("--no-project", help="Only the settings file may use it.")] = False,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a secret or change it. The value comes from a file, the environment, a pipe, or is asked for."""
    body = _users(project, all_projects, no_project)
    if not keep_value:
        body["value"] = read_secret(from_file, from_env)
    client = connect(url, key, data)
    secret = _put(client, name, body)
    if as_json:
        print_json(secret)
        return
    typer.echo(f"secret:{secret['name']} is at version {secret['version']}")


@app.command("list")
def list_secrets(url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show all secrets without their values, newest first."""
    secrets = list(connect(url, key, data).pages(PATH))
    headers = ["name", "version", "projects", "created", "changed"]
    show_all(secrets, headers, [_row(secret) for secret in secrets], as_json)


@app.command("rm")
def remove(name: Name, url: Url = DEFAULT, key: Key = None, data: Data = None) -> None:
    """Remove a secret; within a second nothing can use it."""
    connect(url, key, data).delete(f"{PATH}/{segment(name)}")
    typer.echo(f"removed secret:{name}")


@app.command("sealing")
def sealing(url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show which master keys have sealed how much, and what is left to seal anew."""
    report = connect(url, key, data).get(f"{PATH}/sealing")
    if as_json:
        print_json(report)
        return
    print_table(
        ["master key", "rows", "state"], [[each["master"], each["rows"], _state(each)] for each in report["data"]]
    )
    typer.echo(f"{report['left']} rows are left to be sealed anew" if report["left"] else "nothing is left")


@app.command("new-master")
def new_master() -> None:
    """Print a fresh master key, for `secrets.master_key`. Needs no gateway, and keeps nothing."""
    typer.echo(new_master_key())


def _put(client: ApiClient, name: str, body: dict[str, Any]) -> Any:
    try:
        return client.put(f"{PATH}/{segment(name)}", body)
    except Refused as refused:
        if refused.status != NOT_FOUND or "value" not in body:
            raise
    return client.post(PATH, {"name": name, **body})


def _users(project: list[str] | None, all_projects: bool, no_project: bool) -> dict[str, Any]:
    if bool(project) + all_projects + no_project > 1:
        raise CommandError("give one of --project, --all-projects and --no-project")
    if all_projects:
        return {"projects": None}
    return {"projects": project or []} if project or no_project else {}


def _row(secret: dict[str, Any]) -> list[object]:
    projects = secret["projects"]
    users = "all" if projects is None else projects or "none"
    return [
        secret["name"],
        secret["version"],
        users,
        to_minute(secret["created_at"]),
        to_minute(secret["changed_at"]),
    ]


def _state(sealed: dict[str, Any]) -> str:
    if sealed["current"]:
        return "current"
    return "earlier" if sealed["available"] else "missing: add it to secrets.previous_master_keys"
