"""Finds numbers that are told by the lengths of their groups of digits and by their check digits."""

from collections.abc import Iterable, Sequence
from typing import Final

from polyforge.privacy.matches import CERTAIN, LIKELY, Match
from polyforge.privacy.national import NumberId
from polyforge.privacy.page import Group, Page

_LONGEST: Final = 19
_SHORTEST: Final = 9
_MARKS: Final = frozenset("$€£¥₹#+")
"""Before money, an order's number, a telephone number."""
_HEXADECIMAL: Final = frozenset("0123456789abcdefABCDEF")


class _Layouts:
    """A tree over the lengths of groups; at each place, the numbers that are complete there."""

    def __init__(self) -> None:
        self.longer: dict[int, _Layouts] = {}
        self.complete: list[tuple[NumberId, float]] = []

    def add(self, layout: Sequence[int], number: NumberId, confidence: float) -> None:
        place = self
        for length in layout:
            place = place.longer.setdefault(length, _Layouts())
        place.complete.append((number, confidence))


class NumberFinder:
    """Finds cards and identity numbers, each by its layouts."""

    def __init__(self, numbers: Iterable[NumberId]) -> None:
        self._layouts = _Layouts()
        for number in numbers:
            for layout, confidence in number.layouts.items():
                self._layouts.add(layout, number, confidence)

    def find(self, page: Page) -> list[Match]:
        """All numbers that stand as they are laid out, and those whose digits are laid out otherwise, alone."""
        finds: list[Match] = []
        for first, group in enumerate(page.groups):
            if group.start < page.start:
                continue
            if group.end - group.start in self._layouts.longer:
                finds += self._laid_out(page, first)
            if group.link is None:
                finds += self._loose(page, first)
        return finds

    def opening(self, page: Page) -> int:
        """Where digits begin that the end of the page may cut off."""
        return page.number_at_end

    def _laid_out(self, page: Page, first: int) -> list[Match]:
        groups, layouts, finds = page.groups, self._layouts, list[Match]()
        links: set[str] = set()
        for last in range(first, len(groups)):
            group = groups[last]
            if last > first and not _is_link(group.link, links):
                break
            following = layouts.longer.get(group.end - group.start)
            if following is None:
                break
            layouts = following
            finds += [
                find
                for number, confidence in layouts.complete
                if links.issubset(number.separators)
                and (find := _judge(page, groups, (first, last), number, confidence, links))
            ]
        return finds

    def _loose(self, page: Page, first: int) -> list[Match]:
        """What begins with no digits before it, ends with none after it, and is divided in any way at all."""
        groups, last, count = page.groups, first, groups_length(page.groups[first])
        while last + 1 < len(groups) and groups[last + 1].link is not None and count <= _LONGEST:
            if len(groups[last + 1].link or "") != 1:
                return []
            last += 1
            count += groups_length(groups[last])
        compact = self._layouts.longer.get(count)
        if last == first or not _SHORTEST <= count <= _LONGEST or compact is None:
            return []
        is_spelled = last - first + 1 == count
        return [
            Match(groups[first].start, groups[last].end, LIKELY, number.kind.name)
            for number, _ in compact.complete
            if page.stands_alone(groups[first].start, groups[last].end)
            and number.is_valid(_digits(page, first, last))
            and ((is_spelled and number.in_lists) or number.words.search(page.before(groups[first].start)))
        ]


def groups_length(group: Group) -> int:
    """How many digits a group has."""
    return group.end - group.start


def _is_link(link: str | None, links: set[str]) -> bool:
    """Whether a number may go on over what stands before a group; it is then among `links`."""
    sign = " " if link == " " else (link or "").strip()
    if len(sign) != 1 or len(link or "") == 2:  # noqa: PLR2004
        return False
    links.add(sign)
    return True


def _judge(
    page: Page, groups: Sequence[Group], span: tuple[int, int], number: NumberId, confidence: float, links: set[str]
) -> Match | None:
    first, last = span
    start, end = groups[first].start, groups[last].end
    if not page.stands_alone(start, end) or not number.is_valid(_digits(page, first, last)):
        return None
    if number.words.search(page.before(start)):
        return Match(start, end, CERTAIN if confidence >= LIKELY else LIKELY, number.kind.name)
    if (start and page.text[start - 1] in _MARKS) or _is_end_of_uuid(page.text, start):
        return None
    if _is_part(groups, span, number, links):
        return None
    return Match(start, end, confidence, number.kind.name)


def _is_part(groups: Sequence[Group], span: tuple[int, int], number: NumberId, links: set[str]) -> bool:
    """Whether digits beside it make it a piece of something longer."""
    first, last = span
    beside = (groups[first].link, groups[last + 1].link if last + 1 < len(groups) else None)
    if number.in_lists:
        return first == last and "." in beside
    return any(link in {"-", ".", "/"} or (link == " " and " " in links) for link in beside)


def _is_end_of_uuid(text: str, start: int) -> bool:
    before = text[max(0, start - 6) : start]
    return len(before) == 6 and before[0] == before[5] == "-" and _HEXADECIMAL.issuperset(before[1:5])  # noqa: PLR2004


def _digits(page: Page, first: int, last: int) -> str:
    return "".join(page.text[group.start : group.end] for group in page.groups[first : last + 1])
