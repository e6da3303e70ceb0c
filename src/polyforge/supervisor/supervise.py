"""The loop that starts the processes, starts them again, and ends them in order."""

import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from polyforge.supervisor import events
from polyforge.supervisor.child import Child
from polyforge.supervisor.errors import FAILED, INTERRUPTED, WRONG_SETTINGS, StartError
from polyforge.supervisor.folder import Session
from polyforge.supervisor.listener import url_of
from polyforge.supervisor.signals import SignalInbox
from polyforge.supervisor.spec import SupervisorSpec

Phase = Literal["starting", "serving", "ending"]

STOP_ORDER = (("worker", "gateway"), ("models",))
"""Gateways and workers finish their calls with the model host, which therefore ends after them."""
TRIES = 3
GIVING_UP_SECONDS = 5.0
NO_PROCESS_SECONDS = 1.0
"""How long to wait when the system has no room for another process."""
HUNG_SECONDS = 2.0
"""How long a process that hangs may take to write its stacks."""


class Supervisor:
    """All processes of one `polyforge up`."""

    def __init__(self, spec: SupervisorSpec, session: Session, lock_fd: int, listener: socket.socket | None) -> None:
        self._spec = spec
        self._session = session
        self._lock_fd = lock_fd
        self._listener = listener
        self._url = url_of(listener, spec.host, tls=spec.tls) if listener else "worker"
        self._children = [Child(role, index, spec.command(role)) for role, index in spec.processes()]
        self._inbox = SignalInbox()
        self._selector = selectors.DefaultSelector()
        self._life = (-1, -1)
        self._log_fd = -1
        self._terminal: int | None = None
        self._phase: Phase = "starting"
        self._status = 0
        self._end_deadline: float | None = None

    def run(self) -> int:
        """Supervise until told to stop, and return the exit status."""
        self._open()
        try:
            for child in self._children:
                if not self._spec.is_late(child.role):
                    self._start(child)
            while not self._is_over():
                self._wait()
                self._reap()
                self._obey()
                self._keep_time()
        finally:
            self._signal_all(signal.SIGKILL)
            self._selector.close()
        return self._status

    def _open(self) -> None:
        self._life = os.pipe()
        self._log_fd = os.dup(events.STDERR)
        self._terminal = next((number for number in range(3) if os.isatty(number)), None)
        self._inbox.open()
        self._selector.register(self._inbox.fd, selectors.EVENT_READ, lambda: None)

    def _is_over(self) -> bool:
        return self._phase == "ending" and all(child.pid is None for child in self._children)

    def _wait(self) -> None:
        for key, _ in self._selector.select(self._timeout()):
            act: Callable[[], None] = key.data
            act()

    # Starting

    def _start(self, child: Child) -> None:
        child.restart_at = None
        child.hung = False
        child.start_deadline = time.monotonic() + self._spec.start_seconds
        try:
            child.spawn(self._told(child), self._inherited(child))
        except OSError as error:
            self._on_no_process(child, error)
            return
        self._selector.register(child.ready_fd, selectors.EVENT_READ, partial(self._on_progress, child))
        self._selector.register(child.output_fd, selectors.EVENT_READ, partial(self._on_output, child))
        self._write_children()

    def _on_no_process(self, child: Child, error: OSError) -> None:
        if self._phase == "starting":
            raise StartError(f"cannot start {child.name}: {error}") from error
        child.start_deadline = None
        child.restart_at = time.monotonic() + NO_PROCESS_SECONDS
        events.report("no process could be made", "error", role=child.role, index=child.index, error=str(error))

    def _told(self, child: Child) -> dict[str, Any]:
        spec = self._spec
        return {
            "config": spec.config,
            "overrides": spec.overrides or {},
            "role": child.role,
            "workers": spec.gateways,
            "job_workers": 1 if "worker" in spec.roles else 0,
            "session": self._session.name,
            "runtime": self._session.path,
            "model_socket": self._session.socket_path if self._hosts_beside() else None,
            "listen_fd": self._listener.fileno() if self._listener and child.role == spec.front else None,
            "life_fd": self._life[0],
            "log_fd": self._log_fd,
            "lock_fd": self._lock_fd,
        }

    def _hosts_beside(self) -> bool:
        """Whether a model host runs that is not what the outside calls."""
        return "models" in self._spec.roles and self._spec.front != "models"

    def _inherited(self, child: Child) -> list[int]:
        descriptors = [self._life[0], self._log_fd, self._lock_fd]
        if self._listener and child.role == self._spec.front:
            descriptors.append(self._listener.fileno())
        return descriptors

    def _on_progress(self, child: Child) -> None:
        progress = child.take_progress()
        if progress == "starting":
            child.start_deadline = time.monotonic() + self._spec.start_seconds
            return
        child.ready_fd = self._close(child.ready_fd)
        if progress == "ready":
            self._on_ready(child)

    def _on_ready(self, child: Child) -> None:
        events.write(events.STDERR, child.release_output())
        self._on_output(child)
        if self._phase == "starting" and all(self._serves(child) for child in self._children):
            self._phase = "serving"
            self._write_children()
            seconds = time.monotonic() - self._spec.started
            events.say(f"ready {self._url} in {seconds:.1f} s", events.STDOUT)
            self._start_late()
            return
        self._write_children()

    def _serves(self, child: Child) -> bool:
        return child.is_ready or self._spec.is_late(child.role)

    def _start_late(self) -> None:
        for child in self._children:
            if self._spec.is_late(child.role):
                self._start(child)

    def _on_output(self, child: Child) -> None:
        if child.output_fd < 0:
            return
        content, more = child.take_output()
        events.write(events.STDERR, content)
        if not more:
            child.output_fd = self._close(child.output_fd)

    # Starting again

    def _reap(self) -> None:
        """Collect every process that has ended, orphans too, because in a container this is process 1."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for child in self._children:
                if child.pid == pid:
                    self._on_end(child, os.waitstatus_to_exitcode(status))

    def _on_end(self, child: Child, status: int) -> None:
        if child.ready_fd >= 0:
            self._on_progress(child)
            child.ready_fd = self._close(child.ready_fd)
        self._on_output(child)
        child.output_fd = self._close(child.output_fd)
        was_ready = child.is_ready
        child.reaped(status)
        self._write_children()
        if self._phase == "ending":
            self._stop_next()
            return
        child.last_exit = f"not ready within {self._spec.start_seconds:g} s" if child.hung else _describe(status)
        delay = child.policy.ended(time.monotonic(), was_ready=was_ready)
        if not was_ready and self._gives_up(child, status):
            return
        child.restart_at = time.monotonic() + delay

    def _gives_up(self, child: Child, status: int) -> bool:
        """Report a failed start, and end everything if it was one too many before all had been ready once."""
        lines = child.last_lines()
        times = child.policy.failed_starts
        hopeless = status == WRONG_SETTINGS or child.hung or times >= TRIES
        if self._phase != "starting" or child.ever_ready or not hopeless:
            facts = {"role": child.role, "index": child.index, "exit": child.last_exit, "output": "\n".join(lines)}
            events.report("process failed to start", "error", **facts)
            return False
        again = f", {times} times in a row" if times > 1 else ""
        events.say(f"polyforge: {child.name} did not start: {child.last_exit}{again}")
        for line in lines:
            events.say(f"  {line}")
        self._end(GIVING_UP_SECONDS, WRONG_SETTINGS if status == WRONG_SETTINGS else FAILED)
        return True

    def _restart(self, child: Child) -> None:
        self._start(child)
        if child.pid is None:
            return
        events.report(
            "process restarted",
            "warning",
            role=child.role,
            index=child.index,
            pid=child.pid,
            exit=child.last_exit,
            restarts=child.restarts,
        )

    # Ending

    def _obey(self) -> None:
        for number in self._inbox.take():
            if number == signal.SIGHUP and not self._terminal_is_gone():
                self._reload()
            elif self._phase != "ending":
                events.report("draining", signal=signal.Signals(number).name, seconds=self._spec.drain_seconds)
                self._end(self._spec.drain_seconds, 0)
            elif number == signal.SIGINT:
                self._status = INTERRUPTED
                self._signal_all(signal.SIGKILL)

    def _terminal_is_gone(self) -> bool:
        """Whether SIGHUP has its old meaning: the terminal that this was started on was closed."""
        return self._terminal is not None and not os.isatty(self._terminal)

    def _reload(self) -> None:
        """Let gateways and workers take their settings file again. One that still starts reads it anyway."""
        events.report("reloading", signal=signal.Signals.SIGHUP.name)
        for child in self._children:
            if child.role in ("gateway", "worker") and child.is_ready:
                child.signal(signal.SIGHUP)

    def _end(self, seconds: float, status: int) -> None:
        self._phase = "ending"
        self._status = status
        self._end_deadline = time.monotonic() + seconds
        for child in self._children:
            child.restart_at = None
        if self._listener:
            self._listener.close()
        self._stop_next()

    def _stop_next(self) -> None:
        """Ask the processes of the next roles to end, once those before them are gone."""
        for roles in STOP_ORDER:
            running = [child for child in self._children if child.role in roles and child.pid is not None]
            for child in running:
                if not child.told_to_end:
                    child.told_to_end = True
                    child.signal(signal.SIGTERM)
            if running:
                return

    def _signal_all(self, number: int) -> None:
        for child in self._children:
            child.signal(number)

    # Time

    def _timeout(self) -> float | None:
        """Seconds until `_keep_time` has something to do."""
        moments = [self._end_deadline]
        for child in self._children:
            moments += [child.restart_at, child.start_deadline, child.kill_at]
        earliest = min((moment for moment in moments if moment is not None), default=None)
        return None if earliest is None else max(0.0, earliest - time.monotonic())

    def _keep_time(self) -> None:
        now = time.monotonic()
        if self._end_deadline is not None and now >= self._end_deadline:
            self._end_deadline = None
            self._kill_the_slow()
        for child in self._children:
            if child.restart_at is not None and now >= child.restart_at:
                self._restart(child)
            elif child.kill_at is not None and now >= child.kill_at:
                child.kill_at = None
                child.signal(signal.SIGKILL)
            elif child.start_deadline is not None and now >= child.start_deadline:
                self._abort(child, now)

    def _abort(self, child: Child, now: float) -> None:
        """SIGABRT first: Python's fault handler then writes where every thread hangs."""
        child.hung = True
        child.start_deadline = None
        child.kill_at = now + HUNG_SECONDS
        child.signal(signal.SIGABRT)

    def _kill_the_slow(self) -> None:
        for child in self._children:
            if child.pid is not None:
                events.report("process killed", "warning", role=child.role, index=child.index, pid=child.pid)
        self._signal_all(signal.SIGKILL)

    # Files

    def _close(self, descriptor: int) -> int:
        if descriptor >= 0:
            self._selector.unregister(descriptor)
            os.close(descriptor)
        return -1

    def _write_children(self) -> None:
        facts = {
            "supervisor": os.getpid(),
            "url": self._url,
            "ready": self._phase == "serving",
            "children": [child.facts() for child in self._children],
        }
        try:
            self._session.write_children(facts)
        except OSError as error:
            events.report("children.json is out of date", "error", error=str(error))


def _describe(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    return f"killed by {signal.Signals(-status).name}"
