"""`polyforge flow`: flows with their drafts, versions and aliases, over the management API."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from polyforge.cli.client import problem_lines, segment
from polyforge.cli.errors import CommandError
from polyforge.cli.flow_results import cancel, events, rerun, result
from polyforge.cli.flow_runs import approvals, approve, publish, reject, run, runs, withdraw
from polyforge.cli.flow_templates import TEMPLATES, templates
from polyforge.cli.flow_triggers import app as triggers
from polyforge.cli.lazy import plain_app
from polyforge.cli.options import DEFAULT, Data, Json, Key, Url, connect
from polyforge.cli.output import print_fields, print_json, show_all, to_minute, visible

app = plain_app("Make, version, compare, bring in and run flows.")
app.command("templates")(templates)
app.add_typer(triggers, name="triggers")
for command in (run, runs, result, events, cancel, rerun, approvals, approve, reject, publish, withdraw):
    app.command()(command)

FLOWS: Final = "/api/v1/flows"
_SHORT: Final = 12
_LONGEST: Final = 8 << 20

Flow = Annotated[str, typer.Argument(metavar="FLOW", help="The flow's short name or id.")]
Reference = Annotated[
    str, typer.Argument(metavar="FLOW[@VERSION]", help="A flow, with an alias, a number or the id of a version.")
]
File = Annotated[Path, typer.Argument(metavar="FILE", help="The flow as JSON; - for the input.")]
Note = Annotated[str, typer.Option(help="Why; it stays in the history.")]
Slug = Annotated[str | None, typer.Option(help="Its short name. [default: after its title]")]


@app.callback()
def flow() -> None:
    """Make, version, compare, bring in and run flows."""


@app.command("list")
def list_flows(
    search: Annotated[str | None, typer.Option(help="Only with this in the title or the short name.")] = None,
    archived: Annotated[bool, typer.Option("--archived", help="Those that were put away.")] = False,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show the project's flows, the latest changed first."""
    query = {"search": search, "archived": "true" if archived else None}
    found = list(connect(url, key, data).pages(FLOWS, query))
    headers = ("flow", "title", "versions", "aliases", "changed", "id")
    show_all(found, headers, [_row(each) for each in found], as_json)


