"""`polyforge flow triggers`: what begins runs of flows by itself, over the management API."""

import json
from typing import Annotated, Any, Final, cast

import typer

from polyforge.cli.client import segment
from polyforge.cli.errors import CommandError
from polyforge.cli.lazy import plain_app
from polyforge.cli.options import DEFAULT, Data, Json, Key, Url, connect
from polyforge.cli.output import show, show_all, to_minute

app = plain_app("What begins runs of flows by itself: the clock, and calls from outside.")

TRIGGERS: Final = "/api/v1/flow-triggers"
HEADERS: Final = ("id", "kind", "title", "flow", "enabled", "when", "next")
FIRED: Final = ("at", "run", "delivery", "error")

TriggerId = Annotated[str, typer.Argument(metavar="ID", help="The trigger's id.")]
Flow = Annotated[
    str, typer.Argument(metavar="FLOW", help="Its short name or id, with @ALIAS or @VERSION; default: prod.")
]
Title = Annotated[str, typer.Option(help="What to call it. [default: the flow]")]
Inputs = Annotated[str, typer.Option(help="Values for the inputs of the flow, as JSON.")]


@app.command("list")
def list_triggers(
    flow: Annotated[str | None, typer.Option(help="Only of the flow with this id.")] = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show what begins runs of flows, and when next."""
    found = list(connect(url, key, data).pages(TRIGGERS, {"flow": flow}))
    show_all(found, HEADERS, [_row(each) for each in found], as_json)


@app.command()
def schedule(
    flow: Flow,
    cron: Annotated[
        str | None, typer.Option(help="When, as in '0 8 * * 1'. [default: as the flow's own node says]")
    ] = None,
    timezone: Annotated[str | None, typer.Option(help="In which time zone, as in Europe/Berlin.")] = None,
    inputs: Inputs = "{}",
    title: Title = "",
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Have a flow run by the clock; its runs act as you."""
    body = {"kind": "schedule", "title": title or flow, "flow": flow, "inputs": _object(inputs)}
    body |= {name: value for name, value in (("cron", cron), ("timezone", timezone)) if value is not None}
    made: dict[str, Any] = connect(url, key, data).post(TRIGGERS, body)
    if as_json:
        show(made, as_json)
    else:
        typer.echo(f"{made['id']} runs {flow} next at {to_minute(made['next_at'])} UTC")


@app.command()
def webhook(
    flow: Flow,
    secret: Annotated[
        str | None,
        typer.Option(help="The name of the secret that senders know. [default: as the flow's own node says]"),
    ] = None,
    bearer: Annotated[bool, typer.Option("--bearer", help="Senders send the secret along instead of signing.")] = False,
    inputs: Inputs = "{}",
    title: Title = "",
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Have a flow run when an address is called; its runs act as you."""
    body: dict[str, Any] = {"kind": "webhook", "title": title or flow, "flow": flow, "inputs": _object(inputs)}
    body["auth"] = "bearer" if bearer else "signature"
    if secret is not None:
        body["secret"] = secret
    made: dict[str, Any] = connect(url, key, data).post(TRIGGERS, body)
    if as_json:
        show(made, as_json)
    else:
        typer.echo(f"{made['id']} runs {flow} when {made['url']} is called with POST")


@app.command()
def runs(
    trigger_id: TriggerId,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many of the latest to show.")] = 50,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show when a trigger fired, the run that began, or why none did."""
    found = list(connect(url, key, data).pages(f"{TRIGGERS}/{segment(trigger_id)}/runs", {}, limit))
    rows = [[to_minute(each["at"]), each["run_id"], each["delivery"], each["error"]] for each in found]
    show_all(found, FIRED, rows, as_json)


@app.command()
def fire(
    trigger_id: TriggerId,
    body: Annotated[str, typer.Option(help="What a webhook would have been sent, as JSON.")] = "null",
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Begin a run as a trigger would, now; it acts as you."""
    path = f"{TRIGGERS}/{segment(trigger_id)}/run"
    made: dict[str, Any] = connect(url, key, data).post(path, {"body": _value(body, "--body")})
    if as_json:
        show(made, as_json)
    else:
        typer.echo(f"{made['run_id']} has begun")


@app.command()
def off(trigger_id: TriggerId, url: Url = DEFAULT, key: Key = None, data: Data = None) -> None:
    """Begin no more runs until it is switched on."""
    connect(url, key, data).patch(f"{TRIGGERS}/{segment(trigger_id)}", {"enabled": False})
    typer.echo(f"{trigger_id} is off; switch it on with: polyforge flow triggers on {trigger_id}")


@app.command()
def on(trigger_id: TriggerId, url: Url = DEFAULT, key: Key = None, data: Data = None) -> None:
    """Switch a trigger on; its runs act as you from now on."""
    connect(url, key, data).patch(f"{TRIGGERS}/{segment(trigger_id)}", {"enabled": True})
    typer.echo(f"{trigger_id} is on")


@app.command()
def remove(trigger_id: TriggerId, url: Url = DEFAULT, key: Key = None, data: Data = None) -> None:
    """Let a trigger go; runs that it began go on."""
    connect(url, key, data).delete(f"{TRIGGERS}/{segment(trigger_id)}")
    typer.echo(f"{trigger_id} is removed")


def _object(text: str) -> dict[str, Any]:
    value = _value(text, "--inputs")
    if not isinstance(value, dict):
        raise CommandError('--inputs should be an object, as in \'{"source": "https://example.com/data.json"}\'')
    return cast("dict[str, Any]", value)


def _value(text: str, option: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise CommandError(f"{option} is no JSON: {error}") from error


def _row(trigger: dict[str, Any]) -> list[object]:
    row = [trigger[name] for name in ("id", "kind", "title", "flow", "enabled")]
    when = f"{trigger['cron']} {trigger['timezone']}" if trigger["kind"] == "schedule" else trigger["url"]
    return [*row, when, to_minute(trigger["next_at"])]
