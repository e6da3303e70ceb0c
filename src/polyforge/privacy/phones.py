"""Telephone numbers: those with a country's code anywhere, those without it as some regions write them.

Which numbers exist comes from libphonenumber's metadata; where one begins and ends is worked out here, because the
library's own search takes milliseconds on a page of digits.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata

from polyforge.kernel.errors import Invalid
from polyforge.privacy.late import Late
from polyforge.privacy.matches import CERTAIN, FORM, LIKELY, WEAK, Kind, Match
from polyforge.privacy.national import words
from polyforge.privacy.page import NUMBER_REACH, Group, Page

DEFAULT_REGIONS: Final = ("IN", "US", "GB", "DE", "FR")
_LONGEST: Final = 32
PHONE: Final = Kind(
    "phone",
    "contact",
    "telephone numbers, with the country's code or as the regions in use write them",
    NUMBER_REACH,
    "digits",
    "the numbers that a country gives out (libphonenumber)",
)
KINDS: Final = (PHONE,)

_MOST_DIGITS: Final = 15
"""ITU-T E.164."""
_FEWEST_DIGITS: Final = 7
_FEWEST_UNKNOWN: Final = 9
"""With a country's code, where the metadata does not know the number."""
_NATIONAL_DIGITS: Final = range(9, 13)
_MOBILE_DIGITS: Final = 10
_TRUNK: Final = "0"
_NORTH_AMERICA: Final = frozenset(COUNTRY_CODE_TO_REGION_CODE[1])
_NORTH_AMERICAN_CODE: Final = 1
_NORTH_AMERICAN: Final = Late("1?[2-9][0-9]{9}")
_NORTH_AMERICAN_LAYOUTS: Final = ((3, 3, 4), (1, 3, 3, 4))
_INDIAN_LAYOUT: Final = (5, 5)
_INDIAN_GROUPS: Final = (5, 10)
_INDIAN_FIRST: Final = "6789"
_ROUND: Final = "00000"
_TYPES: Final = (
    "fixed_line", "mobile", "toll_free", "premium_rate", "shared_cost", "personal_number", "voip", "pager", "uan",
)  # fmt: skip
_WORDS: Final = words(
    "phones?", "tele ?phones?", "mobiles?", "cell(?:phone)?", "tel", "call(?: me| us| him| her)?(?: at| on)?",
    "whats ?app", "sms", "text", "fax", "contact", "dial", "ring", "reach (?:me|us|him|her)", "handy(?:nummer)?",
    "telefon(?:nummer|o)?", "mobil(?:nummer|telefon)?", "rufnummer", "téléphone", "portable", "teléfono", "móvil",
    "celular", "cellulare", "telefone", "my number", "number is", "फ़?ोन", "फोन", "फ़ोन", "मोबाइल", "कॉल", "दूरभाष",
    "மொபைல்", "ফোন", "ఫోన్", "电话", "手机", "電話", "携帯", "전화", "телефон",
)  # fmt: skip
_NEAR: Final = 40
_OTHERS: Final = Late(
    r"(?:isbn|order|invoice|ticket|tracking|ref(?:erence)?|account|serial|version|pnr|transaction|txn|item|sku|model|batch"
    r"|bestellnummer|bestellung|rechnung|kundennummer|commande|facture|pedido|factura|issue|build|case|[$€£¥₹#=])"
)
_OTHER_NUMBERS: Final = Late(_OTHERS.source + r"[ .:#]*(?:number|no|nr|num|id|is)?[ .:#-]*\Z")
_DATE_FIRST: Final = Late(r"[0-9]{1,2}[-./ ][0-9]{1,2}[-./ ](?:19|20)[0-9]{2}(?![0-9])|(?:19|20)[0-9]{2}[-./]")


