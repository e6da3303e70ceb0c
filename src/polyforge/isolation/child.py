"""One child process, from the parent's side: started, asked, watched, killed."""

import itertools
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import Final

from polyforge.isolation.environment import child_environment
from polyforge.isolation.frames import ASK, CANCEL, HELLO, LAST, REFUSED, REPLY, BrokenFrame, Frame, receive, send
from polyforge.isolation.limits import ChildProgram, Ended, Ending, Limits, Refused
from polyforge.isolation.memory import own_bytes

EXIT_SECONDS: Final = 1.0
"""How long a child that has hung up may take to be gone, so that its status tells why."""
CANCEL_SECONDS: Final = 5.0
"""How long a child may take to notice that nobody wants its further answers."""


class Child:
    """A process in a session of its own. One request at a time; `Ended` says that there will be no more answers."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", channel: socket.socket, output_fd: int, limits: Limits
    ) -> None:
        self.pid = process.pid
        self.output_fd = output_fd
        """Where its standard output and error can be read; does not block."""
        self._process = process
        self._channel = channel
        self._limits = limits
        self._numbers = itertools.count(1)
        self._ending: Ended | None = None
        self._lock = threading.Lock()

    @property
    def ended(self) -> Ended | None:
        """How it ended, if it is known to have."""
        return self._ending

    def take_hello(self) -> bytes | None:
        """What it says when it is ready; None when it has not yet. Refused when it cannot, Ended when it is gone."""
        self._channel.setblocking(False)
        try:
            if not self._channel.recv(1, socket.MSG_PEEK):
                raise self.end("crashed")
        except BlockingIOError:
            return None
        except OSError as error:
            raise self.end("crashed") from error
        frame = self._receive(time.monotonic() + EXIT_SECONDS)
        if frame.kind == REFUSED:
            raise Refused(frame.header.decode(errors="replace"))
        if frame.kind != HELLO:
            raise self.end("protocol")
        return frame.header

    @property
    def hung_up(self) -> bool:
        """Whether it is gone, or says something without being asked; asked of an idle child."""
        self._channel.setblocking(False)
        try:
            self._channel.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def ask(self, header: bytes, buffers: Sequence[memoryview]) -> Frame:
        """The one answer to a request."""
        number = self._send_request(header, buffers)
        frame = self._receive_answer(number)
        if frame.kind != LAST:
            raise self.end("protocol")
        return frame

    def ask_for_several(self, header: bytes, buffers: Sequence[memoryview]) -> Generator[Frame]:
        """Every answer to a request as it comes; closing this early tells the child to stop."""
        number = self._send_request(header, buffers)
        try:
            while (frame := self._receive_answer(number)).kind == REPLY:
                yield frame
        except GeneratorExit:
            self._cancel(number)
            raise
        if frame.header:
            yield frame

    def _send_request(self, header: bytes, buffers: Sequence[memoryview]) -> int:
        number = next(self._numbers)
        try:
            send(self._channel, ASK, number, header, buffers, time.monotonic() + self._limits.run_seconds)
        except TimeoutError as error:
            raise self.end("time") from error
        except OSError as error:
            raise self.end("crashed") from error
        return number

    def _cancel(self, number: int) -> None:
        deadline = time.monotonic() + CANCEL_SECONDS
        with suppress(Ended):
            try:
                send(self._channel, CANCEL, number, deadline=deadline)
            except OSError as error:
                raise self.end("crashed") from error
            while self._receive_answer(number, deadline).kind != LAST:
                continue

    def _receive_answer(self, number: int, deadline: float | None = None) -> Frame:
        frame = self._receive(deadline or time.monotonic() + self._limits.run_seconds)
        if frame.number != number or frame.kind not in (REPLY, LAST):
            raise self.end("protocol", "it answered what it was not asked")
        return frame

    def _receive(self, deadline: float) -> Frame:
        try:
            frame = receive(self._channel, self._limits.frame_bytes, deadline)
        except BrokenFrame as error:
            raise self.end("protocol", f"it sent {error}") from error
        except TimeoutError as error:
            raise self.end("time") from error
        except OSError as error:
            raise self.end("crashed") from error
        if frame is None:
            raise self.end("crashed")
        return frame

    def own_bytes(self) -> int:
        """What it has resident for itself; 0 when it is gone."""
        return own_bytes(self.pid) or 0

    def poll(self) -> None:
        """Notice when it ended by itself, or has more memory than it may."""
        if self._process.poll() is not None:
            self.end("crashed")
        elif self.own_bytes() > self._limits.memory_bytes:
            self.end("memory")

    def end(self, ending: Ending, detail: str = "") -> Ended:
        """Kill it and all that it started; the first reason counts, and is given back."""
        with self._lock:
            if self._ending is None:
                if ending == "crashed":
                    detail = detail or _how(self._wait(EXIT_SECONDS))
                self._ending = Ended(ending, detail)
                self._kill()
        return self._ending

    def dismiss(self) -> None:
        """Let it go: it ends by itself when it notices, and is killed when that takes too long."""
        with suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)
        self._wait(EXIT_SECONDS)
        with self._lock:
            self._kill()

    def release(self) -> None:
        """Close what is open of a child that is gone."""
        self._channel.close()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _kill(self) -> None:
        # Its group bears its number, also when it is reaped and only what it started is left.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        # One that hangs in the kernel is not waited for; it is reaped with the next process that is started.
        self._wait(EXIT_SECONDS)

    def _wait(self, seconds: float) -> int | None:
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None


def start_child(program: ChildProgram, limits: Limits) -> Child:
    """Start a child; OSError when that cannot be done.

    The thread that calls this must live as long as the child: on Linux the kernel kills it when the thread ends.
    """
    ours, theirs = socket.socketpair()
    try:
        told = {
            "channel": theirs.fileno(),
            "memory_bytes": limits.memory_bytes,
            "open_files": limits.open_files,
            "frame_bytes": limits.frame_bytes,
            "cpu_seconds": limits.cpu_seconds,
            "arguments": program.arguments,
        }
        process = subprocess.Popen(  # noqa: S603  a command of ours, or an interpreter that the settings name
            [*program.command, json.dumps(told)],
            cwd=program.folder,
            env=child_environment(),
            # It never says anything: its end tells the child that we are gone.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    return Child(process, ours, process.stdout.fileno(), limits)


def _how(status: int | None) -> str:
    if status is None:
        return "it hung up"
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
