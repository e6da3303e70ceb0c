"""The commands of `polyforge model` for what a project keeps: versions, where they come from, what points at them."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, cast

import typer

from polyforge.cli.client import ApiClient, segment
from polyforge.cli.errors import CommandError
from polyforge.cli.options import DEFAULT, Data, Json, Key, Url, connect
from polyforge.cli.output import print_json, show, show_all, to_minute

PATH: Final = "/api/v1/models"
_POLL_SECONDS: Final = 0.5
_SERVED_SECONDS: Final = 120.0
"""How long a new version is waited for to be loaded."""
_OVER: Final = ("done", "failed", "cancelled")
_UNITS: Final = ("B", "kB", "MB", "GB", "TB")
_THOUSAND: Final = 1000

Name = Annotated[str, typer.Argument(help="The model.")]
Number = Annotated[int, typer.Argument(help="The version's number.")]
Alias = Annotated[str, typer.Option(help="The alias to move.")]
Reason = Annotated[str, typer.Option(help="Why; it stays in the history.")]
Change = Annotated[str, typer.Argument(help="The id of what is waiting, as `polyforge model history` shows it.")]


def add(
    name: Name,
    source: Annotated[
        str,
        typer.Argument(help="Where it is: a folder or file, https://..., hf://org/name@revision, s3://bucket/prefix."),
    ],
    sha256: Annotated[str | None, typer.Option(help="What the one file at the source must hash to.")] = None,
    include: Annotated[
        list[str] | None, typer.Option(help="Only files like this, as in 'onnx/*'; repeat it for more.")
    ] = None,
    promote_to: Annotated[str | None, typer.Option(help="Point this alias at the new version.")] = None,
    description: Annotated[str | None, typer.Option(help="Of the model.")] = None,
    configuration: Annotated[str | None, typer.Option(help="How it is to be run, as JSON.")] = None,
    metric: Annotated[list[str] | None, typer.Option(help="As in accuracy=0.93; repeat it for more.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Show how far it is until it is over.")] = True,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a new version of a model from a source, or a model with its first version."""
    api = connect(url, key, data)
    body: dict[str, Any] = {"name": name, "source": _address(source), "sha256": sha256, "include": include or []}
    body |= {"promote_to": promote_to, "description": description, "metrics": dict(map(_metric, metric or []))}
    wanted = api.post(PATH, body | {"configuration": _object(configuration)})
    done = _follow(api, name, wanted) if wait else wanted
    if as_json:
        print_json(done)
    elif done["state"] == "done":
        typer.echo(f"{name} has version {done['version']}{_served(api, name, done['version'])}")
    elif done["state"] in _OVER:
        raise CommandError(f"{name} has no new version: {done['error'] or done['state']}")
    else:
        typer.echo(f"being made: polyforge model imports {name}")


