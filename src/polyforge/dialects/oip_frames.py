"""Several answers to one inference, each with its raw tensors, as one body: what the gRPC listener asks for, whose
protocol has such streams while HTTP's has none. Pure functions.

A frame is one byte that says what it is, the length of its JSON and of what follows as little-endian 32-bit numbers,
the JSON, and the tensors. The JSON is that of an answer over HTTP, or `{"error": text}`, after which nothing comes.
"""

import struct
from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from polyforge.dialects import oip
from polyforge.kernel.errors import Invalid, PolyforgeError

FRAMES_TYPE: Final = "application/vnd.polyforge.oip-frames"
MAX_FRAME_BYTES: Final = 256 * 1024 * 1024

Kind = Literal["answer", "last", "error"]
_KINDS: Final[tuple[Kind, ...]] = ("answer", "last", "error")
_HEAD: Final = struct.Struct("<BII")


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One of them. `last` is an answer of which its sender knows that no other will come."""

    kind: Kind
    json: bytes
    raw: bytes = b""

    def encode(self) -> bytes:
        """Its bytes."""
        return _HEAD.pack(_KINDS.index(self.kind), len(self.json), len(self.raw)) + self.json + self.raw


def answer_frame(message: oip.Message, *, last: bool) -> bytes:
    """One answer."""
    text, *raw = message.parts
    return Frame("last" if last else "answer", bytes(text), b"".join(raw)).encode()


def error_frame(error: PolyforgeError) -> bytes:
    """What ends a stream that has begun."""
    return Frame("error", oip.encode_error(error)).encode()


def late_error_frame(body: bytes) -> bytes:
    """The same, of the body that the error would have had."""
    return Frame("error", body).encode()


class FrameReader:
    """Puts frames together of the pieces that they come in."""

    def __init__(self) -> None:
        self._rest = bytearray()

    @property
    def complete(self) -> bool:
        """Whether nothing of a frame is left over."""
        return not self._rest

    def feed(self, piece: bytes) -> Iterator[Frame]:
        """The frames that are whole now; Invalid for what are none."""
        self._rest += piece
        while len(self._rest) >= _HEAD.size:
            head: tuple[int, int, int] = _HEAD.unpack_from(self._rest)
            kind, text, raw = head
            if kind >= len(_KINDS) or text + raw > MAX_FRAME_BYTES:
                raise Invalid("the stream has no such frames")
            end = _HEAD.size + text + raw
            if len(self._rest) < end:
                return
            whole = bytes(self._rest[_HEAD.size : end])
            del self._rest[:end]
            yield Frame(_KINDS[kind], whole[:text], whole[text:])
