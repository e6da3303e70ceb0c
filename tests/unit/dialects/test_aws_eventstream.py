"""AWS's binary event stream: what is read, the same as AWS's own decoder reads, and what is refused."""

import random
import struct
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from polyforge.dialects.aws_eventstream import BrokenStream, MessageSplitter
from tests.support.scripted.eventstream import event, exception, message

TYPED = b"".join(
    (
        b"\x04true\x00",
        b"\x05false\x01",
        b"\x04byte\x02\x07",
        b"\x05short\x03\x00\x07",
        b"\x03int\x04" + bytes(4),
        b"\x04long\x05" + bytes(8),
        b"\x05bytes\x06\x00\x02ab",
        b"\x04text\x07\x00\x03w\xc3\xb6",
        b"\x04time\x08" + bytes(8),
        b"\x04uuid\x09" + bytes(16),
    )
)


def framed(headers: bytes, payload: bytes) -> bytes:
    prelude = struct.pack(">II", len(headers) + len(payload) + 16, len(headers))
    prelude += struct.pack(">I", crc32(prelude))
    whole = prelude + headers + payload
    return whole + struct.pack(">I", crc32(whole))


def test_aws_own_decoder_reads_what_we_write_and_so_do_we() -> None:
    data = event("contentBlockDelta", b'{"delta":{"text":"x"}}') + exception("throttlingException", b"{}")
    theirs = EventStreamBuffer()
    theirs.add_data(data)
    read = [(one.headers, one.payload) for one in theirs]
    ours = [(dict(one.headers), one.payload) for one in MessageSplitter().feed(data)]
    assert ours == read
    assert len(ours) == 2


def test_kind_and_name() -> None:
    splitter = MessageSplitter()
    found = splitter.feed(
        event("messageStart", b"{}")
        + exception("validationException", b'{"message":"no"}')
        + message({":message-type": "error", ":error-code": "InternalError", ":error-message": "sorry"}, b"")
    )
    assert [(one.kind, one.name) for one in found] == [
        ("event", "messageStart"),
        ("exception", "validationException"),
        ("error", "InternalError"),
    ]
    assert found[2].headers[":error-message"] == "sorry"
    assert splitter.is_empty


def test_headers_of_every_type_are_passed_over_or_read() -> None:
    (found,) = MessageSplitter().feed(framed(TYPED, b"payload"))
    assert dict(found.headers) == {"text": "wö"}
    assert found.payload == b"payload"


@given(st.lists(st.binary(max_size=200), max_size=8), st.randoms(use_true_random=False))
def test_chunk_borders_mean_nothing(payloads: list[bytes], choice: random.Random) -> None:
    data = b"".join([event("e", payload) for payload in payloads])
    splitter = MessageSplitter()
    found: list[bytes] = []
    while data:
        size = choice.randint(1, 40)
        found += [one.payload for one in splitter.feed(data[:size])]
        data = data[size:]
    assert found == payloads
    assert splitter.is_empty


def test_a_message_in_part_is_held() -> None:
    splitter = MessageSplitter()
    assert splitter.feed(event("e", b"payload")[:-1]) == []
    assert not splitter.is_empty


@pytest.mark.parametrize("place", range(len(event("e", b"payload"))))
def test_every_flipped_bit_is_noticed(place: int) -> None:
    data = bytearray(event("e", b"payload"))
    data[place] ^= 0x40
    splitter = MessageSplitter()
    with pytest.raises(BrokenStream):
        splitter.feed(bytes(data) + b"\x00" * 64)


@pytest.mark.parametrize(
    "headers",
    [
        b"\x05",
        b"\x01a",
        b"\x01a\x07",
        b"\x01a\x07\x00",
        b"\x01a\x07\x00\x05abc",
        b"\x01a\x05\x00",
        b"\x01a\x0b",
        b"\x01a\x07\x00\x01x" * 2,
        b"".join(b"\x02" + bytes([65 + place // 26, 65 + place % 26]) + b"\x00" for place in range(100)),
    ],
)
def test_malformed_headers_are_refused(headers: bytes) -> None:
    with pytest.raises(BrokenStream):
        MessageSplitter().feed(framed(headers, b""))


@pytest.mark.parametrize(("length", "headers"), [(17 * 1024 * 1024, 0), (1000, 1000), (15, 0), (1_000_000, 200_000)])
def test_impossible_lengths_are_refused_before_anything_is_held(length: int, headers: int) -> None:
    prelude = struct.pack(">II", length, headers)
    with pytest.raises(BrokenStream):
        MessageSplitter().feed(prelude + struct.pack(">I", crc32(prelude)))


@given(st.binary(max_size=300))
def test_noise_never_fails_otherwise(noise: bytes) -> None:
    try:
        MessageSplitter().feed(noise)
    except BrokenStream:
        return
