"""`polyforge job schedules`: jobs that are made again and again, over the management API."""

import json
from typing import Annotated, Any, Final, cast

import typer

from polyforge.cli.client import segment
from polyforge.cli.errors import CommandError
from polyforge.cli.lazy import plain_app
from polyforge.cli.options import DEFAULT, Data, Json, Key, Url, connect
from polyforge.cli.output import show, show_all, to_minute

app = plain_app("Jobs that are made again and again.")

SCHEDULES: Final = "/api/v1/jobs/schedules"
HEADERS: Final = ("id", "kind", "title", "cron", "timezone", "enabled", "next", "last job")

ScheduleId = Annotated[str, typer.Argument(metavar="ID", help="The schedule's id.")]


@app.command("list")
def list_schedules(url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show what is made again and again, and when next."""
    found = list(connect(url, key, data).pages(SCHEDULES))
    show_all(found, HEADERS, [_row(each) for each in found], as_json)


@app.command()
def add(
    kind: Annotated[str, typer.Argument(help="What is to be done, as `polyforge job list` shows it of such jobs.")],
    cron: Annotated[str, typer.Option(help="When, as in '0 3 * * *': minute, hour, day, month, weekday.")],
    title: Annotated[str, typer.Option(help="What to call it. [default: the kind]")] = "",
    timezone: Annotated[str, typer.Option(help="In which time zone, as in Europe/Berlin.")] = "UTC",
    args: Annotated[str, typer.Option(help="What the job needs to know, as JSON.")] = "{}",
    queue: Annotated[str | None, typer.Option(help="In which queue its jobs wait. [default: default]")] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=9, help="0 goes first, 9 last. [default: 5]")] = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Have a job made again and again."""
    body = {"kind": kind, "title": title or kind, "cron": cron, "timezone": timezone, "args": _object(args)}
    body |= {name: value for name, value in (("queue", queue), ("priority", priority)) if value is not None}
    show(connect(url, key, data).post(SCHEDULES, body), as_json)


@app.command()
def pause(schedule_id: ScheduleId, url: Url = DEFAULT, key: Key = None, data: Data = None) -> None:
    """Make no more jobs of a schedule until it goes on."""
    connect(url, key, data).patch(f"{SCHEDULES}/{segment(schedule_id)}", {"enabled": False})
    typer.echo(f"{schedule_id} is paused; go on with: polyforge job schedules resume {schedule_id}")


@app.command()
def resume(schedule_id: ScheduleId, url: Url = DEFAULT, key: Key = None, data: Data = None) -> None:
    """Go on with a schedule."""
    changed = connect(url, key, data).patch(f"{SCHEDULES}/{segment(schedule_id)}", {"enabled": True})
    typer.echo(f"{schedule_id} goes on at {to_minute(changed['next_at'])} UTC")


@app.command()
def run(schedule_id: ScheduleId, url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Make a job of a schedule now, beside those at its times."""
    made: dict[str, Any] = connect(url, key, data).post(f"{SCHEDULES}/{segment(schedule_id)}/run")
    if as_json:
        show(made, as_json)
    else:
        typer.echo(f"made {made['id']}; follow it with: polyforge job watch {made['id']}")


@app.command()
def remove(schedule_id: ScheduleId, url: Url = DEFAULT, key: Key = None, data: Data = None) -> None:
    """Let a schedule go; jobs that it made stay."""
    connect(url, key, data).delete(f"{SCHEDULES}/{segment(schedule_id)}")
    typer.echo(f"{schedule_id} is removed")


def _object(text: str) -> dict[str, Any]:
    try:
        value: Any = json.loads(text)
    except ValueError as error:
        raise CommandError(f"--args is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise CommandError("--args should be an object, as in '{\"days\": 30}'")
    return cast(dict[str, Any], value)


def _row(schedule: dict[str, Any]) -> list[object]:
    row = [schedule[name] for name in ("id", "kind", "title", "cron", "timezone", "enabled")]
    return [*row, to_minute(schedule["next_at"]), schedule["last_job"]]
