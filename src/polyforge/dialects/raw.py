"""JSON values that are carried, not read: in a msgspec structure they are `Raw` with a default, never `Raw | None`."""

from typing import Final

import msgspec

from polyforge.kernel.errors import UpstreamFailed

ABSENT: Final = msgspec.Raw()
"""The default of a field that may be missing."""


def is_given(raw: msgspec.Raw) -> bool:
    """Whether the field was there, and not null."""
    return bytes(raw) not in (b"", b"null")


def given(raw: msgspec.Raw) -> msgspec.Raw | None:
    """The value, None where the field was missing or null."""
    return raw if is_given(raw) else None


def answered_text(raw: msgspec.Raw) -> str:
    """JSON text out of an upstream's answer, empty where the field was missing or null; UpstreamFailed for no UTF-8."""
    try:
        return bytes(raw).decode() if is_given(raw) else ""
    except UnicodeDecodeError as error:
        raise UpstreamFailed("the upstream sent something that is not UTF-8") from error
