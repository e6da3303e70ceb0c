"""Text as detectors read it: other scripts' digits, full-width signs, dashes and spaces as ASCII, invisible signs gone.

Escapes of JSON are read as what they stand for (`\\u0040`, `\\n`), however deep one text is written into another: else
`\\n4111...` is a word that begins with n; and so is the `@` of URLs (`%40`). Offsets differ where an escape is, or
where invisible characters were.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple
from unicodedata import normalize

INVISIBLE: Final = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e"
    "\u2060\u2061\u2062\u2063\u2064\u2065\u2066\u2067\u2068\u2069\u206a\u206b\u206c\u206d\u206e\u206f\ufe00\ufe01\ufe02\ufe03"
    "\ufe04\ufe05\ufe06\ufe07\ufe08\ufe09\ufe0a\ufe0b\ufe0c\ufe0d\ufe0e\ufe0f\u180b\u180c\u180d\u180f\u20e3\u3164\uffa0\ufeff"
)
"""Takes no room on a screen, and splits a number all the same; so does the frame of a key (U+20E3) around a digit."""
_TAGS: Final = "\U000e0001-\U000e007f\U000e0100-\U000e01ef"
"""Invisible too, beyond the first plane: tags, and selectors of variants."""
_DASHES: Final = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63"
_SPACES: Final = "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_BACKSLASH: Final = 0xFF3C
"""The full-width one begins no escape."""
_FULL_WIDTH: Final = [code for code in range(0xFF01, 0xFF5F) if code != _BACKSLASH]
_FULL_WIDTH_SHIFT: Final = 0xFEE0
_BOLD: Final = range(0x1D400, 0x1D6A4)
"""Latin letters of mathematics, which some write with to be bold."""
# fmt: off
_ZEROS: Final = (
    0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6, 0xE50, 0xED0, 0xF20,
    0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620, 0xA8D0,
    0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0x104A0, 0x10D30, 0x10D40, 0x11066, 0x110F0, 0x11136, 0x111D0, 0x112F0,
    0x11450, 0x114D0, 0x11650, 0x116C0, 0x116D0, 0x116DA, 0x11730, 0x118E0, 0x11950, 0x11BF0, 0x11C50, 0x11D50,
    0x11DA0, 0x11F50, 0x16130, 0x16A60, 0x16AC0, 0x16B50, 0x16D70, 0x1CCF0, 0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC,
    0x1D7F6, 0x1E140, 0x1E2F0, 0x1E4F0, 0x1E5F1, 0x1E950, 0x1FBF0,
)
# fmt: on
"""The zero of each script that writes decimal numbers (Unicode 16, category Nd); its other digits follow it."""

_FOLDS: Final = {
    **{chr(zero + digit): str(digit) for zero in _ZEROS for digit in range(10)},
    **dict.fromkeys(_DASHES, "-"),
    **dict.fromkeys(_SPACES, " "),
    **{chr(code): chr(code - _FULL_WIDTH_SHIFT) for code in _FULL_WIDTH},
    **{sign: plain for sign in map(chr, _BOLD) if (plain := normalize("NFKC", sign)).isascii()},
    "\u2024": ".",
    "\u3002": ".",
    "\ufe52": ".",
    "\ufe6b": "@",
}
_LAST_OF_PLANE: Final = "\uffff"
# The engine looks a set of the first plane up in a table, and walks through one that goes beyond it.
_FOLDABLE: Final = re.compile(f"[{re.escape(''.join(sign for sign in _FOLDS if sign <= _LAST_OF_PLANE))}]")
_BEYOND_PLANE: Final = re.compile("[\U00010000-\U0010ffff]")
_MOST_BACKSLASHES: Final = 8
_ESCAPE: Final = rf"\\{{1,{_MOST_BACKSLASHES}}}(?:u(?P<code>[0-9A-Fa-f]{{4}})|(?P<sign>[nrtbf/\"]))|%40"
_GAPS_IN_PLANE: Final = re.compile(f"[{INVISIBLE}]+|{_ESCAPE}")
_GAPS: Final = re.compile(f"[{INVISIBLE}{_TAGS}]+|{_ESCAPE}")
_INVISIBLE: Final = re.compile(f"[{INVISIBLE}{_TAGS}]")
_CUT: Final = re.compile(rf"\\{{1,{_MOST_BACKSLASHES}}}(?:u[0-9A-Fa-f]{{0,3}})?\Z|%4?\Z")
_LONGEST_CUT: Final = _MOST_BACKSLASHES + 4
_AT_IN_URLS: Final = "%40"
_STANDS_FOR: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_SURROGATES: Final = range(0xD800, 0xE000)
_INSIDE: Final = 0.5
"""What an escape is longer than its character lies behind the beginning of that character, and before its end."""


class Folded(NamedTuple):
    """A folded text. `gaps`: what was taken out, as its place in the folded text and its length.

    A place that ends in a half is inside a character: that of an escape.
    """

    text: str
    gaps: Sequence[tuple[float, int]] = ()


def fold(text: str) -> Folded:
    """Fold a text; one that is plain ASCII without escapes is what it was."""
    if text.isascii() and "\\" not in text and _AT_IN_URLS not in text:
        return Folded(text)
    is_in_plane = max(text) <= _LAST_OF_PLANE
    shorter, gaps = _taken_out(text, _GAPS_IN_PLANE if is_in_plane else _GAPS)
    if shorter.isascii():
        return Folded(shorter, gaps)
    folded = _FOLDABLE.sub(_fold_sign, shorter)
    return Folded(folded if is_in_plane else _BEYOND_PLANE.sub(_fold_sign, folded), gaps)


def cut_escape(text: str) -> int:
    """Where an escape begins that the end of a text cuts off; its length when there is none."""
    tail = text[-_LONGEST_CUT:]
    if "\\" not in tail and "%" not in tail:
        return len(text)
    found = _CUT.search(text, max(0, len(text) - _LONGEST_CUT))
    return found.start() if found else len(text)


def _taken_out(text: str, pattern: re.Pattern[str]) -> Folded:
    gaps: list[tuple[float, int]] = []
    pieces: list[str] = []
    done = taken = 0
    for run in pattern.finditer(text):
        sign = _sign_of(run)
        length = run.end() - run.start() - len(sign)
        gaps.append((run.start() - taken + (_INSIDE if sign else 0), length))
        pieces += text[done : run.start()], sign
        taken += length
        done = run.end()
    return Folded("".join([*pieces, text[done:]]), gaps) if gaps else Folded(text)


def _sign_of(run: re.Match[str]) -> str:
    """What an escape stands for; nothing for invisible characters, escaped or not."""
    if run["sign"]:
        return _STANDS_FOR.get(run["sign"], run["sign"])
    if not run["code"]:
        return "@" if run[0] == _AT_IN_URLS else ""
    code = int(run["code"], 16)
    sign = "\ufffd" if code in _SURROGATES else chr(code)
    return "" if _INVISIBLE.match(sign) else sign


def _fold_sign(found: re.Match[str]) -> str:
    return _FOLDS.get(found[0], found[0])


class Offsets:
    """From places in a folded text to places in the text that it was made of."""

    def __init__(self, gaps: Sequence[tuple[float, int]]) -> None:
        self._places = [place for place, _ in gaps]
        self._sums = [0]
        for _, length in gaps:
            self._sums.append(self._sums[-1] + length)

    def start(self, place: int) -> int:
        """Where the character at a place was; invisible ones before it are left outside."""
        return place + self._sums[bisect_right(self._places, place)]

    def end(self, place: int) -> int:
        """Where the character before a place ended; invisible ones after it are left outside."""
        return place + self._sums[bisect_left(self._places, place)]
