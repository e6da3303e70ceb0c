"""Small XML documents of other people: elements and their texts, and no declarations of document types or entities."""

from collections.abc import Callable
from typing import Final
from xml.parsers import expat

from polyforge.kernel.errors import UpstreamFailed

_MAX_DEPTH: Final = 10
Take = Callable[[str, str, str], None]
"""Given the name of the element around, that of an element that ends, and its text; ValueError and KeyError end it."""


class _Reader:
    def __init__(self, take: Take) -> None:
        self._take = take
        self._path: list[str] = [""]
        self._text: list[str] = []

    def begin(self, name: str, _attributes: dict[str, str]) -> None:
        self._path.append(name.rpartition(" ")[2])
        self._text.clear()
        if len(self._path) > _MAX_DEPTH:
            raise ValueError("it nests too deep")

    def text(self, text: str) -> None:
        self._text.append(text)

    def end(self, _name: str) -> None:
        name, text = self._path.pop(), "".join(self._text)
        self._text.clear()
        self._take(self._path[-1], name, text)

    def refuse(self, *_: object) -> None:
        raise ValueError("it declares a document type")


def read_elements(body: bytes, what: str, take: Take) -> None:
    """Hand all elements to `take`, in the order in which they end; UpstreamFailed when it is no such document."""
    reader = _Reader(take)
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = reader.begin
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.refuse
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError, KeyError) as error:
        raise UpstreamFailed(f"{what} cannot be read: {error}") from error
