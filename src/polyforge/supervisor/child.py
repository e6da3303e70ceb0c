"""One process of the supervisor's, through all its restarts."""

import json
import os
import subprocess
from collections.abc import Sequence
from typing import Any, Literal

from polyforge.supervisor.restarts import RestartPolicy

Progress = Literal["starting", "ready", "silent"]
"""How a start goes; silent, when it will say no more."""

PROCESS_VARIABLE = "POLYFORGE_PROCESS"
DEFAULTS = {
    "PYTHONUNBUFFERED": "1",
    "PYTHONFAULTHANDLER": "1",
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": "262144",
}
"""Environment of every child, where the user has set nothing else.

Two malloc arenas, because threads would otherwise each grow one of their own that never shrinks.
"""
HELD_BYTES = 64 * 1024
CHUNK_BYTES = 64 * 1024
TAIL_LINES = 20


class Child:
    """A role's process. While it starts, its output is held back, to tell why if it fails."""

    def __init__(self, role: str, index: int, command: Sequence[str]) -> None:
        self.role = role
        self.index = index
        self.policy = RestartPolicy()
        self.pid: int | None = None
        self.restarts = -1
        self.is_ready = False
        self.ever_ready = False
        self.spawned_at = 0.0
        self.start_deadline: float | None = None
        self.kill_at: float | None = None
        self.restart_at: float | None = None
        self.hung = False
        self.told_to_end = False
        self.last_exit = ""
        self.ready_fd = -1
        self.output_fd = -1
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._held = bytearray()

    @property
    def name(self) -> str:
        """As messages call it."""
        return f"{self.role} {self.index}"

    def facts(self) -> dict[str, Any]:
        """As children.json shows it."""
        return {
            "role": self.role,
            "index": self.index,
            "pid": self.pid,
            "ready": self.is_ready,
            "restarts": self.restarts,
        }

    def spawn(self, told: dict[str, Any], inherited: Sequence[int]) -> None:
        """Start the process with these open files and no others; OSError when that cannot be done.

        It gets a process group of its own, so that Ctrl-C in a terminal reaches only the supervisor, which then ends
        the others in order.
        """
        self.ready_fd, ready = os.pipe()
        self.output_fd, output = os.pipe()
        os.set_blocking(self.ready_fd, False)
        os.set_blocking(self.output_fd, False)
        told = {**told, "index": self.index, "ready_fd": ready}
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the command is one of ours
                self._command,
                env={**DEFAULTS, **os.environ, PROCESS_VARIABLE: json.dumps(told)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(ready, *inherited),
                process_group=0,
            )
        except OSError:
            os.close(self.ready_fd)
            os.close(self.output_fd)
            self.ready_fd = self.output_fd = -1
            raise
        finally:
            os.close(ready)
            os.close(output)
        self.pid = self._process.pid
        self.restarts += 1

    def take_progress(self) -> Progress:
        """What it says of its start; asked when its pipe is readable, or it has ended."""
        try:
            said = os.read(self.ready_fd, 64)
        except BlockingIOError:
            return "starting"
        if b"1" not in said:
            return "starting" if said else "silent"
        self.is_ready = self.ever_ready = True
        self.start_deadline = None
        self.policy.ready()
        return "ready"

    def signal(self, number: int) -> None:
        """Send a signal to the process, which is not reaped yet."""
        if self.pid is not None:
            os.kill(self.pid, number)

    def take_output(self) -> tuple[bytes, bool]:
        """What to pass on of what it wrote since the last call (nothing while it starts), and whether more can come."""
        content, more = _read(self.output_fd)
        if self.is_ready:
            return content, more
        self._held += content
        del self._held[:-HELD_BYTES]
        return b"", more

    def release_output(self) -> bytes:
        """What was held back while it started."""
        held = bytes(self._held)
        self._held.clear()
        return held

    def last_lines(self) -> list[str]:
        """The end of what was held back; the rest is forgotten."""
        return self.release_output().decode(errors="replace").splitlines()[-TAIL_LINES:]

    def reaped(self, status: int) -> None:
        """The process is gone; `status` is what `subprocess` calls a return code."""
        if self._process is not None:
            self._process.returncode = status
        self._process = None
        self.pid = None
        self.is_ready = False
        self.start_deadline = self.kill_at = None


def _read(descriptor: int) -> tuple[bytes, bool]:
    content = bytearray()
    try:
        while chunk := os.read(descriptor, CHUNK_BYTES):
            content += chunk
    except BlockingIOError:
        return bytes(content), True
    return bytes(content), False
