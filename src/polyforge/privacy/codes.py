"""Identity numbers made of letters and digits, and bank accounts (IBAN)."""

# ruff: noqa: PLR2004  (the numbers in the rules are the rules)

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from polyforge.privacy.checksums import is_date, mod_97, weighted
from polyforge.privacy.late import Late
from polyforge.privacy.matches import CERTAIN, FORM, LIKELY, WEAK, Kind, Match
from polyforge.privacy.national import GROUP, words
from polyforge.privacy.page import Group, Page

_LONGEST: Final = 48
IBAN: Final = Kind("iban", "finance", "bank accounts (IBAN)", _LONGEST, "digits", "mod 97 and the country's length")
# fmt: off
_IBAN_LENGTHS: Final[Mapping[str, int]] = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29,
    "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
    "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
    "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20,
    "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19,
    "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29,
    "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24,
    "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
    "YE": 30,
}
# fmt: on
"""SWIFT's IBAN registry, release 100."""
_IBAN_REST: Final = Late("(?:[ -]?[A-Za-z0-9]){11,32}")


class CodeId(msgspec.Struct, frozen=True):
    """A number that is told by its pattern, over capitals. In small letters it counts only after one of its words."""

    kind: Kind
    lengths: tuple[int, ...]
    pattern: Late
    confidence: float
    words: Late
    is_valid: Callable[[str], bool] = bool


def _kind(name: str, description: str, checked_by: str = "") -> Kind:
    return Kind(name, GROUP, description, _LONGEST, "digits", checked_by)


def _is_gstin(code: str) -> bool:
    """GST Network: base 36, weights 1 and 2, digits of the products added."""
    total = sum(sum(divmod(int(sign, 36) * (1 + place % 2), 36)) for place, sign in enumerate(code[:14]))
    return int(code[14], 36) == -total % 36


def _is_dni(code: str) -> bool:
    """Ministerio del Interior: the letter of the rest by 23; X, Y, Z of foreigners count as 0, 1, 2."""
    number = int(code[:8].translate(str.maketrans("XYZ", "012")))
    return "TRWAGMYFPDXBNJZSQVHLCKE"[number % 23] == code[8]


_ODD_DIGITS: Final = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21)
_ODD_LETTERS: Final = (*_ODD_DIGITS, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
_ODD: Final = dict(zip("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", _ODD_DIGITS + _ODD_LETTERS, strict=True))


def _is_codice_fiscale(code: str) -> bool:
    """Agenzia delle Entrate (decree of 23 December 1976): a table for odd places, the value itself for even ones."""
    odd = sum(_ODD[sign] for sign in code[:15:2])
    even = sum(int(sign, 36) - (10 if sign.isalpha() else 0) for sign in code[1:15:2])
    return chr(ord("A") + (odd + even) % 26) == code[15]


def _is_pps(code: str) -> bool:
    """Department of Social Protection: weights 8 to 2, a second letter times 9, mod 23."""
    second = 9 * (ord(code[8]) - ord("A") + 1) if len(code) == 9 and code[8] != "W" else 0
    return "WABCDEFGHIJKLMNOPQRSTUV"[(weighted(code[:7], range(8, 1, -1)) + second) % 23] == code[7]


def _is_nric(code: str) -> bool:
    """Singapore's ICA: weights 2, 7, 6, 5, 4, 3, 2; 4 more for T and G, 3 for M; a table of letters for each series."""
    rest = (weighted(code[1:8], (2, 7, 6, 5, 4, 3, 2)) + {"T": 4, "G": 4, "M": 3}.get(code[0], 0)) % 11
    if code[0] == "M":
        return "KLJNPQRTUWX"[10 - rest] == code[8]
    return ("JZIHGFEDCBA" if code[0] in "ST" else "XWUTRQPNMLK")[rest] == code[8]


def _is_curp(code: str) -> bool:
    """Mexico's RENAPO: weights 18 to 2 over digits and letters, Ñ among them; mod 10."""
    signs = "0123456789ABCDEFGHIJKLMNÑOPQRSTUVWXYZ"
    total = sum(signs.index(sign) * weight for sign, weight in zip(code[:17], range(18, 1, -1), strict=True))
    return -total % 10 == int(code[17]) and is_date(code[4:6], code[6:8], code[8:10])


def _is_chinese(code: str) -> bool:
    """GB 11643: a date, and ISO 7064 mod 11-2."""
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(code[:17]))
    return "10X98765432"[total % 11] == code[17] and is_date(code[6:10], code[10:12], code[12:14])


