"""What follows words like `password`, `secret` and `token`, when it looks made up."""

import re
from typing import Final

from polyforge.privacy.beginnings import either
from polyforge.privacy.late import Late
from polyforge.privacy.matches import FORM, LIKELY, Match
from polyforge.privacy.page import Page
from polyforge.privacy.secrets import PASSWORD, REST_OF_VALUE

_PASSWORDS: Final = (
    "password", "passwd", "passphrase", "passcode", "pwd", "passwort", "kennwort", "contraseña", "mot de passe",
    "senha",     "wachtwoord", "parola",
    "пароль", "पासवर्ड", "পাসওয়ার্ড", "密码", "パスワード",
)  # fmt: skip
_NUMBERS: Final = ("pin", "passcode", "password", "otp", "cvv", "cvc", "cvv2", "पिन", "ओटीपी")
"""After these, digits alone are a secret too."""
_TOKENS: Final = (
    "secret", "secret key", "secret_key", "secret-key", "secretkey", "api key", "api_key", "api-key", "apikey",
    "access key", "access_key", "access-key", "accesskey", "private key", "private_key", "auth key", "auth_key",
    "token", "bearer", "authorization", "client_secret", "clientsecret", "credential", "credentials", "accountkey",
    "encryption key", "encryption_key", "signing key", "signing_key",
)  # fmt: skip
_WORDS: Final = (*_PASSWORDS, *_NUMBERS, *_TOKENS)
_STEMS: Final = (
    "pass", "pwd", "wort", "contrase", "senha", "wachtw", "parola", "пароль", "पासव", "পাসও", "密码", "パスワ", "pin",
    "otp",     "cv", "पिन", "ओटी", "secret", "key", "token", "bearer", "authori", "credential",
)  # fmt: skip
"""Something of every word is in one of these: without any of them nothing else is tried."""
_ASSIGNS: Final = Late("[:=]+>?")
_VERBS: Final = (" is ", " was ", " ist ", " lautet ", " est ", " es ", " è ", " है ")
_SCHEME: Final = "bearer "
_ALL_VERBS: Final = (*_VERBS, _SCHEME)
_REACH: Final = 40
_SHORT: Final = 4
_AROUND: Final = " \t\"'`*_()[]{}"
_LONGEST_VALUE: Final = 128
_VALUE: Final = Late(
    rf"[ \t]{{0,3}}(?:(?i:bearer|basic|token)[ ]{{1,2}})?([\"'`]?)([^\s\"'`,;<>]{{4,{_LONGEST_VALUE}}})"
)
# A short word must not be the end of another one, as in `spin`.
_WORD: Final = rf"(?:{either(word for word in _WORDS if len(word) > _SHORT)}|(?<![a-z])(?:{either(_WORDS)}))(?![a-z])"
_LONG_WORDS: Final = tuple(word for word in _WORDS if len(word) > _SHORT)
_SHORT_WORDS: Final = tuple(word for word in _WORDS if len(word) <= _SHORT)
_WORD_NEAR: Final = Late(_WORD)
_PLACEHOLDER: Final = Late(
    r"[$%{<\[(*]|[^(]*\(|https?://|x{3,}|\.{2,}|(?:none|null|true|false|undefined|required|string|str|optional|hidden"
    r"|redacted|your|changeme|example|placeholder|process\.|os\.|env[:.])",
    re.IGNORECASE,
)
_SIGNS: Final = frozenset("!@#$^&*?~+")
_AFTER: Final = ".,?;:)]}"
_SPACES: Final = " \n\t\r"
_SHORTEST: Final = 4
_SHORTEST_TOKEN: Final = 8
_SHORTEST_QUOTED: Final = 6


class PasswordFinder:
    """Finds values after `password:`, `"secret": `, `api_key=`, `my password is` and the like."""

    def find(self, page: Page) -> list[Match]:
        """All values that look made up."""
        lower = page.lower
        verbs = [verb for verb in _ALL_VERBS if verb in lower]
        if not (verbs or ":" in lower or "=" in lower) or not any(stem in lower for stem in _STEMS):
            return []
        finds = [_after(page, *found.span(), by_verb=False) for found in _ASSIGNS.finditer(page.text)]
        for verb in verbs:
            place = lower.find(verb)
            while place >= 0:
                end = place + len(verb)
                finds.append(_after(page, end if verb == _SCHEME else place, end, by_verb=True))
                place = lower.find(verb, place + 1)
        return [find for find in finds if find]

    def opening(self, page: Page) -> int:
        """Where the last word begins, when one of the words before it or in it may make it a secret."""
        text, size = page.text, len(page.text)
        tail = text[max(page.start, size - _LONGEST_VALUE - 2) :]
        begin = size - len(tail) + max(map(tail.rfind, _SPACES)) + 1
        near = text[max(0, begin - _REACH) :].lower()
        return begin if any(stem in near for stem in _STEMS) and _WORD_NEAR.search(near) else size


def _after(page: Page, end_of_word: int, place: int, *, by_verb: bool) -> Match | None:
    """What stands at a place, when a word that ends before it makes it a secret."""
    before = page.lower[max(0, end_of_word - _REACH) : end_of_word].rstrip(_AROUND)
    if not before.endswith(_LONG_WORDS) and not _ends_with_short_word(before):
        return None
    found = _VALUE.match(page.text, place)
    if found is None:
        return None
    value = found[2].rstrip(_AFTER) if len(found[2]) < _LONGEST_VALUE else found[2]
    if len(value) < _SHORTEST or _PLACEHOLDER.match(value):
        return None
    is_made_up = _looks_made_up(before, value, quoted=bool(found[1]) and not by_verb)
    if not is_made_up:
        return None
    end = found.start(2) + len(value)
    rest = REST_OF_VALUE.match(page.text, end) if len(value) == _LONGEST_VALUE else None
    return Match(found.start(2), rest.end() if rest else end, FORM if by_verb else LIKELY, PASSWORD.name)


def _ends_with_short_word(text: str) -> bool:
    """A short word must not be the end of another one, as in `spin`."""
    if not text.endswith(_SHORT_WORDS):
        return False
    return any(not "a" <= text[-len(word) - 1 : -len(word)] <= "z" for word in _SHORT_WORDS if text.endswith(word))


def _looks_made_up(word: str, value: str, *, quoted: bool) -> bool:
    if value.isdigit():
        return word.endswith(_NUMBERS)
    if word.endswith(_TOKENS) and not word.endswith(_PASSWORDS):
        return len(value) >= _SHORTEST_TOKEN and _is_mixed(value)
    return _is_mixed(value) or (quoted and len(value) >= _SHORTEST_QUOTED)


def _is_mixed(value: str) -> bool:
    has_letter = any(map(str.isalpha, value))
    has_sign = not _SIGNS.isdisjoint(value)
    return has_letter and (has_sign or any(map(str.isdigit, value)))
