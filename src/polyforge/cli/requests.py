"""`polyforge requests`: what was asked of models, request by request."""

import json
import time
from typing import Annotated, Any, Final

import typer

from polyforge.cli.client import ApiClient, Query, segment
from polyforge.cli.errors import CommandError
from polyforge.cli.exports import AllOfExport, LetterId, OneExport, send_again, show_exports, show_letters
from polyforge.cli.lazy import plain_app
from polyforge.cli.options import DEFAULT, Data, Json, Key, Latest, Url, connect
from polyforge.cli.output import print_fields, print_json, print_table, show, show_all, to_text, to_usd, visible

app = plain_app("Show what was asked of models, request by request.")

REQUESTS: Final = "/api/v1/requests"
EXPORTS: Final = "/api/v1/request-logs"
FOLLOW_SECONDS: Final = 1.0
_REMEMBERED: Final = 2_000
"""Requests are listed by when they began, and known once they ended: so many are remembered while they are followed."""
_LATEST: Final = 200
HEADERS: Final = ("started", "id", "status", "model", "provider", "ms", "in", "out", "price_usd", "error")
_WIDTHS: Final = (19, 26, 11, 24, 16, 7, 7, 7, 10, 20)
SUMS: Final = ("model", "provider", "deployment", "good", "bad", "scored", "score")
STATES: Final = ("name", "use", "lag", "failures", "dead_letters", "retry_at", "error")
LETTERS: Final = ("id", "export", "request_id", "at", "reason")
DELETED: Final = ("requests", "payloads", "feedback", "conversations", "files", "runs", "batches", "jobs")
_PARTS: Final = ("request", "answer")
_LISTS: Final = ("hops", "tried", "guardrails", "feedback")


@app.callback()
def requests() -> None:
    """Show what was asked of models, request by request."""


