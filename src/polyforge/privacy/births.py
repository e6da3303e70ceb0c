"""Dates of birth: a date with a word for birth before it or right after it."""

import re
from collections.abc import Sequence
from typing import Final

from polyforge.privacy.beginnings import beginnings, either
from polyforge.privacy.late import Late
from polyforge.privacy.matches import LIKELY, Kind, Match
from polyforge.privacy.page import Page

_LONGEST_DATE: Final = 40
_LONGEST_MONTH: Final = 14
"""With what joins it to the day."""
_AFTER: Final = 30
BIRTH: Final = Kind(
    "date_of_birth",
    "person",
    "dates near words for birth",
    _LONGEST_MONTH + _LONGEST_DATE + _AFTER,
    "digits, and a word for birth",
    "the word stands within 40 characters before the date, or 16 after it",
)
KINDS: Final = (BIRTH,)

# fmt: off
_WORDS: Final = (
    "born", "birth", "b'day", "bday", "dob", "d.o.b", "geboren", "geb.", "geburt", "née", "naissance", "nacid", "nacim",
    "nascid", "nascim", "nato il", "nata il", "nascita", "geboorte", "född", "født", "syntym", "urodz", "narozen",
    "doğum", "рожд", "родил", "जन्म", "पैदा", "জন্ম", "பிறந்த", "పుట్టిన", "ಜನ್ಮ", "ಹುಟ್ಟಿದ", "ജനന", "જન્મ", "ਜਨਮ", "پیدائش",
    "تاريخ الميلاد", "出生", "生年月日", "生まれ", "생년월일", "né le", "né(e)",
)
_MONTHS: Final = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december", "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec", "januar", "jänner",
    "februar", "märz", "mai", "juni", "juli", "oktober", "dezember", "janvier", "février", "mars", "avril", "juin",
    "juillet", "août", "septembre", "octobre", "novembre", "décembre", "enero", "febrero", "marzo", "abril", "mayo",
    "junio", "julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre", "gennaio", "febbraio", "aprile",
    "maggio", "giugno", "luglio", "settembre", "ottobre", "dicembre", "janeiro", "fevereiro", "março", "maio", "junho",
    "julho", "setembro", "outubro", "novembro", "dezembro", "januari", "februari", "maart", "mei", "augustus",
    "जनवरी", "फरवरी", "फ़रवरी", "मार्च", "अप्रैल", "मई", "जून", "जुलाई", "अगस्त", "सितंबर", "सितम्बर", "अक्टूबर", "अक्तूबर", "नवंबर",
    "नवम्बर", "दिसंबर", "दिसम्बर",
)
# fmt: on

