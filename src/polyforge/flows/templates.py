"""Templates of prompts: text with `{{name}}` in it and nothing else, so that there is nothing to inject.

A name stands for an input. There are no attributes, calls, filters or blocks; what is put in is never read as a
template again. `\\{{` is two braces.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from polyforge.flows import bounds
from polyforge.kernel.errors import Invalid

_NAME: Final = re.compile(r"[ \t]*([A-Za-z][A-Za-z0-9_-]{0,63})[ \t]*\}\}")
_OPENING: Final = re.compile(r"\\?\{\{")
MAX_HOLES: Final = 200
"""Different names in one template."""
MAX_FILLED: Final = 4_000_000
"""Characters in what a template becomes."""


class Hole(msgspec.Struct, frozen=True):
    """A place for the value of an input."""

    name: str


Piece = str | Hole


def parse_template(text: str) -> tuple[Piece, ...]:
    """The pieces of a template, in order; ValueError says where it is wrong."""
    if len(text) > bounds.MAX_TEXT:
        raise ValueError(f"a template has at most {bounds.MAX_TEXT} characters")
    pieces, place, names = list[Piece](), 0, set[str]()
    while opening := _OPENING.search(text, place):
        pieces.append(text[place : opening.start()])
        place = opening.end()
        if opening[0][0] == "\\":
            pieces.append("{{")
            continue
        name = _NAME.match(text, place)
        if name is None:
            near = text[opening.start() : opening.start() + 30]
            raise ValueError(f"at character {opening.start()}, {near!r} is not `{{{{name}}}}`")
        names.add(name[1])
        pieces.append(Hole(name[1]))
        place = name.end()
    if len(names) > MAX_HOLES:
        raise ValueError(f"a template has at most {MAX_HOLES} different names")
    return tuple(piece for piece in (*pieces, text[place:]) if piece != "")


def names_in(text: str) -> tuple[str, ...]:
    """The inputs that a template takes, each once, in order; none of one that is wrong."""
    try:
        pieces = parse_template(text)
    except ValueError:
        return ()
    return tuple(dict.fromkeys(piece.name for piece in pieces if isinstance(piece, Hole)))


def fill(text: str, values: Mapping[str, Any], written: Callable[[str], str] = str) -> str:
    """A template with values put in, each as `written` writes it; Invalid for one that becomes too long.

    What is put in stands there as it is: braces in it mean nothing.
    """
    pieces, room = list[str](), MAX_FILLED
    for piece in parse_template(text):
        put = written(_text_of(values.get(piece.name, ""))) if isinstance(piece, Hole) else piece
        room -= len(put)
        if room < 0:
            raise Invalid(
                f"the text has more than {MAX_FILLED} characters once its inputs are put in; make them shorter"
            )
        pieces.append(put)
    return "".join(pieces)


def _text_of(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
