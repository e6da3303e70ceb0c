"""JSON text whose values are replaced, so that it stays JSON: arguments of tools are that."""

import json
import re
from bisect import bisect_left
from typing import Final

from polyforge.privacy.masks import Replacement
from polyforge.privacy.matches import Match

_SIGNS: Final = re.compile(r"\\(?:.|\Z)|\"", re.DOTALL)
_NUMBER: Final = re.compile("[0-9.eE+-]+")


def written(value: str) -> str:
    """A value as it is written inside a string of JSON."""
    return json.dumps(value, ensure_ascii=False)[1:-1]


def read(value: str) -> str:
    """What a part of a string of JSON says; the part itself where it is none."""
    try:
        return str(json.loads(f'"{value}"', strict=False))
    except ValueError:
        return value


class InJson:
    """A `Replacement` in JSON text, which is shown to `feed` piece by piece before matches in it are replaced.

    What stands instead is escaped within strings. A number becomes a string, for there is no other place for words.
    """

    def __init__(self, replacement: Replacement) -> None:
        self._replacement = replacement
        self._quotes: list[int] = []
        self._seen = 0
        self._is_escaped = False
        """Whether a backslash was the last sign of what was seen."""

    def feed(self, text: str) -> None:
        """Take note of where strings begin and end."""
        first = 1 if self._is_escaped and text else 0
        self._is_escaped = self._is_escaped and not text
        for sign in _SIGNS.finditer(text, first):
            if sign[0] == '"':
                self._quotes.append(self._seen + sign.start())
            self._is_escaped = sign[0] == "\\"
        self._seen += len(text)

    def __call__(self, match: Match, value: str) -> str:
        """What stands there instead; the value as it is written where the replacement leaves it."""
        is_string = bisect_left(self._quotes, match.start) % 2 == 1
        meant = read(value) if is_string else value
        instead = self._replacement(match, meant)
        if instead == meant:
            return value
        return f'"{written(instead)}"' if not is_string and _NUMBER.fullmatch(value) else written(instead)
