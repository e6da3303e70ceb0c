"""Commands of `polyforge flow` about running: begin a run, list runs, decide what they ask, publish aliases."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, cast

import typer

from polyforge.cli.client import ApiClient, segment
from polyforge.cli.errors import CommandError
from polyforge.cli.options import DEFAULT, Data, Json, Key, Latest, Url, connect
from polyforge.cli.output import print_fields, print_json, show, show_all, to_minute, to_usd, visible

FLOWS: Final = "/api/v1/flows"
RUNS: Final = "/api/v1/flow-runs"
APPROVALS: Final = "/api/v1/approvals"
RUN_HEADERS: Final = ("id", "flow", "version", "state", "trigger", "cost", "created", "ended")
APPROVAL_HEADERS: Final = ("id", "flow", "node", "question", "state", "asked", "expires")
OVER: Final = ("succeeded", "failed", "cancelled")
_RESULT: Final = "polyforge flow result --wait"
_SHORT: Final = 12
_QUESTION: Final = 60

Reference = Annotated[
    str, typer.Argument(metavar="FLOW", help="A flow's short name or id, with @ALIAS or @VERSION; default: prod.")
]
ApprovalId = Annotated[str, typer.Argument(metavar="ID", help="As `polyforge flow approvals` shows it.")]


def run(
    flow: Reference,
    given: Annotated[
        list[str] | None,
        typer.Option("--input", help="NAME=VALUE; NAME=@FILE takes a file. JSON unless it is a text. May be repeated."),
    ] = None,
    inputs: Annotated[
        Path | None, typer.Option("--inputs", help="All inputs in a file of JSON; - is the input.")
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Show what happens as it does.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end.")] = True,
    timeout: Annotated[
        float, typer.Option(min=0, max=590, help="How many seconds to wait; the run goes on after it.")
    ] = 300,
    max_cost: Annotated[float | None, typer.Option(help="Dollars after which no node begins.")] = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Run a stored version of a flow; its outputs are printed, and it fails if the run does."""
    client = connect(url, key, data)
    mode = "stream" if stream else "sync" if wait else "async"
    body: dict[str, Any] = {"inputs": _inputs(client, flow, given or [], inputs), "mode": mode}
    body["timeout_seconds"] = timeout
    if max_cost is not None:
        body["max_cost_usd"] = max_cost
    path = f"{FLOWS}/{segment(flow)}/run"
    found = _followed(client, path, body, timeout, as_json) if stream else client.ask(path, body)
    show_end(found, as_json, waited=mode != "async")


