"""Addresses of machines (IPv4, IPv6, MAC) and names with passwords in URLs."""

# ruff: noqa: PLR2004  (the numbers in the rules are the rules)

from typing import Final

from polyforge.privacy.late import Late
from polyforge.privacy.matches import CERTAIN, FORM, LIKELY, WEAK, Kind, Match
from polyforge.privacy.page import Page

_LONGEST: Final = 48
IP: Final = Kind(
    "ip",
    "network",
    "IP addresses, versions 4 and 6",
    _LONGEST,
    "three dots or '::' or seven colons",
    "range of each part",
)
MAC: Final = Kind("mac", "network", "MAC addresses", _LONGEST, "pairs of hexadecimal digits")
_SCHEME: Final = 20
_NAME: Final = 64
_PASSWORD: Final = 1024
"""Tokens stand there too."""
_HOST: Final = 255
URL: Final = Kind(
    "url_credentials",
    "secret",
    "URLs with a name and a password in them",
    _SCHEME + 3 + _NAME + 1 + _PASSWORD + 1 + _HOST,
    "'://'",
)
KINDS: Final = (IP, MAC, URL)

_V6_RUN: Final = Late("[0-9A-Fa-f:.]+")
_MAC_RUN: Final = Late("[0-9A-Fa-f:-]+")
# They begin with one sign, so the engine looks for that alone.
_EIGHT: Final = Late(":(?:[0-9A-Fa-f]{1,4}:){6}")
_PAIRS: Final = (Late(":[0-9A-Fa-f]{2}:"), Late("-[0-9A-Fa-f]{2}-"))
_MAC: Final = Late("[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\\1){4}[0-9A-Fa-f]{2}")
_HEXADECIMAL: Final = frozenset("0123456789abcdefABCDEF")
_IN_ADDRESSES: Final = "0123456789abcdefABCDEF:.-"
_JOINT: Final = Late("[:.-]")
_OCTET: Final = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_V4: Final = Late(rf"{_OCTET}(?:\.{_OCTET}){{3}}(?![0-9])")
_VERSIONS: Final = (
    "version", "versions", "ver", "v", "release", "firmware", "build", "section", "chapter", "clause", "§", "==", ">=",
    "<=", "~=", "!=",
)  # fmt: skip
_AROUND_VERSION: Final = ".: "
_SCHEME_BACKWARDS: Final = Late("[A-Za-z0-9+.-]{1,20}")
# In the name an @ may stand: that of an address, which is written as %40.
_USER_INFO: Final = Late(
    rf"[^\s/?#:'\"<>]{{0,{_NAME}}}:[^\s/?#@'\"<>]{{1,{_PASSWORD}}}@[\w.\[\]:-]{{0,{_HOST - 1}}}[\w\]]"
)
_USER_INFO_BEGUN: Final = Late(
    rf"[^\s/?#:'\"<>]{{0,{_NAME}}}(?::[^\s/?#@'\"<>]{{0,{_PASSWORD}}}(?:@[\w.\[\]:-]{{0,{_HOST}}})?)?"
)


class AddressFinder:
    """Finds IP and MAC addresses."""

    def __init__(self, *, ip: bool, mac: bool) -> None:
        self._ip, self._mac = ip, mac

    def find(self, page: Page) -> list[Match]:
        """All addresses."""
        text, finds = page.text, list[Match | None]()
        if self._ip and text.count(".") >= 3:
            groups = page.groups
            finds += [
                _v4(page, index)
                for index in range(len(groups) - 3)
                if groups[index + 1].link == groups[index + 2].link == groups[index + 3].link == "."
            ]
        if self._ip and ("::" in text or (text.count(":") >= 7 and _EIGHT.search(text))):
            runs = (run.span() for run in _V6_RUN.finditer(text))
            finds += [_v6(page, *run) for run in runs if text.count(":", *run) > 1 and run[1] - run[0] > len("::1")]
        if self._mac and any(pair.search(text) for pair in _PAIRS):
            finds += [_mac(page, *run.span()) for run in _MAC_RUN.finditer(text)]
        return [find for find in finds if find]

    def opening(self, page: Page) -> int:
        """Where hexadecimal digits and what joins them begin, when they go on to the end and may be an address."""
        text, size = page.text, len(page.text)
        tail = text[max(page.start, size - _LONGEST) :]
        signs = tail[len(tail.rstrip(_IN_ADDRESSES)) :]
        begin = size - len(signs)
        if begin in (0, size - _LONGEST) or not (text[begin - 1].isascii() and text[begin - 1].isalnum()):
            return begin
        joint = _JOINT.search(signs)
        return begin + joint.end() if joint else size


