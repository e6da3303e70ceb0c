"""Why a sink of audit events or request logs did not take a batch, as far as it may be told."""

from typing import Final

from polyforge.kernel.errors import PolyforgeError

REASON_LENGTH: Final = 500


class SinkFailed(Exception):
    """A sink did not take a batch. Of an error that is not ours only its kind is told: it may say anything."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.reason = type(error).__name__
        self.retry_after = 0.0
        if isinstance(error, PolyforgeError):
            self.reason = error.message[:REASON_LENGTH]
            self.retry_after = error.retry_after or 0.0
        elif isinstance(error, TimeoutError):
            self.reason = "it took too long"
