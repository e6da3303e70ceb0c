"""Signals as things to read, so that the loop sleeps until something happens and handlers do nothing."""

import os
import signal
from types import FrameType

ORDERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class SignalInbox:
    """Collects SIGCHLD and the signals that are orders. One per process, opened in the main thread."""

    def __init__(self) -> None:
        self.fd = -1
        self._wakeup = -1
        self._arrived: list[int] = []

    def open(self) -> None:
        """Start collecting. What the parent process had ignored, as nohup does, stays ignored."""
        self.fd, self._wakeup = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._wakeup, False)
        signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, self._collect)
        for number in ORDERS:
            if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._collect)

    def take(self) -> list[int]:
        """The signals that have arrived since the last call, without SIGCHLD."""
        try:
            while os.read(self.fd, 4096):
                continue
        except BlockingIOError:
            arrived, self._arrived = self._arrived, []
            return arrived
        return []

    def _collect(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self._arrived.append(number)
