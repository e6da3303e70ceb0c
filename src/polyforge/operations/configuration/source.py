"""The port to polyforge.yaml as this process has it; wiring implements it, because it knows settings and adapters."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from polyforge.gateway.lineup import Lineup
from polyforge.operations.additions.content import Additions, Key
from polyforge.operations.configuration.content import Path

Stamp = tuple[int, int, int]
"""What tells one state of a file from another without reading it."""


class Declared(msgspec.Struct, frozen=True):
    """What the file declares, found to be good."""

    sections: Mapping[str, Any]
    """Those of `SECTIONS`, as they stand there."""
    secrets: frozenset[Path]
    """Where in them literal secrets stand."""
    needs_restart: tuple[str, ...]
    """Paths of settings that differ from those that this process runs with and that it cannot take."""
    changed_at: float
    """When the file was last changed, seconds since the epoch."""


class Built(msgspec.Struct, frozen=True):
    """What serves some sections, not opened, and what of the additions does not fit beside them."""

    lineup: Lineup
    left_out: Mapping[Key, str]
    """And why."""


class Source(Protocol):
    """Reads the file, and builds what serves the models that it declares. Its methods block: call them in a thread."""

    def stamp(self) -> Stamp | None:
        """The state of the file; None when there is none."""
        ...

    def read(self) -> Declared:
        """What the file declares now; SettingsError says what is wrong with it, and where."""
        ...

    def needs_restart(self, sections: Mapping[str, Any]) -> tuple[str, ...]:
        """Paths of what these sections ask for and this process cannot take."""
        ...

    def build(self, sections: Mapping[str, Any], added: Additions) -> Built:
        """What serves these sections, and under them what was added; SettingsError when the sections do not work here.

        An addition that the sections declare too, or that does not work beside them, is left out.
        """
        ...
