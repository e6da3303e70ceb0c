"""Postal addresses by their patterns: a house number and a street, with what leads on to a postcode; postcodes alone.

Everything hangs on a number, so each group of digits is looked at once, forwards (`12 Baker Street`, `12 rue de la
Paix`) and backwards (`Hauptstraße 12`, `Calle Mayor 5`, `Mumbai 400001`). Street names are told by their capitals.
"""

from typing import Final

from polyforge.privacy.beginnings import beginnings, either
from polyforge.privacy.late import Late
from polyforge.privacy.matches import FORM, LIKELY, WEAK, Kind, Match
from polyforge.privacy.national import words
from polyforge.privacy.page import Group, Page

_LONGEST: Final = 160
_BACK: Final = 72
"""How far before its number an address may begin."""
ADDRESS: Final = Kind(
    "address",
    "person",
    "postal addresses: number and street, postcode and place, in a dozen languages",
    _LONGEST + _BACK,
    "digits",
    "a word for a street, or a postcode of a known form",
)
KINDS: Final = (ADDRESS,)

# fmt: off
_STREETS: Final = (
    "Street", "St", "Road", "Rd", "Avenue", "Ave", "Boulevard", "Blvd", "Lane", "Ln", "Drive", "Dr", "Court", "Ct",
    "Way", "Square", "Sq", "Terrace", "Place", "Pl", "Highway", "Hwy", "Parkway", "Pkwy", "Crescent", "Close", "Mews",
    "Gardens", "Marg", "Nagar", "Salai", "Chowk", "Gali", "Vihar", "Layout", "Colony", "Enclave", "Sarani", "Path",
    "Bazaar", "Bazar", "Mohalla", "Cross", "Main", "Puram", "Extension", "Sector", "Phase",
)
_STREETS_BEFORE: Final = (
    "rue", "avenue", "av.", "boulevard", "bd", "place", "allée", "allee", "chemin", "impasse", "quai", "cours",
    "route",
)
_SMALL: Final = (
    "de", "la", "le", "les", "du", "des", "d'", "l'", "del", "di", "da", "do", "dos", "bis", "ter", "of", "the", "and",
)
_NUMBER_AFTER: Final = (
    "Calle", "C/", "Avenida", "Avda.", "Avda", "Av.", "Paseo", "Plaza", "Carrera", "Via", "Viale", "Piazza", "Corso",
    "Largo", "Rua", "Travessa", "Praça", "ul.", "al.", "os.", "Ulica", "Cesta", "Cami", "Carrer",
)
_STREET_ENDINGS: Final = (
    "straße", "strasse", "str.", "weg", "platz", "allee", "gasse", "ufer", "damm", "chaussee", "straat", "laan",
    "gracht", "plein", "kade", "gatan", "vägen", "gate", "vej", "gade", "katu", "tie",
)
_STREETS_APART: Final = ("Straße", "Strasse", "Str.", "Weg", "Platz", "Allee", "Gasse", "Ring", "Damm", "Ufer")
_PREMISES: Final = (
    "Flat", "Plot", "House", "Door", "Shop", "H.No.", "H.No", "H. No.", "D.No.", "D.No", "D. No.", "Apartment",
    "Villa", "P.O. Box", "P.O.Box", "PO Box", "P O Box", "Postfach", "मकान", "फ्लैट", "घर", "प्लॉट",
)
_CITIES: Final = (
    "Mumbai", "Delhi", "New Delhi", "Bengaluru", "Bangalore", "Hyderabad", "Chennai", "Kolkata", "Pune", "Ahmedabad",
    "Jaipur", "Lucknow", "Kanpur", "Nagpur", "Indore", "Thane", "Bhopal", "Visakhapatnam", "Patna", "Vadodara",
    "Ghaziabad", "Ludhiana", "Agra", "Nashik", "Faridabad", "Meerut", "Rajkot", "Varanasi", "Srinagar", "Aurangabad",
    "Dhanbad", "Amritsar", "Allahabad", "Prayagraj", "Ranchi", "Howrah", "Coimbatore", "Jabalpur", "Gwalior",
    "Vijayawada", "Jodhpur", "Madurai", "Raipur", "Kota", "Guwahati", "Chandigarh", "Mysuru", "Mysore", "Gurgaon",
    "Gurugram", "Noida", "Kochi", "Thiruvananthapuram", "Bhubaneswar", "Dehradun", "Surat", "Goa", "Panaji",
    "Mangaluru", "Shimla", "दिल्ली", "नई दिल्ली", "मुंबई", "चेन्नई", "कोलकाता", "पुणे", "लखनऊ", "जयपुर", "पटना",
)
_STATES: Final = (
    "AL", "AK", "AZ", "AR", "CA", "CO", "CT", "DE", "FL", "GA", "HI", "ID", "IL", "IN", "IA", "KS", "KY", "LA", "ME",
    "MD", "MA", "MI", "MN", "MS", "MO", "MT", "NE", "NV", "NH", "NJ", "NM", "NY", "NC", "ND", "OH", "OK", "OR", "PA",
    "RI", "SC", "SD", "TN", "TX", "UT", "VT", "VA", "WA", "WV", "WI", "WY", "DC", "PR",
)
# fmt: on

