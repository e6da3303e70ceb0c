"""What stands in a text instead of what was found."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from polyforge.privacy.matches import Match

Replacement = Callable[[Match, str], str]
"""From a match and its text to what stands there instead. It may raise to refuse the text altogether."""

DEFAULT_TEMPLATE: Final = "[{kind}]"


class Mask(msgspec.Struct, frozen=True):
    """`[EMAIL]`, or the value with all but its last characters hidden.

    `template`: with `{kind}` for the kind in capitals. `keep_last`: for a kind, how many of its last letters and digits
    stay (`{"card": 4}` makes `**** **** **** 1111`); at most half of them do.
    """

    template: str = DEFAULT_TEMPLATE
    keep_last: Mapping[str, int] = {}
    sign: str = "*"

    def __call__(self, match: Match, value: str) -> str:
        """What stands there instead."""
        if keep := self.keep_last.get(match.kind):
            return _hide_all_but(value, keep, self.sign)
        return self.template.replace("{kind}", match.kind.upper())


def replace(text: str, matches: Sequence[Match], replacement: Replacement) -> str:
    """A text with its matches (sorted, not overlapping) replaced."""
    if not matches:
        return text
    pieces: list[str] = []
    done = 0
    for match in matches:
        pieces += text[done : match.start], replacement(match, text[match.start : match.end])
        done = match.end
    pieces.append(text[done:])
    return "".join(pieces)


def mask(text: str, matches: Sequence[Match], style: Mask | None = None) -> str:
    """A text with its matches masked; `[EMAIL]` and the like where no style is given."""
    return replace(text, matches, style or Mask())


def _hide_all_but(value: str, keep: int, sign: str) -> str:
    meaning = sum(map(str.isalnum, value))
    hidden = meaning - min(keep, meaning // 2)
    signs: list[str] = []
    for character in value:
        hide = character.isalnum() and hidden > 0
        hidden -= hide
        signs.append(sign if hide else character)
    return "".join(signs)
