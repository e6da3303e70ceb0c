"""What changed in a JSON value (RFC 6902), and in a text, word by word."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, cast

import msgspec

from polyforge.flows.canonical import same
from polyforge.flows.document import Json
from polyforge.flows.problems import pointer

MOST_EDITS: Final = 400
"""Words added and removed, beyond which a text counts as replaced as a whole."""
_TOKENS: Final = re.compile(r"\s+|\S+")
_Keys = tuple[str | int, ...]


class Operation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step of a JSON patch."""

    op: Literal["add", "remove", "replace"]
    path: str
    value: Json | msgspec.UnsetType = msgspec.UNSET


class Words(msgspec.Struct, frozen=True):
    """A piece of a text that stayed, went or came."""

    what: Literal["same", "removed", "added"]
    text: str


def patch(before: Json, after: Json) -> tuple[Operation, ...]:
    """The steps from one value to the other, in an order that does not depend on how objects were written."""
    return tuple(_operations(before, after, ()))


def _operations(before: Json, after: Json, keys: _Keys) -> Iterator[Operation]:
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _in_objects(cast("dict[str, Json]", before), cast("dict[str, Json]", after), keys)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _in_lists(cast("list[Json]", before), cast("list[Json]", after), keys)
    elif not same(before, after):
        yield Operation("replace", pointer(*keys), after)


def _in_objects(before: Mapping[str, Json], after: Mapping[str, Json], keys: _Keys) -> Iterator[Operation]:
    for key in sorted(before.keys() | after.keys()):
        if key not in after:
            yield Operation("remove", pointer(*keys, key))
        elif key not in before:
            yield Operation("add", pointer(*keys, key), after[key])
        else:
            yield from _operations(before[key], after[key], (*keys, key))


def _in_lists(before: Sequence[Json], after: Sequence[Json], keys: _Keys) -> Iterator[Operation]:
    """What lies between the beginning and the end that are the same: changed in place, then cut or made longer."""
    head = _alike(before, after)
    tail = _alike(before[head:][::-1], after[head:][::-1])
    old, new = before[head : len(before) - tail], after[head : len(after) - tail]
    common = min(len(old), len(new))
    for place in range(common):
        yield from _operations(old[place], new[place], (*keys, head + place))
    for place in reversed(range(common, len(old))):
        yield Operation("remove", pointer(*keys, head + place))
    for place in range(common, len(new)):
        yield Operation("add", pointer(*keys, head + place), new[place])


def _alike(before: Sequence[Any], after: Sequence[Any]) -> int:
    count = 0
    while count < min(len(before), len(after)) and same(before[count], after[count]):
        count += 1
    return count


def word_changes(before: str, after: str) -> tuple[Words, ...]:
    """How one text became the other: all but what was added is the old one, all but what was removed the new one."""
    old, new = _TOKENS.findall(before), _TOKENS.findall(after)
    head = _alike(old, new)
    tail = _alike(old[head:][::-1], new[head:][::-1])
    middle = _edits(old[head : len(old) - tail], new[head : len(new) - tail])
    pieces = [Words("same", "".join(old[:head])), *middle, Words("same", "".join(old[len(old) - tail :]))]
    return tuple(_joined(pieces))


def _joined(pieces: Sequence[Words]) -> Iterator[Words]:
    """Pieces of one kind in a row as one, empty ones left out."""
    last: Words | None = None
    for piece in pieces:
        if not piece.text:
            continue
        if last is not None and last.what == piece.what:
            last = Words(last.what, last.text + piece.text)
            continue
        if last is not None:
            yield last
        last = piece
    if last is not None:
        yield last


def _edits(old: Sequence[str], new: Sequence[str]) -> list[Words]:
    """The fewest words removed and added (Myers, 1986), or all of them where that is too much work."""
    trace = _trace(old, new)
    if trace is None:
        return [Words("removed", "".join(old)), Words("added", "".join(new))]
    x, y, back = len(old), len(new), list[Words]()
    for edits in reversed(range(len(trace))):
        reach, k = trace[edits], x - y
        down = k == -edits or (k != edits and reach[k - 1] < reach[k + 1])
        from_x = reach.get(k + 1 if down else k - 1, 0)
        from_y = from_x - (k + 1 if down else k - 1)
        while x > max(from_x, 0) and y > max(from_y, 0) and old[x - 1] == new[y - 1]:
            x, y = x - 1, y - 1
            back.append(Words("same", old[x]))
        if edits == 0:
            break
        if down:
            y -= 1
            back.append(Words("added", new[y]))
        else:
            x -= 1
            back.append(Words("removed", old[x]))
    return back[::-1]


def _trace(old: Sequence[str], new: Sequence[str]) -> list[dict[int, int]] | None:
    """How far one gets along each diagonal with 0, 1, ... edits; None where the most are not enough."""
    reach, trace = {1: 0}, list[dict[int, int]]()
    for edits in range(min(MOST_EDITS, len(old) + len(new)) + 1):
        trace.append(dict(reach))
        for k in range(-edits, edits + 1, 2):
            down = k == -edits or (k != edits and reach[k - 1] < reach[k + 1])
            x = reach[k + 1] if down else reach[k - 1] + 1
            while x < len(old) and x - k < len(new) and old[x] == new[x - k]:
                x += 1
            reach[k] = x
            if x >= len(old) and x - k >= len(new):
                return trace
    return None
