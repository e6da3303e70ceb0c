"""Compressed request bodies, within a bound."""

import gzip
import zlib

import pytest

from polyforge.dialects.content_encoding import inflated, is_plain
from polyforge.kernel.errors import Invalid, TooLarge

BODY = b"tensor " * 1000


def test_what_was_compressed_comes_out_as_it_was() -> None:
    assert inflated(gzip.compress(BODY), b"gzip", len(BODY)) == BODY
    assert inflated(zlib.compress(BODY), b"deflate", len(BODY)) == BODY
    assert [is_plain(encoding) for encoding in (None, b"", b"identity", b"gzip")] == [True, True, True, False]


def test_it_stops_at_the_limit() -> None:
    with pytest.raises(TooLarge):
        inflated(gzip.compress(bytes(50_000_000)), b"gzip", 1_000_000)


@pytest.mark.parametrize(
    ("body", "encoding", "words"),
    [
        (BODY, b"br", "gzip or deflate"),
        (BODY, b"gzip", "damaged"),
        (gzip.compress(BODY, mtime=0)[:-9], b"gzip", "cut off"),
    ],
)
def test_what_cannot_be_undone_is_told(body: bytes, encoding: bytes, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        inflated(body, encoding, 1_000_000)
