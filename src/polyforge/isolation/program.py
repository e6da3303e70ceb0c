"""The child's side: it bounds itself, says hello, and answers frame by frame until its parent hangs up.

Only the standard library is used here: the child may be another interpreter, without our libraries.
"""

import ctypes
import json
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast

from polyforge.isolation.frames import ASK, CANCEL, HELLO, LAST, REFUSED, REPLY, Frame, is_readable, receive, send

PR_SET_PDEATHSIG: Final = 1
OOM_SCORE: Final = b"500"
"""When the machine runs out of memory, the kernel takes this process before the host."""

Reply = tuple[bytes, list[memoryview]]
"""Header and payload."""
Replies = Reply | Generator[Reply]
"""One answer, or several of which each is sent when it is there."""


class CannotServe(Exception):
    """The child cannot do what it was started for; the message is for people."""


class Program:
    """What the parent put on the command line: descriptors, limits, and arguments that mean something to the rest."""

    def __init__(self, argument: str) -> None:
        told: dict[str, Any] = json.loads(argument)
        self.arguments: dict[str, Any] = told["arguments"]
        self._max_bytes: int = told["frame_bytes"]
        self._memory_bytes: int = told["memory_bytes"]
        self._open_files: int = told["open_files"]
        self._cpu_seconds: int | None = told["cpu_seconds"]
        self._channel = socket.socket(fileno=told["channel"])

    def run(self, start: Callable[[], tuple[bytes, Callable[[Frame], Replies]]]) -> None:
        """Bound this process, call `start` for the hello and the function that answers, and answer until the end."""
        self._bound()
        try:
            hello, answer = start()
        except CannotServe as error:
            send(self._channel, REFUSED, 0, str(error).encode(errors="replace"))
            return
        send(self._channel, HELLO, 0, hello)
        while frame := receive(self._channel, self._max_bytes):
            # A cancellation may come when the last answer is out already.
            if frame.kind == ASK:
                self._answer(frame.number, answer(frame))

    def _answer(self, number: int, replies: Replies) -> None:
        if isinstance(replies, tuple):
            send(self._channel, LAST, number, *replies)
            return
        for reply in replies:
            send(self._channel, REPLY, number, *reply)
            if self._cancelled(number):
                replies.close()
        send(self._channel, LAST, number)

    def _cancelled(self, number: int) -> bool:
        if not is_readable(self._channel.fileno(), 0):
            return False
        frame = receive(self._channel, self._max_bytes)
        return frame is None or (frame.kind == CANCEL and frame.number == number)

    def _bound(self) -> None:
        self._channel.set_inheritable(False)
        _die_with_parent()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _lower(resource.RLIMIT_NOFILE, self._open_files)
        if self._cpu_seconds is not None:
            # A second more until the end that cannot be told from others.
            resource.setrlimit(resource.RLIMIT_CPU, (self._cpu_seconds, self._cpu_seconds + 1))
        # The parent watches what is resident. This bounds what is promised, should that rise faster than it looks.
        with suppress(ValueError, OSError):  # macOS has the name of this limit, and does not keep to it
            _lower(resource.RLIMIT_DATA, 2 * self._memory_bytes + 2**30)
        with suppress(OSError):  # only Linux has the file
            Path("/proc/self/oom_score_adj").write_bytes(OOM_SCORE)


class Refusal(Exception):
    """The work cannot be done with what was asked: the caller's mistake; the message is for people."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


def serve_work(work: Callable[[Any], Any]) -> None:
    """Be the process of `isolation.apart.work_apart`: JSON in, JSON out, Refusal for what cannot be done."""

    def answer(frame: Frame) -> Reply:
        try:
            said: dict[str, Any] = {"result": work(json.loads(bytes(frame.payload)))}
        except Refusal as error:
            said = {"refusal": {"message": str(error), "param": error.param}}
        return b"", [memoryview(json.dumps(said).encode())]

    Program(sys.argv[-1]).run(lambda: (b"", answer))


def _lower(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (limit, limit))


def kill_when_parent_ends() -> None:
    """Have the kernel kill this process with the thread that started it; only Linux does that (prctl(2))."""
    if sys.platform == "linux":
        cast(Any, ctypes.CDLL(None)).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _die_with_parent() -> None:
    """On Linux the kernel kills us; elsewhere a thread does, as soon as the code that runs here lets it."""
    kill_when_parent_ends()
    # Standard input stays open and silent for as long as the parent lives; the model gets an empty one.
    life = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    threading.Thread(target=_exit_at_end_of, args=(life,), name="life", daemon=True).start()


def _exit_at_end_of(pipe: int) -> None:
    while os.read(pipe, 1):
        continue
    os.kill(os.getpid(), signal.SIGKILL)
