"""Compressed bodies of HTTP requests (RFC 9110 section 8.4.1), undone within a bound. Pure functions."""

import zlib
from typing import Final

from polyforge.kernel.errors import Invalid, TooLarge

_WINDOW_BITS: Final = {b"gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}
_PLAIN: Final = frozenset({None, b"", b"identity"})


def is_plain(encoding: bytes | None) -> bool:
    """Whether a body with this `Content-Encoding` is as it came."""
    return encoding in _PLAIN


def inflated(body: bytes, encoding: bytes, limit: int) -> bytes:
    """The body as it was before it was compressed; Invalid for what cannot be undone, TooLarge past `limit` bytes."""
    window = _WINDOW_BITS.get(encoding)
    if window is None:
        raise Invalid("request bodies may be compressed with gzip or deflate", param="Content-Encoding")
    inflater = zlib.decompressobj(window)
    try:
        whole = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise Invalid("the compressed request body is damaged", param="Content-Encoding") from error
    if len(whole) > limit:
        raise TooLarge(f"the body has more than {limit} bytes")
    if not inflater.eof:
        raise Invalid("the compressed request body is cut off", param="Content-Encoding")
    return whole
