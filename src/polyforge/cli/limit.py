"""`polyforge limit`: who may use how much, over the management API."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from polyforge.cli.client import segment
from polyforge.cli.lazy import plain_app
from polyforge.cli.options import DEFAULT, Data, Json, Key, Url, connect
from polyforge.cli.output import print_json, show, show_all, to_minute, to_usd

app = plain_app("Set, list, change and remove limits; reset them, add to them, move money between them.")

PATH = "/api/v1/limits"
HEADERS = ["id", "name", "on", "amount", "used", "left", "%", "starts again"]
_UNLIMITED = "total"

LimitId = Annotated[str, typer.Argument(metavar="ID", help="The limit's id, as `polyforge limit list` shows it.")]
Whose = Annotated[str | None, typer.Option(help="Whose counter, where each subject has one of its own.")]
Threshold = Annotated[
    list[float] | None, typer.Option(help="Tell at this share of the amount, as in 0.8; repeat it for more.")
]


class Subject(StrEnum):
    """What a limit is on."""

    ORGANIZATION = "organization"
    PROJECT = "project"
    GROUP = "group"
    USER = "user"
    KEY = "key"
    MODEL = "model"
    PROVIDER = "provider"
    END_USER = "end_user"


class Measure(StrEnum):
    """What a limit counts."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    MONEY = "money"
    CONCURRENCY = "concurrency"


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What the limit is for.")],
    on: Annotated[Subject, typer.Option(help="What it is on.")],
    measure: Annotated[Measure, typer.Option(help="What is counted.")],
    amount: Annotated[float, typer.Option(help="How much there may be; money in USD.")],
    subject: Annotated[str, typer.Option(help="An id or a name; `*`: each has the limit for itself.")] = "*",
    window: Annotated[
        str | None, typer.Option(help="minute, hour, day, week, month, total or rolling:<seconds>.")
    ] = None,
    project: Annotated[str | None, typer.Option(help="Only calls in this project count.")] = None,
    threshold: Threshold = None,
    soft: Annotated[bool, typer.Option("--soft", help="Only tell, stop nothing.")] = False,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Set a limit."""
    body = {
        "name": name,
        "subject": on.value,
        "subject_id": subject,
        "measure": measure.value,
        "amount": amount,
        "window": window,
        "project_id": project,
        "thresholds": threshold or [],
        "hard": not soft,
    }
    _show(
        connect(url, key, data).post(PATH, {name: value for name, value in body.items() if value is not None}), as_json
    )


@app.command("list")
def list_limits(
    measure: Annotated[Measure | None, typer.Option(help="Only those that count this.")] = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show all limits, newest first, and how they stand."""
    limits = list(connect(url, key, data).pages(PATH, {"measure": measure.value if measure else None}))
    show_all(limits, HEADERS, [row_of(each) for each in limits], as_json)


@app.command("show")
def show_limit(
    limit_id: LimitId,
    subject: Whose = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show one limit, how it stands, and who used most of it."""
    _show(connect(url, key, data).get(f"{PATH}/{segment(limit_id)}", {"subject_id": subject}), as_json)


@app.command("change")
def change(
    limit_id: LimitId,
    name: Annotated[str | None, typer.Option(help="What the limit is for.")] = None,
    amount: Annotated[float | None, typer.Option(help="How much there may be; money in USD.")] = None,
    threshold: Threshold = None,
    hard: Annotated[bool | None, typer.Option("--hard/--soft", help="Stop calls, or only tell.")] = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Change a limit; what was used stays."""
    given = {"name": name, "amount": amount, "thresholds": threshold, "hard": hard}
    body = {field: value for field, value in given.items() if value not in (None, [])}
    _show(connect(url, key, data).patch(f"{PATH}/{segment(limit_id)}", body), as_json)


@app.command("delete")
def delete(limit_id: LimitId, url: Url = DEFAULT, key: Key = None, data: Data = None) -> None:
    """Take a limit away."""
    connect(url, key, data).delete(f"{PATH}/{segment(limit_id)}")
    typer.echo(f"deleted {limit_id}")


@app.command("reset")
def reset(
    limit_id: LimitId,
    subject: Whose = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """What was used counts no more."""
    body = {"subject_id": subject}
    _show(connect(url, key, data).post(f"{PATH}/{segment(limit_id)}/reset", body), as_json)


@app.command("top-up")
def top_up(
    limit_id: LimitId,
    amount: Annotated[float, typer.Argument(help="How much more there may be in the window under way.")],
    subject: Whose = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Let more be used, in the window under way only."""
    body = {"amount": amount, "subject_id": subject}
    _show(connect(url, key, data).post(f"{PATH}/{segment(limit_id)}/top-up", body), as_json)


@app.command("transfer")
def transfer(
    limit_id: LimitId,
    to: Annotated[str, typer.Argument(metavar="TO", help="The id of the other limit.")],
    amount: Annotated[float, typer.Argument(help="USD.")],
    subject: Whose = None,
    to_subject: Whose = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Give some of what is left of a limit on money to another, in the windows under way only."""
    body = {"to": to, "amount": amount, "subject_id": subject, "to_subject_id": to_subject}
    _show(connect(url, key, data).post(f"{PATH}/{segment(limit_id)}/transfer", body), as_json)


def row_of(limit: dict[str, Any]) -> list[object]:
    """A limit as a line of a table."""
    use, money = limit["use"], limit["measure"] == "money"
    row: list[object] = [limit["id"], limit["name"], _on(limit), _amount(limit)]
    if use is None:
        return [*row, "each its own", None, None, None]
    used, left = (to_usd(use[name]) if money else f"{use[name]:g}" for name in ("used", "left"))
    return [*row, used, left, f"{use['percent']:g}", to_minute(use["starts_again"])]


def _on(limit: dict[str, Any]) -> str:
    whose = f"each {limit['subject']}" if limit["subject_id"] == "*" else f"{limit['subject']} {limit['subject_id']}"
    return f"{whose} in {limit['project_id']}" if limit["project_id"] else whose


def _amount(limit: dict[str, Any]) -> str:
    amount, window = limit["amount"], limit["window"]
    shown = f"{to_usd(amount)} USD" if limit["measure"] == "money" else f"{amount:g} {limit['measure']}"
    suffix = "" if limit["hard"] else ", soft"
    if window is None:
        return shown + suffix
    return f"{shown} {'in all' if window == _UNLIMITED else f'per {window}'}{suffix}"


def _show(limit: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(limit)
        return
    use: dict[str, Any] = limit.pop("use") or {}
    subjects: list[dict[str, Any]] = limit.pop("subjects") or []
    show({**limit, **use}, as_json)
    for each in subjects:
        typer.echo(f"  {each['subject_id']}  {each['used']:g}  {each['percent']:g} %")
