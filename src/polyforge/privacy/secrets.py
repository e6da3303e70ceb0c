"""API keys by their prefixes, tokens, private keys, and what follows words like `password`."""

from collections.abc import Mapping
from typing import Final

from polyforge.privacy.beginnings import beginnings, either
from polyforge.privacy.late import Late
from polyforge.privacy.matches import CERTAIN, Kind, Match
from polyforge.privacy.page import Page

_LONGEST_KEY: Final = 1024
_LONGEST_TOKEN: Final = 8192
_LONGEST_BODY: Final = 8192
_LONGEST_VALUE: Final = 128
API_KEY: Final = Kind(
    "api_key", "secret", "API keys of known services", _LONGEST_KEY, "their prefixes", "their lengths"
)
JWT: Final = Kind("jwt", "secret", "JSON Web Tokens", _LONGEST_TOKEN, "'eyJ'", "two parts that begin as JSON does")
PRIVATE_KEY: Final = Kind("private_key", "secret", "private keys in PEM", _LONGEST_BODY + 1024, "'-----BEGIN'")
PASSWORD: Final = Kind(
    "password",
    "secret",
    "what follows password, secret, token and the like",
    _LONGEST_VALUE + 2,
    "':', '=' or a verb after such a word",
    "it looks made up: letters with digits or signs, or digits after a word for them",
)
KINDS: Final = (API_KEY, JWT, PRIVATE_KEY, PASSWORD)

# What is longer than a stream waits for is a match all the same, to its end: these characters belong to it.
_REST_OF_KEY: Final = Late(r"[A-Za-z0-9_.+/=-]*")
_REST_OF_PEM: Final = Late(r"[A-Za-z0-9+/=\s\\]*")
REST_OF_VALUE: Final = Late(r"[^\s\"'`,;<>]*")
RESTS: Final[Mapping[str, Late]] = {
    API_KEY.name: _REST_OF_KEY,
    JWT.name: _REST_OF_KEY,
    PRIVATE_KEY.name: _REST_OF_PEM,
    PASSWORD.name: REST_OF_VALUE,
}
"""By kind, what still belongs to a match that a stream has let go before its end came."""

_IN_KEYS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.:"
_IN_WEBHOOK_KEYS: Final = _IN_KEYS + "+/="
_WEBHOOK_MARK: Final = "whsec_"
_JWT_MARK: Final = "eyJ"
# Signed (RFC 7515), with a body that is JSON, or encrypted (RFC 7516), in five parts.
_JWT: Final = Late(
    r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}"
    r"(?:\.eyJ[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?|\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]{8,}){3})"
)


def _key(pattern: str) -> Late:
    return Late(pattern)


