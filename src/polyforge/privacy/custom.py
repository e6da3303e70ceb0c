"""Kinds of an installation's own, by regular expressions that no text can make slow."""

import re
from collections.abc import Iterator
from typing import Any, Final, Protocol, cast

import re2  # pyright: ignore[reportMissingTypeStubs]

from polyforge.kernel.errors import Invalid
from polyforge.privacy.kinds import GROUPS, KINDS
from polyforge.privacy.matches import CERTAIN, Match
from polyforge.privacy.patterns import parse

LONGEST: Final = 1024
"""Characters that a match of such a kind may have."""
_NAME: Final = re.compile("[a-z][a-z0-9_]{0,63}")
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_MEMORY: Final = 8 * 1024 * 1024
"""Bytes that one compiled pattern may take, with what it keeps while it searches."""
_LARGEST: Final = 2000
"""Instructions of a compiled pattern; the time for a character grows with them at worst."""


class _Found(Protocol):
    def start(self) -> int: ...

    def end(self) -> int: ...


class _Engine(Protocol):
    programsize: int

    def search(self, text: str, pos: int) -> _Found | None: ...

    def finditer(self, text: str, pos: int) -> Iterator[_Found]: ...


class CustomKind:
    """One kind by its pattern (see `patterns`); a `Walker`. Invalid names the field that is wrong.

    The time it takes grows with the text alone: RE2 never goes back. Texts are folded before, so `[0-9]` matches the
    digits of every script; `\\w` and `\\b` know ASCII only, as in RE2.
    """

    def __init__(self, name: str, pattern: str, *, confidence: float = CERTAIN) -> None:
        if not _NAME.fullmatch(name):
            raise Invalid("a kind's name has small letters, digits and _, at most 64", param="name")
        if name in KINDS or name in GROUPS:
            raise Invalid(f"there is a kind {name!r} already", param="name")
        parsed = parse(pattern)
        if parsed.longest > LONGEST:
            raise Invalid(f"a match could have {parsed.longest} characters; at most {LONGEST}", param="pattern")
        self.name = name
        self.longest = parsed.longest
        self._confidence = confidence
        self._whole = _compiled(parsed.whole)
        self._begun = _compiled(parsed.begun)

    def walk(self, text: str, place: int, *, last: bool) -> tuple[list[Match], int]:
        """The matches from a place on that no more text can change, and where to go on."""
        text = _SURROGATES.sub("\ufffd", text)
        opening = self._opening(text, place, last=last)
        finds: list[Match] = []
        for found in self._whole.finditer(text, place):
            if found.start() >= opening:
                break
            finds.append(Match(found.start(), found.end(), self._confidence, self.name))
            place = found.end()
            opening = self._opening(text, place, last=last) if place > opening else opening
        return finds, max(place, opening)

    def _opening(self, text: str, place: int, *, last: bool) -> int:
        """Where a match may begin that the end cuts off."""
        found = None if last else self._begun.search(text, place)
        return found.start() if found else len(text)


def _compiled(pattern: str) -> _Engine:
    options = cast(Any, re2).Options()
    options.never_capture = True
    options.log_errors = False
    options.max_mem = _MEMORY
    try:
        compiled = cast(_Engine, cast(Any, re2).compile(pattern, options))
    except cast(type[Exception], cast(Any, re2).error) as error:
        raise Invalid(f"the pattern is none that RE2 takes, or too large: {error}", param="pattern") from error
    if compiled.programsize > _LARGEST:
        raise Invalid("the pattern is too large; repeat less, or repeat what is shorter", param="pattern")
    return compiled
