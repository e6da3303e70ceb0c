"""Which models have which tokenizer, and what they add around a prompt; pure data."""

import re
from typing import Final, Literal

import msgspec

EncodingName = Literal["o200k_base", "cl100k_base"]


class Family(msgspec.Struct, frozen=True):
    """Models of one vendor that count alike. Numbers are tokens, as OpenAI's cookbook and pricing pages give them."""

    encoding: EncodingName
    plain: bool = True
    """Whether the overheads of turns are published; else they are only bounded."""
    tool: int = 7
    """Around each tool."""
    picture: int = 85
    """For every picture."""
    tile: int = 170
    """For each square of 512 pixels of a picture that is looked at closely."""


_O200K: Final = Family("o200k_base")
_CL100K: Final = Family("cl100k_base", tool=10)
_REASONING: Final = Family("o200k_base", plain=False, picture=75, tile=150)
_GPT_5: Final = Family("o200k_base", plain=False, picture=70, tile=140)
_SMALL: Final = Family("o200k_base", picture=2_833, tile=5_667)
_FAMILIES: Final[tuple[tuple[re.Pattern[str], Family], ...]] = tuple(
    (re.compile(pattern), family)
    for pattern, family in (
        (r"(chat)?gpt-4o-mini\b", _SMALL),
        (r"(chat)?gpt-4(o|\.1|\.5)\b", _O200K),
        (r"gpt-5\b", _GPT_5),
        (r"gpt-oss\b", _GPT_5),
        (r"o[134](-|$)", _REASONING),
        (r"(gpt-4|gpt-3\.5|gpt-35)\b", _CL100K),
        (r"text-embedding-(ada-002|3-small|3-large)$", _CL100K),
    )
)


def family_of(model: str) -> Family | None:
    """The family of a model by the provider's own name, with or without a vendor or `ft:` before it; None: unknown."""
    name = model.lower().removeprefix("ft:").rpartition("/")[2]
    return next((family for pattern, family in _FAMILIES if pattern.match(name)), None)
