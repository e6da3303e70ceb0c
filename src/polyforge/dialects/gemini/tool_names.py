"""Names of tools: as Gemini takes them, and back to what the caller called them."""

import re
from collections.abc import Iterable
from typing import Final

from polyforge.kernel.chat import Tool

_LONGEST: Final = 128
_TAKEN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
_OTHER: Final = re.compile(r"[^A-Za-z0-9_.:-]")
_NAMESPACES: Final = ("default_api:", "default_api.")
"""What models put before a name now and then, because they see the tools as an API of that name."""


class ToolNames:
    """The names of one request's tools. Gemini's begin with a letter or `_`; models do not always keep to them."""

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        self._written: dict[str, str] = {}
        self._callers: dict[str, str] = {}
        for tool in tools:
            written = _distinct(_fitting(tool.name), self._callers)
            self._written[tool.name] = written
            self._callers[written] = tool.name
        self._folded = {written.lower(): name for written, name in self._callers.items()}

    def written(self, name: str) -> str:
        """The caller's name as Gemini takes it."""
        return self._written.get(name) or _fitting(name)

    def restored(self, name: str) -> str:
        """The caller's name for what the model called."""
        if name in self._callers:
            return self._callers[name]
        for namespace in _NAMESPACES:
            name = name.removeprefix(namespace)
        return self._callers.get(name) or self._folded.get(name.lower(), name)


def _fitting(name: str) -> str:
    if _TAKEN.fullmatch(name):
        return name
    fitting = _OTHER.sub("_", name)
    return (fitting if _TAKEN.match(fitting) else f"_{fitting}")[:_LONGEST]


def _distinct(name: str, others: Iterable[str]) -> str:
    taken = set(others)
    number = 1
    distinct = name
    while distinct in taken:
        number += 1
        distinct = f"{name[: _LONGEST - 8]}_{number}"
    return distinct