_CAPITAL: Final = "A-ZÀ-ÖØ-ÞŁŚŻŹČŠŽ"
_INDIC: Final = "[\u0900-\u0dff]{1,24}"
_NAME: Final = rf"[{_CAPITAL}][\w'’.-]{{0,24}}"
_SMALL_WORD: Final = rf"(?:(?:{either(_SMALL)}) ?)"
_NAMES: Final = rf"{_SMALL_WORD}{{0,2}}{_NAME}(?:[ -]{_SMALL_WORD}{{0,2}}{_NAME}){{0,3}}"
_NUMBER: Final = "[0-9]{1,5}(?:[-/][0-9]{1,4})?[A-Za-z]?"
_UK: Final = "[A-Z]{1,2}[0-9][A-Z0-9]? [0-9](?!GB|TB|MB|KB)[ABD-HJLNP-UW-Z]{2}"
_CANADA: Final = "[ABCEGHJ-NPRSTVXY][0-9][A-Z] [0-9][A-Z][0-9]"
_ZIP: Final = f"(?:{either(_STATES)}),? [0-9]{{5}}(?:-[0-9]{{4}})?"
_PIN: Final = "[1-8][0-9]{2} ?[0-9]{3}"
_CODE: Final = "(?:[0-9]{4,5}(?: ?[A-Z]{2})?|[0-9]{2}-[0-9]{3})"
_CODE_AND_PLACE: Final = rf"(?:[A-Z]{{1,2}}-)?{_CODE} {_NAME}(?:[ -]{_NAME}){{0,2}}"
_POSTCODE: Final = rf"(?:{_UK}|{_CANADA}|{_ZIP}|{_PIN}|{_CODE_AND_PLACE}|[0-9]{{5}}(?:-[0-9]{{3,4}})?)(?!\w)"
_PART: Final = rf"(?:{_NAME}|#?[0-9]{{1,5}}[A-Za-z]{{0,2}}|{_INDIC})"
# What stands between a street and a postcode: unit, floor, part of the city, city, state.
_BETWEEN: Final = Late(rf"(?:,?[ \n]{{1,2}}{_PART}){{0,8}},?[ \n]{{0,2}}-? ?")
_POSTCODE_AT: Final = Late(_POSTCODE)
_FORWARDS: Final = Late(
    rf"{_NUMBER},? (?:(?:(?:{_NAME}|[0-9]{{1,3}}(?:st|nd|rd|th)) ){{1,4}}(?:{either(_STREETS)})(?!\w)\.?"
    rf"(?: (?:N|S|E|W|NE|NW|SE|SW)(?!\w))?|(?:(?:bis|ter) ?,? ?)?(?:{either(_STREETS_BEFORE)}) {_NAMES})"
)
_STREET: Final = Late(
    rf"(?<!\w)(?:[{_CAPITAL}][\w-]{{1,30}}(?:{either(_STREET_ENDINGS)})|{_NAME}[ -](?:{either(_STREETS_APART)})),? \Z"
)
_STREET_BEFORE: Final = Late(rf"(?<!\w)(?:{either(_NUMBER_AFTER)}) {_NAMES},? (?:(?:[nN][°ºor]?\.?[°º]?) ?)?\Z")
_NUMBER_WORDS: Final = ("No", "no", "Number", "number", "Nr", "नंबर", "नं", "संख्या")
_NO: Final = rf"(?: ?(?:{either(_NUMBER_WORDS)})\.?)?:? ?#?"
_PREMISES_BEFORE: Final = Late(rf"(?<!\w)(?:{either(_PREMISES)}){_NO} ?\Z")
_PREMISES_NUMBER: Final = Late(r"[0-9]{1,5}[A-Za-z]?(?:[-/][0-9A-Za-z]{1,5}){0,3}(?!\w)")
_PREMISES_REST: Final = Late(
    rf"(?:,? {_PART}){{0,12}}(?:,? (?:{either(_STREETS)}|रोड|मार्ग|नगर|गली|कॉलोनी)(?!\w)"
    rf"|[ ,]{{1,2}}-? ?{_PIN}(?!\w))"
)
_BOXES: Final = ("Box ", "Postfach ")
_CITY_BEFORE: Final = Late(rf"(?<!\w)(?:{either(_CITIES)})[ ,:-]{{1,3}}\Z")
_STATE_BEFORE: Final = Late(rf"(?<=[,a-z.] )(?:{either(_STATES)}),? \Z")
_NUMBER_AT: Final = Late(rf"{_NUMBER}(?!\w)")
_AT_PIN: Final = Late(rf"{_PIN}(?!\w)")
_AT_ZIP: Final = Late(r"[0-9]{5}(?:-[0-9]{4})?(?!\w)")
_AT_CODE: Final = Late(rf"{_CODE_AND_PLACE}(?!\w)")
_AT_POSTCODE: Final = Late(rf"(?:{_UK}|{_CANADA})(?!\w)")
_YEAR: Final = Late("(?:18|19|20)[0-9]{2}(?![0-9A-Za-z/-])|1[5-7][0-9]{2},")
_CONTEXT: Final = words(
    "address", "addresses", "adresse", "anschrift", "wohnhaft", "wohnt", "wohne", "lives? (?:at|in|on)", "living at",
    "resid(?:es|ing|ence)(?: at| in)?", "ship(?:ped|ping)? to", "deliver(?:ed|y)? to", "located at", "home", "domicile",
    "dirección", "direccion", "domicilio", "indirizzo", "residente", "endereço", "morada", "adres", "plz", "postcode",
    "zip", "pin ?code", "पता", "निवास", "முகவரி", "చిరునామా", "ঠিকানা",
)  # fmt: skip
_MOST_NUMBERS: Final = 4
"""Numbers between a street and the end of its postcode."""
_NEVER_BEFORE: Final = frozenset("$€£₹.,:/")
_BEFORE_NUMBER: Final = frozenset(" º°#")
_AROUND: Final = " ,:-#"
_CITY_ENDINGS: Final = frozenset(city.rpartition(" ")[2] for city in _CITIES)
_PIN_PARTS: Final = (3, 6)
_ZIP_LENGTH: Final = 5

