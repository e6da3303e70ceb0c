"""Expressions as data: CEL and JMESPath, read and bounded here, run elsewhere."""

import re
from collections.abc import Collection
from functools import lru_cache
from typing import Any, Final, cast

from jmespath.exceptions import JMESPathError  # pyright: ignore[reportMissingTypeStubs]
from jmespath.functions import Functions  # pyright: ignore[reportMissingTypeStubs]
from jmespath.parser import Parser  # pyright: ignore[reportMissingTypeStubs]

from polyforge.dialects.cel import cel
from polyforge.flows import bounds

MAX_NESTED: Final = 32
_BRACKETS: Final = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|`(?:[^`\\]|\\.)*`|[\[({]|[\])}]')
_MACRO: Final = re.compile(r"\.\s*(?:all|exists|exists_one|filter|map)\s*\(\s*([A-Za-z_][A-Za-z0-9_]*)\s*,")
_FUNCTIONS: Final = frozenset(cast("dict[str, Any]", cast("Any", Functions).FUNCTION_TABLE))


def check_cel(expression: str, names: Collection[str]) -> None:
    """ValueError says why this is no CEL expression over these names."""
    _bound(expression)
    unknown = set(_cel_names(expression)) - set(_MACRO.findall(expression)) - set(names)
    if unknown:
        known = f"there are {', '.join(sorted(names))}" if names else "it is given nothing"
        raise ValueError(f"it knows no {', '.join(sorted(unknown))}; {known}")


def check_jmespath(expression: str) -> None:
    """ValueError says why this is no JMESPath expression."""
    _bound(expression)
    unknown = _jmespath_functions(expression) - _FUNCTIONS
    if unknown:
        raise ValueError(f"JMESPath has no function {', '.join(sorted(unknown))}")


def _bound(expression: str) -> None:
    if len(expression) > bounds.MAX_EXPRESSION:
        raise ValueError(f"an expression has at most {bounds.MAX_EXPRESSION} characters")
    depth = 0
    for found in _BRACKETS.finditer(expression):
        depth += 1 if found[0] in "[({" else -1 if found[0] in "])}" else 0
        if depth > MAX_NESTED:
            raise ValueError(f"an expression has at most {MAX_NESTED} brackets inside one another")


@lru_cache(maxsize=1024)
def _cel_names(expression: str) -> tuple[str, ...]:
    try:
        return tuple(cel.compile(expression).variables())
    except ValueError as error:
        raise ValueError(f"it is no CEL: {str(error)[:300]}") from error


@lru_cache(maxsize=1024)
def _jmespath_functions(expression: str) -> frozenset[str]:
    """The functions that an expression calls."""
    try:
        parsed: Any = Parser().parse(expression)  # pyright: ignore[reportUnknownMemberType]
    except JMESPathError as error:
        raise ValueError(f"it is no JMESPath: {str(error)[:300]}") from error
    except RecursionError as error:
        raise ValueError("it is no JMESPath that can be read: it is nested too deep") from error
    waiting, found = [parsed.parsed], set[str]()
    while waiting:
        part: dict[str, Any] = waiting.pop()
        if part["type"] == "function_expression":
            found.add(part["value"])
        waiting += [each for each in part["children"] if isinstance(each, dict)]
    return frozenset(found)
