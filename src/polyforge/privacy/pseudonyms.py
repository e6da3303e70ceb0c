"""Stand-ins for what was found that can be told apart again in the answer, whole or in pieces."""

import re
from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from polyforge.kernel.errors import TooLarge
from polyforge.privacy.masks import replace
from polyforge.privacy.matches import Match
from polyforge.privacy.standins import stand_ins

MOST: Final = 10_000
"""Values that one conversation may hide."""
_ATTEMPTS: Final = 100
_LONGEST_ESCAPE: Final = len("\\u0000")
_ESCAPE_BEFORE: Final = re.compile(r"\\(?:[nrtbf]|u[0-9A-Fa-f]{4})\Z")
_WORDS: Final = re.compile("[A-Za-z0-9]+")
Write = Callable[[str], str]


class Pseudonyms:
    """Hides values behind stand-ins and puts them back: `hide` on the way in, `restore` or a `restorer` on the way out.

    It is a `Replacement`. The same key gives the same value the same stand-in, so a conversation keeps its stand-ins
    over many requests when its key does, and two conversations with different keys share none. `avoid` every text of
    the conversation before the first is hidden: a stand-in is never one that stands there already.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._stand_ins: dict[tuple[str, str], str] = {}
        self._values: dict[str, str] = {}
        self._sorted: list[str] = []
        self._avoided: list[str] = []
        self._words: set[str] = set()
        """Letters and digits in a row in these: most stand-ins have some that no text has."""
        self._read = 0
        """How many of these texts are read into words."""

    def __call__(self, match: Match, value: str) -> str:
        """The stand-in for a value; TooLarge when there are too many."""
        known = self._stand_ins.get((match.kind, value))
        return known or self._new(match.kind, value)

    def avoid(self, *texts: str) -> None:
        """Take no stand-in that occurs in one of these texts."""
        self._avoided += texts

    def hide(self, text: str, matches: Sequence[Match]) -> str:
        """A text with stand-ins for its matches."""
        self.avoid(text)
        return replace(text, matches, self)

    def restore(self, text: str, write: Write = str) -> str:
        """A text with the values that its stand-ins stand for."""
        restorer = self.restorer(write)
        return restorer.feed(text) + restorer.finish()

    def restorer(self, write: Write = str) -> "Restorer":
        """Puts values back in text that arrives in pieces; it knows the stand-ins that there are by now.

        `write`: how values are written in that text, as in JSON.
        """
        return Restorer(self._values, tuple(self._sorted), write)

    def _new(self, kind: str, value: str) -> str:
        if len(self._values) >= MOST:
            raise TooLarge(f"a conversation hides at most {MOST} values behind stand-ins")
        for stand_in in islice(stand_ins(self._key, kind, value), _ATTEMPTS):
            if self._is_free(stand_in):
                break
        else:
            raise TooLarge("there is no stand-in left that does not occur in the text")
        self._stand_ins[kind, value] = stand_in
        self._values[stand_in] = value
        insort(self._sorted, stand_in)
        return stand_in

    def _is_free(self, stand_in: str) -> bool:
        if stand_in in self._values or self._is_said(stand_in):
            return False
        place = bisect_left(self._sorted, stand_in)
        longer = self._sorted[place : place + 1]
        return not (longer and longer[0].startswith(stand_in)) and not any(
            stand_in[:length] in self._values for length in range(1, len(stand_in))
        )

    def _is_said(self, stand_in: str) -> bool:
        """Whether one of the texts has it where it would be taken for a stand-in: not within a longer word."""
        for text in self._avoided[self._read :]:
            self._words.update(_WORDS.findall(text))
        self._read = len(self._avoided)
        if not self._words.issuperset(_WORDS.findall(stand_in)):
            return False
        return any(stand_in in text for text in self._avoided)


class Restorer:
    """Puts values back in a stream. It holds back no more than the beginning of a stand-in.

    Made by `Pseudonyms.restorer`. No stand-in is the beginning of another one. One that touches a letter or a digit on
    either side is something else, and stays; an escape of JSON before it (`\\n`) is no letter.
    """

    def __init__(self, values: dict[str, str], known: Sequence[str], write: Write = str) -> None:
        self._values = values
        self._write = write
        self._sorted = known
        self._longest = max(map(len, known), default=0)
        self._firsts = re.compile(f"[{re.escape(''.join({name[0] for name in known}))}]") if known else None
        self._before = ""
        self._held = ""

    def feed(self, text: str) -> str:
        """Take the next piece; what is ready."""
        return self._release(text, last=False)

    def finish(self) -> str:
        """What is left."""
        return self._release("", last=True)

    def _release(self, piece: str, *, last: bool) -> str:
        if self._firsts is None:
            return piece
        text, pieces, done, place = self._held + piece, list[str](), 0, 0
        while found := self._firsts.search(text, place):
            start = found.start()
            if not last and self._may_begin(text, start):
                place = start
                break
            name = self._name_at(text, start)
            place = start + (len(name) or 1)
            if name:
                pieces += text[done:start], self._write(self._values[name])
                done = place
        else:
            place = len(text)
        pieces.append(text[done:place])
        self._before = (self._before + text[max(0, place - _LONGEST_ESCAPE) : place])[-_LONGEST_ESCAPE:]
        self._held = text[place:]
        return "".join(pieces)

    def _may_begin(self, text: str, start: int) -> bool:
        """Whether what stands at a place is all of a stand-in that the end cuts off, or that it touches."""
        if len(text) - start > self._longest:
            return False
        tail = text[start:]
        place = bisect_left(self._sorted, tail)
        return place < len(self._sorted) and self._sorted[place].startswith(tail)

    def _name_at(self, text: str, start: int) -> str:
        """The stand-in at a place, or nothing."""
        place = bisect_left(self._sorted, text[start : start + self._longest + 1])
        for name in self._sorted[max(0, place - 1) : place + 1]:
            if text.startswith(name, start) and not self._is_touched(text, start, start + len(name)):
                return name
        return ""

    def _is_touched(self, text: str, start: int, end: int) -> bool:
        before = (self._before + text[max(0, start - _LONGEST_ESCAPE) : start])[-_LONGEST_ESCAPE:]
        after = text[end : end + 1]
        if _is_word(after) and _is_word(text[end - 1]):
            return True
        return _is_word(before[-1:]) and _is_word(text[start]) and not _ESCAPE_BEFORE.search(before)


def _is_word(sign: str) -> bool:
    return sign.isascii() and sign.isalnum()
