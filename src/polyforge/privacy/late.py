"""Regular expressions that are compiled when a detector wants them: they are large, and most processes want none."""

import re
from collections.abc import Callable, Iterator
from typing import Any


class Late:
    """A regular expression, compiled at its first use; from then on as fast as any."""

    match: Callable[..., re.Match[str] | None]
    search: Callable[..., re.Match[str] | None]
    fullmatch: Callable[..., re.Match[str] | None]
    finditer: Callable[..., Iterator[re.Match[str]]]

    def __init__(self, source: str, flags: re.RegexFlag = re.NOFLAG) -> None:
        self.source = source
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        """Compile it: one of its methods is asked for, and it has none yet."""
        compiled = re.compile(self.source, self._flags)
        self.match, self.search = compiled.match, compiled.search
        self.fullmatch, self.finditer = compiled.fullmatch, compiled.finditer
        return getattr(compiled, name)


def compile_all(namespace: dict[str, object]) -> None:
    """Compile what a module has of these now, so that no text pays for it."""
    for value in namespace.values():
        if isinstance(value, Late):
            _ = value.match
