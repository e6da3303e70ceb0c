"""`polyforge chat`: one message to a model, over the platform's own API."""

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final

import typer

from polyforge.cli.client import explain
from polyforge.cli.errors import CommandError
from polyforge.cli.lazy import plain_app
from polyforge.cli.options import DEFAULT, Data, Json, Key, Url, connect
from polyforge.cli.output import print_json, visible

app = plain_app()

PATH: Final = "/api/v1/chat"
MOST_CHARACTERS: Final = 8 * 1024 * 1024
_SHOWN: Final = ("text", "refusal")
_BROKEN_OFF: Final = 502

Model = Annotated[str, typer.Option("--model", envvar="POLYFORGE_MODEL", help="The model to ask. [POLYFORGE_MODEL]")]


@app.command()
def chat(
    model: Model,
    message: Annotated[str | None, typer.Argument(help="What to say. [default: what comes on standard input]")] = None,
    system: Annotated[str | None, typer.Option(help="What the model shall know and obey.")] = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Ask a model; the answer is shown as it comes, or whole with --json."""
    said = read_input() if message is None else message
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": said}]}
    if system is not None:
        body["system"] = system
    client = connect(url, key, data)
    if as_json:
        print_json(client.ask(PATH, body))
        return
    _show(read_events(client.post_lines(PATH, {**body, "stream": True})))


def read_input() -> str:
    """All of standard input; CommandError when nothing comes, or too much."""
    if sys.stdin.isatty():
        raise CommandError("say something: as an argument, or on standard input")
    text = sys.stdin.read(MOST_CHARACTERS + 1)
    if not text.strip():
        raise CommandError("there is nothing on standard input")
    if len(text) > MOST_CHARACTERS:
        raise CommandError(f"standard input has more than {MOST_CHARACTERS} characters")
    return text


def read_events(lines: Iterable[bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and payload of each server-sent event."""
    name = ""
    for line in lines:
        field, _, value = line.decode("utf-8", "replace").rstrip("\r\n").partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


def _show(events: Iterable[tuple[str, dict[str, Any]]]) -> None:
    """Print text as it comes; CommandError when the answer breaks off."""
    finished = False
    for name, payload in events:
        if name in _SHOWN:
            typer.echo(visible(payload["text"]), nl=False)
            sys.stdout.flush()
        elif name == "error":
            typer.echo()
            raise CommandError(explain(int(payload.get("status", _BROKEN_OFF)), payload))
        finished = finished or name == "finish"
    typer.echo()
    if not finished:
        raise CommandError("the answer broke off before its end")