_ALL_SMALL: Final = either((*_SMALL, *_STREETS_BEFORE))
_FOLLOWING: Final = rf"(?:(?:[ld]')?[{_CAPITAL}0-9#][\w'’./-]*|(?:{_ALL_SMALL})(?!\w)|{_INDIC})"
_REST_GOING_ON: Final = rf"[ ,\n-]{{0,4}}(?:{beginnings((*_SMALL, *_STREETS_BEFORE))}|[ld]')?\Z"
# After a number alone a name, a small word or an ordinal must come; after a street and its number anything may.
_GOING_ON: Final = Late(
    rf"[0-9][\w/-]{{0,16}}(?:,? (?:(?:[ld]')?[{_CAPITAL}][\w'’./-]*|(?:{_ALL_SMALL})(?!\w)|[0-9]{{1,3}}[a-z]{{0,2}}|,)"
    rf"(?:[ ,\n]{{1,3}}-? ?{_FOLLOWING}){{0,24}})?{_REST_GOING_ON}"
)
_GOING_ON_AFTER: Final = Late(rf"[0-9][\w/-]{{0,16}}(?:[ ,\n]{{1,3}}-? ?{_FOLLOWING}){{0,24}}{_REST_GOING_ON}")
_BEGUN: Final = Late(
    rf"(?<!\w)(?=[{_CAPITAL}uao\u0900-\u097f])(?:[{_CAPITAL}][\w.-]{{0,40}}"
    rf"|[{_CAPITAL}][\w-]{{1,30}}(?:{either(_STREET_ENDINGS)}),? ?"
    rf"|{_NAME}[ -](?:{beginnings(_STREETS_APART)},? ?)?"
    rf"|(?:{either(_NUMBER_AFTER)})(?: (?:(?:[ld]')?{_NAME}|{either(_SMALL)})){{0,12}},? ?"
    rf"(?:{beginnings(_SMALL)}|[nN][°ºor]?\.?[°º]? ?)?|{beginnings(_NUMBER_AFTER)}"
    rf"|(?:{either(_CITIES)})[ ,:-]{{0,3}}|{beginnings(_CITIES)}|(?:{either(_STATES)}),? ?"
    rf"|[A-Z]{{1,2}}(?:[0-9][A-Z0-9]?)?(?: [0-9]?[A-Z]{{0,2}}[0-9]?)?"
    rf"|(?:{either(_PREMISES)}){_NO} ?|{beginnings(_PREMISES)}(?: ?{beginnings(_NUMBER_WORDS)})?)\Z"
)


