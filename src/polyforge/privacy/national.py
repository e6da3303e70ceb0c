"""Identity numbers made of digits alone: how each is laid out, what its checks are, and words that stand before it.

Sources of the rules are the issuing offices' own; each check is named at its function. Where a layout is one that many
harmless numbers have, its confidence is `WEAK`, so that it counts only after one of its words.
"""

# ruff: noqa: PLR2004  (the numbers in the rules are the rules)

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from polyforge.privacy.checksums import ean, is_date, luhn, mod_11_10, verhoeff, weighted
from polyforge.privacy.late import Late
from polyforge.privacy.matches import CERTAIN, FORM, LIKELY, WEAK, Kind
from polyforge.privacy.page import NUMBER_REACH

GROUP: Final = "national_id"
LONGEST: Final = NUMBER_REACH


class NumberId(msgspec.Struct, frozen=True):
    """A number that is told by its digits. `layouts`: lengths of its groups, and how sure each makes."""

    kind: Kind
    layouts: Mapping[tuple[int, ...], float]
    is_valid: Callable[[str], bool]
    words: Late
    separators: str = " -."
    first: str = "0123456789"
    """What its first digit may be."""
    in_lists: bool = False
    """It is so strongly checked that other numbers may stand beside it."""


def words(*alternatives: str) -> Late:
    """Words, in lower case, none of them within a longer one."""
    return Late(rf"(?<![a-z])(?:{'|'.join(alternatives)})(?![a-z])")


def _kind(name: str, description: str, checked_by: str) -> Kind:
    return Kind(name, GROUP, description, LONGEST, "digits", checked_by)


def _is_ssn(digits: str) -> bool:
    """Social Security Administration: no area 000, 666 or from 900 on, no group 00, no serial 0000."""
    return digits[:3] not in {"000", "666"} and digits[0] != "9" and digits[3:5] != "00" and digits[5:] != "0000"


def _is_itin(digits: str) -> bool:
    """Internal Revenue Service: area 9xx, and the groups that it gives out."""
    group = int(digits[3:5])
    return digits[0] == "9" and (50 <= group <= 65 or 70 <= group <= 88 or 90 <= group <= 92 or 94 <= group <= 99)


def _is_aadhaar(digits: str) -> bool:
    """UIDAI: never begins with 0 or 1; Verhoeff."""
    return digits[0] not in "01" and verhoeff(digits) and digits != digits[::-1]


def _is_nhs(digits: str) -> bool:
    """NHS Data Dictionary: weights 10 to 2, mod 11."""
    return (11 - weighted(digits, range(10, 1, -1)) % 11) % 11 == int(digits[9])


def _is_german_tax_id(digits: str) -> bool:
    """Bundeszentralamt für Steuern: one of the first ten digits is there two or three times; mod 11,10."""
    if digits[0] == "0" or len(set(digits[:10])) not in {8, 9}:
        return False
    most = Counter(digits[:10]).most_common(2)
    return most[1][1] == 1 and mod_11_10(digits)


def _is_nir(digits: str) -> bool:
    """INSEE: sex, year, a month (or a stand-in from 20 on), place, order; 97 less the rest by 97."""
    month = int(digits[3:5])
    return (
        digits[0] in "123478"
        and (1 <= month <= 12 or 20 <= month <= 42)
        and 97 - int(digits[:13]) % 97 == int(digits[13:])
    )


def _is_bsn(digits: str) -> bool:
    """Rijksdienst: the elfproef, weights 9 to 2 and -1."""
    return weighted(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0 and digits.strip("0") != ""


def _is_belgian(digits: str) -> bool:
    """Rijksregister: a date of birth; 97 less the rest by 97, with a 2 in front for those born since 2000."""
    check = int(digits[9:])
    is_checked = check in {97 - int(digits[:9]) % 97, 97 - int("2" + digits[:9]) % 97}
    return is_checked and is_date(digits[:2], digits[2:4], digits[4:6])


def _is_pesel(digits: str) -> bool:
    """PESEL: the month tells the century; weights 1, 3, 7, 9."""
    is_checked = (10 - weighted(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)) % 10) % 10 == int(digits[10])
    return is_checked and is_date(digits[:2], str(int(digits[2:4]) % 20), digits[4:6])


def _is_swedish(digits: str) -> bool:
    """Skatteverket: a date (coordination numbers add 60 to the day), and Luhn over the last ten digits."""
    short = digits[-10:]
    return luhn(short) and is_date(digits[:-8], short[2:4], str(int(short[4:6]) % 60)) and _has_century(digits)


def _has_century(digits: str) -> bool:
    return len(digits) == 10 or digits[:2] in {"19", "20"}


