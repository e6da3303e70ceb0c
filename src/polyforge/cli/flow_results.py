"""Commands of `polyforge flow` about one run: what came of it and happened in it, its end, and running it again."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from polyforge.cli.client import ApiClient, segment
from polyforge.cli.flow_runs import OVER, RUNS, read_inputs, show_end
from polyforge.cli.options import DEFAULT, Data, Json, Key, Url, connect
from polyforge.cli.output import print_json, show_all, to_usd

HEADERS: Final = ("at", "what", "node", "round", "seconds", "cost", "more")
_POLL_SECONDS: Final = 0.5
_MORE: Final = 120

RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, as `polyforge flow runs` shows it.")]
Seconds = Annotated[float, typer.Option(min=0, help="How many seconds to wait; the run goes on after it.")]


def result(
    run_id: RunId,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end.")] = False,
    timeout: Seconds = 300,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show what came of a run: its outputs, or why it failed; fails if the run did, or is not over."""
    client = connect(url, key, data)
    show_end(_standing(client, run_id, timeout if wait else 0), as_json, waited=True)


def events(run_id: RunId, url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show what happened in a run, in order: what each node cost and took, and why it failed or waits."""
    found = list(_history(connect(url, key, data), run_id))
    show_all(found, HEADERS, [_event_row(each) for each in found], as_json)


def cancel(run_id: RunId, url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """End a run; calls that its nodes make now are broken off."""
    found = connect(url, key, data).post(f"{RUNS}/{segment(run_id)}/cancel")
    if as_json:
        print_json(found)
    else:
        ends = "" if found["state"] in OVER else "; it ends as soon as its worker sees that"
        typer.echo(f"{found['id']} is {found['state']}{ends}")


def rerun(
    run_id: RunId,
    target: Annotated[
        list[str] | None,
        typer.Option(help="A node to run again, with what comes after it; the rest is taken over. May be repeated."),
    ] = None,
    changed: Annotated[
        bool, typer.Option("--changed", help="Only what was changed since, or was not done; the rest is taken over.")
    ] = False,
    inputs: Annotated[
        Path | None, typer.Option(help="Other inputs, in a file of JSON; - is the input. [default: those of the run]")
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="An alias or a version of the same flow. [default: that of the run]")
    ] = None,
    max_cost: Annotated[float | None, typer.Option(help="Dollars after which no node begins.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end.")] = True,
    timeout: Seconds = 300,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Run again what a run ran, all of it or a part; what is taken over costs nothing."""
    client = connect(url, key, data)
    body: dict[str, Any] = {"targets": target or []} if target or changed else {}
    given = {"version": version, "max_cost_usd": max_cost, "inputs": None if inputs is None else read_inputs(inputs)}
    body |= {name: value for name, value in given.items() if value is not None}
    made = client.post(f"{RUNS}/{segment(run_id)}/rerun", body)
    show_end(_standing(client, made["id"], timeout if wait else 0), as_json, waited=wait)


def _standing(client: ApiClient, run_id: str, seconds: float) -> dict[str, Any]:
    """A run with its outputs, once it is over or so many seconds have passed."""
    until, path = time.monotonic() + seconds, f"{RUNS}/{segment(run_id)}"
    while (found := client.get(path))["state"] not in OVER and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)
    return {**found, "outputs": client.get(f"{path}/result")["outputs"]}


def _history(client: ApiClient, run_id: str) -> Iterator[dict[str, Any]]:
    after: int | None = 0
    while after is not None:
        page = client.get(f"{RUNS}/{segment(run_id)}/history", {"cursor": str(after)})
        yield from page["data"]
        after = page["next_cursor"]


def _event_row(event: Mapping[str, Any]) -> list[object]:
    told: Mapping[str, Any] = event["payload"]
    seconds, micros = told.get("seconds"), told.get("cost")
    row = [event["at"][11:19], event["type"], event["node"], event["path"]]
    row += [None if seconds is None else f"{seconds:.3f}", to_usd(micros / 1e6) if micros else None]
    return [*row, _more(told)]


def _more(told: Mapping[str, Any]) -> str | None:
    """What else is worth a look at: why it failed, what to decide, a line of the log; that a result was taken over."""
    error: Mapping[str, Any] = told.get("error") or told
    said = error.get("message") or told.get("approval") or told.get("text")
    return str(said)[:_MORE] if said else "taken over" if told.get("cached") else None
