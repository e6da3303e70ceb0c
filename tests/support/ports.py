"""Addresses on the loopback interface: free ones, ones where nobody answers, and ones that refuse."""

import contextlib
import socket
from collections.abc import Generator

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def refusing_port() -> Generator[int]:
    """A port that refuses connections for as long as the block runs: bound, but nobody listens."""
    with socket.socket() as holder:
        holder.bind((LOOPBACK, 0))
        yield holder.getsockname()[1]


@contextlib.contextmanager
def silent_port() -> Generator[int]:
    """A port whose queue is full, so that connecting neither succeeds nor fails."""
    with contextlib.ExitStack() as open_sockets:
        listener = open_sockets.enter_context(socket.socket())
        listener.bind((LOOPBACK, 0))
        listener.listen(0)
        for _ in range(4):
            filler = open_sockets.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
