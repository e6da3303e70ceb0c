"""Lines on their way out, and what happens when nobody reads them."""

import contextlib
import json
import os
import socket
from collections.abc import Generator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from polyforge.telemetry.access import AccessLine, milliseconds
from polyforge.telemetry.lines import PIPE_WRITE, LineWriter, timestamp
from tests.support.waiting import eventually


def access_line(request_id: str = "01J", **fields: Any) -> AccessLine:
    return AccessLine(
        time=1_700_000_000.5,
        request_id=request_id,
        method="POST",
        path=fields.pop("path", "/v1/chat/completions"),
        status=200,
        duration_ms=milliseconds(12_345_678),
        overhead_ms=milliseconds(250_000),
        **fields,
    )


@contextlib.contextmanager
def pipe() -> Generator[tuple[int, int]]:
    reader, writer = os.pipe()
    try:
        yield reader, writer
    finally:
        for fd in (reader, writer):
            with contextlib.suppress(OSError):
                os.close(fd)


def written(path: Path, *lines: AccessLine | msgspec.Raw, **options: Any) -> list[dict[str, Any]]:
    """What the lines look like in a file."""
    with path.open("wb") as file:
        writer = LineWriter(file.fileno(), process="gateway-0", **options)
        writer.open()
        for line in lines:
            writer.put(line)
        writer.close()
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_request_is_one_line_with_what_it_did(tmp_path: Path) -> None:
    [line] = written(tmp_path / "log", access_line(model="assistant", hops_us=[1, 2, 3], price_micros=7))
    assert line == {
        "event": "request",
        "time": "2023-11-14T22:13:20.500Z",
        "process": "gateway-0",
        "request_id": "01J",
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "duration_ms": 12.345,
        "overhead_ms": 0.25,
        "model": "assistant",
        "hops_us": [1, 2, 3],
        "price_micros": 7,
    }


def test_what_callers_make_up_is_bounded_and_masked(tmp_path: Path) -> None:
    [line] = written(tmp_path / "log", access_line(path="/v1/sk-1234567890abc", model="m" * 5000))
    assert line["path"] == "/v1/sk-********"
    assert len(line["model"]) < 300


def test_lines_keep_their_order_and_none_is_lost_at_the_end(tmp_path: Path) -> None:
    lines = [access_line(str(number)) for number in range(1000)]
    assert [line["request_id"] for line in written(tmp_path / "log", *lines)] == [str(n) for n in range(1000)]


def test_a_line_that_cannot_be_written_as_text_takes_no_other_with_it(tmp_path: Path) -> None:
    lines = written(tmp_path / "log", access_line("1"), access_line("\ud800"), access_line("3"))
    assert [line.get("request_id") for line in lines] == ["1", "3", None]
    assert lines[-1]["count"] == 1


def test_lines_are_written_while_the_process_lives(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        writer = LineWriter(file.fileno())
        writer.open()
        for number in range(3):
            writer.put(access_line(str(number)))
            eventually(lambda wanted=number + 1: path.read_bytes().count(b"\n") == wanted, "the line")
        writer.close()


def test_a_reader_that_is_stuck_costs_lines_but_no_time_and_is_told_so() -> None:
    dropped: list[int] = []
    with pipe() as (reader, fd):
        writer = LineWriter(fd, limit=100, on_drop=dropped.append)
        writer.open()
        for number in range(5000):
            writer.put(access_line(str(number)))
        lost = eventually(lambda: writer.dropped, "a drop")
        writer.close(timeout=0)

        text = b""

        def all_told() -> bool:
            nonlocal text
            text += os.read(reader, 1 << 20)
            return b"were dropped" in text

        eventually(all_told, "the note about dropped lines")
    lines = [json.loads(line) for line in text.splitlines()]
    assert sum(dropped) == lost == lines[-1]["count"]
    assert len(lines) - 1 + lost == 5000


def test_a_closed_pipe_loses_lines_and_nothing_else() -> None:
    with pipe() as (reader, fd):
        os.close(reader)
        writer = LineWriter(fd)
        writer.open()
        writer.put(access_line())
        eventually(lambda: writer.dropped == 1, "the lost line")
        writer.close()


def test_a_non_blocking_pipe_loses_nothing() -> None:
    with pipe() as (reader, fd):
        os.set_blocking(fd, False)
        writer = LineWriter(fd)
        writer.open()
        for number in range(2000):
            writer.put(access_line(str(number)))
        text = b""
        while text.count(b"\n") < 2000:
            text += os.read(reader, 1 << 16)
        writer.close()
    assert [json.loads(line)["request_id"] for line in text.splitlines()] == [str(n) for n in range(2000)]


def test_writes_end_with_a_line_and_fit_into_one_piece_of_a_pipe() -> None:
    """So that the lines of several processes on one pipe never mix. Datagrams show where each write began."""
    reader, target = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with reader, target:
        writer = LineWriter(target.fileno())
        writer.open()
        for number in range(100):
            writer.put(access_line(str(number), model="m" * (number * 2)))
        pieces: list[bytes] = []
        while b"".join(pieces).count(b"\n") < 100:
            pieces.append(reader.recv(1 << 20))
        writer.close()
    assert all(piece.endswith(b"\n") and len(piece) <= PIPE_WRITE for piece in pieces)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "1970-01-01T00:00:00.000Z"), (1_700_000_000.9999, "2023-11-14T22:13:20.999Z")],
)
def test_timestamps(seconds: float, text: str) -> None:
    assert timestamp(seconds) == text
