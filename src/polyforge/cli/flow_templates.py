"""Commands of `polyforge flow` about templates: which there are, and what one is."""

from typing import Annotated, Any, Final

import typer

from polyforge.cli.client import segment
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


def _needed(needs: dict[str, Any]) -> str:
    named = [f"{kind.removesuffix('s')} {name}" for kind in _KINDS for name in needs[kind]]
    return ", ".join(named) or "nothing"
