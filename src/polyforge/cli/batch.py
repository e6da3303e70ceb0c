"""`polyforge batch`: calls by the thousand in the background, over files of calls and tables in stores."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from polyforge.cli.client import ApiClient, segment
from polyforge.cli.errors import CommandError
from polyforge.cli.lazy import plain_app
from polyforge.cli.options import DEFAULT, Data, Json, Key, Latest, Url, connect
from polyforge.cli.output import print_fields, print_json, show_all, to_minute, to_usd, visible
from polyforge.cli.saving import write_file
from polyforge.cli.watching import watched

app = plain_app("Make calls by the thousand in the background, of a file of calls or a table in a store.")

BATCHES: Final = "/api/v1/batches"
CHAT: Final = "/v1/chat/completions"
_LONGEST_LINE: Final = 16 * 1024 * 1024
HEADERS: Final = ("id", "status", "reads", "endpoint", "done", "failed", "of", "USD", "created")
OVER: Final = ("completed", "failed", "expired", "cancelled")

BatchId = Annotated[str, typer.Argument(metavar="ID", help="The batch's id, as `polyforge batch list` shows it.")]
Wait = Annotated[bool, typer.Option("--wait", help="Show how far it is until it is over; fails if the batch does.")]


@app.callback()
def batch() -> None:
    """Make calls by the thousand in the background, of a file of calls or a table in a store."""


@app.command()
def create(
    file: Annotated[
        Path | None, typer.Argument(help="A file of calls as OpenAI's batches take it; leave it out with --store.")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="What to call; default: what the file says, for tables /v1/chat/completions.")
    ] = None,
    store: Annotated[str | None, typer.Option(help="The store that the table lies in.")] = None,
    table: Annotated[
        str | None, typer.Option("--input", help="The table in the store, such as reviews/may.csv.")
    ] = None,
    body: Annotated[
        str | None, typer.Option(help='The call for a row, such as {"model": "m", "input": "{{text}}"}; or @FILE.')
    ] = None,
    output: Annotated[str | None, typer.Option(help="Where the answers go in the store.")] = None,
    prefix: Annotated[str, typer.Option(help="What the names of added columns begin with.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Write over what lies where the answers go.")] = False,
    wait: Wait = False,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Have a batch run, over a file from here or a table in a store."""
    client = connect(url, key, data)
    if (file is None) == (store is None):
        raise CommandError("name either a file of calls, or --store and --input")
    if file is not None:
        called = endpoint or _called_in(file)
        uploaded = client.upload("/v1/files", file, {"purpose": "batch"})
        asked = {"input_file_id": uploaded["id"], "endpoint": called, "completion_window": "24h"}
        made = client.post("/v1/batches", asked)["id"]
    else:
        if table is None:
            raise CommandError("--input must name the table in the store")
        called = endpoint or CHAT
        asked = {"store": store, "input": table, "endpoint": called, "prefix": prefix, "replace": replace}
        asked |= {} if body is None else {"body": _body(body)}
        made = client.post(BATCHES, asked if output is None else {**asked, "output": output})["id"]
    _show(_watched(client, made) if wait else _found(client, made), as_json)


@app.command("list")
def list_batches(
    limit: Latest = 50,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show batches, newest first, and how far they are."""
    found = list(connect(url, key, data).pages(BATCHES, None, limit))
    show_all(found, HEADERS, [_row(each) for each in found], as_json)


@app.command()
def show(
    batch_id: BatchId, wait: Wait = False, url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False
) -> None:
    """Show one batch: how far it is, what it cost so far, what is wrong with it."""
    client = connect(url, key, data)
    _show(_watched(client, batch_id) if wait else _found(client, batch_id), as_json)


@app.command()
def cancel(batch_id: BatchId, url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Have a batch end soon, with the answers that it has."""
    _show(connect(url, key, data).post(f"{BATCHES}/{segment(batch_id)}/cancel"), as_json)


@app.command()
def result(
    batch_id: BatchId,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write here instead of to the terminal.")
    ] = None,
    errors: Annotated[bool, typer.Option("--errors", help="What got no answer, instead of the answers.")] = False,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
) -> None:
    """Fetch the answers of a batch of a file; of a table, say where in the store they lie."""
    client = connect(url, key, data)
    found = _found(client, batch_id)
    if found["status"] not in OVER:
        raise CommandError(
            f"the batch is {found['status']}; `polyforge batch show {batch_id} --wait` waits for its end"
        )
    if found["table"] is not None:
        where = found["table"]["errors" if errors else "output"]
        typer.echo(f"{found['table']['store']}: {visible(where or 'none')}")
        return
    file = found["error_file_id" if errors else "output_file_id"]
    if file is None:
        raise CommandError("the batch has no errors" if errors else "the batch has no answers; --errors shows why")
    _fetch(client, f"/v1/files/{segment(file)}/content", output)


def _fetch(client: ApiClient, path: str, output: Path | None) -> None:
    if output is None:
        for chunk in client.chunks(path):
            sys.stdout.buffer.write(chunk)
    else:
        write_file(client.chunks(path), output)


def _called_in(file: Path) -> str:
    """What the first line of a file calls; the server tells what is wrong with it."""
    try:
        with file.open("rb") as lines:
            return str(json.loads(lines.readline(_LONGEST_LINE))["url"])
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError):
        return CHAT


def _body(said: str) -> Any:
    try:
        return json.loads(Path(said[1:]).read_text() if said.startswith("@") else said)
    except OSError as error:
        raise CommandError(f"--body: {said[1:]} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CommandError(f"--body: it is no JSON: {error}") from error


def _found(client: ApiClient, batch_id: str) -> dict[str, Any]:
    return client.get(f"{BATCHES}/{segment(batch_id)}")


def _watched(client: ApiClient, batch_id: str) -> dict[str, Any]:
    """A batch once it is over; CommandError unless it is completed."""
    found = watched(lambda: _found(client, batch_id), lambda batch: batch["status"] in OVER, _standing)
    if found["status"] != OVER[0]:
        reason = "; ".join(map(_problem, found["problems"][:3]))
        raise CommandError(f"the batch {found['id']} is {found['status']}{f': {reason}' if reason else ''}")
    return found


def _problem(problem: Mapping[str, Any]) -> str:
    line = "" if problem["line"] is None else f"line {problem['line']}: "
    return f"{line}{visible(problem['message'])}"


def _standing(found: Mapping[str, Any]) -> str:
    counts, cost = found["counts"], to_usd(found["price_usd"])
    failed = f", {counts['failed']} failed" if counts["failed"] else ""
    return f"{found['status']}: {counts['completed'] + counts['failed']} of {counts['total']}{failed}, {cost} USD"


def _row(found: dict[str, Any]) -> tuple[object, ...]:
    counts, table = found["counts"], found["table"]
    reads = found["input_file_id"] if table is None else f"{table['store']}: {table['input']}"
    done = (counts["completed"], counts["failed"], counts["total"])
    rest = (to_usd(found["price_usd"]), to_minute(found["created_at"]))
    return found["id"], found["status"], reads, found["endpoint"], *done, *rest


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    fields = {name: value for name, value in found.items() if name not in ("counts", "table", "problems", "metadata")}
    fields |= found["counts"]
    fields |= {} if found["table"] is None else {f"table {name}": value for name, value in found["table"].items()}
    fields["metadata"] = json.dumps(found["metadata"], ensure_ascii=False) if found["metadata"] else None
    for number, problem in enumerate(found["problems"][:10], 1):
        fields[f"problem {number}"] = f"{_problem(problem)} ({problem['code']})"
    print_fields(fields)
