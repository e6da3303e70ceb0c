"""Replaces matches in text that arrives in pieces, as if it had come in one."""

from collections.abc import Iterable
from typing import Final

import msgspec

from polyforge.privacy.detector import Detector, unfold
from polyforge.privacy.folding import Offsets, cut_escape, fold
from polyforge.privacy.late import Late
from polyforge.privacy.masks import Replacement
from polyforge.privacy.matches import Match
from polyforge.privacy.overlaps import Settling
from polyforge.privacy.page import CONTEXT, Page
from polyforge.privacy.secrets import RESTS

_MARGIN: Final = 16
"""What is looked at around the context: whether a word in it is the end of a longer one."""


class StreamFilter:
    """Lets text through as soon as no match can begin in it; what it lets through is what `replace` makes of the whole.

    Nothing of a match leaves, wherever the pieces are cut; one that is longer than is waited for is replaced when it is
    certain, and what follows of it is dropped. `feed` and `finish` give back what is safe to send. A
    `replacement` that raises ends the stream: what was held back has not left. It is handed matches with their places
    in the whole text.
    """

    def __init__(self, detector: Detector, replacement: Replacement) -> None:
        self._detector = detector
        self._replacement = replacement
        self._settling = Settling()
        self._text = ""
        """Folded: the end of what has left, for it is what is before a match, and all that is held back."""
        self._sent = 0
        self._decided = 0
        """Finds that begin before this place have been taken."""
        self._walked = [0] * len(detector.walkers)
        self._waiting: list[Match] = []
        """What walkers have found from there on."""
        self._raw: list[str] = []
        """The same text as it came, and where invisible characters are in it, from `_sent` on."""
        self._gaps: list[tuple[float, int]] = []
        self._base = 0
        """Where `_raw` begins in the whole text."""
        self._rest: Late | None = None
        """What still belongs to a match that was longer than is waited for; whether the match was left as it is."""
        self._is_left = False
        self._cut = ""
        """The beginning of an escape, which is read when all of it is there."""

    @property
    def held(self) -> int:
        """Characters that are held back at the moment; invisible ones and the beginning of an escape not counted."""
        return len(self._text) - self._sent

    def feed(self, text: str) -> str:
        """Take the next piece; what may be sent now."""
        text = self._cut + text
        end = cut_escape(text)
        self._cut = text[end:]
        self._take(text[:end])
        ended = self._end_match()
        if self._rest is not None:
            return ended
        page = Page(self._text, self._decided)
        limit = min(self._walk(last=False), self._detector.opening(page))
        return ended + self._release(page, limit) if limit > self._decided else ended

    def finish(self) -> str:
        """What is left when no more comes."""
        self._take(self._cut)
        self._cut = ""
        ended = self._end_match()
        self._walk(last=True)
        return ended + self._release(Page(self._text, self._decided), len(self._text))

    def _take(self, text: str) -> None:
        folded, gaps = fold(text)
        seen = self.held
        self._gaps += [(seen + place, length) for place, length in gaps]
        self._raw.append(text)
        self._text += folded

    def _walk(self, *, last: bool) -> int:
        """Let the walkers go on; the first place that one of them has not decided."""
        limit = len(self._text)
        for index, walker in enumerate(self._detector.walkers):
            finds, place = walker.walk(self._text, self._walked[index], last=last)
            self._walked[index] = place
            self._waiting += finds
            limit = min(limit, place)
        return limit

    def _release(self, page: Page, limit: int) -> str:
        """Settle what begins before a place, and send what lies before the first match that is not settled."""
        finds = self._detector.find(page)
        self._rest = _rest_of(finds, len(self._text), limit)
        if self._rest is not None:
            limit = len(self._text)
        finds = [find for find in finds if find.start < limit]
        finds += [find for find in self._waiting if find.start < limit]
        self._waiting = [find for find in self._waiting if find.start >= limit]
        settled = self._settling.take(finds)
        current = self._settling.current
        if current and current.end <= limit:
            settled.append(current)
            current = self._settling.current = None
        sent = self._send(settled, current.start if current else limit)
        self._decide(limit)
        return sent

    def _end_match(self) -> str:
        """Hide, or let be, what goes on of a match that was let go."""
        if self._rest is None:
            return ""
        found = self._rest.match(self._text, self._decided)
        end = found.end() if found else self._decided
        if end < len(self._text):
            self._rest = None
        sent = self._send([], end)
        self._decide(end)
        return sent if self._is_left else ""

    def _decide(self, place: int) -> None:
        self._decided = place
        self._walked = [max(walked, place) for walked in self._walked]
        self._forget()

    def _send(self, matches: list[Match], end: int) -> str:
        """The raw text up to a place, with matches replaced."""
        raw, first = "".join(self._raw), self._sent
        if not matches and not self._gaps:
            self._raw = [raw[end - first :]]
            self._base += end - first
            self._sent = end
            return raw[: end - first]
        offsets = Offsets(self._gaps)
        cut = offsets.start(end - first) if end < len(self._text) else len(raw)
        pieces: list[str] = []
        done = 0
        for match in unfold([_moved(match, -first) for match in matches], offsets):
            value = raw[match.start : match.end]
            instead = self._replacement(_moved(match, self._base), value)
            self._is_left = instead == value
            pieces += raw[done : match.start], instead
            done = match.end
        pieces.append(raw[done:cut])
        self._raw = [raw[cut:]]
        self._gaps = [(place - end + first, length) for place, length in self._gaps if place > end - first]
        self._base += cut
        self._sent = end
        return "".join(pieces)

    def _forget(self) -> None:
        """Drop what is so far back that nobody looks at it any more."""
        gone = self._sent - CONTEXT - _MARGIN
        if gone <= 0:
            return
        self._text = self._text[gone:]
        self._sent -= gone
        self._decided -= gone
        self._walked = [place - gone for place in self._walked]
        self._waiting = [_moved(find, -gone) for find in self._waiting]
        if self._settling.current:
            self._settling.current = _moved(self._settling.current, -gone)


def _rest_of(finds: Iterable[Match], end: int, limit: int) -> Late | None:
    """What may still come of a find that reaches the end, although it begins before a limit."""
    cut = (find for find in finds if find.start < limit and find.end == end and find.kind in RESTS)
    return next((RESTS[find.kind] for find in cut), None)


def _moved(match: Match, by: int) -> Match:
    return msgspec.structs.replace(match, start=match.start + by, end=match.end + by)
