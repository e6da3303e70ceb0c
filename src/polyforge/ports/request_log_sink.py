"""The port to whatever keeps the log of requests outside: a collector, Langfuse, a bucket, a file."""

from typing import Final, Protocol

from polyforge.kernel.request_log import RequestBatch
from polyforge.ports.secret_source import SecretSource

SEND_SECONDS: Final = 20.0
"""The longest that one `send` may take; it is cancelled then."""


class RequestLogSink(Protocol):
    """One place to send the log of requests to. Constructing does no I/O; one `send` runs at a time.

    Requests may come again, after a failure or a crash.
    """

    @property
    def gather_seconds(self) -> float:
        """How long requests may wait for others to be sent with."""
        ...

    async def open(self, secrets: SecretSource) -> None:
        """Get ready. Does not require the sink to be up; SettingsError for what no waiting will mend."""
        ...

    async def close(self) -> None:
        """Let go of connections and files."""
        ...

    async def send(self, batch: RequestBatch) -> None:
        """Hand requests over; return once the sink has all of them.

        Unavailable when they are to be sent again later, with `retry_after` where the sink says when. Invalid when the
        sink refuses what they say for good: of several, one at least.
        """
        ...
