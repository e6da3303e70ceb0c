"""What commands tell of exports, be it of the audit log or of requests: how far each is, and what its sink refused."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import typer

from polyforge.cli.client import ApiClient, segment
from polyforge.cli.errors import CommandError
from polyforge.cli.output import show_all, to_minute

OneExport = Annotated[str | None, typer.Option("--export", help="Those of one export.")]
AllOfExport = Annotated[str | None, typer.Option("--export", help="All dead letters of one export.")]
LetterId = Annotated[str | None, typer.Argument(metavar="[ID]", help="The dead letter's id.")]
_TIMES: Final = ("at", "retry_at")


def show_exports(client: ApiClient, path: str, headers: Sequence[str], as_json: bool) -> None:
    """Every export of the settings."""
    states: list[dict[str, Any]] = client.get(f"{path}/exports")["data"]
    show_all(states, headers, [_row(state, headers) for state in states], as_json)


def show_letters(client: ApiClient, path: str, export: str | None, headers: Sequence[str], as_json: bool) -> None:
    """What sinks refused for good, newest first."""
    letters = list(client.pages(f"{path}/dead-letters", {"export": export}))
    show_all(letters, headers, [_row(letter, headers) for letter in letters], as_json)


def send_again(client: ApiClient, path: str, letter_id: str | None, export: str | None) -> None:
    """Have one dead letter sent again, or all of an export."""
    if (letter_id is None) == (export is None):
        raise CommandError("give the id of a dead letter, or --export for all of an export")
    found = client.pages(f"{path}/dead-letters", {"export": export}) if letter_id is None else [{"id": letter_id}]
    # All are read before the first is sent: one that is gone would move the pages.
    wanted = [letter["id"] for letter in found]
    for each in wanted:
        client.post(f"{path}/dead-letters/{segment(each)}/retry")
    typer.echo(f"{len(wanted)} to be sent again")


def _row(thing: Mapping[str, Any], headers: Sequence[str]) -> list[object]:
    return [to_minute(thing[name]) if name in _TIMES else thing[name] for name in headers]
