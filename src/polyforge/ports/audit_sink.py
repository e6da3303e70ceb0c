"""The port to whatever keeps audit events outside of the installation: a SIEM, a log collector, a file."""

from collections.abc import Sequence
from typing import Final, Protocol

from polyforge.ports.secret_source import SecretSource

SEND_SECONDS: Final = 20.0
"""The longest that one `send` may take; it is cancelled then."""


class AuditSink(Protocol):
    """One place to send audit events to. Constructing does no I/O; one `send` runs at a time.

    Events may come again, after a failure or a crash, and always in the same order.
    """

    async def open(self, secrets: SecretSource) -> None:
        """Get ready. Does not require the sink to be up; SettingsError for what no waiting will mend.

        `secrets` is where `secret:name` is asked for.
        """
        ...

    async def close(self) -> None:
        """Let go of connections and files."""
        ...

    async def send(self, lines: Sequence[bytes]) -> None:
        """Hand events over, each a line of JSON without its line break; return once the sink has all of them.

        Unavailable when they are to be sent again later, with `retry_after` where the sink says when. Invalid when the
        sink refuses what they say for good: of several, one at least.
        """
        ...
