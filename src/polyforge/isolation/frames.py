"""The frames between a process and its child, over a Unix socket: a short preface, a header, and raw bytes.

Preface, little-endian: the magic `PF1`, the kind as one letter, the number of the request that the frame belongs to
(8 bytes), the length of the header (4) and that of the payload (8). What header and payload mean is the business of
those who talk. Only the standard library is used here: the child may be another interpreter, without our libraries.
"""

import select
import socket
import struct
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

MAGIC: Final = b"PF1"
PREFACE: Final = struct.Struct("<3scQIQ")
HELLO: Final = b"H"
"""The child is ready; its header says for what."""
REFUSED: Final = b"X"
"""The child cannot do what it was started for; its header says why, in UTF-8."""
ASK: Final = b"A"
REPLY: Final = b"R"
"""An answer, and more will come."""
LAST: Final = b"L"
"""The only answer, or what ends several: then without header and payload."""
CANCEL: Final = b"C"
"""Nobody waits for further answers; the child ends them with LAST."""

MAX_HEADER_BYTES: Final = 16 * 1024 * 1024
JOINED_BYTES: Final = 64 * 1024
"""Frames up to this size are sent by one call of the kernel."""


class BrokenFrame(Exception):
    """What came is no frame, or one that is too large."""


class Frame(NamedTuple):
    """One message."""

    kind: bytes
    number: int
    header: bytes
    payload: memoryview


def send(
    channel: socket.socket,
    kind: bytes,
    number: int,
    header: bytes = b"",
    buffers: Sequence[memoryview] = (),
    deadline: float | None = None,
) -> None:
    """Send a frame whose payload is the buffers in a row.

    TimeoutError when it is not out by `deadline` (monotonic seconds), OSError when nobody reads any more.
    """
    size = sum(buffer.nbytes for buffer in buffers)
    head = PREFACE.pack(MAGIC, kind, number, len(header), size) + header
    if size <= JOINED_BYTES:
        pieces: Sequence[bytes | memoryview] = (b"".join((head, *buffers)),)
    else:
        pieces = (head, *buffers)
    for piece in pieces:
        _allow(channel, deadline)
        channel.sendall(piece)


def receive(channel: socket.socket, max_bytes: int, deadline: float | None = None) -> Frame | None:
    """The next frame, or None when the other side has hung up between two.

    BrokenFrame when it is none or its payload is over `max_bytes`, TimeoutError after `deadline`, OSError.
    """
    preface = _exactly(channel, PREFACE.size, deadline, or_none=True)
    if preface is None:
        return None
    magic, kind, number, header_size, size = PREFACE.unpack(preface)
    if magic != MAGIC:
        raise BrokenFrame("something that is no frame")
    if header_size > MAX_HEADER_BYTES or size > max_bytes:
        raise BrokenFrame(f"a frame of {header_size + size} bytes, where at most {max_bytes} are allowed")
    header = bytes(_exactly(channel, header_size, deadline) or b"")
    return Frame(kind, number, header, memoryview(_exactly(channel, size, deadline) or b""))


def is_readable(descriptor: int, seconds: float) -> bool:
    """Whether there is something to read, or the end, within so many seconds; any number of a descriptor is fine."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _exactly(channel: socket.socket, size: int, deadline: float | None, *, or_none: bool = False) -> bytearray | None:
    content = bytearray(size)
    view = memoryview(content)
    filled = 0
    while filled < size:
        _allow(channel, deadline)
        count = channel.recv_into(view[filled:])
        if not count:
            if or_none and not filled:
                return None
            raise ConnectionError("the other side hung up in the middle of a frame")
        filled += count
    return content


def _allow(channel: socket.socket, deadline: float | None) -> None:
    if deadline is None:
        return
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time for this frame is over")
    channel.settimeout(left)
