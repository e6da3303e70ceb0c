"""Commands of `polyforge flow` about templates: which there are, what one is, a flow made of one."""

from typing import Annotated, Any, Final

import typer

from polyforge.cli.client import segment
from polyforge.cli.errors import CommandError
from polyforge.cli.options import DEFAULT, Data, Json, Key, Url, connect
from polyforge.cli.output import print_json, show_all, visible

TEMPLATES: Final = "/api/v1/flow-templates"
HEADERS: Final = ("name", "title", "needs")
_KINDS: Final = ("models", "guardrails", "secrets")


def templates(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show this one, with its text.")] = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show the flows to begin with that come with this version, or one of them."""
    client = connect(url, key, data)
    if name is None:
        found = list(client.pages(TEMPLATES))
        show_all(found, HEADERS, [[each["name"], each["title"], _needed(each["needs"])] for each in found], as_json)
        return
    template: dict[str, Any] = client.get(f"{TEMPLATES}/{segment(name)}")
    if as_json:
        print_json(template)
    else:
        typer.echo(visible(template["readme"]))


def use(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `polyforge flow templates` shows it.")],
    model: Annotated[
        list[str] | None, typer.Option(help="NAME=YOURS, such as assistant=openai/gpt-4o-mini. May be repeated.")
    ] = None,
    guardrail: Annotated[list[str] | None, typer.Option(help="NAME=YOURS. May be repeated.")] = None,
    secret: Annotated[list[str] | None, typer.Option(help="NAME=YOURS, names of secrets. May be repeated.")] = None,
    title: Annotated[str | None, typer.Option(help="What to call the flow. [default: the template's title]")] = None,
    slug: Annotated[str | None, typer.Option(help="Its short name. [default: after its title]")] = None,
    url: Url = DEFAULT,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a flow of a template, with your models, guardrails and secrets in it."""
    body: dict[str, Any] = {kind: _pairs(given) for kind, given in zip(_KINDS, (model, guardrail, secret), strict=True)}
    body |= {key: value for key, value in (("title", title), ("slug", slug)) if value is not None}
    made: dict[str, Any] = connect(url, key, data).post(f"{TEMPLATES}/{segment(name)}/create", body)
    if as_json:
        print_json(made)
        return
    typer.echo(f"made {made['slug']} ({made['flow_id']}); it needs {_needed(made['needs'])}")
    for problem in made["problems"]:
        typer.echo(visible(f"{problem['node'] or 'the flow'}: {problem['message']}; {problem['hint']}"), err=True)


def _pairs(given: list[str] | None) -> dict[str, str]:
    pairs = [each.partition("=") for each in given or []]
    if wrong := next((each for each in pairs if not each[0] or not each[2]), None):
        raise CommandError(f"{''.join(wrong)!r} is not NAME=YOURS, as in assistant=openai/gpt-4o-mini")
    return {name: value for name, _, value in pairs}


def _needed(needs: dict[str, Any]) -> str:
    named = [f"{kind.removesuffix('s')} {name}" for kind in _KINDS for name in needs[kind]]
    return ", ".join(named) or "nothing"