class PhoneFinder:
    """Finds telephone numbers. `regions`: whose numbers are known without their country's code."""

    def __init__(self, regions: Sequence[str]) -> None:
        for region in regions:
            if not _metadata(region):
                raise Invalid(f"there is no region {region!r}; regions are ISO 3166 codes", param="regions")
        others = [region for region in regions if region not in _NORTH_AMERICA]
        self._has_north_america = len(others) < len(regions)
        self._indian = _either(_patterns("IN", ("mobile",))) if "IN" in regions else None
        self._any = _either(pattern for region in others for pattern in _patterns(region, _TYPES))
        self._mobile = _either(pattern for region in others for pattern in _patterns(region, ("mobile",)))

    def find(self, page: Page) -> list[Match]:
        """All numbers; only the first of digits that stand in a row."""
        finds: list[Match] = []
        text = page.text
        has_sign = "+" in text
        for index, group in enumerate(page.groups):
            if group.start < page.start or (group.length < _FEWEST_DIGITS and not group.is_linked):
                continue
            sign = _sign_before(text, group.start) if has_sign else -1
            if sign >= 0:
                find = _international(page, index, sign, text[sign + 1 : group.start])
            elif group.link is None or (group.length in _INDIAN_GROUPS and self._may_be_indian(text, group)):
                find = self._national(page, index) or _dialled(page, index)
            else:
                continue
            if find:
                finds.append(find)
        return finds

    def _may_be_indian(self, text: str, group: Group) -> bool:
        """In India, where numbers have no mark, one may follow other digits."""
        return self._indian is not None and group.link == " " and text[group.start] in _INDIAN_FIRST

    def opening(self, page: Page) -> int:
        """Where digits begin that the end of the page may cut off."""
        return page.number_at_end

    def _national(self, page: Page, first: int) -> Match | None:
        best, best_last = 0.0, first
        is_called = page.says_before(_WORDS, page.groups[first].start, _NEAR)
        for last in reversed(_ends(page, first)):
            digits = _digits(page, first, last)
            if len(digits) in _NATIONAL_DIGITS and page.stands_alone(*_span(page, first, last)):
                confidence = self._judge(page, page.groups[first : last + 1], digits, is_called=is_called)
                best, best_last = (confidence, last) if confidence > best else (best, best_last)
        if not best:
            return None
        start, end = _span(page, first, best_last)
        if not is_called and page.has(_OTHERS) and _OTHER_NUMBERS.search(page.before(start, _NEAR)):
            return None
        return Match(start, end, LIKELY if is_called else best, PHONE.name)

    def _judge(self, page: Page, groups: Sequence[Group], digits: str, *, is_called: bool) -> float:
        layout = tuple(group.length for group in groups)
        if digits[0] == _TRUNK:
            return self._with_trunk(page, groups, digits[1:])
        american = self._has_north_america and _NORTH_AMERICAN.fullmatch(digits) is not None
        if american and layout in _NORTH_AMERICAN_LAYOUTS:
            return _north_american(page, groups)
        if self._indian and len(digits) == _MOBILE_DIGITS and digits[0] in _INDIAN_FIRST:
            is_spaced = layout == _INDIAN_LAYOUT and groups[1].link == " "
            is_laid_out = (is_spaced or len(layout) == 1) and not digits.endswith(_ROUND)
            if is_laid_out and self._indian.fullmatch(digits):
                return FORM
        # Too many numbers have this form to look at it where nobody speaks of telephones.
        is_called = is_called and not _DATE_FIRST.match(page.text, groups[0].start)
        is_known = is_called and (american or (self._any is not None and self._any.fullmatch(digits) is not None))
        return WEAK if is_known else 0

    def _with_trunk(self, page: Page, groups: Sequence[Group], digits: str) -> float:
        if groups[0].length == len(_TRUNK) or _DATE_FIRST.match(page.text, groups[0].start):
            return 0
        if not (self._any and self._any.fullmatch(digits)):
            return 0
        if len(groups) > 1:
            return FORM
        return FORM if self._mobile and self._mobile.fullmatch(digits) else WEAK