class UrlFinder:
    """Finds names and passwords in URLs, around each `://`."""

    def find(self, page: Page) -> list[Match]:
        """All URLs with a password."""
        text, finds = page.text, list[Match]()
        place = text.find("://", page.start)
        while place >= 0:
            found = _USER_INFO.match(text, place + 3)
            if found and (start := _scheme_start(text, place)) < place:
                finds.append(Match(start, found.end(), CERTAIN, URL.name))
            place = text.find("://", place + 3)
        return finds

    def opening(self, page: Page) -> int:
        """Where a URL begins whose host is not over yet, or a word that may become its scheme."""
        text, size = page.text, len(page.text)
        place = text.rfind("://", page.start)
        if place >= 0 and _USER_INFO_BEGUN.fullmatch(text, place + 3):
            return max(page.start, _scheme_start(text, place))
        end = size - (2 if text.endswith(":/") else 1 if text.endswith(":") else 0)
        return max(page.start, _scheme_start(text, end))


def _scheme_start(text: str, end: int) -> int:
    """Where the scheme that ends at a place begins; the place itself when there is none."""
    found = _SCHEME_BACKWARDS.match(text[max(0, end - _SCHEME) : end][::-1])
    return end - len(found[0]) if found else end


def _after_name(text: str, start: int, end: int) -> int:
    """Where an address begins among signs of addresses: after a colon when letters touch them (`MAC:00:...`)."""
    if start == 0 or not (text[start - 1].isascii() and text[start - 1].isalnum()):
        return start
    colon = text.find(":", start, end)
    return colon + 1 if colon >= 0 else end


def _v4(page: Page, first: int) -> Match | None:
    groups, text = page.groups, page.text
    start, end = groups[first].start, groups[first + 3].end
    if groups[first].link in {".", "-"} or (first + 4 < len(groups) and groups[first + 4].link in {".", "-"}):
        return None
    if not _V4.match(text, start):
        return None
    if not page.stands_alone(start, end) or page.before(start, 16).rstrip(_AROUND_VERSION).endswith(_VERSIONS):
        return None
    value = text[start:end]
    is_nobodys = value.startswith(("127.", "0.")) or value == "255.255.255.255"
    return Match(start, end, WEAK if is_nobodys else LIKELY if len(value) > 7 else FORM, IP.name)


def _v6(page: Page, start: int, end: int) -> Match | None:
    text = page.text
    if end - start > _LONGEST:
        return None
    start, end = _after_name(text, start, end), start + len(text[start:end].rstrip("."))
    if text.endswith(":", start, end) and not text.endswith("::", start, end):
        end -= 1
    if not page.stands_alone(start, end) or not _is_v6(text[start:end]):
        return None
    value = text[start:end]
    return Match(start, end, WEAK if value in {"::", "::1"} else LIKELY, IP.name)


def _is_v6(value: str) -> bool:
    """RFC 4291: eight parts, or fewer around one `::`; here with a digit, for `abc::def` is a name in programs."""
    if ":::" in value or value.count("::") > 1 or not any(map(str.isdigit, value)):
        return False
    head, gap, tail = value.partition("::")
    parts = [*head.split(":"), *tail.split(":")] if gap else head.split(":")
    parts = [part for part in parts if part] if gap else parts
    count = len(parts)
    if parts and "." in parts[-1]:
        numbers = parts.pop().split(".")
        count += 1
        if len(numbers) != 4 or not all(number.isdigit() and int(number) <= 255 for number in numbers):
            return False
    is_short = all(0 < len(part) <= 4 and _HEXADECIMAL.issuperset(part) for part in parts)
    return is_short and (count < 8 if gap else count == 8)


def _mac(page: Page, start: int, end: int) -> Match | None:
    if end - start > _LONGEST:
        return None
    start = _after_name(page.text, start, end)
    found = _MAC.fullmatch(page.text, start, end)
    return Match(start, end, LIKELY, MAC.name) if found and page.stands_alone(start, end) else None
