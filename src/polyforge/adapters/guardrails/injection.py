"""Attempts to talk a model out of its instructions, by their wording: a sieve, not a wall.

Texts are compared folded: compatibility forms, look-alikes, case, diacritics and invisible characters make no
difference, and what is written in base64 is read too. Each sign has a weight, and a text whose weights reach the
threshold is a find. Texts of systems and developers are trusted; results of tools are not.
"""

import asyncio
import base64
import binascii
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from polyforge.ports.guardrail import About, Action, Outcome, Part, Passage, Stage
from polyforge.ports.secret_source import SecretSource

_TRUSTED: Final = frozenset({"system", "developer"})
_LONG: Final = 4_000
"""Characters from which on texts are judged beside the event loop."""
_MOST: Final = 200_000
"""Characters of one text that are looked at: its beginning and its end, a half each."""
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{24,4000}={0,2}")
_MOST_DECODED: Final = 20
_SPACED: Final = re.compile(r"(?<=\b\w) (?=\w\b)")
"""Between letters that stand alone."""
_INVISIBLE: Final = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\U000e0000-\U000e007f]")
_LOOK_ALIKES: Final = str.maketrans("аеорсухіјѕԁɡոհν0134@$", "aeopcyxijsdgnhvoleaas")
_BLANKS: Final = re.compile(r"[^\w\u0900-\u0dff]+|_+")

_WORDS: Final = r"(?:\w+ ){0,3}"
_SIGNS: Final[tuple[tuple[str, float, str], ...]] = (
    (
        "override",
        1.0,
        (
            r"\b(?<!not )(?:ignore|disregard|forget|bypass|override|overlook|skip|drop) (?:all |any |every "
            r"|each |of |the |your |my |these |those |its )*(?:previous|prior|above|earlier|preceding|former"
            r"|initial|original|system|existing|safety|foregoing) ?(?:\w+ ){0,2}(?:instruction|prompt|rule"
            r"|direction|guideline|message|command|context|polic|constraint|restriction)"
        ),
    ),
    (
        "override",
        1.0,
        (
            rf"\b(?:ignore|disregard|forget) (?:everything|all|anything) {_WORDS}(?:above|before|told|said"
            r"|learned|so far)"
        ),
    ),
    (
        "override",
        0.6,
        r"\b(?:new|updated|real|actual) (?:system )?(?:instructions|prompt|rules) (?:are|follow|is|begin)",
    ),
    (
        "override",
        1.0,
        (
            r"\b(?:ignoriere|vergiss|missachte) (?:alle |samtliche |jegliche |deine |die )*(?:vorherigen"
            r"|bisherigen|obigen|fruheren|vorigen)"
        ),
    ),
    (
        "override",
        1.0,
        (
            r"\b(?:ignore[zr]?|oublie[zr]?) (?:toutes? )?(?:les |tes |vos )?(?:instructions?|consignes?"
            r"|regles?) (?:precedentes?|anterieures?)"
        ),
    ),
    (
        "override",
        1.0,
        (
            r"\b(?:ignora|olvida|descarta) (?:todas )?(?:las |tus )?(?:instrucciones|reglas) (?:anteriores"
            r"|previas)"
        ),
    ),
    (
        "override",
        1.0,
        r"(?:पिछले|पिछली|उपरोक्त) (?:सभी )?(?:निर्देश|निर्देशों|नियम)\S* (?:को )?(?:अनदेखा|भूल)",
    ),
    ("override", 1.0, r"(?:忽略|无视|忘记).{0,8}(?:之前|以上|先前|前面).{0,6}(?:指令|指示|规则|提示)"),
    (
        "leak",
        0.8,
        (
            r"\b(?:reveal|show|print|repeat|output|display|tell me|give me|what (?:is|was|are|were)|recite"
            rf"|dump|copy) {_WORDS}(?:(?:system|hidden|developer) (?:prompt|message|instruction|rule)"
            r"|(?:initial|original|secret) (?:prompt|instruction))"
        ),
    ),
    (
        "leak",
        0.7,
        (
            rf"\b(?:repeat|print|output|translate|summari[sz]e) {_WORDS}(?:everything|all|the text|the words"
            rf"|the content) (?:\w+ ){{0,2}}(?:above|before this)"
        ),
    ),
    (
        "role",
        0.7,
        (
            r"\b(?:you are|you re|act as|pretend (?:to be|you are)|behave as|roleplay as|simulate|become) "
            r"(?:now )?(?:\w+ ){0,2}(?:dan|stan|jailbroken|unfiltered|uncensored|unrestricted|evil|amoral)\b"
        ),
    ),
    (
        "role",
        0.8,
        r"\b(?:do anything now|developer mode|jailbreak mode|dan mode|sudo mode|opposite mode)\b",
    ),
    (
        "role",
        0.7,
        (
            r"\b(?:no|without|free of|free from|not bound by|ignore|disable|remove|turn off|switch off) "
            r"(?:any |all |your |the |its |ethical |content |safety )*(?:restriction|filter|guideline"
            r"|limitation|guardrail|censorship)s?\b"
        ),
    ),
    (
        "role",
        0.5,
        rf"\byou (?:can|must|will|may|should) (?:never|not) {_WORDS}(?:refuse|decline|say no|apologi[sz]e)",
    ),
    (
        "markup",
        0.7,
        r"\b(?:im start|im end|start header id|endoftext|begin of text) ?(?:system|user|assistant)?\b",
    ),
    (
        "exfiltration",
        0.8,
        (
            rf"\b(?:send|post|forward|upload|exfiltrate|email|leak) (?:\w+ ){{0,6}}(?:api key|password|secret"
            rf"|credential|token|conversation|chat history|environment variable)\w* {_WORDS}(?:to|at|via"
            r"|into)\b"
        ),
    ),
    (
        "exfiltration",
        0.7,
        (
            r"\b(?:do not|don t|never|without) (?:tell|telling|inform|informing|mention|reveal) "
            rf"{_WORDS}(?:user|human)\b"
        ),
    ),
)
"""What a text shows, how much that weighs, and how it is worded; the texts are folded."""


