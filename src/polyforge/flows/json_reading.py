"""JSON from strangers: read strictly, with bounds, and with every refusal as a problem."""

import json
import math
import re
from typing import Any, Final, NoReturn, cast

import rfc8785

from polyforge.flows import bounds
from polyforge.flows.problems import Code, Problem, pointer

_BAD_IN_TEXT: Final = re.compile("[\x00\ud800-\udfff]")
_BAD_IN_KEYS: Final = re.compile("[\x00-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
"""Beside what no store keeps: what makes a key look like another one."""
_LONGEST_NUMBER: Final = 400
_LONGEST_INTEGER: Final = len(str(-bounds.MAX_INTEGER))
_LONGEST_KEY: Final = 1_000
Fault = tuple[Code, str, str, list[str | int]]
"""What is wrong, in words, what to do, and where: the keys that lead there, the last one first."""


class Refused(Exception):
    """The JSON cannot be taken."""

    def __init__(self, code: Code, message: str, hint: str) -> None:
        super().__init__(message)
        self.problem = Problem(code, message, hint)


def read_json(content: bytes) -> Any:
    """The JSON value in a file; Refused when it is none, too large, or means different things to different readers."""
    if len(content) > bounds.MAX_BYTES:
        raise Refused("too_large", f"the flow has {len(content)} bytes", f"keep it under {bounds.MAX_BYTES} bytes")
    try:
        return json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
    except UnicodeDecodeError as error:
        raise Refused("not_json", f"byte {error.start} is not UTF-8", "save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Refused("not_json", f"it is not JSON at {where}: {error.msg}", "mend the file there") from error
    except RecursionError as error:
        raise _too_deep() from error


def values_in(value: Any) -> int:
    """How many values there are in a JSON value, itself included."""
    waiting, count = [value], 0
    while waiting:
        each = waiting.pop()
        count += 1
        if isinstance(each, dict):
            waiting += cast("dict[Any, Any]", each).values()
        elif isinstance(each, list):
            waiting += cast("list[Any]", each)
    return count


def fault_in(value: Any, depth: int = 0) -> Fault | None:
    """The first thing in a value that no flow may hold, None where there is none."""
    if isinstance(value, str):
        return _fault_in_text(value)
    if isinstance(value, dict | list) and depth >= bounds.MAX_DEPTH:
        return ("too_deep", "it is nested too deep", f"nest at most {bounds.MAX_DEPTH} objects and lists", [])
    if isinstance(value, dict):
        return _fault_in_object(cast("dict[Any, Any]", value), depth)
    if isinstance(value, list):
        return _fault_in_list(cast("list[Any]", value), depth)
    return _fault_in_number(value)


def fault_problem(fault: Fault) -> Problem:
    """The problem for a fault."""
    code, message, hint, keys = fault
    keys = keys[::-1]
    in_node = len(keys) > 1 and keys[0] in ("nodes", "groups")
    path = pointer(*(keys[2:] if in_node else keys))
    return Problem(code, message, hint, node=str(keys[1])[:64] if in_node else None, param=path[:400] or None)


def _fault_in_object(value: dict[Any, Any], depth: int) -> Fault | None:
    for key, item in value.items():
        if fault := _fault_in_key(key) or fault_in(item, depth + 1):
            fault[3].append(key if isinstance(key, str) else "")
            return fault
    return None


def _fault_in_list(value: list[Any], depth: int) -> Fault | None:
    for place, item in enumerate(value):
        if fault := fault_in(item, depth + 1):
            fault[3].append(place)
            return fault
    return None


def _fault_in_text(text: str) -> Fault | None:
    if len(text) > bounds.MAX_TEXT:
        return ("too_large", f"a text has {len(text)} characters", f"keep it under {bounds.MAX_TEXT}", [])
    if _BAD_IN_TEXT.search(text):
        return ("bad_text", "a text holds NUL or half of a surrogate pair", "take that character out", [])
    return None


def _fault_in_key(key: object) -> Fault | None:
    if not isinstance(key, str) or len(key) > _LONGEST_KEY or _BAD_IN_KEYS.search(key):
        return ("bad_text", "a key is too long, or holds characters that cannot be seen", "write another key", [])
    if key == "__proto__":
        return ("bad_text", "`__proto__` changes objects where JavaScript reads it", "use another key", [])
    return None


def _fault_in_number(value: object) -> Fault | None:
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int) and abs(value) <= bounds.MAX_INTEGER:
        return None
    if isinstance(value, float) and math.isfinite(value):
        return None
    return ("bad_number", "a number is not finite, or too large to be kept exactly", "write it as a text", [])


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen = set[str]()
    for key, _ in pairs:
        if key in seen:
            raise Refused("duplicate_key", f"the key {key[:64]!r} stands twice in one object", "keep one of them")
        seen.add(key)
    return found


def _integer(digits: str) -> int | float:
    """A whole number; one beyond what every reader keeps is taken only as the canonical form writes a float."""
    if len(digits) <= _LONGEST_INTEGER and abs(int(digits)) <= bounds.MAX_INTEGER:
        return int(digits)
    value = _float(digits)
    if rfc8785.dumps(value).decode() != digits:
        raise _bad_number(digits)
    return value


def _float(digits: str) -> float:
    value = float(digits) if len(digits) <= _LONGEST_NUMBER else math.inf
    if not math.isfinite(value):
        raise _bad_number(digits)
    return value


def _constant(name: str) -> NoReturn:
    raise _bad_number(name)


def _bad_number(digits: str) -> Refused:
    return Refused("bad_number", f"the number {digits[:20]} is not finite or too long", "write it as a text")


def _too_deep() -> Refused:
    return Refused("too_deep", "it is nested too deep", f"nest at most {bounds.MAX_DEPTH} objects and lists")
