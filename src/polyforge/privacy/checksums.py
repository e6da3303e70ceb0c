"""The check digits of cards, accounts and identity numbers, over ASCII digits (and letters where it says so)."""

from collections.abc import Sequence
from datetime import date
from operator import mul
from typing import Final

_ZERO: Final = ord("0")
_DOUBLED: Final = bytes.maketrans(b"0123456789", bytes(sum(divmod(2 * digit, 10)) + _ZERO for digit in range(10)))
# fmt: off
_VERHOEFF_PRODUCT: Final = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 4, 0, 6, 7, 8, 9, 5), (2, 3, 4, 0, 1, 7, 8, 9, 5, 6),
    (3, 4, 0, 1, 2, 8, 9, 5, 6, 7), (4, 0, 1, 2, 3, 9, 5, 6, 7, 8), (5, 9, 8, 7, 6, 0, 4, 3, 2, 1),
    (6, 5, 9, 8, 7, 1, 0, 4, 3, 2), (7, 6, 5, 9, 8, 2, 1, 0, 4, 3), (8, 7, 6, 5, 9, 3, 2, 1, 0, 4),
    (9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
)
_VERHOEFF_PERMUTATION: Final = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 5, 7, 6, 2, 8, 3, 0, 9, 4), (5, 8, 0, 3, 7, 9, 6, 1, 4, 2),
    (8, 9, 1, 6, 0, 4, 3, 5, 2, 7), (9, 4, 5, 3, 1, 2, 6, 8, 7, 0), (4, 2, 8, 6, 5, 7, 3, 9, 0, 1),
    (2, 7, 9, 3, 8, 0, 6, 4, 1, 5), (7, 0, 4, 6, 9, 1, 3, 2, 5, 8),
)
# fmt: on


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B: cards, Swedish, Canadian and South African numbers."""
    signs = digits.encode()[::-1]
    return (sum(signs[::2]) + sum(signs[1::2].translate(_DOUBLED)) - _ZERO * len(signs)) % 10 == 0


def verhoeff(digits: str) -> bool:
    """Verhoeff's dihedral check (Mathematical Centre Tracts 29, 1969): Aadhaar."""
    check = 0
    for place, sign in enumerate(reversed(digits)):
        check = _VERHOEFF_PRODUCT[check][_VERHOEFF_PERMUTATION[place % 8][int(sign)]]
    return check == 0


def weighted(digits: str, weights: Sequence[int]) -> int:
    """The sum of the first digits, each times its weight; there is a digit for every weight."""
    return sum(map(mul, digits.encode(), weights)) - _ZERO * sum(weights)


def mod_97(signs: str) -> bool:
    """ISO 7064 mod 97-10 as IBANs use it: the first four signs moved to the end, letters as 10 to 35."""
    return int("".join(str(int(sign, 36)) for sign in signs[4:] + signs[:4])) % 97 == 1


def mod_11_10(digits: str) -> bool:
    """ISO 7064 mod 11,10, a hybrid system with one check digit: the German tax number."""
    product = 10
    for digit in digits[:-1]:
        product = 2 * ((int(digit) + product) % 10 or 10) % 11
    return (product + int(digits[-1])) % 10 == 1


def ean(digits: str) -> bool:
    """GS1's check digit over weights 1 and 3: the Swiss insurance number."""
    signs = [int(digit) for digit in reversed(digits)]
    return (sum(signs[::2]) + 3 * sum(signs[1::2])) % 10 == 0


def is_date(year: str, month: str, day: str) -> bool:
    """Whether there is such a day; a year of two digits may be of this century or of the last."""
    years = (int(year),) if len(year) > 2 else (1900 + int(year), 2000 + int(year))  # noqa: PLR2004
    return any(_exists(full, int(month), int(day)) for full in years)


def _exists(year: int, month: int, day: int) -> bool:
    if not (0 < month <= 12 and 0 < day <= 31):  # noqa: PLR2004
        return False
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True