class Settings(BaseModel):
    """How sure it must be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threshold: float = Field(default=0.7, gt=0, le=5, description="The sum of weights from which on a text is a find.")


class Injection:
    """Looks for signs in texts that come from users, tools and models."""

    def __init__(self, settings: Settings, action: Action) -> None:
        if action not in ("block", "flag"):
            raise ValueError("an attempt can be blocked or flagged, not masked")
        self._threshold = settings.threshold
        self._blocks = action == "block"
        self._signs = [(kind, weight, re.compile(pattern)) for kind, weight, pattern in _SIGNS]

    async def open(self, secrets: SecretSource) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Nothing to let go of."""

    def begin(self, about: About) -> "Injection":
        """A session remembers nothing."""
        return self

    async def check(self, stage: Stage, passages: Sequence[Passage]) -> Outcome:
        """Judge each text by itself."""
        texts = [passage.text for passage in passages if passage.role not in _TRUSTED]
        long = sum(map(len, texts)) > _LONG
        kinds = await asyncio.to_thread(self._judge, texts) if long else self._judge(texts)
        return Outcome(tuple(sorted(set(kinds))), len(kinds), self._blocks) if kinds else Outcome()

    def filter(self, part: Part) -> None:
        """The signs of a text are judged together."""

    def weigh(self, text: str) -> dict[str, float]:
        """The weight of each kind of sign in a text; a sign counts once."""
        weights: dict[str, float] = {}
        for form in _forms(_shortened(text)):
            for kind, weight, sign in self._signs:
                if weight > weights.get(kind, 0.0) and sign.search(form):
                    weights[kind] = weight
        return weights

    def _judge(self, texts: Sequence[str]) -> list[str]:
        found: list[str] = []
        for text in texts:
            weights = self.weigh(text)
            if sum(weights.values()) >= self._threshold:
                found += weights
        return found


def _shortened(text: str) -> str:
    return text if len(text) <= _MOST else text[: _MOST // 2] + " " + text[-_MOST // 2 :]


def _forms(text: str) -> Iterator[str]:
    """The text folded, also without the blanks between single letters, and what in it is base64."""
    yield fold(text)
    if (joined := _SPACED.sub("", text)) != text:
        yield fold(joined)
    for number, found in enumerate(_BASE64.finditer(text)):
        if number == _MOST_DECODED:
            return
        if decoded := _decoded(found[0]):
            yield fold(decoded)


def fold(text: str) -> str:
    """Small letters without marks, look-alikes and what cannot be seen; a blank for all that is no letter or digit."""
    # A single sign may stand for eighteen.
    plain = _shortened(unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).lower())
    if plain.isascii():
        return _BLANKS.sub(" ", plain)
    letters = [
        sign for sign in unicodedata.normalize("NFD", plain) if unicodedata.category(sign) != "Mn" or sign > "\u036f"
    ]
    mixed = "".join(letters)
    # Look-alikes count only beside Latin letters: a text in Cyrillic is no disguise.
    return " ".join([_undisguised(word) for word in _BLANKS.sub(" ", mixed).split(" ")])


def _undisguised(word: str) -> str:
    latin = sum("a" <= sign <= "z" for sign in word)
    return word.translate(_LOOK_ALIKES) if latin and not word.isascii() else word


def _decoded(text: str) -> str:
    padded = text.replace("-", "+").replace("_", "/")
    padded += "=" * (-len(padded) % 4)
    try:
        return base64.b64decode(padded, validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""


ADAPTER = Injection