def runs(
    flow: Annotated[str | None, typer.Argument(metavar="[FLOW]", help="Only of this flow.")] = None,
    state: Annotated[
        list[str] | None,
        typer.Option(help="Only queued, running, waiting, succeeded, failed or cancelled; may be repeated."),
    ] = None,
    limit: Latest = 50,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show runs, newest first."""
    client = connect(url, key, data)
    wanted = None if flow is None else client.get(f"{FLOWS}/{segment(flow)}")["id"]
    found = list(client.pages(RUNS, {"flow": wanted, "state": state}, limit))
    show_all(found, RUN_HEADERS, [_row(each) for each in found], as_json)


def approvals(
    approval_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Only this one, with what to look at and its form.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Of everybody, and those that are decided.")] = False,
    limit: Latest = 50,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show what runs wait for you to decide, or one approval with all that there is to know."""
    if approval_id is not None:
        found = connect(url, key, data).get(f"{APPROVALS}/{segment(approval_id)}")
        show(found, as_json)
        return
    query = None if every else {"mine": "true", "state": "pending"}
    found = list(connect(url, key, data).pages(APPROVALS, query, limit))
    show_all(found, APPROVAL_HEADERS, [_approval_row(each) for each in found], as_json)


def approve(
    approval_id: ApprovalId,
    values: Annotated[str | None, typer.Option(help="What the form asks for, as JSON.")] = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Approve what a run asks; it goes on."""
    given: Any = {} if values is None else _decoded("--values", values)
    _decide(connect(url, key, data), approval_id, {"decision": "approve", "values": given}, as_json)


def reject(
    approval_id: ApprovalId,
    reason: Annotated[str, typer.Option(help="Why not; whoever asked is told.")],
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Reject what a run asks; it goes on with that."""
    _decide(connect(url, key, data), approval_id, {"decision": "reject", "reason": reason}, as_json)


def publish(
    flow: Annotated[str, typer.Argument(metavar="FLOW")],
    alias: Annotated[str, typer.Argument(metavar="ALIAS")] = "prod",
    tool: Annotated[bool, typer.Option("--tool", help="Agents find it at /mcp.")] = False,
    page: Annotated[bool, typer.Option("--page", help="People find it at /flows/FLOW@ALIAS.")] = False,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Publish an alias of a flow; who uses it needs a key that may run flows."""
    if not (tool or page):
        raise CommandError("say for whom: --tool, --page or both; `polyforge flow withdraw` takes it back")
    path = f"{FLOWS}/{segment(flow)}/publications/{segment(alias)}"
    published = connect(url, key, data).put(path, {"tool": tool, "page": page})
    if as_json:
        print_json(published)
        return
    typer.echo(f"{flow}@{alias} is published; who uses it needs a key that may run flows")
    if tool:
        typer.echo(f"tool  {published['tool_name']} at {url.rstrip('/')}/mcp")
    if page:
        typer.echo(f"page  {url.rstrip('/')}/flows/{segment(flow)}@{segment(alias)}")


def withdraw(
    flow: Annotated[str, typer.Argument(metavar="FLOW")],
    alias: Annotated[str, typer.Argument(metavar="ALIAS")] = "prod",
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
) -> None:
    """Publish an alias no more."""
    connect(url, key, data).delete(f"{FLOWS}/{segment(flow)}/publications/{segment(alias)}")
    typer.echo(f"{flow}@{alias} is not published any more")


def _inputs(client: ApiClient, flow: str, given: list[str], file: Path | None) -> dict[str, Any]:
    found = {} if file is None else read_inputs(file)
    if not given:
        return found
    schema = client.get(f"{FLOWS}/{segment(flow)}/openapi.json")["components"]["schemas"]["Inputs"]
    for each in given:
        name, equals, text = each.partition("=")
        if not equals:
            raise CommandError(f"--input {each!r}: write NAME=VALUE")
        if name not in schema["properties"]:
            known = ", ".join(schema["properties"]) or "none"
            raise CommandError(f"--input: the flow takes no {name!r}; it takes {known}")
        text = _read(Path(text[1:])) if text.startswith("@") else text
        found[name] = text if schema["properties"][name].get("type") == "string" else _decoded(f"--input {name}", text)
    return found


def read_inputs(file: Path) -> dict[str, Any]:
    """The inputs that a file holds, or `-`, what comes in; CommandError where that is no object of JSON."""
    found = _decoded("--inputs", sys.stdin.read() if str(file) == "-" else _read(file))
    if not isinstance(found, dict):
        raise CommandError("--inputs: the file must hold an object, with the inputs by name")
    return cast("dict[str, Any]", found)


def _decoded(what: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise CommandError(f"{what}: this is not JSON: {error}") from error


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"cannot read {path}: {error}") from error


def _followed(client: ApiClient, path: str, body: dict[str, Any], timeout: float, as_json: bool) -> dict[str, Any]:
    """The run at its end, or when time is up; on the way what happens is shown, with --json an object per line."""
    until, run_id = time.monotonic() + timeout, ""
    for kind, data in _events(client.post_lines(path, body)):
        if kind == "run":
            return data
        run_id = data.get("run_id", run_id)
        if kind and as_json:
            typer.echo(json.dumps(data, ensure_ascii=False))
        elif kind and "node" in data:
            _show_event(kind, data)
        if run_id and time.monotonic() > until:
            return client.get(f"{RUNS}/{segment(run_id)}")
    raise CommandError("the stream broke off; the run goes on: polyforge flow runs")


def _events(lines: Iterator[bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    kind = ""
    for line in lines:
        if line.startswith(b"event:"):
            kind = line[6:].strip().decode()
        elif line.startswith(b"data:"):
            yield kind, json.loads(line[5:])
        elif line.startswith(b":"):
            yield "", {}  # it is silent, and still there


def _show_event(kind: str, data: dict[str, Any]) -> None:
    if kind == "node.token":
        typer.echo(visible(data["payload"].get("text", "")), err=True, nl=False)
    elif kind not in ("node.started", "node.log"):
        place = f" [{data['path']}]" if data["path"] else ""
        typer.echo(f"{kind}  {visible(data['node'])}{place}".rstrip(), err=True)
    if (approval := data.get("payload", {}).get("approval")) is not None:
        typer.echo(f"  decide it: polyforge flow approve {visible(approval)}", err=True)


def show_end(found: dict[str, Any], as_json: bool, *, waited: bool) -> None:
    """Show a run with its outputs; CommandError where somebody `waited` for its success and it is none."""
    if as_json:
        print_json(found)
    elif found["state"] == OVER[0]:
        _show_outputs(found["outputs"] or {})
    if not waited:
        if not as_json:
            typer.echo(f"{found['id']} is {found['state']}; see what comes of it: {_RESULT} {found['id']}")
        return
    if found["state"] not in OVER:
        asks = "; see what it asks: polyforge flow approvals" if found["state"] == "waiting" else ""
        goes_on = f"it goes on: {_RESULT} {found['id']}{asks}"
        raise CommandError(f"the run {found['id']} is {found['state']} still; {goes_on}")
    if found["state"] != OVER[0]:
        raise CommandError(f"the run {found['id']} {_why(found)}")


def _show_outputs(outputs: dict[str, Any]) -> None:
    if len(outputs) == 1 and isinstance(only := next(iter(outputs.values())), str):
        typer.echo(visible(only))
    elif outputs:
        shown = {
            name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for name, value in outputs.items()
        }
        print_fields(shown)


def _why(found: dict[str, Any]) -> str:
    error = found["error"]
    if found["state"] == "cancelled" or error is None:
        return "was cancelled" if found["state"] == "cancelled" else "failed"
    where = f"node {error['node']}: " if error["node"] else ""
    hint = f"; {error['hint']}" if error["hint"] else ""
    return f"failed: {where}{visible(error['message'])}{visible(hint)}"


def _decide(client: ApiClient, approval_id: str, body: dict[str, Any], as_json: bool) -> None:
    found = client.post(f"{APPROVALS}/{segment(approval_id)}/decide", body)
    if as_json:
        print_json(found)
    else:
        typer.echo(f"{found['id']} is {found['state']}; the run {found['run_id']} goes on")


def _approval_row(found: dict[str, Any]) -> list[object]:
    row = [found["id"], found["flow_name"], found["node"], found["question"][:_QUESTION], found["state"]]
    return [*row, to_minute(found["asked_at"]), to_minute(found["expires_at"])]


def _row(found: dict[str, Any]) -> list[object]:
    row = [found["id"], found["flow_name"], found["version"][:_SHORT], found["state"], found["trigger"]["kind"]]
    return [*row, to_usd(found["cost_usd"]), to_minute(found["created_at"]), to_minute(found["ended_at"])]
