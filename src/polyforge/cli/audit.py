"""`polyforge audit`: the audit log over the management API."""

from pathlib import Path
from typing import Annotated, Any

import typer

from polyforge.cli.client import ApiClient, segment
from polyforge.cli.errors import FAILED
from polyforge.cli.exports import AllOfExport, LetterId, OneExport, send_again, show_exports, show_letters
from polyforge.cli.lazy import plain_app
from polyforge.cli.options import DEFAULT, Data, Json, Key, Url, connect
from polyforge.cli.output import print_json, show_all, to_minute, to_text
from polyforge.cli.saving import write_file

app = plain_app("Search, verify and export the audit log.")

PATH = "/api/v1/audit"
VERIFIED_AT_ONCE = 20_000
STATES = ("name", "use", "sequence", "lag", "failures", "dead_letters", "retry_at", "error")
LETTERS = ("id", "export", "sequence", "at", "reason")

Since = Annotated[str | None, typer.Option(help="From this time on, as in 2026-01-31T18:00Z.")]
Until = Annotated[str | None, typer.Option(help="Up to this time.")]


@app.command("list")
def list_events(
    action: Annotated[str | None, typer.Option(help="As in `key.revoked`, or `key.*` for all of them.")] = None,
    actor: Annotated[str | None, typer.Option(help="The id of the key, user or service account.")] = None,
    kind: Annotated[str | None, typer.Option(help="What it happened to, as in `key`.")] = None,
    resource: Annotated[str | None, typer.Option(help="The id of what it happened to.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, help="Most events to show.")] = 100,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show what happened, latest first."""
    query = {"action": action, "actor": actor, "resource_kind": kind, "resource_id": resource}
    query |= {"since": since, "until": until}
    events = list(connect(url, key, data).pages(PATH, query, limit))
    headers = ["id", "at", "action", "by", "kind", "resource", "address"]
    show_all(events, headers, [_row(event) for event in events], as_json)


@app.command("show")
def show(
    event_id: Annotated[str, typer.Argument(metavar="ID", help="The event's id.")],
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show one event, with what it changed."""
    event = connect(url, key, data).get(f"{PATH}/{segment(event_id)}")
    if as_json:
        print_json(event)
        return
    width = max(len(name) for name in event)
    for name, value in event.items():
        typer.echo(f"{name.ljust(width)}  {to_text(value)}")


@app.command("verify")
def verify(
    cursor: Annotated[
        str | None,
        typer.Option(help="Go on from here, which an earlier verification printed. [default: the beginning]"),
    ] = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Check that every event is as it was written, and none is missing or moved; status 1 when that is not so."""
    verdict = _verify(connect(url, key, data), cursor)
    fault = verdict["fault"]
    if as_json:
        print_json(verdict)
    elif fault is None:
        typer.echo(f"{verdict['checked']} events are as they were written, up to {verdict['cursor']}")
    else:
        typer.echo(f"{fault['message']}; the {verdict['checked']} checked before are right")
    if fault is not None:
        raise typer.Exit(FAILED)


@app.command("export")
def export(
    since: Since = None,
    until: Until = None,
    output: Annotated[Path | None, typer.Option(help="A file to write to. [default: the standard output]")] = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
) -> None:
    """Write events as lines of JSON, earliest first."""
    lines = connect(url, key, data).lines(f"{PATH}/export", {"since": since, "until": until})
    if output is None:
        for line in lines:
            typer.echo(line, nl=False)
        return
    typer.echo(f"{write_file(lines, output)} events in {output}")


@app.command("exports")
def exports(url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show how far each export of the settings is."""
    show_exports(connect(url, key, data), PATH, STATES, as_json)


@app.command("dead-letters")
def dead_letters(
    name: OneExport = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show the events that a sink refused for good, newest first."""
    show_letters(connect(url, key, data), PATH, name, LETTERS, as_json)


@app.command("retry")
def retry(
    letter_id: LetterId = None,
    name: AllOfExport = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
) -> None:
    """Have dead letters sent again; those that are accepted now are gone from the list."""
    send_again(connect(url, key, data), PATH, letter_id, name)


def _verify(client: ApiClient, cursor: str | None) -> dict[str, Any]:
    """The verdict over everything after the cursor; tells on the standard error how far it is."""
    checked = 0
    while True:
        verdict = client.post(f"{PATH}/verify", {"cursor": cursor, "limit": VERIFIED_AT_ONCE})
        checked += verdict["checked"]
        cursor = verdict["cursor"]
        if verdict["complete"]:
            return {**verdict, "checked": checked}
        typer.echo(f"{verdict['sequence']} of {verdict['newest']}", err=True)


def _row(event: dict[str, Any]) -> list[object]:
    return [
        event["id"],
        to_minute(event["at"]),
        event["action"],
        event["actor_name"],
        event["resource_kind"],
        event["resource_id"],
        event["address"],
    ]
