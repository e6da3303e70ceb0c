"""A folded text as finders read it: where its numbers and codes are, worked out once for all of them."""

import re
from typing import Final, Protocol

import msgspec

from polyforge.privacy.late import Late
from polyforge.privacy.matches import Match

CONTEXT: Final = 80
"""Characters before a match that a finder may look at."""
LOOK_AHEAD: Final = 40
"""Characters after a match that a finder may look at; a stream waits for them where they matter."""
NUMBER_REACH: Final = 44
"""The longest number that is written in groups of digits, with what may follow it and still belong to it."""
_IN_NUMBERS: Final = "0123456789 -./()+"
_NOT_FIRST: Final = " -./)"
_DIGITS: Final = re.compile("[0-9]+")
_LINKS: Final = {link: link for link in (" ", "  ", "-", ".", "/", " - ", " (", ") ", "(", ")", ")-", ")/", " (-")}
_TOKEN_REACH: Final = 24
_SHORTEST_CODE: Final = 7
_ALPHANUMERIC: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_WORD: Final = frozenset(_ALPHANUMERIC)
_LINKS_BEGUN: Final = frozenset(link[:length] for link in _LINKS for length in range(len(link) + 1))
_NO_DIGITS: Final = " -./()+"
_LONGEST_LINK: Final = 3
_REST_OF_TOKEN: Final = re.compile("[A-Za-z0-9]*")


class Group(msgspec.Struct, gc=False):
    """Digits in a row. `link`: what stands between it and the digits before it when they may belong together."""

    start: int
    end: int
    length: int
    link: str | None
    is_linked: bool = False
    """Whether digits that may belong to it follow."""


class Page:
    """A folded text. Finds begin at `start` or later; what is before it is there to be looked at only."""

    __slots__ = ("_codes", "_found", "_groups", "_lower", "_number_at_end", "start", "text")

    def __init__(self, text: str, start: int = 0) -> None:
        self.text = text
        self.start = start
        self._groups: list[Group] | None = None
        self._codes: list[tuple[int, int]] | None = None
        self._lower: str | None = None
        self._number_at_end: int | None = None
        self._found: dict[int, bool] = {}

    @property
    def lower(self) -> str:
        """In lower case, each character in its place."""
        if self._lower is None:
            self._lower = _lower(self.text)
        return self._lower

    @property
    def groups(self) -> list[Group]:
        """Digits in a row, in order, from a little before `start` on."""
        if self._groups is None:
            self._groups = _groups(self.text, max(0, self.start - _LONGEST_LINK - 1))
        return self._groups

    @property
    def codes(self) -> list[tuple[int, int]]:
        """Letters and digits in a row with a digit among the first 25, and seven of them if all are digits."""
        if self._codes is None:
            self._codes = _codes(self.text, self.groups)
        return self._codes

    @property
    def number_at_end(self) -> int:
        """Where a number may begin that the end of the page cuts off or touches; else the page's length."""
        if self._number_at_end is None:
            tail = self.text[max(self.start, len(self.text) - NUMBER_REACH) :]
            number = tail[len(tail.rstrip(_IN_NUMBERS)) :].lstrip(_NOT_FIRST)
            last = number[len(number.rstrip(_NO_DIGITS)) :]
            if last not in _LINKS_BEGUN:
                # What stands there joins no digits, but a sign or a parenthesis in it may begin a number.
                signs = [place for place in (last.rfind("+"), last.rfind("(")) if place >= 0]
                number = last[max(0, min(signs) - 1) :].lstrip(_NOT_FIRST) if signs else ""
            self._number_at_end = len(self.text) - len(number)
        return self._number_at_end

    def has(self, pattern: Late) -> bool:
        """Whether a pattern for small letters occurs at all; looked for once."""
        known = self._found.get(id(pattern))
        if known is None:
            known = self._found[id(pattern)] = pattern.search(self.lower) is not None
        return known

    def says_before(self, pattern: Late, place: int, length: int = CONTEXT) -> bool:
        """Whether a pattern for small letters occurs in what leads to a place."""
        return self.has(pattern) and pattern.search(self.lower, max(0, place - length), place) is not None

    def before(self, place: int, length: int = CONTEXT) -> str:
        """The text that leads to a place, in lower case."""
        return self.text[max(0, place - length) : place].lower()

    def after(self, place: int, length: int = LOOK_AHEAD) -> str:
        """The text that follows a place, in lower case."""
        return self.text[place : place + length].lower()

    def stands_alone(self, start: int, end: int) -> bool:
        """Whether no ASCII letter or digit touches a span; other scripts write words without spaces."""
        text = self.text
        return (start == 0 or text[start - 1] not in _WORD) and (end >= len(text) or text[end] not in _WORD)


class Finder(Protocol):
    """Looks for some kinds on a page. What it finds depends on nothing further away than `CONTEXT` and its longest."""

    def find(self, page: Page) -> list[Match]:
        """All finds that begin at `page.start` or later; they may overlap."""
        ...

    def opening(self, page: Page) -> int:
        """The first place, from `page.start` on, where a find may be that the end of the page cuts off.

        The length of the text when there is none. Finds that begin before it are the same whatever comes next.
        """
        ...


class Walker(Protocol):
    """Looks for finds one after the other, so that where it looks next hangs on what it has found."""

    longest: int
    """The most characters that a stream waits for it."""

    def walk(self, text: str, place: int, *, last: bool) -> tuple[list[Match], int]:
        """The finds from a place on that are final, and where to go on; `last` when no more text comes."""
        ...


def _lower(text: str) -> str:
    lower = text.lower()
    if len(lower) == len(text):
        return lower
    return "".join(low if len(low := sign.lower()) == 1 else sign for sign in text)


def _groups(text: str, place: int) -> list[Group]:
    groups, last, before = list[Group](), -_LONGEST_LINK - 1, None
    for start, end in [found.span() for found in _DIGITS.finditer(text, place)]:
        link = _LINKS.get(text[last:start]) if start - last <= _LONGEST_LINK else None
        if link and before:
            before.is_linked = True
        before = Group(start, end, end - start, link)
        groups.append(before)
        last = end
    return groups


def _codes(text: str, groups: list[Group]) -> list[tuple[int, int]]:
    codes, done, size = list[tuple[int, int]](), 0, len(text)
    for group in groups:
        start, end = group.start, group.end
        if start < done:
            continue
        if not (end < size and text[end] in _WORD) and not (start and text[start - 1] in _WORD):
            if end - start >= _SHORTEST_CODE:
                codes.append((start, end))
            continue
        head = text[max(done, start - _TOKEN_REACH - 1) : start]
        reach = len(head) - len(head.rstrip(_ALPHANUMERIC))
        found = _REST_OF_TOKEN.match(text, end)
        done = found.end() if found else end
        if reach <= _TOKEN_REACH:
            codes.append((start - reach, done))
    return codes
