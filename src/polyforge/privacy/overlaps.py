"""One answer where several finds lie over each other, worked out from left to right so that a stream gets the same."""

from collections.abc import Iterable

import msgspec

from polyforge.privacy.matches import Match


class Settling:
    """Takes finds in the order of their beginnings and gives back matches that do not overlap.

    What lies inside another is dropped. Where two overlap in part, the surer keeps all of itself (the longer, when they
    are equally sure) and the other what is left: whatever any find covers stays covered.
    """

    def __init__(self) -> None:
        self.current: Match | None = None

    def take(self, finds: Iterable[Match]) -> list[Match]:
        """The matches that these finds settle; the last one stays `current` until something comes after it."""
        return [before for find in sorted(finds, key=_order) if (before := self._meet(find))]

    def _meet(self, find: Match) -> Match | None:
        current = self.current
        if current is None or find.start >= current.end:
            self.current = find
            return current
        if find.end <= current.end:
            return None
        if _strength(find) <= _strength(current):
            self.current = msgspec.structs.replace(find, start=current.end)
            return current
        start = max(find.start, current.start)
        self.current = msgspec.structs.replace(find, start=start)
        return msgspec.structs.replace(current, end=start) if current.start < start else None


def _order(find: Match) -> tuple[int, int, float]:
    return find.start, -find.end, -find.confidence


def _strength(find: Match) -> tuple[float, int]:
    return find.confidence, find.end - find.start
