"""`polyforge job`: work that goes on outside of requests, over the management API."""

import json
import time
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

import typer

from polyforge.cli.client import ApiClient, segment
from polyforge.cli.errors import CommandError
from polyforge.cli.job_schedules import app as schedules
from polyforge.cli.lazy import plain_app
from polyforge.cli.options import DEFAULT, Data, Json, Key, Latest, Url, connect
from polyforge.cli.output import print_fields, print_json, show_all, to_minute, visible
from polyforge.cli.watching import watched

app = plain_app("Show jobs, follow, cancel and repeat them; set what is done again and again.")
app.add_typer(schedules, name="schedules")

JOBS: Final = "/api/v1/jobs"
HEADERS: Final = ("id", "kind", "title", "state", "progress", "queue", "attempt", "created", "waits for")
OVER: Final = ("succeeded", "failed", "cancelled")
_POLL_SECONDS: Final = 0.5
_WIDTH: Final = 30
_LISTS: Final = ("progress", "waiting_for", "error", "args", "result")

JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id, as `polyforge job list` shows it.")]


@app.callback()
def job() -> None:
    """Show jobs, follow, cancel and repeat them; set what is done again and again."""


@app.command("list")
def list_jobs(
    state: Annotated[
        list[str] | None,
        typer.Option(help="Only queued, running, waiting, succeeded, failed or cancelled; may be repeated."),
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Only of this kind.")] = None,
    queue: Annotated[str | None, typer.Option(help="Only of this queue.")] = None,
    limit: Latest = 50,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show jobs, newest first, and what those wait for that do."""
    found = list(connect(url, key, data).pages(JOBS, {"state": state, "kind": kind, "queue": queue}, limit))
    show_all(found, HEADERS, [_row(each) for each in found], as_json)


@app.command()
def show(job_id: JobId, url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show one job: how far it is, what it waits for, what came of it, why it failed."""
    _show(connect(url, key, data).get(f"{JOBS}/{segment(job_id)}"), as_json)


@app.command()
def cancel(job_id: JobId, url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """End a job: at once while it waits, before its next step while it runs."""
    _show(connect(url, key, data).post(f"{JOBS}/{segment(job_id)}/cancel"), as_json)


@app.command()
def retry(job_id: JobId, url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Go on with a job that failed or was cancelled; steps that were done are not done again."""
    _show(connect(url, key, data).post(f"{JOBS}/{segment(job_id)}/retry"), as_json)


@app.command()
def logs(
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what comes until the job is over.")] = False,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show what a job wrote, oldest first; with --json one object per line."""
    client, seen = connect(url, key, data), 0
    while True:
        state = client.get(f"{JOBS}/{segment(job_id)}")["state"] if follow else OVER[0]
        for line in _lines(client, job_id, seen):
            seen = line["seq"]
            _show_line(line, as_json)
        if state in OVER:
            return
        time.sleep(_POLL_SECONDS)


@app.command()
def watch(job_id: JobId, url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show how far a job is until it is over; fails if the job does. Ctrl-C ends the watching, not the job."""
    client = connect(url, key, data)
    found = watched(lambda: client.get(f"{JOBS}/{segment(job_id)}"), lambda job: job["state"] in OVER, _standing)
    _show(found, as_json)
    if found["state"] != OVER[0]:
        raise CommandError(f"the job {found['id']} {_end_of(found)}")


def _end_of(found: dict[str, Any]) -> str:
    error = found["error"]
    if found["state"] == "cancelled" or error is None:
        return "was cancelled" if found["state"] == "cancelled" else "failed"
    hint = f"; {error['hint']}" if error["hint"] else ""
    return f"failed: {visible(error['message'])}{visible(hint)}"


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    fields = {name: value for name, value in found.items() if name not in _LISTS}
    fields["progress"] = _progress(found)
    if found["waiting_for"] is not None:
        fields["waits for"] = found["waiting_for"]["message"]
    if found["error"] is not None:
        fields |= {"error": f"{found['error']['code']}: {found['error']['message']}", "hint": found["error"]["hint"]}
    if found["state"] in ("failed", "cancelled"):
        fields["try again"] = f"polyforge job retry {found['id']}"
    fields["asked_by"] = f"{found['asked_by']['name']} ({found['asked_by']['kind']})"
    for name in ("args", "result"):
        if found[name] is not None:
            fields[name] = json.dumps(found[name], ensure_ascii=False)
    print_fields(fields)


def _lines(client: ApiClient, job_id: str, after: int) -> Iterator[dict[str, Any]]:
    while True:
        page = client.get(f"{JOBS}/{segment(job_id)}/logs", {"cursor": str(after)})
        yield from page["data"]
        if page["next_cursor"] is None:
            return
        after = page["next_cursor"]


def _show_line(line: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(line, ensure_ascii=False))
    else:
        typer.echo(f"{line['at'][:19].replace('T', ' ')}  {line['level'].ljust(7)}  {visible(line['text'])}")


def _standing(found: Mapping[str, Any]) -> str:
    """One line: how far a job is, or what it waits for."""
    waits = "" if found["waiting_for"] is None else f"  {visible(found['waiting_for']['message'])}"
    done, total = found["progress"]["done"], found["progress"]["total"]
    if not total:
        return f"{found['state']}  {_progress(found)}{waits}"
    filled = min(_WIDTH, round(_WIDTH * done / total))
    left = "" if found["seconds_left"] is None else f", about {found['seconds_left']:.0f} s left"
    return f"{found['state']}  [{'#' * filled}{'.' * (_WIDTH - filled)}] {_progress(found)}{left}{waits}"


def _progress(found: Mapping[str, Any]) -> str:
    progress = found["progress"]
    total = "" if progress["total"] is None else f" of {progress['total']:g}"
    unit = f" {progress['unit']}" if progress["unit"] else ""
    note = f" ({progress['note']})" if progress["note"] else ""
    return visible(f"{progress['done']:g}{total}{unit}{note}")


def _row(found: dict[str, Any]) -> list[object]:
    waits = None if found["waiting_for"] is None else found["waiting_for"]["message"]
    row = [found["id"], found["kind"], found["title"], found["state"], _progress(found), found["queue"]]
    return [*row, found["attempt"], to_minute(found["created_at"]), waits]
