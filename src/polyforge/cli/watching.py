"""How commands watch what goes on outside of requests."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import typer

_POLL_SECONDS: Final = 0.5


def watched(
    look: Callable[[], dict[str, Any]],
    is_over: Callable[[Mapping[str, Any]], bool],
    standing: Callable[[Mapping[str, Any]], str],
) -> dict[str, Any]:
    """A thing once it is over; how far it is, meanwhile, as a line on standard error."""
    found, shown = look(), ""
    line = "\r{}\x1b[K" if sys.stderr.isatty() else "{}\n"
    while not is_over(found):
        if (text := standing(found)) != shown:
            typer.echo(line.format(text), err=True, nl=False)
            shown = text
        time.sleep(_POLL_SECONDS)
        found = look()
    if shown and sys.stderr.isatty():
        typer.echo(line.format(""), err=True, nl=False)
    return found