class PostalFinder:
    """Finds postal addresses around groups of digits."""

    def find(self, page: Page) -> list[Match]:
        """All addresses."""
        text = page.text
        finds: list[Match | None] = []
        has_premises = any(name in text for name in _PREMISES) if page.groups else False
        has_street_before = any(name in text for name in _NUMBER_AFTER) if page.groups else False
        for index, group in enumerate(page.groups):
            place = group.start
            before = text[place - 1 : place]
            if place < page.start or group.link is not None or before in _NEVER_BEFORE or before.islower():
                continue
            if _may_lead_on(page, index):
                finds.append(_forwards(page, index))
            if before not in _BEFORE_NUMBER:
                finds.append(_postcode(page, group) if before.isupper() else None)
                continue
            before = text[max(0, place - _BACK) : place]
            word = before.rstrip(_AROUND).rpartition(" ")[2]
            if has_street_before or word.endswith(_STREET_ENDINGS) or word in _STREETS_APART:
                finds.append(_street_before(page, index, before))
            if has_premises:
                finds.append(_premises(page, index, before))
            finds.append(_coded(page, group, before, word))
        return [find for find in finds if find]

    def opening(self, page: Page) -> int:
        """Where an address begins that the end of the page cuts off."""
        text, size = page.text, len(page.text)
        reach = max(page.start, size - _LONGEST)
        begun = _BEGUN.search(text, max(page.start, size - _BACK))
        place = begun.start() if begun else size
        for group in page.groups:
            if group.link is None and reach <= group.start < place + _BACK and _GOING_ON_AFTER.match(text, group.start):
                start = max(page.start, _start_before(page, group))
                is_number_alone = start == group.start
                place = place if is_number_alone and not _GOING_ON.match(text, start) else min(place, start)
        return place


def _may_lead_on(page: Page, index: int) -> bool:
    """Whether a street may follow a number: no digits touch or follow it, but those of a street (`350 5th Ave`)."""
    group, text = page.groups[index], page.text
    if group.start and (text[group.start - 1].isalnum() or text[group.start - 1] in "-/"):
        return False
    if not group.is_linked or text[group.end] != " ":
        return True
    end = page.groups[index + 1].end
    return text[end : end + 1].isalpha()


