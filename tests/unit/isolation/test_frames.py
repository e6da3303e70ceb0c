"""Frames: what is sent arrives, and what is none is noticed."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from polyforge.isolation.frames import ASK, JOINED_BYTES, LAST, MAGIC, PREFACE, BrokenFrame, receive, send

LIMIT = 1 << 20


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    with left, right:
        yield left, right


@pytest.mark.parametrize("size", [0, 1, JOINED_BYTES, JOINED_BYTES + 1, LIMIT])
def test_what_is_sent_arrives(ends: tuple[socket.socket, socket.socket], size: int) -> None:
    left, right = ends
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    half = memoryview(content)[: size // 2], memoryview(content)[size // 2 :]
    sender = threading.Thread(target=send, args=(left, ASK, 7, b"header", half))
    sender.start()
    frame = receive(right, LIMIT, time.monotonic() + 20)
    sender.join()
    assert frame is not None
    assert (frame.kind, frame.number, frame.header, bytes(frame.payload)) == (ASK, 7, b"header", content)


def test_the_end_between_two_frames_is_no_error(ends: tuple[socket.socket, socket.socket]) -> None:
    left, right = ends
    send(left, LAST, 1, b"a")
    left.close()
    assert receive(right, LIMIT) is not None
    assert receive(right, LIMIT) is None


def test_the_end_inside_a_frame_is_one(ends: tuple[socket.socket, socket.socket]) -> None:
    left, right = ends
    left.sendall(PREFACE.pack(MAGIC, LAST, 1, 4, 100) + b"head" + b"only a part")
    left.close()
    with pytest.raises(ConnectionError):
        receive(right, LIMIT)


@pytest.mark.parametrize(
    "preface",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 0",
        PREFACE.pack(MAGIC, LAST, 1, 0, LIMIT + 1),
        PREFACE.pack(MAGIC, LAST, 1, 2**32 - 1, 0),
        PREFACE.pack(MAGIC, LAST, 1, 0, 2**64 - 1),
    ],
)
def test_what_is_no_frame_or_too_large_is_refused_unread(
    ends: tuple[socket.socket, socket.socket], preface: bytes
) -> None:
    left, right = ends
    left.sendall(preface)
    with pytest.raises(BrokenFrame):
        receive(right, LIMIT, time.monotonic() + 20)


def test_a_deadline_ends_the_waiting(ends: tuple[socket.socket, socket.socket]) -> None:
    _, right = ends
    with pytest.raises(TimeoutError):
        receive(right, LIMIT, time.monotonic() + 0.01)
    with pytest.raises(TimeoutError):
        receive(right, LIMIT, time.monotonic() - 1)
    with pytest.raises(TimeoutError):
        send(right, ASK, 1, b"", (memoryview(bytes(64 * LIMIT)),), time.monotonic() + 0.01)
