"""One call as a dialect puts it, for providers whose models speak several."""

from typing import Protocol

from polyforge.ports.provider import Reply
from polyforge.upstreams.calls import StreamReader


class Exchange(Protocol):
    """What to send, and how to read what comes back."""

    @property
    def method(self) -> str:
        """What to call on the model: the end of the address, with its query."""
        ...

    @property
    def body(self) -> bytes:
        """What to send."""
        ...

    def read(self, body: bytes) -> Reply:
        """A whole answer; UpstreamFailed when it is none."""
        ...

    def reader(self) -> StreamReader:
        """What reads a streamed one."""
        ...
