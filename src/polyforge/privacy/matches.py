"""What detectors find, and what each kind of it is."""

from typing import Final

import msgspec

CERTAIN: Final = 0.95
"""A checksum or an unmistakable form agrees."""
LIKELY: Final = 0.8
"""The form agrees and so does something near it."""
FORM: Final = 0.6
"""The form alone agrees, and hardly anything else has it."""
WEAK: Final = 0.3
"""The form alone agrees, and many harmless things have it; not reported unless asked for."""


class Match(msgspec.Struct, frozen=True, gc=False, order=True):
    """One find: `text[start:end]` in characters, how sure it is (0 to 1), and its kind."""

    start: int
    end: int
    confidence: float
    kind: str


class Kind(msgspec.Struct, frozen=True):
    """What can be looked for. `longest`: the most characters that a stream waits for it, invisible ones not counted."""

    name: str
    group: str
    description: str
    longest: int
    looked_for: str = ""
    """The cheap test that comes first: without this in the text nothing else is tried."""
    checked_by: str = ""
    """What a find must stand up to beyond its form."""
