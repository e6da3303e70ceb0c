"""Patterns made of lists of words."""

import re
from collections.abc import Iterable


def either(names: Iterable[str]) -> str:
    """A pattern for any of some names, the longest first."""
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))


def beginnings(names: Iterable[str]) -> str:
    """A pattern for all beginnings of some names, the names themselves among them."""
    following: dict[str, list[str]] = {}
    for name in names:
        following.setdefault(name[0], []).append(name[1:])
    branches = [re.escape(first) + _optional([rest for rest in rests if rest]) for first, rests in following.items()]
    return f"(?:{'|'.join(branches)})"


def _optional(rests: list[str]) -> str:
    return f"{beginnings(rests)}?" if rests else ""
