"""Works out expressions over JSON: CEL and JMESPath, with a bound on the work that one may make.

Neither can loop without end, but both can multiply: lists inside lists, texts that double at each step. What CEL may
come to is told from the expression and the size of what it sees, before it is run; JMESPath is counted as it goes.
"""

import base64
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, cast

import msgspec
from jmespath.exceptions import JMESPathError  # pyright: ignore[reportMissingTypeStubs]
from jmespath.functions import Functions, signature  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
from jmespath.parser import Parser  # pyright: ignore[reportMissingTypeStubs]
from jmespath.visitor import Options, TreeInterpreter  # pyright: ignore[reportMissingTypeStubs]

from polyforge.dialects.cel import cel
from polyforge.flows.document import Json
from polyforge.kernel.errors import Invalid

MOST_STEPS: Final = 2_000_000
"""Rounds of all loops of an expression together, at most."""
MOST_WEIGHT: Final = 50_000_000
"""Bytes, about, that it may make of what it sees."""
MOST_MADE: Final = 1_000_000
"""Values and bytes in what it finds, counted as often as they stand there."""
MOST_VISITS: Final = 500_000
_MOST_LOOKED_AT: Final = 5_000_000_000
"""Bytes, about, that its loops may look at again and again."""
_VERY_MUCH: Final = 1e30
_DEEPEST: Final = 64
_TEXT_UNIT: Final = 64
"""Characters of a text that count as one value."""
_STRING: Final = (
    r'[bB]?[rR](?:"""[\s\S]*?"""|\'\'\'[\s\S]*?\'\'\'|"[^"\n]*"|\'[^\'\n]*\')'
    r'|"""(?:\\[\s\S]|[^\\])*?"""|\'\'\'(?:\\[\s\S]|[^\\])*?\'\'\''
    r'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
)
_TOKEN: Final = re.compile(
    rf"//[^\n]*|{_STRING}|\.\s*(?P<called>[A-Za-z_]\w*)\s*\(|\.\s*[A-Za-z_]\w*|(?P<name>[A-Za-z_]\w*)|\d[\w.]*|(?P<sign>[\[\](){{}}+,])"
)
_KEEPS: Final = frozenset({"map", "transformList", "transformMap"})
"""Loops that leave what their bodies make."""
_LOOPS: Final = _KEEPS | {"all", "exists", "exists_one", "existsOne", "filter"}


def cel_value(expression: str, values: Mapping[str, Json]) -> Json:
    """What a CEL expression comes to; Invalid where it comes to nothing, or would take too long to find out."""
    _check_work(_shape_of(expression), values)
    try:
        found: Any = _program(expression).execute(dict(values))
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise Invalid(f"the expression cannot be worked out: {_reason(error)}") from error
    return _plain(found)


def cel_holds(expression: str, values: Mapping[str, Json]) -> bool:
    """Whether a CEL expression holds; Invalid where it says neither true nor false."""
    found = cel_value(expression, values)
    if not isinstance(found, bool):
        raise Invalid("the condition is neither true nor false; compare something in it")
    return found


def jmespath_value(expression: str, value: Json) -> Json:
    """What a JMESPath expression picks out of a value; Invalid where it cannot, or finds too much."""
    try:
        parsed: Any = _parsed(expression)
        found = _Bounded().visit(parsed, value)
    except (JMESPathError, TypeError, ValueError, ArithmeticError) as error:
        raise Invalid(f"the expression cannot be worked out: {_reason(error)}") from error
    except RecursionError as error:
        raise Invalid("the expression cannot be worked out: it is nested too deep") from error
    return _plain(found)


class _Shape(msgspec.Struct, frozen=True):
    """How much an expression can multiply what it sees.

    `listed`: the entries that its own lists can have. `depth`: loops inside one another. `growth`: what all loops
    together may make of one thing. `named` and `kept`: the names that stand inside loops, and inside those that leave
    what they make.
    """

    listed: int
    depth: int
    growth: float
    named: frozenset[str]
    kept: frozenset[str]


class _Open(msgspec.Struct):
    """A bracket that is open; `called` is what it belongs to, `pieces` how many things its body puts together."""

    called: str = ""
    pieces: int = 1


@lru_cache(maxsize=1024)
def _shape_of(expression: str) -> _Shape:
    """Read off its brackets; strings and comments count for nothing."""
    stack, depth, growth = list[_Open](), 0, 1.0
    named, kept = set[str](), set[str]()
    for found in _TOKEN.finditer(expression):
        loops = [each for each in stack if each.called in _LOOPS]
        if found["called"] is not None:
            stack.append(_Open(found["called"]))
            depth = max(depth, len(loops) + (found["called"] in _LOOPS))
        elif found["name"] is not None:
            named |= {found["name"]} if loops else set()
            kept |= {found["name"]} if any(each.called in _KEEPS for each in loops) else set()
        elif (sign := found["sign"]) is not None:
            growth *= _read_sign(sign, stack, loops)
    for rest in stack:
        growth *= rest.pieces if rest.called in _LOOPS else 1
    return _Shape(4 + expression.count(","), depth, min(growth, _VERY_MUCH), frozenset(named), frozenset(kept))


