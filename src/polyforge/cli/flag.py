"""`polyforge flag`: feature flags over the management API."""

from typing import Annotated, Any

import typer

from polyforge.cli.client import segment
from polyforge.cli.lazy import plain_app
from polyforge.cli.options import DEFAULT, Data, Json, Key, Url, connect
from polyforge.cli.output import print_json, print_table, show_all, to_minute

app = plain_app("Set, list, remove and bring back feature flags.")

PATH = "/api/v1/flags"

Name = Annotated[str, typer.Argument(help="The flag's name.")]


@app.command("list")
def list_flags(url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show all flags."""
    flags = list(connect(url, key, data).pages(PATH))
    headers = ["name", "on", "share", "projects", "version", "changed"]
    show_all(flags, headers, [[flag["name"], *_row(flag)] for flag in flags], as_json)


@app.command("set")
def set_flag(
    name: Name,
    enabled: Annotated[bool, typer.Option("--on/--off", help="Whether it is on at all.")] = True,
    project: Annotated[
        list[str] | None, typer.Option(help="On for this project only, by its id; repeat it for more. [default: all]")
    ] = None,
    share: Annotated[float, typer.Option(min=0, max=100, help="Percent of the users that it is on for.")] = 100.0,
    version: Annotated[int | None, typer.Option(help="Refuse if this is not the current version.")] = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Set a flag, or make it; what is not given takes its default."""
    body = {"enabled": enabled, "projects": project or None, "share": share, "version": version}
    _show(connect(url, key, data).put(f"{PATH}/{segment(name)}", body), as_json)


@app.command("rm")
def remove(name: Name, url: Url = DEFAULT, key: Key = None, data: Data = None) -> None:
    """Take a flag away, which turns it off; its history stays."""
    connect(url, key, data).delete(f"{PATH}/{segment(name)}")
    typer.echo(f"removed {name}")


@app.command("history")
def history(name: Name, url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show what a flag was set to, newest first."""
    versions = list(connect(url, key, data).pages(f"{PATH}/{segment(name)}/history"))
    headers = ["on", "share", "projects", "version", "changed", "by"]
    show_all(versions, headers, [_past(each) for each in versions], as_json)


@app.command("rollback")
def rollback(
    name: Name,
    version: Annotated[int, typer.Argument(help="The version to return to, as `polyforge flag history` shows it.")],
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Set a flag to what it was at an earlier version."""
    _show(connect(url, key, data).post(f"{PATH}/{segment(name)}/rollback", {"version": version}), as_json)


def _row(flag: dict[str, Any]) -> list[object]:
    projects = "all" if flag["projects"] is None else flag["projects"]
    return [flag["enabled"], f"{flag['share']:g} %", projects, flag["version"], to_minute(flag["changed_at"])]


def _past(version: dict[str, Any]) -> list[object]:
    if version["removed"]:
        return ["removed", None, None, version["version"], to_minute(version["changed_at"]), version["changed_by"]]
    return [*_row(version), version["changed_by"]]


def _show(flag: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(flag)
        return
    print_table(["name", "on", "share", "projects", "version", "changed"], [[flag["name"], *_row(flag)]])
