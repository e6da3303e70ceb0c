"""E-mail addresses (RFC 5321 without quoted local parts), with other letters where spaces are between words."""

import re
from typing import Final

from polyforge.privacy.matches import CERTAIN, Kind, Match
from polyforge.privacy.page import Page

_LONGEST_LOCAL: Final = 64
_LONGEST_DOMAIN: Final = 253
EMAIL: Final = Kind(
    "email",
    "contact",
    "e-mail addresses",
    longest=_LONGEST_LOCAL + 1 + _LONGEST_DOMAIN,
    looked_for="@",
    checked_by="lengths of its parts; a domain that ends in letters and is no file name",
)
KINDS: Final = (EMAIL,)

# Latin, Greek, Cyrillic and the scripts of India: there a space tells where an address begins.
# Marks above and below letters are written apart from them on some systems (NFD).
_LETTERS: Final = "A-Za-z\u00c0-\u024f\u0300-\u036f\u0370-\u052f\u0900-\u0dff"
_SIGNS: Final = "._%+'-"
_RUN: Final = re.compile(rf"[{_LETTERS}0-9._%+'-]*")
_BETWEEN: Final = re.compile(rf"[{_LETTERS}0-9._%+'-]@(?=[{_LETTERS}0-9])")
_DOMAIN: Final = re.compile(
    rf"(?:[{_LETTERS}0-9](?:[{_LETTERS}0-9-]{{0,61}}[{_LETTERS}0-9])?\.){{1,8}}(?:xn--[A-Za-z0-9-]{{1,59}}|[{_LETTERS}]{{2,63}})"
)
_FILE_ENDINGS: Final = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp")
_NOBODY: Final = frozenset({"git"})


class EmailFinder:
    """Finds e-mail addresses around each `@`."""

    def find(self, page: Page) -> list[Match]:
        """All addresses."""
        text = page.text
        if "@" not in text:
            return []
        around = (_around(text, sign.end() - 1) for sign in _BETWEEN.finditer(text))
        return [find for find in around if find]

    def opening(self, page: Page) -> int:
        """Where the local part may begin that text at the end belongs to."""
        text, size = page.text, len(page.text)
        run = _run_before(text, size, _LONGEST_DOMAIN)
        at = size - len(run) - 1
        if at >= page.start and text[at] == "@" and (local := _local_before(text, at)):
            return max(page.start, at - len(local))
        return max(page.start, size - len(run[-_LONGEST_LOCAL:].lstrip(_SIGNS)))


def _around(text: str, at: int) -> Match | None:
    local = _local_before(text, at)
    if not local or local in _NOBODY:
        return None
    domain = _DOMAIN.match(text, at + 1, at + 1 + _LONGEST_DOMAIN)
    if not domain or domain[0].lower().endswith(_FILE_ENDINGS):
        return None
    return Match(at - len(local), domain.end(), CERTAIN, EMAIL.name)


def _local_before(text: str, at: int) -> str:
    return _run_before(text, at, _LONGEST_LOCAL).lstrip(_SIGNS)


def _run_before(text: str, end: int, length: int) -> str:
    """The characters of an address that stand before a place, at most so many."""
    found = _RUN.match(text[max(0, end - length) : end][::-1])
    return found[0][::-1] if found else ""
