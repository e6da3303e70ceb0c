"""Which passwords are refused, pure: those that guessers try first, and those made of what everybody knows."""

import re
import unicodedata
from typing import Final

MIN_LENGTH: Final = 12
MAX_LENGTH: Final = 200
_MIN_DISTINCT: Final = 5
_MIN_REST: Final = 4
_MIN_WORD: Final = 3

_LETTERS: Final = re.compile(r"[^\W\d_]+")
_COMMON: Final = _LETTERS.findall(
    "password passwort passwd motdepasse contrasena kennwort parola senha geheim secret login welcome willkommen "
    "letmein access admin administrator root user guest default change changeme master superman batman dragon monkey "
    "football baseball soccer hockey princess sunshine shadow iloveyou love hello hallo whatever trustno starwars "
    "pokemon computer internet samsung google facebook microsoft apple michael jennifer jessica ashley charlie thomas "
    "jordan daniel killer pepper ginger summer winter spring autumn monday friday january december test testing temp "
    "qwertyuiop qwertzuiop asdfghjkl zxcvbnm yxcvbnm qwerty qwertz azerty asdfgh zxcvbn qazwsx qazwsxedc qweasd "
    "qweasdzxc abcdefghijklmnopqrstuvwxyz abcdefghijkl abcdefgh abcdef abcd polyforge correct horse battery staple"
)
_LOOKALIKES: Final = str.maketrans("@4310$57", "aaeiosst")


def normal_password(password: str) -> str:
    """The one form of a password, however a keyboard composed it (NFC, as RFC 8265 section 4.2 has it)."""
    return unicodedata.normalize("NFC", password)


def weakness(password: str, *known: str) -> str | None:
    """Why a password is refused, None when it is not; `known` are texts about its owner, such as the e-mail address."""
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        return f"must have {MIN_LENGTH} to {MAX_LENGTH} characters"
    lowered = password.casefold()
    if len(set(lowered)) < _MIN_DISTINCT:
        return f"must have at least {_MIN_DISTINCT} different characters"
    words = {*_COMMON, *_words_of(known)}
    if min(_rest(lowered, words), _rest(lowered.translate(_LOOKALIKES), words)) < _MIN_REST:
        return "is made of common words, digits or your own name or address; choose one that is harder to guess"
    return None


def _words_of(known: tuple[str, ...]) -> set[str]:
    """The words of what is known, long enough to mean something."""
    return {word for text in known for word in _LETTERS.findall(text.casefold()) if len(word) >= _MIN_WORD}


def _rest(text: str, words: set[str]) -> int:
    """How many different letters are left when the words, the longest first, and all else but letters are gone."""
    for word in sorted(words, key=len, reverse=True):
        text = text.replace(word, " ")
    return len(set("".join(_LETTERS.findall(text))))
