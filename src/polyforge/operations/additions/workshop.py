"""The port to adapters and settings that additions are made with; wiring implements it, because it knows both."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from polyforge.operations.additions.content import Additions, Key
from polyforge.operations.configuration.content import Sections
from polyforge.ports.provider import Provider


class ProviderKind(msgspec.Struct, frozen=True):
    """Something that `use` may name."""

    name: str
    label: str
    """What people call it."""
    description: str
    settings: Mapping[str, Any]
    """The JSON schema of its settings."""
    secrets: tuple[str, ...]
    """Which of them are secrets."""
    error: str | None
    """Why it cannot be used on this machine."""


class Checked(msgspec.Struct, frozen=True):
    """What is to be looked after in the settings of a provider, which are of the right form."""

    literals: Mapping[str, str]
    """Secrets that are written out, by field."""
    references: Mapping[str, str]
    """Secrets that lie elsewhere, by field."""


class Workshop(Protocol):
    """Its methods block: call them in a thread. Paths in errors of `check` and `provider` begin with `settings`."""

    def kinds(self) -> list[ProviderKind]:
        """Every kind of provider, by name."""
        ...

    def declared(self, sections: Sections) -> dict[str, dict[str, Any]]:
        """What these sections amount to, with stars in place of secrets that are written out."""
        ...

    def check(self, use: str, settings: Mapping[str, Any]) -> Checked:
        """Look at the settings of a provider; SettingsError names the wrong one."""
        ...

    def provider(self, use: str, settings: Mapping[str, Any]) -> Provider:
        """One with these settings, not opened, that connects only to where it may; SettingsError as above."""
        ...

    def trial(self, sections: Sections, added: Additions) -> Mapping[Key, str]:
        """What of the additions would be left out beside these sections, and why."""
        ...
