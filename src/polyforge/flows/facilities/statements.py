"""What a query may be: one statement that reads. Pure; the database itself is what keeps it from writing."""

import re
from collections.abc import Collection
from typing import Final

from polyforge.kernel.errors import Invalid

_READS: Final = frozenset({"select", "with", "values"})
_PIECE: Final = re.compile(
    r"--[^\n]*"
    r"|/\*[\s\S]*?(?:\*/|\Z)"
    r"|[eE]'(?:\\[\s\S]|''|[^'\\])*(?:'|\Z)"
    r"|'(?:''|[^'])*(?:'|\Z)"
    r'|"(?:""|[^"])*(?:"|\Z)'
    r"|\$(?P<mark>[A-Za-z_]\w*|)\$[\s\S]*?(?:\$(?P=mark)\$|\Z)"
    r"|::"
    r"|:(?P<name>[A-Za-z]\w*)"
    r"|(?P<word>[A-Za-z_]\w*)"
    r"|(?P<end>;)"
)
"""What is not closed goes to the end, so that a query is gone through once."""


def check_statement(sql: str) -> None:
    """Invalid for what does not begin as a query does, or is more than one statement."""
    first, ended = "", False
    for piece in _PIECE.finditer(sql):
        if piece["end"] is not None:
            ended = True
        elif piece[0][:2] not in ("--", "/*"):
            if ended:
                raise Invalid("a query is one statement; take out what comes after `;`", param="query")
            first = first or (piece["word"] or piece[0]).lower()
    if first not in _READS:
        raise Invalid("a query begins with SELECT, WITH or VALUES", param="query")


def numbered(sql: str, names: Collection[str]) -> tuple[str, list[str]]:
    """The query with `$1`, `$2`... for its names, and the names in that order; Invalid for one that nothing has."""
    found: dict[str, int] = {}

    def put(piece: re.Match[str]) -> str:
        name = piece["name"]
        if name is None:
            return piece[0]
        if name not in names:
            raise Invalid(f"the query names `:{name}`, and there is no such input; declare it", param="inputs")
        return f"${found.setdefault(name, len(found) + 1)}"

    return _PIECE.sub(put, sql), list(found)