_MONTH: Final = f"(?:{either(_MONTHS)})"
_MONTH_BEGUN: Final = beginnings(_MONTHS)
_DAY: Final = r"[0-9]{1,2}(?:st|nd|rd|th|er|\.|º|ª)?"
_DATE: Final = Late(
    r"[0-9]{4}[-./][0-9]{1,2}[-./][0-9]{1,2}(?![0-9])"
    r"|[0-9]{1,2} ?[-./ ] ?[0-9]{1,2} ?[-./ ] ?(?:[0-9]{4}|[0-9]{2})(?![0-9])"
    r"|[0-9]{4} ?年 ?[0-9]{1,2} ?月 ?[0-9]{1,2} ?日|[0-9]{4}년 ?[0-9]{1,2}월 ?[0-9]{1,2}일"
    rf"|{_DAY}(?: of| de)?[ -]{{1,2}}{_MONTH}\.?,?(?: de| del)?[ -]{{1,2}}(?:[0-9]{{4}}|[0-9]{{2}})(?![0-9])",
    re.IGNORECASE,
)
_MONTH_FIRST: Final = Late(rf"{_MONTH}\.?[ -]{{1,2}}{_DAY},?[ -]{{1,2}}[0-9]{{4}}(?![0-9])", re.IGNORECASE)
_MONTH_BEFORE: Final = Late(rf"(?<![a-z])({_MONTH}\.?[ -]{{1,2}})\Z")
_BEGUN: Final = Late(
    r"(?:[0-9]{1,4}(?: ?[-./ ]? ?[0-9]{0,2}(?: ?[-./ ]? ?[0-9]{0,4})?)?"
    r"|[0-9]{4} ?(?:[年년] ?(?:[0-9]{1,2} ?(?:[月월] ?[0-9]{0,2} ?)?)?)?"
    rf"|{_DAY}[a-z]?(?: of?| de?)?[ -]{{0,2}}(?:{_MONTH_BEGUN}\.?,?(?: del?| d)?[ -]{{0,2}}[0-9]{{0,4}})?"
    rf"|{_DAY}[a-z]?,?[ -]{{0,2}}[0-9]{{0,4}})\Z",
    re.IGNORECASE,
)
_MONTH_ALONE: Final = Late(rf"(?<![a-z]){_MONTH_BEGUN}\.?[ -]{{0,2}}\Z", re.IGNORECASE)
"""Where `_MONTH_BEFORE` may find a month once its day is there: other scripts write words without spaces."""
_BETWEEN: Final = 40
_BETWEEN_AFTER: Final = 16
# Between the word and the date: no other number, no line break, no end of a sentence.
_BETWEEN_BEFORE: Final = Late(rf"[a-zà-öø-ÿ\u0900-\u0dff]{{0,8}}[.:)]{{0,3}}(?:[^0-9\n.!?;]|\.(?! )){{0,{_BETWEEN}}}")
_BEHIND: Final = Late(rf"[^0-9\n.!?;]{{0,{_BETWEEN_AFTER}}}?(?:{either(_WORDS)})")
_END_OF_PART: Final = Late("[0-9\n.!?;]")


class BirthFinder:
    """Finds dates with a word for birth near them."""

    def find(self, page: Page) -> list[Match]:
        """All dates of birth."""
        present = [word for word in _WORDS if word in page.lower] if page.groups else []
        if not present:
            return []
        finds: list[Match] = []
        for group in page.groups:
            span = _date_at(page, group.start)
            if span and span[0] >= page.start and _is_birth(page, *span, present):
                finds.append(Match(*span, LIKELY, BIRTH.name))
        return finds

    def opening(self, page: Page) -> int:
        """Where a date begins that is cut off, or after which a word for birth may still come."""
        text, size = page.text, len(page.text)
        place = size
        for group in reversed(page.groups):
            if group.start < max(page.start, size - _LONGEST_DATE - _AFTER):
                break
            span = _date_at(page, group.start)
            if span and size - span[1] < _AFTER and not _END_OF_PART.search(text, span[1]):
                place = min(place, max(span[0], page.start))
            if _BEGUN.match(text, group.start):
                place = min(place, max(page.start, group.start - _month_before(page, group.start)))
        alone = _MONTH_ALONE.search(text, max(page.start, size - _LONGEST_MONTH))
        return min(place, alone.start()) if alone else place


def _month_before(page: Page, place: int) -> int:
    """How many characters a month and what joins it take before a place."""
    month = _MONTH_BEFORE.search(page.before(place, _LONGEST_MONTH))
    return len(month[1]) if month else 0


def _date_at(page: Page, place: int) -> tuple[int, int] | None:
    """The date that begins with digits at a place, or with the month before them."""
    if place and page.text[place - 1] in "-./":
        return None
    if found := _DATE.match(page.text, place):
        return found.span()
    month = _month_before(page, place)
    found = _MONTH_FIRST.match(page.text, place - month) if month else None
    return found.span() if found else None


def _is_birth(page: Page, start: int, end: int, present: Sequence[str]) -> bool:
    lower = page.lower
    for word in present:
        place = lower.rfind(word, max(0, start - _BETWEEN - len(word)), start)
        is_word = place > 0 and lower[place - 1].isascii() and lower[place - 1].isalpha()
        if place >= 0 and not is_word and _BETWEEN_BEFORE.fullmatch(lower, place + len(word), start):
            return True
    return _BEHIND.match(lower, end) is not None
