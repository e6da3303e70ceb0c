"""Payment cards: the beginnings and lengths that schemes give out, and Luhn (ISO/IEC 7812)."""

import re
from typing import Final

from polyforge.privacy.checksums import luhn
from polyforge.privacy.matches import CERTAIN, LIKELY, WEAK, Kind
from polyforge.privacy.national import LONGEST, NumberId, words

CARD: Final = Kind(
    "card",
    "finance",
    "payment cards: Visa, Mastercard, American Express, RuPay, Discover, Diners, JCB, UnionPay, Maestro, Mir, Troy",
    LONGEST,
    "digits",
    "Luhn; the beginnings and lengths of schemes",
)
_SCHEMES: Final = re.compile(
    r"4(?:[0-9]{15}|[0-9]{12}|[0-9]{18})"  # Visa
    r"|(?:5[1-5][0-9]{4}|222[1-9][0-9]{2}|22[3-9][0-9]{3}|2[3-6][0-9]{4}|27[01][0-9]{3}|2720[0-9]{2})[0-9]{10}"
    r"|3[47][0-9]{13}"  # American Express
    r"|3(?:0[0-5]|09|[689][0-9])[0-9]{11}(?:[0-9]{2}|[0-9]{5})?"  # Diners Club
    r"|(?:6011|64[4-9][0-9]|65[0-9]{2})[0-9]{12}(?:[0-9]{3})?"  # Discover, RuPay
    r"|(?:508[5-9]|60[0-9]{2}|8[12][0-9]{2}|353[0-9])[0-9]{12}"  # RuPay
    r"|(?:352[89]|35[3-8][0-9])[0-9]{12}(?:[0-9]{3})?"  # JCB
    r"|62[0-9]{14,17}"  # UnionPay
    r"|(?:5018|5020|5038|5[678][0-9]{2}|6304|6759|676[1-3])[0-9]{8,15}"  # Maestro
    r"|220[0-4][0-9]{12,15}"  # Mir
    r"|9792[0-9]{12}"  # Troy
)


def _is_card(digits: str) -> bool:
    return _SCHEMES.fullmatch(digits) is not None and luhn(digits) and len(set(digits)) > 1


CARD_ID: Final = NumberId(
    CARD,
    {
        (4, 4, 4, 4): CERTAIN,
        (4, 6, 5): CERTAIN,
        (4, 6, 4): CERTAIN,
        (4, 4, 4, 4, 3): CERTAIN,
        (4, 4, 4, 3): LIKELY,
        (6, 10): LIKELY,
        (8, 8): LIKELY,
        **{(length,): LIKELY for length in (14, 15, 16, 19)},
        **{(length,): WEAK for length in (12, 13, 17, 18)},
    },
    _is_card,
    words(
        "cards?", "credit", "debit", "visa", "mastercard", "amex", "american express", "rupay", "maestro",
        "kreditkarten?",
        "kartennummer", "karte", "carte", "tarjeta", "carta", "cartão", "cc", "कार्ड",
    ),
    first="2345689",
    in_lists=True,
)  # fmt: skip
KINDS: Final = (CARD,)
