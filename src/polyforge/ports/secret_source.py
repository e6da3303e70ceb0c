"""The port to secrets that are kept in the database, for rooms below it: `secret:name` in the settings."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from polyforge.kernel.hidden import Hidden

Stop = Callable[[], None]
"""Ends what it was given for; a second call does nothing."""


class SecretSource(Protocol):
    """Secrets by name as they are now, in memory: asking costs nothing and never waits."""

    def value(self, name: str) -> Hidden:
        """The secret; NotConfigured when there is none, Unavailable when it cannot be had for now.

        Only of names that are watched.
        """
        ...

    def watch(self, name: str, changed: Callable[[], None]) -> Stop:
        """Call `changed` after every change of the secret, its coming and going included; it must not raise."""
        ...


@runtime_checkable
class SecretUser(Protocol):
    """What may be told where secrets are kept, before anything else is asked of it."""

    def use_secrets(self, source: SecretSource) -> None:
        """Ask there for `secret:name` from now on."""
        ...