@app.command()
def show(reference: Reference, url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show a flow and how its draft stands, or one of its versions."""
    client, (name, version) = connect(url, key, data), _split(reference)
    if version is not None:
        _show_version(client.get(f"{FLOWS}/{segment(name)}/versions/{segment(version)}"), as_json)
        return
    found = client.get(f"{FLOWS}/{segment(name)}")
    if as_json:
        print_json(found)
        return
    draft = "as committed" if not found["draft_changed"] else "changed since the last commit"
    shown = {name: found[name] for name in ("id", "slug", "title", "description", "versions")}
    shown |= {"latest": _short(found["head"]), "aliases": [_pointing(each) for each in found["aliases"]]}
    shown |= {"draft": f"revision {found['draft_revision']}, {draft}", "changed": to_minute(found["updated_at"])}
    print_fields({**shown, "put away": to_minute(found["archived_at"])})


@app.command()
def create(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="A flow as JSON; - for the input.")] = None,
    title: Annotated[str | None, typer.Option(help="What people call it.")] = None,
    slug: Slug = None,
    template: Annotated[str | None, typer.Option(help="Begin with this template.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="NAME=MODEL: the model to use where the template says NAME. May be repeated."),
    ] = None,
    guardrail: Annotated[list[str] | None, typer.Option(help="NAME=GUARDRAIL, in the same way.")] = None,
    secret: Annotated[list[str] | None, typer.Option(help="NAME=SECRET, in the same way.")] = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a flow: of a file, of a template, or an empty one."""
    client = connect(url, key, data)
    body: dict[str, Any] = {"title": title, "slug": slug}
    if template is not None:
        if file is not None:
            raise CommandError("give a file or a template, not both")
        chosen: dict[str, Any] = {name: value for name, value in body.items() if value is not None}
        named = {"models": model, "guardrails": guardrail, "secrets": secret}
        chosen |= {kind: dict(map(_pair, given or [])) for kind, given in named.items()}
        made = client.post(f"{TEMPLATES}/{segment(template)}/create", chosen)
        if not as_json:
            _print_problems(made["problems"])
        ready = f"try it with: polyforge flow run {made['slug']}" if made["version"] else "mend that in its draft"
        _say(made, as_json, f"made {made['slug']} of {template}; {ready}")
        return
    if file is None:
        made = client.post(FLOWS, body)
    else:
        made = client.send_file("POST", f"{FLOWS}/import", _content(file), {"slug": slug})["flow"]
        made = made if title is None else client.patch(f"{FLOWS}/{segment(made['id'])}", {"title": title})
    _say(made, as_json, f"made {made['slug']} with a draft; commit it with: polyforge flow commit {made['slug']}")


@app.command("import")
def import_flow(
    file: File,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it holds and needs.")] = False,
    migrate: Annotated[
        bool, typer.Option("--migrate", help="Bring nodes to the newest versions of their types.")
    ] = False,
    slug: Slug = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a flow of a file, and show what it needs; nothing in it is executed."""
    query = {"slug": slug, "dry_run": "true" if dry_run else None, "migrate": "true" if migrate else None}
    done = connect(url, key, data).send_file("POST", f"{FLOWS}/import", _content(file), query)
    if as_json:
        print_json(done)
        return
    print_fields(_needs(done))
    _print_problems(done["problems"])
    if done["flow"] is not None:
        typer.echo(
            f"made {done['flow']['slug']} with a draft; commit it with: polyforge flow commit {done['flow']['slug']}"
        )


@app.command()
def export(
    reference: Reference,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write it here. [default: to the output]")
    ] = None,
    python: Annotated[bool, typer.Option("--python", help="As a script that builds the same version.")] = False,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
) -> None:
    """Write a flow as a file that can be brought in elsewhere: what would run, or FLOW@draft."""
    client, (name, version) = connect(url, key, data), _split(reference)
    if python:
        content = b"".join(client.chunks(f"{FLOWS}/{segment(reference)}/export.py")).rstrip()
    else:
        content = b"".join(client.chunks(f"{FLOWS}/{segment(name)}/export", {"version": version}))
    if output is None:
        sys.stdout.write(content.decode() + "\n")
        return
    try:
        output.write_bytes(content + b"\n")
    except OSError as error:
        raise CommandError(f"cannot write {output}: {error.strerror}") from error
    typer.echo(f"wrote {output}")


@app.command()
def validate(file: File, url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show what is wrong with a flow in a file, node by node; fails if it cannot run."""
    done = connect(url, key, data).send_file("POST", f"{FLOWS}/validate", _content(file))
    if as_json:
        print_json(done)
    else:
        _print_problems(done["problems"])
    if not done["can_run"]:
        raise CommandError("the flow cannot run")
    if not as_json:
        typer.echo(f"it can run; as a version it is {done['version']}")


@app.command()
def save(
    name: Flow,
    file: File,
    revision: Annotated[
        int | None, typer.Option(min=1, help="The draft's that you have seen; fails when there is a later one.")
    ] = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Replace the draft of a flow by a file."""
    client = connect(url, key, data)
    seen = None if revision is None else f'"{revision}"'
    done = client.send_file("PUT", f"{FLOWS}/{segment(name)}/draft", _content(file), if_match=seen)
    if not as_json:
        _print_problems(done["problems"])
    _say(done, as_json, f"the draft of {done['slug']} is at revision {done['revision']}")


@app.command()
def commit(
    name: Flow,
    message: Annotated[str, typer.Option("--message", "-m", help="What changed, and why.")] = "",
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a version of a flow's draft."""
    done = connect(url, key, data).post(f"{FLOWS}/{segment(name)}/commit", {"message": message})
    said = f"version {done['number']} is {done['version']}"
    _say(done, as_json, said if done["created"] else f"nothing has changed: {said}")


@app.command()
def versions(name: Flow, url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show the versions of a flow, newest first, and what points at them."""
    found = list(connect(url, key, data).pages(f"{FLOWS}/{segment(name)}/versions"))
    headers = ("number", "version", "aliases", "nodes", "committed", "by", "message")
    show_all(found, headers, [_version_row(each) for each in found], as_json)


@app.command()
def alias(
    name: Flow,
    alias_name: Annotated[str | None, typer.Argument(metavar="[ALIAS]", help="As in prod; none: show them.")] = None,
    version: Annotated[str | None, typer.Argument(metavar="[VERSION]", help="Its id, its number, or `latest`.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Let it point nowhere.")] = False,
    note: Note = "",
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Point an alias at a version; `prod` is what runs where a flow is named alone."""
    client = connect(url, key, data)
    if alias_name is None:
        found = client.get(f"{FLOWS}/{segment(name)}")["aliases"]
        rows = [
            [each["alias"], _short(each["version"]), _who(each["changed_by"]), to_minute(each["changed_at"])]
            for each in found
        ]
        show_all(found, ("alias", "version", "by", "at"), rows, as_json)
        return
    path = f"{FLOWS}/{segment(name)}/aliases/{segment(alias_name)}"
    if remove:
        client.delete(path, {"note": note or None})
        typer.echo(f"{alias_name} of {name} points nowhere")
        return
    if version is None:
        raise CommandError("say which version: its number, its id, or latest")
    done = client.put(path, {"version": version, "note": note})
    _say(done, as_json, f"{alias_name} of {name} points at {_short(done['version'])}")


@app.command()
def rollback(
    name: Flow,
    alias_name: Annotated[str, typer.Argument(metavar="[ALIAS]", help="Which alias.")] = "prod",
    note: Note = "",
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Point an alias at the version that it pointed at before."""
    path = f"{FLOWS}/{segment(name)}/aliases/{segment(alias_name)}/rollback"
    done = connect(url, key, data).post(path, {"note": note})
    _say(done, as_json, f"{alias_name} of {name} points at {_short(done['version'])} again")


@app.command()
def history(name: Flow, url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show where the aliases of a flow pointed, by whom and why, newest first."""
    found = list(connect(url, key, data).pages(f"{FLOWS}/{segment(name)}/alias-changes"))
    headers = ("alias", "action", "version", "previous", "by", "at", "note")
    show_all(found, headers, [_change_row(each) for each in found], as_json)


@app.command()
def diff(
    name: Flow,
    before: Annotated[str, typer.Argument(metavar="[FROM]", help="A version, an alias, or `draft`.")] = "latest",
    after: Annotated[str, typer.Argument(metavar="[TO]", help="The same.")] = "draft",
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show what changed between two versions of a flow, or since the last one."""
    found = connect(url, key, data).get(f"{FLOWS}/{segment(name)}/diff", {"from": before, "to": after})
    if as_json:
        print_json(found)
        return
    lines = [*_diff_lines(found)]
    typer.echo("\n".join(lines) if lines else "nothing that counts differs")


@app.command("rm")
def remove_flow(
    name: Flow,
    forever: Annotated[bool, typer.Option("--forever", help="One that is put away, with all its versions.")] = False,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
) -> None:
    """Put a flow away: it runs no more, and can be restored."""
    client = connect(url, key, data)
    id_ = client.get(f"{FLOWS}/{segment(name)}")["id"]
    client.delete(f"{FLOWS}/{segment(name)}", {"forever": "true" if forever else None})
    typer.echo(
        f"{name} is gone" if forever else f"{name} is put away; have it again with: polyforge flow restore {id_}"
    )


@app.command()
def restore(name: Flow, url: Url = DEFAULT, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Have a flow that was put away again; name it by its id, as `polyforge flow list --archived` shows it."""
    done = connect(url, key, data).post(f"{FLOWS}/{segment(name)}/restore")
    _say(done, as_json, f"{done['slug']} is there again")


def _content(file: Path) -> bytes:
    """What is in a file, or comes in; one byte more than a flow may have is enough to have it refused."""
    try:
        if str(file) == "-":
            return sys.stdin.buffer.read(_LONGEST + 1)
        with file.open("rb") as opened:
            return opened.read(_LONGEST + 1)
    except OSError as error:
        raise CommandError(f"cannot read {file}: {error.strerror}") from error


def _split(reference: str) -> tuple[str, str | None]:
    name, at, version = reference.partition("@")
    return name, version if at else None


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise CommandError(f"{text!r} is not NAME=YOURS, as in assistant=gpt-4o-mini")
    return name, value


def _say(done: Any, as_json: bool, line: str) -> None:
    if as_json:
        print_json(done)
    else:
        typer.echo(visible(line))


def _print_problems(problems: list[dict[str, Any]]) -> None:
    for line in problem_lines(problems):
        typer.echo(visible(line))


def _needs(done: Mapping[str, Any]) -> dict[str, Any]:
    licence: dict[str, Any] = done["licence"] or {}
    needs = done["requires"]
    shown = {"title": done["title"], "description": done["description"], "version": done["version"]}
    shown |= {"licence": licence.get("spdx") or licence.get("terms"), "may do": needs["capabilities"]}
    shown |= {"secrets": needs["secrets"], "references": needs["references"]}
    shown["nodes"] = [f"{count} x {name}" for name, count in done["node_types"].items()]
    return {**shown, "unknown types": done["unknown_types"], "can run": done["can_run"]}


def _row(found: Mapping[str, Any]) -> list[object]:
    pointing = [_pointing(each) for each in found["aliases"]]
    return [found["slug"], found["title"], found["versions"], pointing, to_minute(found["updated_at"]), found["id"]]


def _pointing(alias: Mapping[str, Any]) -> str:
    return f"{alias['alias']}={_short(alias['version'])}"


def _version_row(found: Mapping[str, Any]) -> list[object]:
    row = [found["number"], _short(found["version"]), found["aliases"], found["nodes"]]
    return [*row, to_minute(found["created_at"]), _who(found["created_by"]), found["message"]]


def _change_row(found: Mapping[str, Any]) -> list[object]:
    row = [found["alias"], found["action"], _short(found["version"]), _short(found["previous"])]
    return [*row, _who(found["changed_by"]), to_minute(found["changed_at"]), found["note"]]


def _show_version(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    shown = {name: found[name] for name in ("number", "version", "parent", "title", "message", "nodes", "bytes")}
    shown |= {"aliases": found["aliases"], "committed": to_minute(found["created_at"])}
    print_fields({**shown, "by": _who(found["created_by"])})


def _diff_lines(found: Mapping[str, Any]) -> Iterator[str]:
    for section in ("nodes", "groups"):
        noun = section[:-1]
        for name in found[section]["added"]:
            yield f"+ {noun} {name}"
        for name in found[section]["removed"]:
            yield f"- {noun} {name}"
        for change in found[section]["changed"]:
            yield f"~ {noun} {change['id']}"
            yield from _change_lines(change)
    for title, operations in (("interface", found["interface"]), ("flow", found["about"])):
        yield from (f"~ {title}: {_operation(each)}" for each in operations)
    yield from (f"+ control {json.dumps(each)}" for each in found["control_added"])
    yield from (f"- control {json.dumps(each)}" for each in found["control_removed"])
    if found["layout"]:
        yield "~ the layout, which makes no other version"


def _change_lines(change: Mapping[str, Any]) -> Iterator[str]:
    for each in change["fields"]:
        words = change["texts"].get(each["path"])
        yield f"    {_operation(each)}" if words is None else f"    {each['path']}: {_words(words)}"
    for link in change["links"]:
        yield visible(f"    in {link['port']}: {json.dumps(link['before'])} -> {json.dumps(link['after'])}")


def _operation(step: Mapping[str, Any]) -> str:
    value = f" {json.dumps(step['value'], ensure_ascii=False)}" if "value" in step else ""
    return visible(f"{step['op']} {step['path']}{value}")


def _words(words: list[dict[str, str]]) -> str:
    marks = {"same": "{}", "removed": "[-{}-]", "added": "{{+{}+}}"}
    return visible("".join(marks[each["what"]].format(each["text"]) for each in words)).replace("\n", " ")


def _short(version: str | None) -> str | None:
    return None if version is None else version[:_SHORT]


def _who(actor: Mapping[str, Any]) -> str:
    return actor["name"] or actor["id"]
