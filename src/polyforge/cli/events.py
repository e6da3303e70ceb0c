"""`polyforge events`: what happens in the installation, over the management API."""

import json
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Annotated, Any, Final

import typer

from polyforge.cli.client import ApiClient
from polyforge.cli.errors import CommandError, Refused
from polyforge.cli.lazy import plain_app
from polyforge.cli.options import DEFAULT, Data, Json, Key, Url, connect
from polyforge.cli.output import print_json, print_table

app = plain_app()

RECENT: Final = "/api/v1/events/recent"
STREAM: Final = "/api/v1/events"
RETRY_SECONDS: Final = 1.0
HEADERS: Final = ("at", "sequence", "stream", "what", "to", "by")
_WIDTHS: Final = (20, 8, 8, 28, 28, 26)

Show = Callable[[dict[str, Any]], None]


@app.command()
def events(
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what happens, until Ctrl-C.")] = False,
    stream: Annotated[
        str, typer.Option(help="Only these, with commas between: settings, keys, people, secrets, ...")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many of the latest to show.")] = 50,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show what happened lately, oldest first; with --json --follow one object per line."""
    client = connect(url, key, data)
    latest = list(client.pages(RECENT, {"stream": stream or None}, limit))[::-1]
    if not follow:
        print_json(latest) if as_json else print_table(HEADERS, [_row(event) for event in latest])
        return
    show = _show_json if as_json else _show_line
    if not as_json:
        _show_cells(HEADERS)
    for event in latest:
        show(event)
    _follow(client, stream, latest[-1]["sequence"] if latest else None, show)


def _follow(client: ApiClient, stream: str, after: int | None, show: Show) -> None:
    """Show what comes, and go on from there when the connection ends; Ctrl-C is how this is meant to end."""
    try:
        while True:
            after = _follow_once(client, stream, after, show)
            time.sleep(RETRY_SECONDS)
    except KeyboardInterrupt:
        return


def _follow_once(client: ApiClient, stream: str, after: int | None, show: Show) -> int | None:
    """Where to go on; CommandError when waiting cannot help."""
    place = None if after is None else str(after)
    try:
        for sequence, event in _read(client.lines(STREAM, {"stream": stream or None, "after": place})):
            after = sequence
            if event is not None:
                show(event)
    except Refused as error:
        if error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        _note(str(error))
    except CommandError as error:
        _note(str(error))
    return after


def _read(lines: Iterator[bytes]) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """The place after each block of server-sent events, and the event in it, if there is one."""
    sequence, data, kind = 0, b"", b""
    for line in lines:
        name, _, value = line.rstrip(b"\r\n").partition(b": ")
        if name == b"id":
            sequence = int(value)
        elif name == b"data":
            data = value
        elif name == b"event":
            kind = value
        elif not name and not value:
            if kind == b"reset":
                _note("some events are no longer kept")
            if sequence or data:
                yield sequence, json.loads(data) if data and not kind else None
            data, kind = b"", b""


def _note(text: str) -> None:
    typer.echo(f"polyforge: {text}", err=True)


def _show_json(event: dict[str, Any]) -> None:
    typer.echo(json.dumps(event, ensure_ascii=False))


def _show_line(event: dict[str, Any]) -> None:
    _show_cells(_row(event))


def _show_cells(cells: tuple[object, ...] | list[object]) -> None:
    typer.echo("  ".join(str(cell or "-").ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip())


def _row(event: dict[str, Any]) -> list[object]:
    at = str(event["at"])[:19].replace("T", " ")
    return [at, event["sequence"], event["stream"], event["kind"], event["resource_id"], event["data"].get("actor")]
