"""Finds the kinds it was made for in a text."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from polyforge.privacy.folding import Offsets, fold
from polyforge.privacy.kinds import KINDS, expand, finders
from polyforge.privacy.matches import Match
from polyforge.privacy.overlaps import Settling
from polyforge.privacy.page import Finder, Page, Walker
from polyforge.privacy.phones import DEFAULT_REGIONS

LEAST: Final = 0.5
"""How sure a find is at least, when nothing else is asked for."""


class Detector:
    """Personal data and secrets of some kinds. Made once; `detect` keeps nothing, so any number of threads may call it.

    `kinds`: names of kinds or of groups of them; all when left out. `walkers`: what an installation adds, see
    `rules.Rule` and `recognisers.Recognised`. `regions`: where telephone numbers without `+` may come from (ISO 3166).
    `least`: finds that are less sure are dropped.
    """

    def __init__(
        self,
        kinds: Iterable[str] | None = None,
        *,
        walkers: Sequence[Walker] = (),
        regions: Sequence[str] = DEFAULT_REGIONS,
        least: float = LEAST,
    ) -> None:
        self.kinds = expand(kinds)
        self._finders: tuple[Finder, ...] = finders(self.kinds, regions)
        self.walkers = tuple(walkers)
        self._least = least
        longest = [KINDS[kind].longest for kind in self.kinds]
        self.longest = max([*longest, *(walker.longest for walker in self.walkers)], default=0)

    def detect(self, text: str) -> list[Match]:
        """The matches in a text, sorted, none over another; places are those of the text as it was given."""
        folded, gaps = fold(text)
        finds = self.find(Page(folded))
        for walker in self.walkers:
            finds += walker.walk(folded, 0, last=True)[0]
        if not finds:
            return []
        settling = Settling()
        matches = settling.take(finds)
        if settling.current:
            matches.append(settling.current)
        return unfold(matches, Offsets(gaps)) if gaps else matches

    def find(self, page: Page) -> list[Match]:
        """All finds on a page that are sure enough; they may overlap."""
        least, start = self._least, page.start
        return [
            find
            for finder in self._finders
            for find in finder.find(page)
            if find.start >= start and find.confidence >= least
        ]

    def opening(self, page: Page) -> int:
        """The first place on a page where something may be that its end cuts off; its length when there is none."""
        place = len(page.text)
        for finder in self._finders:
            if place == page.start:
                break
            place = min(place, finder.opening(page))
        return place


def unfold(matches: Iterable[Match], offsets: Offsets) -> list[Match]:
    """Matches with their places in the text that was folded."""
    return [
        msgspec.structs.replace(match, start=offsets.start(match.start), end=offsets.end(match.end))
        for match in matches
    ]
