"""Lists of objects as S3 and what speaks its API write them.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
"""

from typing import NamedTuple
from xml.parsers import expat

from polyforge.kernel.errors import UpstreamFailed

_OBJECT = "Contents"
_MAX_DEPTH = 10


class ListedObject(NamedTuple):
    """An object; `etag` is in quotes, as it stands in headers too."""

    key: str
    size: int
    etag: str


class ObjectList(NamedTuple):
    """Some objects by key, and what to ask with for those after them; empty: there are none."""

    objects: list[ListedObject]
    following: str


class _Reader:
    """Collects the texts of elements. Declarations of a document type are refused, and with them all entities."""

    def __init__(self) -> None:
        self.objects: list[ListedObject] = []
        self.following = ""
        self._path: list[str] = []
        self._text: list[str] = []
        self._fields: dict[str, str] = {}

    def begin(self, name: str, _attributes: dict[str, str]) -> None:
        self._path.append(name.rpartition(" ")[2])
        self._text.clear()
        if len(self._path) > _MAX_DEPTH:
            raise ValueError("it nests too deep")
        if self._path[-1] == _OBJECT:
            self._fields.clear()

    def text(self, text: str) -> None:
        self._text.append(text)

    def end(self, _name: str) -> None:
        name, text = self._path.pop(), "".join(self._text)
        self._text.clear()
        if self._path[-1:] == [_OBJECT]:
            self._fields[name] = text
        elif name == _OBJECT:
            fields = self._fields
            self.objects.append(ListedObject(fields["Key"], int(fields["Size"]), fields.get("ETag", "")))
        elif name == "NextContinuationToken":
            self.following = text

    def refuse(self, *_: object) -> None:
        raise ValueError("it declares a document type")


def decode_list(body: bytes) -> ObjectList:
    """The objects of one answer; UpstreamFailed when it is no such list."""
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = reader.begin
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.refuse
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError, KeyError) as error:
        raise UpstreamFailed(f"the list of objects cannot be read: {error}") from error
    return ObjectList(reader.objects, reader.following)