def _forwards(page: Page, index: int) -> Match | None:
    place = page.groups[index].start
    found = _FORWARDS.match(page.text, place)
    if found is None:
        return None
    return _led_on(page, index, place, found.end(), WEAK if _YEAR.match(page.text, place) else FORM)


def _led_on(page: Page, index: int, start: int, end: int, confidence: float) -> Match:
    """An address from a street on to its postcode, when one follows."""
    text = page.text
    for group in page.groups[index + 1 : index + 1 + _MOST_NUMBERS]:
        if group.end > start + _LONGEST:
            break
        letters = _capitals_before(text, group.start)
        code = _POSTCODE_AT.match(text, group.start - letters) if group.start - letters >= end else None
        if code and _BETWEEN.fullmatch(text, end, code.start()):
            return Match(start, code.end(), LIKELY, ADDRESS.name)
    is_spoken_of = page.says_before(_CONTEXT, start)
    return Match(start, end, LIKELY if is_spoken_of else confidence, ADDRESS.name)


def _street_before(page: Page, index: int, before: str) -> Match | None:
    place = page.groups[index].start
    street = _STREET.search(before, _two_words_back(before)) or _STREET_BEFORE.search(before)
    number = _NUMBER_AT.match(page.text, place)
    if street is None or number is None:
        return None
    return _led_on(page, index, place - len(before) + street.start(), number.end(), FORM)


def _two_words_back(text: str) -> int:
    place = len(text.rstrip(_AROUND))
    for _ in range(2):
        place = max(text.rfind(" ", 0, place), 0)
    return place


def _premises(page: Page, index: int, before: str) -> Match | None:
    place = page.groups[index].start
    head = _PREMISES_BEFORE.search(before)
    number = _PREMISES_NUMBER.match(page.text, place)
    if head is None or number is None:
        return None
    start = place - len(before) + head.start()
    if head[0].endswith(_BOXES):
        return _led_on(page, index, start, number.end(), FORM)
    rest = _PREMISES_REST.match(page.text, number.end(), start + _LONGEST)
    return _led_on(page, index, start, rest.end(), FORM) if rest else None


def _coded(page: Page, group: Group, before: str, word: str) -> Match | None:
    """A postcode with the city or the state before it, or with a place after it when an address is spoken of."""
    text, place = page.text, group.start
    head = found = None
    if group.length in _PIN_PARTS and word in _CITY_ENDINGS:
        head, found = _CITY_BEFORE.search(before), _AT_PIN.match(text, place)
    elif group.length == _ZIP_LENGTH and word in _STATES:
        head, found = _STATE_BEFORE.search(before), _AT_ZIP.match(text, place)
    if head and found:
        return Match(place - len(before) + head.start(), found.end(), FORM, ADDRESS.name)
    found = _AT_CODE.match(text, place)
    if found and page.says_before(_CONTEXT, place, _BACK):
        return Match(place, found.end(), LIKELY, ADDRESS.name)
    return None


def _postcode(page: Page, group: Group) -> Match | None:
    start = group.start - _capitals_before(page.text, group.start)
    found = _AT_POSTCODE.match(page.text, start) if start < group.start else None
    return Match(start, found.end(), FORM, ADDRESS.name) if found and page.stands_alone(start, found.end()) else None


def _capitals_before(text: str, place: int) -> int:
    """How many of the two characters before a place are capitals."""
    return 0 if not place or not text[place - 1].isupper() else 2 if place > 1 and text[place - 2].isupper() else 1


def _start_before(page: Page, group: Group) -> int:
    """Where an address that a number belongs to begins."""
    before = page.text[max(0, group.start - _BACK) : group.start]
    heads = [
        pattern.search(before) for pattern in (_STREET, _STREET_BEFORE, _PREMISES_BEFORE, _CITY_BEFORE, _STATE_BEFORE)
    ]
    starts = [group.start - len(before) + head.start() for head in heads if head]
    return min([*starts, group.start - _capitals_before(page.text, group.start)])
