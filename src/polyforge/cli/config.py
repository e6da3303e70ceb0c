"""`polyforge config`: what is declared, over the management API, and taking the file again on this machine."""

import os
import signal
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from polyforge.cli.client import DEFAULT_DATA
from polyforge.cli.errors import CommandError
from polyforge.cli.lazy import plain_app
from polyforge.cli.options import DEFAULT, Data, Json, Key, Url, connect
from polyforge.cli.output import print_json, print_table, to_minute
from polyforge.supervisor.folder import supervisor_of

app = plain_app("Show declared models, return to earlier ones, reload them.")

PATH = "/api/v1/configurations"

Version = Annotated[int, typer.Argument(help="The version, as `polyforge config list` shows it.")]


@app.command("list")
def list_versions(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many of the latest to show.")] = 20,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show what was declared, newest first, refused files too."""
    page = connect(url, key, data).get(PATH, {"limit": str(limit)})
    if as_json:
        print_json(page)
        return
    print_table(
        ["version", "state", "from", "host", "at", "waits for a restart"], [_row(each) for each in page["data"]]
    )
    for version in page["data"]:
        if version["reason"]:
            typer.echo(f"\n{version['version']} was refused: {version['reason']}")


@app.command("show")
def show(version: Version, url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show what a version declares; secrets only as references."""
    content = connect(url, key, data).get(f"{PATH}/{version}")
    if as_json:
        print_json(content)
        return
    sections = {name: content[name] for name in ("providers", "models")}
    typer.echo(yaml.safe_dump(sections, sort_keys=False, allow_unicode=True).rstrip())


@app.command("rollback")
def rollback(version: Version, url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Return to an earlier version, on every machine."""
    made = connect(url, key, data).post(f"{PATH}/{version}/rollback")
    if as_json:
        print_json(made)
        return
    typer.echo(f"version {made['version']} is version {version} again")


@app.command("reload")
def reload(data: Data = None) -> None:
    """Let the gateways of this machine take their settings file now, and read keys in files again."""
    folder = Path(data or os.environ.get("POLYFORGE_DATA") or DEFAULT_DATA).absolute()
    pid = supervisor_of(str(folder))
    if pid is None:
        raise CommandError(f"no `polyforge up` runs on {folder}; pass --data")
    try:
        os.kill(pid, signal.SIGHUP)
    except PermissionError as error:
        raise CommandError(f"process {pid} belongs to another user; run this as that user") from error
    typer.echo(f"told process {pid}; `polyforge config list` shows what came of it")


def _row(version: dict[str, Any]) -> list[object]:
    state = "active" if version["active"] else "earlier" if version["accepted"] else "refused"
    source = f"version {version['of_version']}" if version["source"] == "rollback" else "file"
    return [
        version["version"],
        state,
        source,
        version["host"],
        to_minute(version["created_at"]),
        version["needs_restart"],
    ]