_KEYS: Final[Mapping[str, Late]] = {
    "pf-": _key("pf-[A-Za-z0-9_-]{43}"),
    "sk-": _key("sk-(?=[A-Za-z_-]{0,40}[0-9][A-Za-z_-]{0,40}[0-9])[A-Za-z0-9_-]{20,}"),
    "sk_live_": _key("sk_live_[A-Za-z0-9]{16,}"),
    "sk_test_": _key("sk_test_[A-Za-z0-9]{16,}"),
    "rk_live_": _key("rk_live_[A-Za-z0-9]{16,}"),
    "rk_test_": _key("rk_test_[A-Za-z0-9]{16,}"),
    "rzp_live_": _key("rzp_live_[A-Za-z0-9]{14,}"),
    "rzp_test_": _key("rzp_test_[A-Za-z0-9]{14,}"),
    _WEBHOOK_MARK: _key("whsec_[A-Za-z0-9+/=]{24,}"),
    "AKIA": _key("AKIA[A-Z0-9]{16}(?![A-Za-z0-9])"),
    "ASIA": _key("ASIA[A-Z0-9]{16}(?![A-Za-z0-9])"),
    "ghp_": _key("ghp_[A-Za-z0-9]{30,}"),
    "gho_": _key("gho_[A-Za-z0-9]{30,}"),
    "ghu_": _key("ghu_[A-Za-z0-9]{30,}"),
    "ghs_": _key("ghs_[A-Za-z0-9]{30,}"),
    "ghr_": _key("ghr_[A-Za-z0-9]{30,}"),
    "github_pat_": _key("github_pat_[A-Za-z0-9_]{40,}"),
    "glpat-": _key("glpat-[A-Za-z0-9_-]{20,}"),
    "xox": _key("xox[abeprs]-[A-Za-z0-9-]{10,}"),
    "xapp-": _key("xapp-[A-Za-z0-9-]{20,}"),
    "AIza": _key("AIza[A-Za-z0-9_-]{35}"),
    "GOCSPX-": _key("GOCSPX-[A-Za-z0-9_-]{20,}"),
    "ya29.": _key(r"ya29\.[A-Za-z0-9_-]{20,}"),
    "hf_": _key("hf_[A-Za-z0-9]{30,}"),
    "gsk_": _key("gsk_[A-Za-z0-9]{40,}"),
    "xai-": _key("xai-[A-Za-z0-9]{40,}"),
    "pplx-": _key("pplx-[A-Za-z0-9]{40,}"),
    "r8_": _key("r8_[A-Za-z0-9]{30,}"),
    "nvapi-": _key("nvapi-[A-Za-z0-9_-]{40,}"),
    "SG.": _key(r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
    "npm_": _key("npm_[A-Za-z0-9]{36}"),
    "pypi-": _key("pypi-[A-Za-z0-9_-]{50,}"),
    "dop_v1_": _key("dop_v1_[a-f0-9]{64}"),
    "shpat_": _key("shpat_[A-Fa-f0-9]{32}"),
    "dckr_pat_": _key("dckr_pat_[A-Za-z0-9_-]{20,}"),
    "dapi": _key("dapi[a-f0-9]{32}"),
    "hvs.": _key(r"hvs\.[A-Za-z0-9_-]{20,}"),
    "glsa_": _key("glsa_[A-Za-z0-9_]{30,}"),
    "lsv2_": _key("lsv2_[A-Za-z0-9_]{30,}"),
    "AGE-SECRET-KEY-1": _key("AGE-SECRET-KEY-1[A-Z0-9]{50,}"),
}
_PREFIXES: Final = (*_KEYS, _JWT_MARK)
_BEGUN: Final = Late(rf"(?<![A-Za-z0-9])(?:{either(_PREFIXES)}|{beginnings(_PREFIXES)}\Z)")
_JWT_BEGUN: Final = Late(rf"(?<![A-Za-z0-9]){_JWT_MARK}")

_PEM_MARK: Final = "-----BEGIN "
_PEM_LINE: Final = "-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
_PEM_HEADERS: Final = r"(?:\s{0,4}[A-Za-z-]{1,20}: [^\n]{0,100}\n){0,4}"
_PEM: Final = Late(_PEM_LINE + _PEM_HEADERS)
_PEM_BEGUN: Final = Late(
    rf"-----BEGIN (?:[A-Z0-9]{{1,12}} ){{0,3}}[A-Z -]{{0,24}}"
    rf"|{_PEM_LINE}{_PEM_HEADERS}\s{{0,4}}(?:[A-Za-z-]{{1,20}}(?::(?: [^\n]{{0,100}})?)?)?"
)
_PEM_BODY: Final = Late(r"[A-Za-z0-9+/=\s\\-]*")
_PEM_END: Final = Late("-----END [A-Z0-9 ]{1,50}-----")


class KeyFinder:
    """Finds API keys and JSON Web Tokens at their prefixes."""

    def __init__(self, *, keys: bool, tokens: bool) -> None:
        patterns = [(prefix, pattern, API_KEY) for prefix, pattern in _KEYS.items() if keys]
        if tokens:
            patterns.append((_JWT_MARK, _JWT, JWT))
        self._tokens = tokens
        self._by_sign = {
            sign: [entry for entry in patterns if entry[0][-1] == sign]
            for sign in sorted({prefix[-1] for prefix, _, _ in patterns})
        }

    def find(self, page: Page) -> list[Match]:
        """All keys and tokens."""
        text, finds = page.text, list[Match]()
        present = [entry for sign, entries in self._by_sign.items() if sign in text for entry in entries]
        for prefix, pattern, kind in present:
            place = text.find(prefix, page.start)
            while place >= 0:
                found = _begins_alone(text, place) and pattern.match(text, place, place + kind.longest)
                if found:
                    finds.append(Match(place, _end(text, place, found.end(), kind), CERTAIN, kind.name))
                place = text.find(prefix, place + len(prefix))
        return finds

    def opening(self, page: Page) -> int:
        """Where a prefix begins after which all characters are those of keys."""
        text, size = page.text, len(page.text)
        tail = text[max(page.start, size - _LONGEST_TOKEN) :]
        signs = _IN_WEBHOOK_KEYS if _WEBHOOK_MARK in tail else _IN_KEYS
        begin = size - len(tail) + len(tail.rstrip(signs))
        if size - begin > _LONGEST_KEY:
            token = _JWT_BEGUN.search(text, begin) if self._tokens else None
            if token:
                return token.start()
        found = _BEGUN.search(text, max(begin, size - _LONGEST_KEY))
        return found.start() if found else size


class PemFinder:
    """Finds private keys in PEM (RFC 7468), also when their end is missing."""

    def find(self, page: Page) -> list[Match]:
        """All private keys."""
        text, finds = page.text, list[Match]()
        place = text.find(_PEM_MARK, page.start)
        while place >= 0:
            head = _PEM.match(text, place)
            end = _end_of_pem(text, head.end()) if head else place + 1
            if head:
                finds.append(Match(place, end, CERTAIN, PRIVATE_KEY.name))
            place = text.find(_PEM_MARK, end)
        return finds

    def opening(self, page: Page) -> int:
        """Where a key begins whose end has not come, or dashes that may begin one."""
        text, size = page.text, len(page.text)
        place = text.find(_PEM_MARK, page.start)
        while place >= 0:
            if _PEM_BEGUN.fullmatch(text, place):
                return place
            head = _PEM.match(text, place)
            end = _end_of_pem(text, head.end(), stripped=False) if head else place + 1
            if head and end == size and size - head.end() < _LONGEST_BODY:
                return place
            place = text.find(_PEM_MARK, end)
        if "-" not in text[-len(_PEM_MARK) :]:
            return size
        for length in range(min(len(_PEM_MARK) - 1, size - page.start), 0, -1):
            if _PEM_MARK.startswith(text[size - length :]):
                return size - length
        return size


def _begins_alone(text: str, place: int) -> bool:
    return place == 0 or not (text[place - 1].isascii() and text[place - 1].isalnum())


def _end(text: str, start: int, end: int, kind: Kind) -> int:
    """Where a match ends, of which no more than a stream waits for was looked at."""
    if end - start < kind.longest:
        return end
    rest = _REST_OF_KEY.match(text, end)
    return rest.end() if rest else end


def _end_of_pem(text: str, place: int, *, stripped: bool = True) -> int:
    found = _PEM_BODY.match(text, place, place + _LONGEST_BODY)
    end = found.end() if found else place
    footer = _PEM_END.search(text, place, end)
    if footer:
        return footer.end()
    if end - place == _LONGEST_BODY:
        rest = _REST_OF_PEM.match(text, end)
        return rest.end() if rest else end
    return place + len(text[place:end].rstrip()) if stripped else end