def versions(name: Name, url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show the versions of a model, newest first, what points at them, and whether they answer."""
    found = list(connect(url, key, data).pages(f"{PATH}/{segment(name)}/versions"))
    headers = ["version", "aliases", "state", "engine", "size", "artifact", "source", "added"]
    show_all(found, headers, [_version(each) for each in found], as_json)
    for each in [] if as_json else found:
        for place in each["deployments"]:
            if place["reason"]:
                typer.echo(f"version {each['number']} on {place['machine']}: {place['reason']}")


def imports(name: Name, url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show the making of versions, newest first, and what went wrong."""
    found = list(connect(url, key, data).pages(f"{PATH}/{segment(name)}/imports"))
    headers = ["id", "state", "step", "size", "version", "source", "error"]
    show_all(found, headers, [_import(each) for each in found], as_json)


def promote(
    name: Name,
    version: Number,
    alias: Alias = "production",
    reason: Reason = "",
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Point an alias at a version; a protected one waits for somebody else's approval."""
    body = {"version": version, "alias": alias, "reason": reason}
    _tell(name, connect(url, key, data).post(f"{PATH}/{segment(name)}/promote", body), as_json)


def rollback(
    name: Name,
    alias: Alias = "production",
    reason: Reason = "",
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Point an alias at the version that it pointed at before."""
    body = {"alias": alias, "reason": reason}
    _tell(name, connect(url, key, data).post(f"{PATH}/{segment(name)}/rollback", body), as_json)


def history(name: Name, url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show what aliases were pointed at, by whom and why, and who approved it."""
    found = list(connect(url, key, data).pages(f"{PATH}/{segment(name)}/deployments"))
    headers = ["id", "alias", "version", "previous", "action", "state", "by", "at", "decided by", "reason"]
    show_all(found, headers, [_change(each) for each in found], as_json)


def approve(
    name: Name,
    change: Change,
    reason: Reason = "",
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Let happen what somebody else asked for."""
    _tell(name, connect(url, key, data).post(_decision(name, change, "approve"), {"reason": reason}), as_json)


def reject(
    name: Name,
    change: Change,
    reason: Reason = "",
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Let it not happen."""
    _tell(name, connect(url, key, data).post(_decision(name, change, "reject"), {"reason": reason}), as_json)


def _decision(name: str, change: str, decision: str) -> str:
    """The path that a decision about a change is sent to."""
    return f"{PATH}/{segment(name)}/deployments/{segment(change)}/{decision}"


def protect(
    name: Name,
    alias: Annotated[
        list[str] | None, typer.Argument(help="Aliases that need approval to move; none: no alias.")
    ] = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Set which aliases of a model move only once somebody else approves."""
    shown = connect(url, key, data).patch(f"{PATH}/{segment(name)}/registration", {"protected": alias or []})
    show({"model": shown["name"], "protected": shown["protected"]}, as_json)


def watch(
    name: Name,
    source: Annotated[str | None, typer.Argument(help="Where to look; leave it out to see what is watched.")] = None,
    every: Annotated[int, typer.Option(min=10, help="Seconds between looks.")] = 60,
    include: Annotated[list[str] | None, typer.Option(help="Only files like this; repeat it for more.")] = None,
    promote_to: Annotated[str | None, typer.Option(help="Point this alias at each new version.")] = None,
    stop: Annotated[bool, typer.Option("--stop", help="Look no more.")] = False,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Look at a source again and again, and make a version of what is new there."""
    api, path = connect(url, key, data), f"{PATH}/{segment(name)}/watch"
    if stop:
        api.delete(path)
        typer.echo(f"nothing is watched for {name}")
    elif source is None:
        show(api.get(path), as_json)
    else:
        body = {"source": _address(source), "every_seconds": every, "include": include or [], "promote_to": promote_to}
        show(api.put(path, body), as_json)


def remove(
    name: Name,
    version: Annotated[int | None, typer.Argument(help="Only this version, at which no alias may point.")] = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
) -> None:
    """Take a model away with all its versions, or one of them; the history stays."""
    path = f"{PATH}/{segment(name)}"
    connect(url, key, data).delete(path if version is None else f"{path}/versions/{version}")
    typer.echo(f"removed {name}" if version is None else f"removed version {version} of {name}")


COMMANDS: Final[dict[str, Callable[..., None]]] = {
    "add": add,
    "versions": versions,
    "imports": imports,
    "promote": promote,
    "rollback": rollback,
    "history": history,
    "approve": approve,
    "reject": reject,
    "protect": protect,
    "watch": watch,
    "rm": remove,
}
"""By what they are called."""


def registered(model: dict[str, Any]) -> list[object]:
    """A row of `polyforge model list --registered`."""
    pointing = [f"{each['alias']}={each['version']}" for each in model["aliases"]]
    return [model["name"], model["last_version"], pointing, model["protected"], to_minute(model["created_at"])]


def _follow(api: ApiClient, name: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """Show how far an import is until it is over; it goes on when this command ends before."""
    path, shown = f"{PATH}/{segment(name)}/imports/{segment(wanted['id'])}", ""
    line = "\r{}\x1b[K" if sys.stderr.isatty() else "{}\n"
    while wanted["state"] not in _OVER:
        text = f"{wanted['step']} {_size(wanted)}"
        if text != shown:
            typer.echo(line.format(text), err=True, nl=False)
            shown = text
        time.sleep(_POLL_SECONDS)
        wanted = api.get(path)
    if shown and sys.stderr.isatty():
        typer.echo(line.format(""), err=True, nl=False)
    return wanted


def _served(api: ApiClient, name: str, number: int) -> str:
    """What to say of how a version is served, once that is settled; CommandError with the reason when it cannot be."""
    path, until = f"{PATH}/{segment(name)}/versions/{number}", time.monotonic() + _SERVED_SECONDS
    version = api.get(path)
    while version["state"] in ("pending", "loading") and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)
        version = api.get(path)
    if version["state"] == "ready":
        return f", which answers as {name}@{number}"
    if version["state"] == "failed":
        reasons = "; ".join(f"{each['machine']}: {each['reason']}" for each in version["deployments"] if each["reason"])
        raise CommandError(f"{name} has version {number}, which cannot be served: {reasons}")
    return "" if version["state"] == "idle" else ", which is not loaded yet"


def _address(source: str) -> str:
    """A path of this machine as an address; anything with a scheme as it is."""
    head, colon, _ = source.partition(":")
    if colon and "/" not in head:
        return source
    return Path(source).expanduser().absolute().as_uri()


def _metric(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError as error:
        raise CommandError(f"--metric {text}: it should look like accuracy=0.93") from error


def _object(text: str | None) -> dict[str, Any]:
    try:
        value: Any = json.loads(text) if text else {}
    except ValueError as error:
        raise CommandError(f"--configuration is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise CommandError("--configuration should be an object, as in '{\"threads\": 1}'")
    return cast(dict[str, Any], value)


def _tell(name: str, change: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(change)
    elif change["state"] == "waiting":
        typer.echo(f"somebody else has to approve it: polyforge model approve {name} {change['id']}")
    elif change["state"] == "rejected":
        typer.echo(f"rejected; {change['alias']} of {name} stays where it is")
    else:
        typer.echo(f"{change['alias']} of {name} points at version {change['version']}")


def _version(version: dict[str, Any]) -> list[object]:
    row = [version["number"], version["aliases"], version["state"], version["card"].get("backend")]
    size, artifact = _bytes(version["bytes"]), version["artifact"][:12]
    return [*row, size, artifact, version["source"], to_minute(version["created_at"])]


def _import(wanted: dict[str, Any]) -> list[object]:
    row = [wanted["id"], wanted["state"], wanted["step"], _size(wanted), wanted["version"]]
    return [*row, wanted["source"], wanted["error"]]


def _change(change: dict[str, Any]) -> list[object]:
    row = [change[field] for field in ("id", "alias", "version", "previous", "action", "state", "requested_by")]
    return [*row, to_minute(change["requested_at"]), change["decided_by"], change["reason"]]


def _size(wanted: dict[str, Any]) -> str:
    total = "" if wanted["bytes_total"] is None else f" of {_bytes(wanted['bytes_total'])}"
    return f"{_bytes(wanted['bytes_done'])}{total}"


def _bytes(count: float) -> str:
    """Three digits and a unit."""
    unit = 0
    while count >= _THOUSAND and unit < len(_UNITS) - 1:
        count, unit = count / _THOUSAND, unit + 1
    return f"{count:.3g} {_UNITS[unit]}" if unit else f"{count:.0f} {_UNITS[0]}"
