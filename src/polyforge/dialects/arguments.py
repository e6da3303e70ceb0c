"""A call's arguments for formats that want an object where the model may have written any text."""

from typing import Final

import msgspec

_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode: Final = msgspec.json.Encoder().encode
_EMPTY: Final = msgspec.Raw(b"{}")
UNREADABLE: Final = "arguments"
"""Under this name stands the text of arguments that are no JSON object."""


def arguments_object(arguments: str) -> msgspec.Raw:
    """The JSON object that the arguments are; what is empty becomes `{}`, other text its only field."""
    if not arguments.strip():
        return _EMPTY
    text = arguments.encode("utf-8", "replace")
    try:
        _object.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return msgspec.Raw(_encode({UNREADABLE: text.decode()}))
    return msgspec.Raw(text)
