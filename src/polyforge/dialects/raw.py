"""JSON values that are carried, not read: in a msgspec structure they are `Raw` with a default, never `Raw | None`."""

from typing import Final

import msgspec

ABSENT: Final = msgspec.Raw()
"""The default of a field that may be missing."""


def is_given(raw: msgspec.Raw) -> bool:
    """Whether the field was there, and not null."""
    return bytes(raw) not in (b"", b"null")


def given(raw: msgspec.Raw) -> msgspec.Raw | None:
    """The value, None where the field was missing or null."""
    return raw if is_given(raw) else None