CODES: Final = (
    CodeId(
        _kind("in_pan", "India, Permanent Account Number", "the letter for the kind of holder"),
        (10,),
        Late("[A-Z]{3}[ABCFGHJLPT][A-Z][0-9]{4}[A-Z]"),
        LIKELY,
        words("pan", "permanent account", "income tax", "पैन"),
    ),
    CodeId(
        _kind("in_gstin", "India, Goods and Services Tax number (it contains a PAN)", "check digit of base 36"),
        (15,),
        Late("[0-3][0-9][A-Z]{5}[0-9]{4}[A-Z][1-9A-Z]Z[0-9A-Z]"),
        CERTAIN,
        words("gst(?:in)?"),
        _is_gstin,
    ),
    CodeId(
        _kind("in_voter_id", "India, voter's identity card (EPIC)"),
        (10,),
        Late("[A-Z]{3}[0-9]{7}"),
        WEAK,
        words("voter", "epic", "election", "elector", "मतदाता", "वोटर"),
    ),
    CodeId(
        _kind("in_driving_licence", "India, driving licence"),
        (15,),
        Late("[A-Z]{2}[0-9]{2}(?:19|20)[0-9]{9}"),
        FORM,
        words("driving", "driver'?s?", "licen[cs]e", "dl", "ड्राइविंग"),
    ),
    CodeId(
        _kind("passport", "passports, after the word", "a word for passport before it"),
        (7, 8, 9, 10),
        Late("[A-Z]{0,2}[0-9]{6,9}|[CFGHJKLMNPRTVWXYZ0-9]{9}"),
        WEAK,
        words(
            "pass ?port(?: (?:number|no|num|nr|#))?", "(?:reise)?pass(?:nummer|-?nr)?", "passeport(?: n[°o]?)?",
            "pasaporte", "passaporto", "passaporte", "paspoort(?:nummer)?", "पासपोर्ट(?: (?:नंबर|संख्या))?",
        ),
    ),
    CodeId(
        _kind("es_dni", "Spain, DNI and NIE", "the letter of the rest by 23"),
        (9,),
        Late("(?:[0-9]{8}|[XYZ][0-9]{7})[A-HJ-NP-TV-Z]"),
        LIKELY,
        words("dni", "nie", "nif"),
        _is_dni,
    ),
    CodeId(
        _kind("it_codice_fiscale", "Italy, codice fiscale", "its check letter"),
        (16,),
        Late("[A-Z]{6}[0-9LMNP-V]{2}[ABCDEHLMPRST][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z]"),
        CERTAIN,
        words("codice fiscale", "cf"),
        _is_codice_fiscale,
    ),
    CodeId(
        _kind("ie_pps", "Ireland, PPS number", "mod 23"),
        (8, 9),
        Late("[0-9]{7}[A-W][A-IW]?"),
        FORM,
        words("ppsn?", "personal public service"),
        _is_pps,
    ),
    CodeId(
        _kind("sg_nric", "Singapore, NRIC and FIN", "its check letter"),
        (9,),
        Late("[STFGM][0-9]{7}[A-Z]"),
        LIKELY,
        words("nric", "fin"),
        _is_nric,
    ),
    CodeId(
        _kind("mx_curp", "Mexico, CURP", "mod 10 and a date"),
        (18,),
        Late("[A-Z]{4}[0-9]{6}[HMX][A-Z]{5}[0-9A-Z][0-9]"),
        CERTAIN,
        words("curp"),
        _is_curp,
    ),
    CodeId(
        _kind("cn_id", "China, resident identity card", "mod 11-2 and a date"),
        (18,),
        Late("[1-9][0-9]{16}[0-9X]"),
        CERTAIN,
        words("身份证"),
        _is_chinese,
    ),
)  # fmt: skip
NINO: Final = _kind("uk_nino", "United Kingdom, National Insurance number", "prefixes that exist")
HETU: Final = _kind("fi_hetu", "Finland, henkilötunnus", "mod 31 and a date")
KINDS: Final = (IBAN, *(code.kind for code in CODES), NINO, HETU)

