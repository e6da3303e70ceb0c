"""AWS's binary event stream, `application/vnd.amazon.eventstream`: arriving bytes cut into whole, checked messages.

A message is: its length and that of its headers (4 bytes each), the CRC-32 of these eight bytes, the headers, the
payload, and the CRC-32 of all that came before; numbers are big-endian.
Source: https://smithy.io/2.0/aws/amazon-eventstream.html
"""

from functools import lru_cache
from struct import Struct
from types import MappingProxyType
from typing import Final
from zlib import crc32

import msgspec

MEDIA_TYPE: Final = "application/vnd.amazon.eventstream"
_PRELUDE: Final = Struct(">III")
_CHECKSUM: Final = Struct(">I")
_LENGTH: Final = Struct(">H")
_OVERHEAD: Final = _PRELUDE.size + _CHECKSUM.size
_LONGEST_MESSAGE: Final = 16 * 1024 * 1024
_LONGEST_HEADERS: Final = 128 * 1024
_MOST_HEADERS: Final = 64
_STRING: Final = 7
_SIZES: Final = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of a header's value by its type: true, false, integers, a timestamp, a UUID."""
_COUNTED: Final = frozenset({6, _STRING})
"""Types whose value begins with its length: bytes and text."""


class BrokenStream(ValueError):
    """The bytes are no event stream."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message; of the headers those that are text."""

    headers: MappingProxyType[str, str]
    payload: bytes

    @property
    def kind(self) -> str:
        """`event`, `exception` or `error`."""
        return self.headers.get(":message-type", "event")

    @property
    def name(self) -> str:
        """Which event, exception or error it is."""
        headers = self.headers
        return headers.get(":event-type") or headers.get(":exception-type") or headers.get(":error-code") or ""


class MessageSplitter:
    """Cuts arriving bytes into messages, whatever the chunk borders are."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, chunk: bytes) -> list[Message]:
        """The messages that `chunk` completes, in order; BrokenStream when a length or a checksum is wrong."""
        held = self._held
        held += chunk
        found: list[Message] = []
        begin = 0
        while len(held) - begin >= _PRELUDE.size:
            length, headers, checksum = _PRELUDE.unpack_from(held, begin)
            _check_prelude(held, begin, length, headers, checksum)
            if len(held) - begin < length:
                break
            found.append(_read_message(bytes(held[begin : begin + length]), headers))
            begin += length
        del held[:begin]
        return found

    @property
    def is_empty(self) -> bool:
        """Whether no message has come in part."""
        return not self._held


def _check_prelude(held: bytearray, begin: int, length: int, headers: int, checksum: int) -> None:
    if crc32(held[begin : begin + _PRELUDE.size - _CHECKSUM.size]) != checksum:
        raise BrokenStream("the checksum of a message's lengths is wrong")
    if length > _LONGEST_MESSAGE or headers > _LONGEST_HEADERS or length < headers + _OVERHEAD:
        raise BrokenStream(f"a message of {length} bytes with {headers} bytes of headers")


def _read_message(whole: bytes, headers: int) -> Message:
    end = len(whole) - _CHECKSUM.size
    if crc32(memoryview(whole)[:end]) != _CHECKSUM.unpack_from(whole, end)[0]:
        raise BrokenStream("the checksum of a message is wrong")
    begin = _PRELUDE.size + headers
    return Message(_read_headers(whole[_PRELUDE.size : begin]), whole[begin:end])


@lru_cache(maxsize=64)  # Most messages of a stream carry the same headers.
def _read_headers(data: bytes) -> MappingProxyType[str, str]:
    headers: dict[str, str] = {}
    place = 0
    for _ in range(_MOST_HEADERS):
        if place == len(data):
            return MappingProxyType(headers)
        name, kind, place = _read_name(data, place)
        value, place = _read_value(data, kind, place)
        if name in headers:
            raise BrokenStream("a header stands twice")
        if kind == _STRING:
            headers[name] = value.decode("utf-8", "replace")
    raise BrokenStream("a message has too many headers")


def _read_name(data: bytes, place: int) -> tuple[str, int, int]:
    end = place + 1 + data[place]
    if end >= len(data):
        raise BrokenStream("a header is cut off")
    return data[place + 1 : end].decode("utf-8", "replace"), data[end], end + 1


def _read_value(data: bytes, kind: int, place: int) -> tuple[bytes, int]:
    if kind in _COUNTED and place + _LENGTH.size <= len(data):
        begin = place + _LENGTH.size
        end = begin + _LENGTH.unpack_from(data, place)[0]
    elif kind in _SIZES:
        begin, end = place, place + _SIZES[kind]
    else:
        raise BrokenStream("a header is cut off, or of an unknown type")
    if end > len(data):
        raise BrokenStream("a header is cut off")
    return data[begin:end], end
