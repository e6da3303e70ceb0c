"""Whether two questions that an embedding model finds alike may have the same answer, as far as words can tell.

Embeddings are close where a single word decides: "safe" and "not safe", two years, two cities. So whatever decides has
to be the same in both, in the same order: numbers, negations, question words, pronouns, words that have an opposite or
are one of a closed class, names, and what is quoted or written as code. Finding nothing is the safe mistake.
"""

import re
from typing import Final

import msgspec

from polyforge.registry.caching import Languages


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NEGATIONS: Final = _words(
    """
    not no never none nobody nothing neither nor without unless except excluding cannot hardly barely nowhere lacks
    lack
    """
)
_QUESTIONS: Final = _words("who whom whose what when where why how which many much long often far old")
_PERSONS: Final = _words("i my mine you your yours he him his she her hers it its we us our ours they them their")
_OPPOSITES: Final = _words(
    """
    before after first last next previous earlier later old new young early late past future present now then more
    less most least fewer many few max min maximum minimum highest lowest high low higher lower up down above below
    over under increase decrease increases decreases raise reduce rise fall grow shrink add remove subtract multiply
    divide plus minus insert delete create destroy append prepend push pop open close opened closed start stop begin
    end started stopped enable disable enabled disabled allow deny allowed forbidden permit forbid accept reject
    grant include exclude includes excludes included excluded revoke lock unlock encrypt decrypt encode decode
    compress decompress upload download import export install uninstall attach detach connect disconnect mount
    unmount show hide read write send receive buy sell borrow lend give take win lose pass fail hot cold warm cool
    fast slow quick big small large tiny long short tall wide narrow thick thin deep shallow heavy light dark bright
    strong weak hard soft easy difficult simple complex cheap expensive rich poor good bad better worse best worst
    true false right wrong correct incorrect safe dangerous legal illegal valid invalid alive dead male female man
    woman men women boy girl husband wife mother father son daughter brother sister adult child children north south
    east west left top bottom front back inside outside in out into onto from to off on with against for between
    within via ascending descending forward backward internal external public private local remote sync async static
    dynamic input output source target client server parent client-side server-side always sometimes rarely usually
    only also both either or and all any some every each half double twice once advantages disadvantages benefits
    drawbacks pros cons cause effect symptoms treatment prevent cause causes than as since until during
    """
)
_CLASSES: Final = _words(
    """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion dozen
    second third fourth fifth sixth seventh eighth ninth tenth quarter percent monday tuesday wednesday thursday
    friday saturday sunday january february march april may june july august september october november december
    today tomorrow yesterday tonight morning noon afternoon evening night midnight spring summer autumn fall winter
    second seconds minute minutes hour hours day days week weeks month months year years decade century daily weekly
    monthly yearly annual hourly red green blue yellow orange purple pink black white grey gray brown euro euros
    dollar dollars pound pounds yen rupee rupees franc francs yuan usd eur gbp inr jpy celsius fahrenheit kelvin
    metre metres meter meters kilometre kilometres kilometer kilometers mile miles foot feet inch inches gram grams
    kilogram kilograms kg ounce ounces litre litres liter liters gallon gallons byte bytes kb mb gb tb english
    french german spanish italian portuguese dutch russian chinese japanese korean hindi bengali tamil telugu
    marathi arabic turkish polish swedish greek hebrew latin python javascript typescript java rust golang ruby php
    kotlin swift scala perl bash sql html css json yaml xml csv linux windows macos ubuntu debian android ios mac
    docker kubernetes postgres postgresql mysql sqlite redis mongodb cat cats dog dogs horse horses cow cows pig
    pigs chicken bird birds fish
    """
)
_TELLING: Final = _NEGATIONS | _QUESTIONS | _PERSONS | _OPPOSITES | _CLASSES
_OPENERS: Final = _words(
    """
    a an the this that these those is are was were am be do does did can could should would will shall may might
    must has have had if please tell explain describe define list give show write name find suggest recommend
    summarize summarise translate compare help let lets there here but so because while although hi hello hey thanks
    thank ok okay yes could calculate compute convert provide generate make need want looking regarding about
    """
)
_FUNCTION: Final = _OPENERS | _TELLING | _words("of at by just really very quite too please also me exactly actually")
_ENGLISH: Final = _words(
    "the what how why when where which who does are can with for my your this that should would have has and from to"
)
"""Words of nearly every English question that look like no other language's."""
_PREFIXES: Final = (
    "un",
    "in",
    "im",
    "ir",
    "il",
    "non",
    "dis",
    "de",
    "anti",
    "mis",
    "re",
    "pre",
    "post",
    "over",
    "under",
)
_SHORT: Final = 4