@app.command("list")
def list_requests(
    of_key: Annotated[
        list[str] | None, typer.Option("--of-key", help="Only with this key, by its id; may be repeated.")
    ] = None,
    user: Annotated[list[str] | None, typer.Option(help="Only with a key of this user, by the user's id.")] = None,
    end_user: Annotated[list[str] | None, typer.Option(help="Only for this end user.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Only for this model.")] = None,
    provider: Annotated[list[str] | None, typer.Option(help="Only those that this provider answered.")] = None,
    status: Annotated[list[str] | None, typer.Option(help="Only ok, error, cancelled, interrupted or refused.")] = None,
    error: Annotated[list[str] | None, typer.Option(help="Only with this error, by its code.")] = None,
    error_text: Annotated[str | None, typer.Option(help="Only with an error whose code holds this text.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only with this tag, as in team=red.")] = None,
    since: Annotated[str | None, typer.Option(help="From this time on, as in 2026-01-31T12:00.")] = None,
    until: Annotated[str | None, typer.Option(help="Up to this time.")] = None,
    min_ms: Annotated[int | None, typer.Option(help="Only those that took this long.")] = None,
    min_usd: Annotated[float | None, typer.Option(help="Only those that were priced this much.")] = None,
    limit: Latest = 50,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what comes, until Ctrl-C.")] = False,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show requests, newest first; with --follow oldest first, and then what comes."""
    query: Query = {
        "key": of_key,
        "user": user,
        "end_user": end_user,
        "model": model,
        "provider": provider,
        "status": status,
        "error": error,
        "error_text": error_text,
        "tag": tag,
        "since": since,
        "until": until,
        "min_duration_ms": None if min_ms is None else str(min_ms),
        "min_price_usd": None if min_usd is None else str(min_usd),
    }
    client = connect(url, key, data)
    found = list(client.pages(REQUESTS, query, limit))
    if follow:
        _follow(client, query, found, as_json)
    else:
        show_all(found, HEADERS, [_row(each) for each in found], as_json)


@app.command("show")
def show_request(
    request_id: Annotated[str, typer.Argument(help="Its id: what callers are told in x-request-id.")],
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show one request: its hops, its attempts, what it used and came to."""
    found: dict[str, Any] = connect(url, key, data).get(f"{REQUESTS}/{segment(request_id)}")
    if as_json:
        print_json(found)
        return
    print_fields({name: value for name, value in found.items() if name not in _LISTS})
    for name in _LISTS:
        if found[name]:
            typer.echo(f"\n{name}")
            print_table(list(found[name][0]), [list(each.values()) for each in found[name]])


@app.command("export")
def export_requests(
    since: Annotated[str, typer.Option(help="From this time on, as in 2026-01-31T12:00.")],
    until: Annotated[str | None, typer.Option(help="Up to this time. [default: now]")] = None,
    file_format: Annotated[str, typer.Option("--format", help="csv or parquet.")] = "csv",
    model: Annotated[list[str] | None, typer.Option(help="Only for this model; may be repeated.")] = None,
    status: Annotated[list[str] | None, typer.Option(help="Only ok, error, cancelled, interrupted or refused.")] = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Have a file made of requests; a job writes it."""
    given = {"since": since, "until": until, "format": file_format, "model": model, "status": status}
    body = {name: value for name, value in given.items() if value is not None}
    made: dict[str, Any] = connect(url, key, data).post(f"{REQUESTS}/exports", body)
    if as_json:
        print_json(made)
    else:
        typer.echo(f"{made['id']} writes it; follow it with: polyforge job watch {made['id']}")


@app.command()
def payload(
    request_id: Annotated[str, typer.Argument(help="Its id: what callers are told in x-request-id.")],
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show what was asked and answered, where that was kept; the audit log tells that you did."""
    found: dict[str, Any] = connect(url, key, data).get(f"{REQUESTS}/{segment(request_id)}/payload")
    if as_json:
        print_json(found)
        return
    for name in _PARTS:
        part = found[name]
        typer.echo(f"{name}, {part['bytes']} bytes{', cut' if part['cut'] else ''}")
        typer.echo(f"left out: {part['left_out']}\n" if part["left_out"] else f"{visible(part['text'])}\n")


@app.command()
def delete(
    user: Annotated[str | None, typer.Option(help="A user, by id.")] = None,
    end_user: Annotated[str | None, typer.Option(help="An end user, as callers name them.")] = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Remove what a person said, saved and had done, and an end user's name; what was used stays counted."""
    client, query = connect(url, key, data), {"user": user, "end_user": end_user}
    done = dict.fromkeys(DELETED, 0)
    cursor: str | None = None
    going_on = 0
    while True:
        step: dict[str, Any] = client.delete(REQUESTS, {**query, "cursor": cursor})
        going_on = int(step["going_on"])
        done = {name: done[name] + int(step[name]) for name in DELETED}
        cursor = step["next_cursor"]
        if cursor is None:
            break
        typer.echo(", ".join(f"{count} {name}" for name, count in done.items()), err=True)
    if going_on:
        typer.echo(f"{going_on} jobs of theirs are still ending; say this again in a minute to remove them", err=True)
    show(done, as_json)


@app.command()
def feedback(
    request_id: Annotated[str, typer.Argument(help="Of which request; left out: sums by model.")] = "",
    good: Annotated[bool, typer.Option("--good", help="The answer was good.")] = False,
    bad: Annotated[bool, typer.Option("--bad", help="The answer was bad.")] = False,
    score: Annotated[float | None, typer.Option(min=0, max=1, help="How good it was, from 0 to 1.")] = None,
    comment: Annotated[str, typer.Option(help="Why.")] = "",
    label: Annotated[list[str] | None, typer.Option(help="What it is about; may be repeated.")] = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Say how good an answer was, or show what was said of answers, by model."""
    client = connect(url, key, data)
    if good and bad:
        raise CommandError("an answer is good or bad, not both")
    if not request_id:
        if good or bad or score is not None or comment or label:
            raise CommandError("say which request this is about")
        sums: list[dict[str, Any]] = client.get(f"{REQUESTS}/feedback/models")["data"]
        show_all(sums, SUMS, [[each[name] for name in SUMS] for each in sums], as_json)
        return
    rating = 1 if good else -1 if bad else None
    given = {"rating": rating, "score": score, "comment": comment, "labels": label or []}
    body = {name: value for name, value in given.items() if value is not None}
    show(client.post(f"{REQUESTS}/{segment(request_id)}/feedback", body), as_json)


@app.command()
def exports(url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show how far each export of the log of requests is."""
    show_exports(connect(url, key, data), EXPORTS, STATES, as_json)


@app.command("dead-letters")
def dead_letters(
    name: OneExport = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show the requests that a sink refused for good, newest first."""
    show_letters(connect(url, key, data), EXPORTS, name, LETTERS, as_json)


@app.command()
def retry(
    letter_id: LetterId = None,
    name: AllOfExport = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
) -> None:
    """Have dead letters sent again; those that are accepted now are gone from the list."""
    send_again(connect(url, key, data), EXPORTS, letter_id, name)


def _follow(client: ApiClient, query: Query, found: list[dict[str, Any]], as_json: bool) -> None:
    """Show those that are there and go on with those that come; Ctrl-C is how this is meant to end."""
    seen: dict[str, None] = {}
    if not as_json:
        _show_cells(HEADERS)
    try:
        while True:
            _show_new(found, seen, as_json)
            time.sleep(FOLLOW_SECONDS)
            found = client.get(REQUESTS, {**query, "limit": str(_LATEST)})["data"]
    except KeyboardInterrupt:
        return


def _show_new(found: list[dict[str, Any]], seen: dict[str, None], as_json: bool) -> None:
    for each in reversed(found):
        if each["id"] in seen:
            continue
        seen[each["id"]] = None
        if as_json:
            typer.echo(json.dumps(each, ensure_ascii=False))
        else:
            _show_cells(_row(each))
    while len(seen) > _REMEMBERED:
        del seen[next(iter(seen))]


def _show_cells(cells: tuple[object, ...] | list[object]) -> None:
    typer.echo("  ".join(to_text(cell).ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip())


def _row(request: dict[str, Any]) -> list[object]:
    return [
        str(request["started_at"])[:19].replace("T", " "),
        request["id"],
        request["status"],
        request["model"],
        request["provider"],
        request["duration_ms"],
        request["input_tokens"],
        request["output_tokens"],
        to_usd(request["price_usd"]),
        request["error"],
    ]
