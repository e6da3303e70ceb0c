"""Finds numbers that are told by the lengths of their groups of digits and by their check digits."""

from collections.abc import Iterable, Sequence
from typing import Final

from polyforge.privacy.matches import CERTAIN, LIKELY, Match
from polyforge.privacy.national import NumberId
from polyforge.privacy.page import Page

_LONGEST: Final = 19
_SHORTEST: Final = 9
_MARKS: Final = frozenset("$€£¥₹#+")
"""Before money, an order's number, a telephone number."""
_TIGHT: Final = frozenset({"-", ".", "/"})
_SEPARATORS: Final = {" ": " ", "-": "-", ".": ".", "/": "/", " - ": "-"}
_HEXADECIMAL: Final = frozenset("0123456789abcdefABCDEF")


class _Layouts:
    """A tree over the lengths of groups; at each place, the numbers that are complete there."""

    def __init__(self) -> None:
        self.longer: dict[int, _Layouts] = {}
        self.complete: list[tuple[NumberId, float]] = []
        self.listed: list[tuple[NumberId, float]] = []
        """Those of them that may stand in a list."""

    def add(self, layout: Sequence[int], number: NumberId, confidence: float) -> None:
        place = self
        for length in layout:
            place = place.longer.setdefault(length, _Layouts())
        place.complete.append((number, confidence))
        if number.in_lists:
            place.listed.append((number, confidence))


class NumberFinder:
    """Finds cards and identity numbers, each by its layouts."""

    def __init__(self, numbers: Iterable[NumberId]) -> None:
        self._layouts, self._in_lists = _Layouts(), _Layouts()
        for number in numbers:
            for layout, confidence in number.layouts.items():
                self._layouts.add(layout, number, confidence)
                if number.in_lists:
                    self._in_lists.add(layout, number, confidence)

    def find(self, page: Page) -> list[Match]:
        """All numbers that stand as they are laid out, and those whose digits are laid out otherwise, alone."""
        finds: list[Match] = []
        groups, alone, in_lists = page.groups, self._layouts.longer, self._in_lists.longer
        for first, group in enumerate(groups):
            if group.start < page.start:
                continue
            # After digits and a dash, a dot or a stroke nothing begins but what may stand in a list.
            layout = (in_lists if group.link in _TIGHT else alone).get(group.length)
            found: list[Match] = []
            if layout and (layout.complete or (group.is_linked and groups[first + 1].length in layout.longer)):
                found = _laid_out(page, first, layout)
            if group.is_linked and group.link is None and not found:
                found = self._loose(page, first)
            finds += found
        return finds

    def opening(self, page: Page) -> int:
        """Where digits begin that the end of the page may cut off."""
        return page.number_at_end

    def _loose(self, page: Page, first: int) -> list[Match]:
        """What begins with no digits before it, ends with none after it, and is divided in any way at all."""
        groups, last, count = page.groups, first, page.groups[first].length
        while last + 1 < len(groups) and groups[last + 1].link is not None and count <= _LONGEST:
            if len(groups[last + 1].link or "") != 1:
                return []
            last += 1
            count += groups[last].length
        compact = self._layouts.longer.get(count)
        if last == first or not _SHORTEST <= count <= _LONGEST or compact is None:
            return []
        is_spelled = last - first + 1 == count
        return [
            Match(groups[first].start, groups[last].end, LIKELY, number.kind.name)
            for number, _ in compact.complete
            if page.stands_alone(groups[first].start, groups[last].end)
            and number.is_valid(_digits(page, first, last))
            and ((is_spelled and number.in_lists) or page.says_before(number.words, groups[first].start))
        ]


def _laid_out(page: Page, first: int, layout: _Layouts) -> list[Match]:
    """The numbers that a group and those linked to it are, going down the tree of layouts."""
    groups, finds, links, last = page.groups, list[Match](), "", first
    left = groups[first].link
    while True:
        following = groups[last + 1] if groups[last].is_linked else None
        if layout.complete:
            right = following.link if following else None
            if numbers := _undisturbed(layout, links, left, right):
                finds += _judge(page, (first, last), numbers)
        longer = layout.longer.get(following.length) if following else None
        link = _SEPARATORS.get(following.link or "") if following and longer else None
        if longer is None or link is None:
            return finds
        layout = longer
        links += link
        last += 1


def _undisturbed(layout: _Layouts, links: str, left: str | None, right: str | None) -> list[tuple[NumberId, float]]:
    """The numbers complete here whose separators these are, and which the digits beside them leave whole."""
    if left is None and right is None:
        numbers = layout.complete
    elif not links and "." in (left, right):
        return []
    else:
        is_crowded = left in _TIGHT or right in _TIGHT or (" " in links and " " in (left, right))
        numbers = layout.listed if is_crowded else layout.complete
    return [entry for entry in numbers if not links.strip(entry[0].separators)]


def _judge(page: Page, span: tuple[int, int], numbers: Iterable[tuple[NumberId, float]]) -> list[Match]:
    """Those of some numbers that the digits are, with how sure it is."""
    text, groups = page.text, page.groups
    start, end = groups[span[0]].start, groups[span[1]].end
    finds: list[Match] = []
    numbers = [entry for entry in numbers if text[start] in entry[0].first]
    if not numbers or not page.stands_alone(start, end):
        return finds
    digits = _digits(page, *span)
    is_marked = start > 0 and (text[start - 1] in _MARKS or _is_end_of_uuid(text, start))
    for number, confidence in numbers:
        if (is_marked and not page.has(number.words)) or not number.is_valid(digits):
            continue
        if page.says_before(number.words, start):
            finds.append(Match(start, end, CERTAIN if confidence >= LIKELY else LIKELY, number.kind.name))
        elif not is_marked:
            finds.append(Match(start, end, confidence, number.kind.name))
    return finds


def _is_end_of_uuid(text: str, start: int) -> bool:
    if text[start - 1] != "-":
        return False
    before = text[max(0, start - 6) : start]
    return len(before) == 6 and before[0] == before[5] == "-" and _HEXADECIMAL.issuperset(before[1:5])  # noqa: PLR2004


def _digits(page: Page, first: int, last: int) -> str:
    value = page.text[page.groups[first].start : page.groups[last].end]
    if first == last:
        return value
    value = value.replace(" ", "").replace("-", "").replace(".", "")
    return value if value.isdigit() else "".join(filter(str.isdigit, value))
