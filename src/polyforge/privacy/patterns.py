"""A regular expression that knows its longest match and the beginnings of its matches.

The grammar is RE2's without anchors, look-around and back references: characters, classes, `.`, groups, alternatives,
repeats, `\\b`, and `(?i)` in front. `*`, `+` and `{n,}` stand for at most `MOST_REPEATS` times, so every match ends.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from polyforge.kernel.errors import Invalid

MOST_REPEATS: Final = 64
_LONGEST_PATTERN: Final = 512
_DEEPEST: Final = 8
_ESCAPE: Final = re.compile(
    r"\\(?:x[0-9A-Fa-f]{2}|x\{[0-9A-Fa-f]{1,6}\}|[pP](?:[A-Z]|\{\^?[A-Za-z]{1,32}\})|[dDsSwWtnrfv]|[^A-Za-z0-9])"
)
_CLASS: Final = re.compile(r"\[\^?\]?(?:\\.|\[:\^?[a-z]{1,10}:\]|[^\]\\])*\]", re.DOTALL)
_CHARACTER: Final = re.compile(".", re.DOTALL)
_REPEAT: Final = re.compile(r"(?:([*+?])|\{([0-9]{1,4})(?:(,)([0-9]{1,4})?)?\})(\??)")
_GROUP: Final = re.compile(r"\((?:\?:|\?P<[A-Za-z_][A-Za-z0-9_]{0,31}>|(?!\?))")


class Pattern(NamedTuple):
    """`whole`: what matches. `begun`: the proper beginnings of what matches, the empty one among them."""

    whole: str
    begun: str
    shortest: int
    longest: int


def parse(source: str) -> Pattern:
    """Read a pattern; Invalid, with the place, for one that is not of this grammar or has no longest match."""
    if len(source) > _LONGEST_PATTERN:
        raise Invalid(f"a pattern has at most {_LONGEST_PATTERN} characters", param="pattern")
    ignores_case = source.startswith("(?i)")
    reader = _Reader(source, len("(?i)") if ignores_case else 0)
    pattern = reader.alternatives(0)
    if reader.place < len(source):
        raise reader.wrong("unexpected )")
    if not pattern.shortest:
        raise Invalid("a pattern must not match the empty text", param="pattern")
    flag = "(?i)" if ignores_case else ""
    return pattern._replace(whole=flag + pattern.whole, begun=f"{flag}(?:{pattern.begun})\\z")


class _Reader:
    """Descends into a pattern."""

    def __init__(self, source: str, place: int) -> None:
        self.source = source
        self.place: int = place

    def wrong(self, what: str) -> Invalid:
        return Invalid(f"{what} at character {self.place + 1} of the pattern", param="pattern")

    def alternatives(self, depth: int) -> Pattern:
        if depth > _DEEPEST:
            raise self.wrong(f"groups deeper than {_DEEPEST}")
        branches = [self._sequence(depth)]
        while self._next() == "|":
            self.place += 1
            branches.append(self._sequence(depth))
        return branches[0] if len(branches) == 1 else _either(branches)

    def _next(self) -> str:
        return self.source[self.place : self.place + 1]

    def _sequence(self, depth: int) -> Pattern:
        items: list[Pattern] = []
        while self._next() not in ("", "|", ")"):
            items.append(self._repeated(self._atom(depth)))
        return _one_after_the_other(items)

    def _atom(self, depth: int) -> Pattern:
        sign = self._next()
        if sign == "(":
            return self._group(depth)
        if sign in "*+?{":
            raise self.wrong("nothing to repeat")
        if sign in "^$":
            raise self.wrong("a text has no beginning or end here (use \\b)")
        if self.source.startswith(("\\b", "\\B"), self.place):
            self.place += 2
            return Pattern(self.source[self.place - 2 : self.place], "", 0, 0)
        return self._character(sign)

    def _character(self, sign: str) -> Pattern:
        form = _ESCAPE if sign == "\\" else _CLASS if sign == "[" else _CHARACTER
        found: re.Match[str] | None = form.match(self.source, self.place)
        if found is None:
            raise self.wrong("an escape or a class that is not known")
        self.place = found.end()
        return Pattern(found[0], "", 1, 1)

    def _group(self, depth: int) -> Pattern:
        found = _GROUP.match(self.source, self.place)
        if found is None:
            raise self.wrong("look-around and flags within a pattern are not known")
        self.place = found.end()
        inner = self.alternatives(depth + 1)
        if self._next() != ")":
            raise self.wrong("a ) is missing")
        self.place += 1
        return inner._replace(whole=f"(?:{inner.whole})")

    def _repeated(self, item: Pattern) -> Pattern:
        found = _REPEAT.match(self.source, self.place)
        if found is None:
            return item
        low, high = _bounds(found)
        if low > high or high > MOST_REPEATS * 4:
            raise self.wrong(f"a repeat goes up to {MOST_REPEATS * 4}")
        self.place = found.end()
        if _REPEAT.match(self.source, self.place):
            raise self.wrong("a repeat of a repeat")
        begun = f"(?:{item.whole}){{0,{high - 1}}}(?:{item.begun})" if high else ""
        return Pattern(f"(?:{item.whole}){{{low},{high}}}{found[5]}", begun, item.shortest * low, item.longest * high)


def _bounds(found: re.Match[str]) -> tuple[int, int]:
    if found[1]:
        return {"*": (0, MOST_REPEATS), "+": (1, MOST_REPEATS), "?": (0, 1)}[found[1]]
    low = int(found[2])
    if not found[3]:
        return low, low
    return low, int(found[4]) if found[4] else max(low, MOST_REPEATS)


def _one_after_the_other(items: Sequence[Pattern]) -> Pattern:
    begun = ""
    for item in reversed(items):
        rest = f"{item.whole}(?:{begun})" if begun or item is not items[-1] else ""
        begun = f"{item.begun}|{rest}" if rest else item.begun
    return Pattern(
        "".join(item.whole for item in items),
        begun,
        sum(item.shortest for item in items),
        sum(item.longest for item in items),
    )


def _either(branches: Sequence[Pattern]) -> Pattern:
    return Pattern(
        "|".join(branch.whole for branch in branches),
        "|".join(f"(?:{branch.begun})" for branch in branches),
        min(branch.shortest for branch in branches),
        max(branch.longest for branch in branches),
    )
