"""Forms with files (RFC 7578), read where they lie: a part is a place in the body, and no file is copied.

The boundary is the one that the body itself begins with. What is sent on carries it in a header of our own, so that
nobody behind us can read another form than the one that was read here. For the same reason headers of parts that
servers read in different ways are refused.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

import msgspec

from polyforge.kernel.errors import Invalid

OPENING: Final = re.compile(rb"--([0-9A-Za-z'()+_,./:=?-]{1,70})\r\n")
_TOKEN: Final = re.compile(r"[0-9A-Za-z'+_.-]+")
_DISPOSITION: Final = re.compile(rb"[Ff]orm-[Dd]ata")
_PARAMETER: Final = re.compile(rb'\s*;\s*([A-Za-z*]+)=(?:"((?:[^"\\\r\n]|\\.)*)"|([^\s;"]+))')
_ESCAPED: Final = re.compile(rb"\\(.)")
_PLAIN: Final = frozenset({b"7bit", b"8bit", b"binary"})
HEAD_BYTES: Final = 4096
MOST_PARTS: Final = 1000
_MOST_TEXT: Final = 256 * 1024


class Head(msgspec.Struct, frozen=True, gc=False):
    """What the headers of a part say."""

    name: str
    file_name: str | None
    """What the file is called; None for a field that is none."""
    plain: bool
    """Whether its content is what it says, and not coded once more."""


class Part(msgspec.Struct, frozen=True, gc=False):
    """One field: its content is `body[start:end]`."""

    name: str
    is_file: bool
    plain: bool
    """Whether its content is what it says, and not coded once more."""
    start: int
    end: int


class Form(msgspec.Struct, frozen=True):
    """A body that was read."""

    body: bytes
    boundary: str
    parts: list[Part]

    @property
    def content_type(self) -> str:
        """The header for it."""
        plain = _TOKEN.fullmatch(self.boundary)
        return f"multipart/form-data; boundary={self.boundary}" if plain else self._quoted

    @property
    def _quoted(self) -> str:
        return f'multipart/form-data; boundary="{self.boundary}"'

    def files(self, *names: str) -> list[Part]:
        """The files under these names."""
        return [part for part in self.parts if part.is_file and part.name in names]

    def text(self, name: str) -> str | None:
        """The text of a field; Invalid for one that stands twice, is a file, too long, or no UTF-8."""
        part = self._only(name)
        if part is None:
            return None
        if part.is_file or not part.plain or part.end - part.start > _MOST_TEXT:
            raise Invalid(f"{name} must be a text, of at most {_MOST_TEXT} bytes", param=name)
        try:
            return self.body[part.start : part.end].decode()
        except UnicodeDecodeError:
            raise Invalid(f"{name} must be UTF-8", param=name) from None

    def with_text(self, name: str, value: str) -> bytes:
        """The body with another text in a field that is there; copied once, and not at all where nothing changes."""
        part, written = self._only(name), value.encode()
        if part is None or self.body[part.start : part.end] == written:
            return self.body
        view = memoryview(self.body)
        return b"".join((view[: part.start], written, view[part.end :]))

    def _only(self, name: str) -> Part | None:
        found = [part for part in self.parts if part.name == name]
        if len(found) > 1:
            raise Invalid(f"{name} must stand once", param=name)
        return found[0] if found else None


def is_form(body: bytes) -> bool:
    """Whether a body can be a form: no JSON begins like one."""
    return body.startswith(b"--")


def read_form(body: bytes) -> Form:
    """The form in a body; Invalid says what is wrong with it."""
    opening = OPENING.match(body)
    if opening is None:
        raise Invalid("the body must be multipart/form-data, and begin with its boundary")
    delimiter = b"\r\n--" + opening[1]
    parts: list[Part] = []
    place = opening.end()
    for _ in range(MOST_PARTS):
        head_end = body.find(b"\r\n\r\n", place, place + HEAD_BYTES)
        end = body.find(delimiter, head_end + 4)
        if head_end < 0 or end < 0:
            raise Invalid("the form breaks off, or a part of it has no headers, or too long ones")
        head = read_head(body[place:head_end])
        parts.append(Part(head.name, head.file_name is not None, head.plain, head_end + 4, end))
        place = end + len(delimiter) + 2
        mark = body[place - 2 : place]
        if mark == b"--":
            return Form(body, opening[1].decode(), parts)
        if mark != b"\r\n":
            raise Invalid("the form's boundary stands where no part ends")
    raise Invalid(f"the form has more than {MOST_PARTS} parts")


def read_head(head: bytes) -> Head:
    """What the headers of a part say; Invalid where servers read them in different ways."""
    found: tuple[str, str | None] | None = None
    plain = True
    for line in head.split(b"\r\n"):
        field, _, value = line.partition(b":")
        field, value = field.lower(), value.strip()
        if field == b"content-disposition" and found is None:
            found = _read_disposition(value)
        elif field == b"content-disposition":
            raise Invalid("a part of the form has two dispositions")
        elif field == b"content-transfer-encoding":
            plain = value.lower() in _PLAIN
    if found is None:
        raise Invalid("a part of the form has no name")
    return Head(*found, plain)


def _read_disposition(value: bytes) -> tuple[str, str | None]:
    """The name of a field, and that of the file if it is one."""
    kind = _DISPOSITION.match(value)
    place = kind.end() if kind else 0
    found: dict[bytes, bytes] = {}
    while kind and (match := _PARAMETER.match(value, place)):
        key = match[1].lower()
        if key in found:
            break
        found[key] = match[2] if match[2] is not None else match[3]
        place = match.end()
    if place != len(value) or not found.get(b"name") or b"name*" in found or b"\\" in found[b"name"]:
        raise Invalid("the Content-Disposition of a part of the form cannot be read")
    return found[b"name"].decode("latin-1"), _file_name(found)


def _file_name(found: Mapping[bytes, bytes]) -> str | None:
    """What the file is called, None for what is no file."""
    plain, extended = found.get(b"filename"), found.get(b"filename*")
    if plain is not None:
        return _ESCAPED.sub(rb"\1", plain).decode("utf-8", "replace")
    # RFC 7578 forbids it, and some clients send it for names that are not ASCII.
    return None if extended is None else unquote(extended.rpartition(b"'")[2].decode("latin-1"))
