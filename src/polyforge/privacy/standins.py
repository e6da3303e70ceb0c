"""Values that stand for others: of the same shape, and out of ranges that nobody has."""

import hmac
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from polyforge.privacy.folding import fold

_LETTERS: Final = "abcdefghijkmnpqrstuvwxyz23456789"
"""What is not taken for something else when it is read or copied."""
_UNASSIGNED_CODE: Final = "999"
"""No country has it (ITU-T E.164)."""
_FICTION: Final = "55501"
"""In North America, numbers of films and books: 555-0100 to 555-0199."""
_NORTH_AMERICAN: Final = (3, 3, 4)


class _Draw:
    """Digits and letters that a key and a value decide; whoever lacks the key cannot tell them from chance."""

    def __init__(self, key: bytes, *words: str) -> None:
        self._number = int.from_bytes(hmac.digest(key, "\0".join(words).encode(errors="surrogatepass"), "sha512"))

    def below(self, bound: int) -> int:
        self._number, drawn = divmod(self._number, bound)
        return drawn

    def digits(self, count: int) -> str:
        return "".join(str(self.below(10)) for _ in range(count))

    def letters(self, count: int) -> str:
        return "".join(_LETTERS[self.below(len(_LETTERS))] for _ in range(count))


def stand_ins(key: bytes, kind: str, value: str) -> Iterator[str]:
    """Endless stand-ins for a value, the likeliest first; the same ones for the same key, kind and value.

    Two ways of writing one value (spaces, dashes, capitals) get the same digits, each in its own layout.
    """
    folded = fold(value).text
    meaning = folded.casefold() if "@" in folded else "".join(filter(str.isalnum, folded.casefold()))
    shape = _SHAPES.get(kind, _label if kind in _LABELLED else _any_id)
    attempt = 0
    while True:
        yield (shape if attempt < _ATTEMPTS_IN_SHAPE else _label)(_Draw(key, kind, meaning, str(attempt)), kind, folded)
        attempt += 1


def _label(draw: _Draw, kind: str, _value: str) -> str:
    return f"{kind.upper()}_{draw.letters(10)}"


def _email(draw: _Draw, _kind: str, _value: str) -> str:
    return f"user.{draw.letters(10)}@example.com"


def _url(draw: _Draw, _kind: str, value: str) -> str:
    scheme = value.partition("://")[0]
    return f"{scheme}://user:{draw.letters(10)}@example.com"


def _phone(draw: _Draw, _kind: str, value: str) -> str:
    count = sum(map(str.isdigit, value))
    if value.lstrip("( ").startswith(("+", "00")):
        lead = "00" if value.lstrip("( ").startswith("00") else ""
        return _laid_out(value, lead + _UNASSIGNED_CODE + draw.digits(count))
    if _lengths(value) == _NORTH_AMERICAN:
        return _laid_out(value, str(2 + draw.below(8)) + draw.digits(2) + _FICTION + draw.digits(2))
    return _laid_out(value, "000" + draw.digits(count))


def _card(draw: _Draw, _kind: str, value: str) -> str:
    return _laid_out(value, "0" + draw.digits(len(value)))


def _iban(draw: _Draw, _kind: str, value: str) -> str:
    return value[:2] + _laid_out(value[2:], "00" + draw.digits(len(value)))


def _ip(draw: _Draw, _kind: str, value: str) -> str:
    if ":" in value:
        return f"2001:db8:{draw.below(0x10000):x}:{draw.below(0x10000):x}::{1 + draw.below(0xFFFF):x}"
    return f"{240 + draw.below(15)}.{draw.below(256)}.{draw.below(256)}.{1 + draw.below(254)}"


def _mac(draw: _Draw, _kind: str, value: str) -> str:
    signs = iter(f"02005e{draw.below(0x1000000):06x}")
    return "".join(next(signs) if sign.isalnum() else sign for sign in value)


def _any_id(draw: _Draw, _kind: str, value: str) -> str:
    digits = sum(map(str.isdigit, value))
    laid_out = _laid_out(value, ("000" if digits > _SHORT_ID else "0") + draw.digits(digits))
    return "".join(chr(ord("A") + draw.below(26)) if sign.isalpha() else sign for sign in laid_out)


def _laid_out(value: str, digits: str) -> str:
    """A value with other digits in the places of its own."""
    rest = iter(digits)
    return "".join(next(rest) if sign.isdigit() else sign for sign in value)


def _lengths(value: str) -> tuple[int, ...]:
    return tuple(len(part) for part in "".join(sign if sign.isdigit() else " " for sign in value).split())


_ATTEMPTS_IN_SHAPE: Final = 20
_SHORT_ID: Final = 6
_LABELLED: Final = frozenset({"address", "date_of_birth", "api_key", "jwt", "private_key", "password"})
_SHAPES: Final[Mapping[str, Callable[[_Draw, str, str], str]]] = {
    "email": _email,
    "url_credentials": _url,
    "phone": _phone,
    "card": _card,
    "iban": _iban,
    "ip": _ip,
    "mac": _mac,
}