def _is_cpr(digits: str) -> bool:
    """CPR-kontoret: a date; numbers since 2007 have no check digit."""
    return is_date(digits[4:6], digits[2:4], digits[:2]) and digits[6:] != "0000"


def _is_norwegian(digits: str) -> bool:
    """Skatteetaten: a date (D-numbers add 40 to the day), two check digits mod 11."""
    first = 11 - weighted(digits, (3, 7, 6, 1, 8, 9, 4, 5, 2)) % 11
    if first % 11 != int(digits[9]):
        return False
    second = 11 - weighted(digits, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return second % 11 == int(digits[10]) and is_date(digits[4:6], digits[2:4], str(int(digits[:2]) % 40))


def _is_ahv(digits: str) -> bool:
    """Zentrale Ausgleichsstelle: begins with Switzerland's 756; EAN-13."""
    return digits.startswith("756") and ean(digits)


def _is_cpf(digits: str) -> bool:
    """Receita Federal: two check digits mod 11; all digits equal is none."""
    if weighted(digits, range(10, 1, -1)) * 10 % 11 % 10 != int(digits[9]):
        return False
    return weighted(digits, range(11, 1, -1)) * 10 % 11 % 10 == int(digits[10]) and len(set(digits)) > 1


def _is_sin(digits: str) -> bool:
    """Service Canada: Luhn; none begins with 0 or 8."""
    return digits[0] not in "08" and luhn(digits)


def _is_rrn(digits: str) -> bool:
    """Korea's resident registration: a date and a sign for sex and century; since 2020 there is no check digit."""
    return digits[6] in "12345678" and is_date(digits[:2], digits[2:4], digits[4:6])


def _is_tfn(digits: str) -> bool:
    """Australian Taxation Office: weights 1, 4, 3, 7, 5, 8, 6, 9, 10, mod 11."""
    return weighted(digits, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0


def _is_south_african(digits: str) -> bool:
    """Home Affairs: a date, citizenship 0 to 2, Luhn."""
    return digits[10] in "012" and luhn(digits) and is_date(digits[:2], digits[2:4], digits[4:6])


def _is_turkish(digits: str) -> bool:
    """Nüfus: two check digits over odd and even places."""
    numbers = [int(digit) for digit in digits]
    tenth = (7 * sum(numbers[0:9:2]) - sum(numbers[1:8:2])) % 10
    return numbers[0] > 0 and numbers[9] == tenth and numbers[10] == sum(numbers[:10]) % 10


def _is_my_number(digits: str) -> bool:
    """Japan's individual number: weights 6 to 2 and 7 to 2, mod 11."""
    rest = weighted(digits, (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return (0 if rest <= 1 else 11 - rest) == int(digits[11])


def _is_nif(digits: str) -> bool:
    """Portugal's tax number of a person: begins with 1, 2, 3 or 45; weights 9 to 2, mod 11."""
    rest = weighted(digits, range(9, 1, -1)) % 11
    return (digits[0] in "123" or digits[:2] == "45") and (0 if rest <= 1 else 11 - rest) == int(digits[8])


IDS: Final = (
    NumberId(
        _kind("us_ssn", "United States, Social Security number", "areas, groups and serials that exist"),
        {(3, 2, 4): LIKELY, (9,): WEAK},
        _is_ssn,
        words("ssn", "social security", "soc sec"),
    ),
    NumberId(
        _kind("us_itin", "United States, taxpayer identification number", "areas and groups that exist"),
        {(3, 2, 4): LIKELY, (9,): WEAK},
        _is_itin,
        words("itin", "taxpayer"),
        first="9",
    ),
    NumberId(
        _kind("in_aadhaar", "India, Aadhaar", "Verhoeff"),
        {(4, 4, 4): LIKELY, (12,): FORM},
        _is_aadhaar,
        words("aadhaar", "aadhar", "adhaar", "adhar", "uidai", "आधार", "ஆதார்", "ఆధార్", "আধার", "આધાર", "ಆಧಾರ್"),
        first="23456789",
    ),
    NumberId(
        _kind("uk_nhs", "United Kingdom, NHS number", "mod 11"),
        {(3, 3, 4): WEAK, (10,): WEAK},
        _is_nhs,
        words("nhs", "national health"),
    ),
    NumberId(
        _kind("de_tax_id", "Germany, Steuer-Identifikationsnummer", "mod 11,10 and repeated digits"),
        {(2, 3, 3, 3): CERTAIN, (11,): FORM},
        _is_german_tax_id,
        words("steuer-?id(?:entifikationsnummer|nr)?", "idnr", "tax id", "steuernummer"),
        first="123456789",
    ),
    NumberId(
        _kind("fr_nir", "France, numéro de sécurité sociale", "mod 97"),
        {(1, 2, 2, 2, 3, 3, 2): CERTAIN, (13, 2): CERTAIN, (15,): LIKELY},
        _is_nir,
        words("nir", "sécurité sociale", "securite sociale", "insee"),
        first="123478",
    ),
    NumberId(
        _kind("nl_bsn", "Netherlands, burgerservicenummer", "elfproef"),
        {(9,): WEAK, (4, 2, 3): WEAK, (3, 3, 3): WEAK},
        _is_bsn,
        words("bsn", "burgerservicenummer", "sofinummer"),
    ),
    NumberId(
        _kind("be_nrn", "Belgium, rijksregisternummer", "mod 97 and a date"),
        {(2, 2, 2, 3, 2): CERTAIN, (11,): FORM},
        _is_belgian,
        words("rijksregister(?:nummer)?", "registre national", "nrn", "insz", "niss"),
    ),
    NumberId(
        _kind("pl_pesel", "Poland, PESEL", "weights and a date"),
        {(11,): WEAK},
        _is_pesel,
        words("pesel"),
    ),
    NumberId(
        _kind("se_personnummer", "Sweden, personnummer", "Luhn and a date"),
        {(6, 4): LIKELY, (8, 4): LIKELY, (12,): FORM, (10,): WEAK},
        _is_swedish,
        words("personnummer", "personnr", "samordningsnummer"),
        separators="-",
    ),
    NumberId(
        _kind("dk_cpr", "Denmark, CPR-nummer", "a date"),
        {(6, 4): FORM, (10,): WEAK},
        _is_cpr,
        words("cpr(?:-?nummer|-?nr)?", "personnummer"),
        separators="-",
    ),
    NumberId(
        _kind("no_fnr", "Norway, fødselsnummer", "two check digits mod 11 and a date"),
        {(6, 5): CERTAIN, (11,): LIKELY},
        _is_norwegian,
        words("fødselsnummer", "fodselsnummer", "personnummer", "d-nummer"),
    ),
    NumberId(
        _kind("ch_ahv", "Switzerland, AHV-Nummer", "EAN-13"),
        {(3, 4, 4, 2): CERTAIN, (13,): LIKELY},
        _is_ahv,
        words("ahv(?:-nummer|-nr)?", "avs", "sozialversicherungsnummer"),
        first="7",
    ),
    NumberId(
        _kind("br_cpf", "Brazil, CPF", "two check digits mod 11"),
        {(3, 3, 3, 2): CERTAIN, (11,): FORM},
        _is_cpf,
        words("cpf"),
    ),
    NumberId(
        _kind("ca_sin", "Canada, social insurance number", "Luhn"),
        {(3, 3, 3): WEAK, (9,): WEAK},
        _is_sin,
        words("sin", "social insurance", "nas", "assurance sociale"),
        first="12345679",
    ),
    NumberId(
        _kind("kr_rrn", "Korea, resident registration number", "a date"),
        {(6, 7): LIKELY, (13,): WEAK},
        _is_rrn,
        words("rrn", "resident registration", "주민등록번호", "주민번호"),
        separators="-",
    ),
    NumberId(
        _kind("au_tfn", "Australia, tax file number", "weights mod 11"),
        {(3, 3, 3): WEAK, (9,): WEAK},
        _is_tfn,
        words("tfn", "tax file"),
    ),
    NumberId(
        _kind("za_id", "South Africa, identity number", "Luhn and a date"),
        {(6, 4, 3): CERTAIN, (6, 4, 2, 1): CERTAIN, (13,): LIKELY},
        _is_south_african,
        words("id number", "identity number", "said"),
    ),
    NumberId(
        _kind("tr_id", "Turkey, T.C. kimlik numarası", "two check digits"),
        {(11,): FORM},
        _is_turkish,
        words("tckn", "t\\.?c\\.? kimlik", "kimlik"),
        first="123456789",
    ),
    NumberId(
        _kind("jp_my_number", "Japan, individual number", "weights mod 11"),
        {(4, 4, 4): WEAK, (12,): WEAK},
        _is_my_number,
        words("my ?number", "マイナンバー", "個人番号"),
    ),
    NumberId(
        _kind("pt_nif", "Portugal, número de identificação fiscal", "weights mod 11"),
        {(9,): WEAK, (3, 3, 3): WEAK},
        _is_nif,
        words("nif", "contribuinte"),
        first="1234",
    ),
)
KINDS: Final = tuple(number.kind for number in IDS)