def _north_american(page: Page, groups: Sequence[Group]) -> float:
    has_parenthesis = page.text[groups[0].start - 1 : groups[0].start] == "("
    return FORM if has_parenthesis or groups[-1].link in {"-", "."} else WEAK


def _dialled(page: Page, first: int) -> Match | None:
    """A number after `00`, which most countries dial before a country's code."""
    start = page.groups[first].start
    return _international(page, first, start - 1, "", skipped=2) if page.text.startswith("00", start) else None


def _international(page: Page, first: int, sign: int, between: str, skipped: int = 0) -> Match | None:
    text = page.text
    start = sign if not skipped else sign + 1
    if between.strip(" (") or (start > 0 and text[start - 1].isascii() and text[start - 1].isalnum()):
        return None
    for last in reversed(_ends(page, first)):
        end = page.groups[last].end
        digits = _digits(page, first, last)[skipped:]
        if not _FEWEST_DIGITS <= len(digits) <= _MOST_DIGITS or not page.stands_alone(start, end):
            continue
        confidence = _judge_international(digits, is_grouped=last > first)
        if confidence:
            begin = start - 1 if start > 0 and text[start - 1] == "(" and ")" in text[start:end] else start
            return Match(max(begin, page.start), end, confidence, PHONE.name)
    return None


def _judge_international(digits: str, *, is_grouped: bool) -> float:
    for length in (1, 2, 3):
        if regions := COUNTRY_CODE_TO_REGION_CODE.get(int(digits[:length])):
            national = digits[length:].removeprefix(_TRUNK)
            if _is_given_out(int(digits[:length]), regions, national):
                return CERTAIN
            return FORM if is_grouped and len(digits) >= _FEWEST_UNKNOWN else 0
    return 0


def _ends(page: Page, first: int) -> range:
    """The groups that a number may end with."""
    groups, last, count = page.groups, first, page.groups[first].length
    while last + 1 < len(groups) and groups[last + 1].link is not None:
        group = groups[last + 1]
        count += group.length
        if count > _MOST_DIGITS + 2 or group.end - groups[first].start > _LONGEST - 2:
            break
        last += 1
    return range(first, last + 1)


def _span(page: Page, first: int, last: int) -> tuple[int, int]:
    start, end = page.groups[first].start, page.groups[last].end
    if start > page.start and page.text[start - 1] == "(" and ")" in page.text[start:end]:
        start -= 1
    return start, end


def _digits(page: Page, first: int, last: int) -> str:
    return "".join(page.text[group.start : group.end] for group in page.groups[first : last + 1])


def _sign_before(text: str, place: int) -> int:
    """Where the plus sign stands that a group of digits follows, an opening parenthesis or a space between; or -1."""
    for back in (1, 2):
        if place >= back and text[place - back] == "+":
            return place - back
    return -1


@lru_cache(maxsize=512)
def _is_known(region: str) -> re.Pattern[str] | None:
    return _either(_patterns(region, _TYPES))


def _is_given_out(code: int, regions: Iterable[str], national: str) -> bool:
    if code == _NORTH_AMERICAN_CODE:
        return _NORTH_AMERICAN.fullmatch(national) is not None
    names = (str(code),) if "001" in regions else tuple(regions)
    return any((pattern := _is_known(name)) is not None and pattern.fullmatch(national) for name in names)


def _metadata(region: str) -> PhoneMetadata | None:
    if region.isdigit():
        return PhoneMetadata.metadata_for_nongeo_region(int(region), None)
    return PhoneMetadata.metadata_for_region(region, None)


def _patterns(region: str, types: Iterable[str]) -> list[str]:
    metadata = _metadata(region)
    descriptions = [getattr(metadata, name) for name in types] if metadata else []
    return [found.national_number_pattern for found in descriptions if found and found.national_number_pattern]


def _either(patterns: Iterable[str]) -> re.Pattern[str] | None:
    alternatives = "|".join(f"(?:{pattern})" for pattern in patterns)
    return re.compile(alternatives) if alternatives else None
