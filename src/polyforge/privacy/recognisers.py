"""Names, places and whatever else only a model can tell: a place for one that is handed in; none is shipped here."""

import re
from collections.abc import Sequence
from typing import Final, Protocol

from polyforge.privacy.matches import Match

REACH: Final = 400
"""Characters that a passage has at most."""
_END_OF_SENTENCE: Final = re.compile(r"[.!?।。！？]+[\"')\]»”]*\s|\n")


class Recogniser(Protocol):
    """Finds spans in texts, many at once; called in a thread where texts are long."""

    def recognise(self, texts: Sequence[str]) -> Sequence[Sequence[Match]]:
        """For each text its finds, with places in that text; kinds are the recogniser's own words."""
        ...


class Recognised:
    """A `Walker` over what a recogniser finds. It is given sentences, cut at `reach` characters at the latest.

    Sentences are the same whether a text comes whole or in pieces, and so are the finds. A stream waits for the end of
    the sentence.
    """

    def __init__(self, recogniser: Recogniser, reach: int = REACH) -> None:
        self._recogniser = recogniser
        self.longest = reach

    def walk(self, text: str, place: int, *, last: bool) -> tuple[list[Match], int]:
        """The finds in all sentences from a place on that are over, and where the next one begins."""
        begins, passages = [place], list[str]()
        while (end := self._end(text, begins[-1], last=last)) > begins[-1]:
            passages.append(text[begins[-1] : end])
            begins.append(end)
        if not passages:
            return [], place
        found = self._recogniser.recognise(passages)
        finds = [
            Match(begin + find.start, begin + min(find.end, len(passage)), find.confidence, find.kind)
            for begin, passage, spans in zip(begins, passages, found, strict=False)
            for find in spans
            if 0 <= find.start < min(find.end, len(passage))
        ]
        return finds, begins[-1]

    def _end(self, text: str, place: int, *, last: bool) -> int:
        """Where the sentence that begins at a place is over; the place itself when that is not known."""
        found = _END_OF_SENTENCE.search(text, place, place + self.longest)
        if found:
            return found.end()
        if len(text) - place < self.longest:
            return len(text) if last else place
        space = text.rfind(" ", place + 1, place + self.longest)
        return space + 1 if space > 0 else place + self.longest
