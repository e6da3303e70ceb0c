"""The port to polyforge.yaml as this process has it; wiring implements it, because it knows settings and adapters."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from polyforge.gateway.lineup import Lineup
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

    def build(self, sections: Mapping[str, Any]) -> Lineup:
        """What serves these sections, not opened; SettingsError when they do not work here."""
        ...
