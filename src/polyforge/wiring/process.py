"""What a supervised process was told at its start, and what it owes its supervisor: a sign of readiness, its life."""

import gc
import os
import socket
import sys
import threading
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any, Literal, NoReturn

import msgspec

from polyforge.isolation.program import kill_when_parent_ends
from polyforge.kernel.errors import SettingsError

VARIABLE = "POLYFORGE_PROCESS"
Role = Literal["gateway", "models", "worker"]
WRONG_SETTINGS = 2
"""Exit status that tells the supervisor that trying again cannot help."""


class ProcessSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One process of one `polyforge up`, as its supervisor describes it in the variable POLYFORGE_PROCESS."""

    index: int
    """Its number among the processes of its kind, from 0."""
    workers: int
    """How many gateway processes run beside each other; 0 where there are none."""
    ready_fd: int
    """Pipe to say on that this process serves."""
    life_fd: int
    """Pipe that stays open and silent for as long as the supervisor lives."""
    session: str
    """ULID of this `polyforge up`; the same for every process and through their restarts."""
    runtime: str
    """Folder of the files that the processes of this `polyforge up` share; gone after it."""
    config: str | None = None
    overrides: dict[str, Any] = {}
    """Settings from the command line; they win over all others."""
    listen_fd: int | None = None
    """Listening socket, already bound; gateways have it, and a model host that runs without them."""
    model_socket: str | None = None
    """Path of the model host's Unix socket; None where no model host runs beside gateways."""
    log_fd: int | None = None
    """Where output goes from readiness on; until then the supervisor reads it, to show why a start failed."""
    lock_fd: int | None = None
    """Lock on the data folder, held until the last process is gone; nothing to do with it but keep it."""
    role: Role = "gateway"
    job_workers: int = 0
    """How many worker processes run jobs beside the gateways."""

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] = os.environ) -> "ProcessSpec":
        """Take the description out of the environment, so that processes started from this one do not see it."""
        text = environ.pop(VARIABLE, None)
        if text is None:
            raise SettingsError(f"{VARIABLE} is not set: `polyforge up` starts this process, it does not run by hand")
        try:
            spec = msgspec.json.decode(text, type=cls)
        except msgspec.ValidationError as error:
            raise SettingsError(f"{VARIABLE}: {error}") from error
        for descriptor in (spec.ready_fd, spec.life_fd, spec.listen_fd, spec.log_fd, spec.lock_fd):
            if descriptor is not None:
                os.set_inheritable(descriptor, False)
        return spec

    @property
    def name(self) -> str:
        """What logs and metrics call it."""
        return f"{self.role}-{self.index}"

    @property
    def slot(self) -> int:
        """Its number among the processes of this machine that call models: the gateways, and then the workers."""
        return self.workers + self.index if self.role == "worker" else self.index

    @property
    def slots(self) -> int:
        """How many processes of this machine call models."""
        return self.workers + self.job_workers

    @property
    def config_path(self) -> Path | None:
        """The settings file named on the command line."""
        return Path(self.config) if self.config else None

    def listening_socket(self) -> socket.socket:
        """The bound socket to accept from, shared with the other gateways. It does not block."""
        if self.listen_fd is None:
            raise SettingsError(f"{VARIABLE}: this process was given no listening socket")
        listener = socket.socket(fileno=self.listen_fd)
        listener.setblocking(False)
        return listener

    def listening_port(self) -> int | None:
        """The port of the listening socket, None where there is no such socket."""
        if self.listen_fd is None:
            return None
        with socket.socket(fileno=os.dup(self.listen_fd)) as listener:
            return listener.getsockname()[1]

    def die_with_supervisor(self) -> None:
        """End this process at once, without cleaning up, when its supervisor is gone. Call it first, and once.

        A thread waits for the end of the pipe, which works on every system and also while an event loop is stuck;
        on Linux the kernel sends SIGKILL as well, which works even while native code holds the interpreter.
        """
        kill_when_parent_ends()
        threading.Thread(target=_exit_at_end_of, args=(self.life_fd,), name="life", daemon=True).start()

    def still_starting(self) -> None:
        """Ask for more time: the supervisor's limit on starting begins anew. For migrations and large models."""
        os.write(self.ready_fd, b".")

    def announce_ready(self) -> None:
        """Say that this process serves, and write logs past the supervisor from here on. Call it once."""
        sys.stdout.flush()
        sys.stderr.flush()
        if self.log_fd is not None:
            os.dup2(self.log_fd, 1)
            os.dup2(self.log_fd, 2)
            os.close(self.log_fd)
        os.write(self.ready_fd, b"1")
        os.close(self.ready_fd)


def run_process(main: Callable[[], None]) -> NoReturn:
    """Run the whole of a process; a wrong setting ends it with its message on stderr and status 2.

    Everything is imported by now and stays, so the garbage collector, which sat that out, need never look at it.
    """
    gc.freeze()
    gc.enable()
    try:
        main()
    except SettingsError as error:
        sys.stderr.write(f"{error.message}\n")
        sys.exit(WRONG_SETTINGS)
    sys.exit(0)


def _exit_at_end_of(pipe: int) -> None:
    while os.read(pipe, 1):
        continue
    os._exit(1)