_QUOTED: Final = re.compile(r"```.*?```|`[^`]*`|\"[^\"]*\"|“[^”]*”|«[^»]*»|'[^'\n]{2,}'(?![A-Za-z])", re.DOTALL)
_ADDRESS: Final = re.compile(
    r"\b(?:https?://|www\.)\S+|(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}\.[\w.-]{2,}|(?<!\w)[/~][\w./-]{2,}", re.IGNORECASE
)
_TOKEN: Final = re.compile(r"\d+(?:[.,:/\-]\d+)*%?|[^\W\d_][\w'’]*(?:[-._+#/][\w+#]+)*[+#]*|[-+*/=<>^%$€£¥₹&|!?]{1,3}")
_LATIN: Final = re.compile("[A-Za-z\u00aa-\u024f\u1e00-\u1eff]")
_MARKS: Final = frozenset(".!?:;\n")
_OPERATORS: Final = re.compile(r"[-+*/=<>^%$€£¥₹&|]")
_NOT: Final = re.compile(r"\b(?:(ca|wo|sha)n['’]t|(\w+)n['’]t)\b", re.IGNORECASE)
_STEMS: Final = {"ca": "can", "wo": "will", "sha": "shall"}


class Facts(msgspec.Struct, frozen=True):
    """What of a question has to agree with another's."""

    telling: tuple[str, ...]
    """Whatever decides, in order."""
    words: tuple[str, ...]
    """The rest that carries meaning, in order."""


def speaks(text: str, languages: Languages) -> bool:
    """Whether an embedding model for these languages can tell such texts apart."""
    if languages == "any":
        return True
    if languages == "english":
        return text.isascii() and not _ENGLISH.isdisjoint(re.findall("[a-z]+", text.lower()))
    letters = [letter for letter in text if letter.isalpha()]
    return bool(letters) and all(map(_LATIN.match, letters))


def facts_of(text: str) -> Facts:
    """What a question says that has to agree."""
    telling: list[str] = []
    quoted: list[str] = []

    def take(match: re.Match[str]) -> str:
        quoted.append(match[0])
        return " . "

    rest = _ADDRESS.sub(take, _QUOTED.sub(take, text))
    rest = _NOT.sub(lambda match: f"{_STEMS.get((match[1] or '').lower(), match[2] or '')} not", rest)
    words: list[str] = []
    start = 0
    opens = True
    for match in _TOKEN.finditer(rest):
        opens = opens or not _MARKS.isdisjoint(rest[start : match.start()])
        _sort(match[0], opens, telling, words)
        opens, start = False, match.end()
    return Facts((*telling, *quoted), tuple(words))


def _sort(token: str, opens: bool, telling: list[str], words: list[str]) -> None:
    """Put a token where it belongs; one that `opens` a sentence is written large whatever it is."""
    lower = token.lower().replace("’", "'").removesuffix("'s")
    if lower == "cannot":
        telling += ("can", "not")
    elif lower in _TELLING:
        telling.append(lower)
    elif not token[0].isalpha():
        telling += [token] if token[0].isdigit() or _OPERATORS.match(token) else []
    elif _is_name(token) and not (opens and lower in _OPENERS):
        telling.append(lower)
    elif lower not in _FUNCTION:
        words.append(_stem(lower))


def _is_name(token: str) -> bool:
    """Written large, or with something in it that words do not have."""
    return any(letter.isupper() or letter.isdigit() or letter in "._+#/" for letter in token)


def _stem(word: str) -> str:
    """The word without the endings that change nothing of what is asked."""
    for ending in ("'", "ies", "es", "s", "ing", "ed"):
        if word.endswith(ending) and len(word) - len(ending) >= _SHORT:
            return word.removesuffix(ending)
    return word


def agree(one: Facts, other: Facts) -> bool:
    """Whether two questions may have the same answer."""
    if one.telling != other.telling:
        return False
    mine, others = set(one.words), set(other.words)
    if any(_opposed(word, others - mine) for word in mine - others):
        return False
    if any(_opposed(word, mine - others) for word in others - mine):
        return False
    return [word for word in one.words if word in others] == [word for word in other.words if word in mine]


def _opposed(word: str, others: set[str]) -> bool:
    """Whether one of the others is the word with a prefix or ending that turns it round."""
    return any(f"{prefix}{word}" in others for prefix in _PREFIXES) or f"{word}less" in others