_NINO: Final = Late("(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]")
_HETU: Final = Late("[0-9]{6}[-+A-FU-Y][0-9]{3}[0-9A-FHJ-NPR-Y]")
_HETU_SIGNS: Final = "0123456789ABCDEFHJKLMNPRSTUVWXY"
_PARTED: Final = (2, 6)
_NEAR: Final = 40
_TAIL: Final = Late(
    r"(?<![A-Za-z0-9])(?:[A-Za-z0-9]{1,34}|[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]){0,32}[ -]?"
    r"|[A-Z]{2} ?(?:[0-9]{1,2} ?){0,3}[A-D]?|[0-9]{6}[-+A-Z]?[0-9]{0,3}[0-9A-Z]?)\Z"
)
_TAIL_SIGNS: Final = frozenset(" +-")


class CodeFinder:
    """Finds codes, each by its length and pattern."""

    def __init__(self, kinds: Iterable[str]) -> None:
        wanted = frozenset(kinds)
        self._by_length: dict[int, list[CodeId]] = {}
        for code in CODES:
            for length in code.lengths if code.kind.name in wanted else ():
                self._by_length.setdefault(length, []).append(code)
        self._has_iban, self._has_nino = IBAN.name in wanted, NINO.name in wanted
        self._has_hetu = HETU.name in wanted

    def find(self, page: Page) -> list[Match]:
        """All codes."""
        finds: list[Match | None] = []
        for start, end in page.codes:
            if start < page.start:
                continue
            finds += [_judge(page, start, end, code) for code in self._by_length.get(end - start, ())]
            if self._has_iban and page.text[start].isalpha():
                finds.append(_iban(page, start))
        if self._has_nino or self._has_hetu:
            finds += [self._parted(page, group) for group in page.groups if group.length in _PARTED]
        return [find for find in finds if find]

    def opening(self, page: Page) -> int:
        """Where letters and digits begin that the end of the page may cut off."""
        text, size = page.text, len(page.text)
        if not size or not (text[-1] in _TAIL_SIGNS or text[-1].isalnum()):
            return size
        found = _TAIL.search(text, max(page.start, size - _LONGEST))
        return found.start() if found else size

    def _parted(self, page: Page, group: Group) -> Match | None:
        text, start = page.text, group.start
        if self._has_hetu and group.length == 6 and (find := _hetu(page, start)):
            return find
        if self._has_nino and start >= 2:
            start -= 3 if text[start - 1] == " " else 2
            found = _NINO.match(text, start) if start >= 0 else None
            if found and page.stands_alone(*found.span()):
                return Match(*found.span(), LIKELY, NINO.name)
        return None


def _judge(page: Page, start: int, end: int, code: CodeId) -> Match | None:
    value = page.text[start:end]
    capitals = value.upper()
    if not code.pattern.fullmatch(capitals) or not code.is_valid(capitals):
        return None
    if page.says_before(code.words, start, _NEAR):
        return Match(start, end, max(code.confidence, LIKELY), code.kind.name)
    return Match(start, end, code.confidence if value == capitals else WEAK, code.kind.name)


def _iban(page: Page, start: int) -> Match | None:
    text = page.text
    length = _IBAN_LENGTHS.get(text[start : start + 2].upper())
    if length is None or not text[start + 2 : start + 4].isdigit():
        return None
    rest = _IBAN_REST.match(text, start + 4)
    if rest is None:
        return None
    end, left = start + 4, length - 4
    while left and end < rest.end():
        left -= text[end] not in " -"
        end += 1
    value = text[start:end].replace(" ", "").replace("-", "").upper()
    if left or not page.stands_alone(start, end) or not mod_97(value):
        return None
    return Match(start, end, CERTAIN, IBAN.name)


def _hetu(page: Page, start: int) -> Match | None:
    """Digital and Population Data Services Agency: a date, a sign for the century, and the rest by 31."""
    found = _HETU.match(page.text, start)
    if not found or not page.stands_alone(*found.span()):
        return None
    code = found[0]
    is_checked = _HETU_SIGNS[int(code[:6] + code[7:10]) % 31] == code[10]
    return Match(*found.span(), CERTAIN, HETU.name) if is_checked and is_date(code[4:6], code[2:4], code[:2]) else None
