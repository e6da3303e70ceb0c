"""How commands print: aligned columns for people, JSON for programs."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, cast

import typer

EMPTY = "-"
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def visible(text: str) -> str:
    """What somebody else wrote without control characters, which could take over the terminal."""
    return _CONTROLS.sub("", text)


def print_json(value: Any) -> None:
    """What the API answered, as it is."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as what is in them."""
    lines = [list(headers), *([to_text(cell) for cell in row] for row in rows)]
    widths = [max(len(text) for text in column) for column in zip(*lines, strict=True)]
    for line in lines:
        typer.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def print_fields(thing: Mapping[str, Any]) -> None:
    """One thing, a field to a line."""
    width = max(len(name) for name in thing)
    for name, value in thing.items():
        typer.echo(f"{name.ljust(width)}  {to_text(value)}")


def show(thing: Mapping[str, Any], as_json: bool) -> None:
    """One thing, in the way that was asked for."""
    if as_json:
        print_json(thing)
    else:
        print_fields(thing)


def show_all(
    things: Sequence[Mapping[str, Any]], headers: Sequence[str], rows: Sequence[Sequence[object]], as_json: bool
) -> None:
    """Many things, in the way that was asked for; a table holds a row of each."""
    if as_json:
        print_json(things)
    else:
        print_table(headers, rows)


def to_text(value: object) -> str:
    """A cell: one line, whatever callers named things."""
    return visible(_to_text(value)).replace("\n", " ")


def _to_text(value: object) -> str:
    if value is None or value == "":
        return EMPTY
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and not any(isinstance(part, dict) for part in cast(list[object], value)):
        return ",".join(str(part) for part in cast(list[object], value)) or EMPTY
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def to_usd(amount: float | None) -> str | None:
    """Dollars with as many digits as they have, at most six and at least two."""
    if amount is None:
        return None
    whole, _, digits = f"{amount:.6f}".partition(".")
    return f"{whole}.{digits.rstrip('0').ljust(2, '0')}"


def to_minute(moment: str | None) -> str | None:
    """A moment as the API writes it, to the minute, in UTC."""
    if moment is None:
        return None
    return datetime.fromisoformat(moment).astimezone(UTC).strftime("%Y-%m-%d %H:%M")
