"""Sealed values in columns of text, beside values that were written before there was a seal.

A sealed text is a mark and the base64 of what `sealing` makes of the value, which is compressed where that pays. JSON
never begins with the mark, so that a column of JSON can hold both.
"""

import base64
import zlib
from typing import Final

from polyforge.secrets.sealing import HEAD_BYTES, MasterKeys

MARK: Final = "~"
HEAD_LENGTH: Final = len(MARK) + HEAD_BYTES * 4 // 3
"""Characters that are the same for all that one master key sealed; its bytes are a multiple of three."""
_PLAIN: Final = b"\0"
_COMPRESSED: Final = b"\1"
_WORTH_IT: Final = 1_024
"""Bytes from which on a value is compressed."""
_LEVEL: Final = 1


def seal_text(master: MasterKeys, value: str, belongs_to: str) -> str:
    """A text, sealed for what it belongs to."""
    data = value.encode()
    packed = _COMPRESSED + zlib.compress(data, _LEVEL) if len(data) >= _WORTH_IT else _PLAIN + data
    return _text(master.seal(packed, belongs_to))


def open_text(master: MasterKeys, text: str, belongs_to: str) -> str:
    """A text as it was, also one that was never sealed; Unsealable when it cannot be had."""
    if not text.startswith(MARK):
        return text
    packed = master.open(sealed_bytes(text), belongs_to)
    data = zlib.decompress(packed[1:]) if packed[:1] == _COMPRESSED else packed[1:]
    return data.decode()


def seal_again(master: MasterKeys, text: str, belongs_to: str) -> str:
    """The same under the current master key; Unsealable when it cannot be had."""
    return _text(master.seal(master.open(sealed_bytes(text), belongs_to), belongs_to))


def sealed_bytes(text: str) -> bytes:
    """What `sealing` made, of a sealed text or of its beginning."""
    return base64.b64decode(text[len(MARK) :])


def head_of(master: MasterKeys) -> str:
    """How every text begins that is sealed now."""
    return _text(master.head)


def _text(sealed: bytes) -> str:
    return MARK + base64.b64encode(sealed).decode()