def _read_sign(sign: str, stack: list[_Open], loops: list[_Open]) -> int:
    """Note a bracket or what puts things together; what a loop that ends here may have made of one thing."""
    if sign in "[({":
        stack.append(_Open())
    elif sign in "])}":
        ended = stack.pop() if stack else _Open()
        return ended.pieces if ended.called in _LOOPS else 1
    elif sign == "+" or not stack or stack[-1].called not in _LOOPS:
        for loop in loops:
            loop.pieces += 1
    return 1


def _check_work(shape: _Shape, values: Mapping[str, Json]) -> None:
    weights = {name: _measured(value) for name, value in values.items()}
    whole = sum(weight for weight, _ in weights.values())
    widest = max([shape.listed, *(widest for _, widest in weights.values())])
    rounds = min(widest * shape.growth, _VERY_MUCH)
    if shape.depth and rounds**shape.depth > MOST_STEPS:
        raise Invalid("the expression would go through too much: loops inside one another need shorter lists")
    made = whole * shape.growth * rounds ** max(0, shape.depth - 1)
    kept, named = (sum(weights[name][0] for name in names & weights.keys()) for names in (shape.kept, shape.named))
    if made > MOST_WEIGHT or kept * rounds**shape.depth > MOST_WEIGHT or named * rounds**shape.depth > _MOST_LOOKED_AT:
        raise Invalid("the expression would make too much of what it sees; give it less, or make it simpler")


@lru_cache(maxsize=1024)
def _program(expression: str) -> cel.Program:
    return cel.compile(expression)


@lru_cache(maxsize=1024)
def _parsed(expression: str) -> Any:
    return cast("Any", Parser()).parse(expression).parsed


def _measured(value: Json) -> tuple[int, int]:
    """About how many bytes a value has, and the most entries of any list or object in it."""
    weight, widest, waiting = 0, 0, [value]
    while waiting:
        part: Any = waiting.pop()
        weight += 16
        if isinstance(part, str):
            weight += len(part)
        elif isinstance(part, Mapping):
            entries = cast("Mapping[str, Any]", part)
            widest = max(widest, len(entries))
            weight += sum(map(len, entries))
            waiting += entries.values()
        elif isinstance(part, list):
            widest = max(widest, len(cast("list[Any]", part)))
            waiting += part
    return weight, widest


def _plain(value: Any) -> Json:
    """A value as JSON has it, of bounded size."""
    room = MOST_MADE

    def look(part: Any, depth: int) -> Json:
        nonlocal room
        room -= 1 + (len(part) // _TEXT_UNIT if isinstance(part, str) else 0)
        if room < 0 or depth > _DEEPEST:
            raise Invalid("the expression finds too much; pick out less")
        if isinstance(part, dict):
            return {str(key): look(inner, depth + 1) for key, inner in cast("dict[Any, Any]", part).items()}
        if isinstance(part, list | tuple):
            return [look(inner, depth + 1) for inner in cast("list[Any]", part)]
        return _scalar(part)

    return look(value, 0)


def _scalar(part: Any) -> Json:
    if part is None or isinstance(part, bool | int | str):
        return part
    if isinstance(part, float):
        if not math.isfinite(part):
            raise Invalid("the expression comes to a number that JSON does not have")
        return part
    if isinstance(part, datetime):
        return part.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(part, timedelta):
        return part.total_seconds()
    if isinstance(part, bytes):
        return base64.b64encode(part).decode()
    raise Invalid("the expression comes to something that is no JSON")


def _reason(error: Exception) -> str:
    told = f"there is no {error}" if isinstance(error, KeyError) else str(error)
    return (told.partition("\n")[0] or type(error).__name__)[:300]


class _Functions(Functions):
    """JMESPath's own, of which one can make much out of little."""

    @signature({"types": ["string"]}, {"types": ["array-string"]})
    def _func_join(self, separator: str, array: list[str]) -> str:
        if len(separator) * len(array) + sum(map(len, array)) > MOST_WEIGHT // 8:
            raise Invalid("the expression makes a text that is too long")
        return separator.join(array)


class _Bounded(TreeInterpreter):
    """Works an expression out, and gives up where that comes to too much."""

    def __init__(self) -> None:
        super().__init__(cast("Any", Options)(custom_functions=_Functions()))
        self._visits = MOST_VISITS
        self._room = MOST_MADE

    def visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:
        """The value of one part of the expression."""
        self._visits -= 1
        found: Any = cast("Any", super()).visit(node, *args, **kwargs)
        if node["type"] in _MAKERS:
            self._room -= len(found or ())
        if node["type"] in _COPIERS:
            self._room -= _weight(found, self._room)
        if self._visits < 0 or self._room < 0:
            raise Invalid("the expression goes through too much; pick out less, or from less")
        return found


_MAKERS: Final = frozenset({"flatten", "projection", "value_projection", "filter_projection", "slice"})
_COPIERS: Final = frozenset({"multi_select_list", "multi_select_dict", "function_expression"})
"""What may hold the same thing several times; it weighs as much as it would when written down."""


def _weight(value: Any, most: int) -> int:
    """How much a value holds, what stands in it twice counted twice; more than `most` is not looked at."""
    seen, waiting = 0, [value]
    while waiting and seen <= most:
        part: Any = waiting.pop()
        seen += 1
        if isinstance(part, str):
            seen += len(part) // _TEXT_UNIT
        elif isinstance(part, dict):
            waiting += cast("dict[str, Any]", part).values()
        elif isinstance(part, list):
            waiting += part
    return seen
