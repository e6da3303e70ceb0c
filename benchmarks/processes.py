"""Starting programs pinned to one core, waiting for them, and ending them with all their children."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit


class StartFailed(RuntimeError):
    """A program did not start; the message says which and shows the end of its log."""


def cores() -> tuple[int, int]:
    """The core of the server under test and the core of load and upstream; the same one when there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[1 % len(allowed)]


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Program:
    """A program in a session of its own, pinned to a core, or to a list of them as taskset takes it.

    Whatever it starts inherits the pin and ends with it.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        core: int | str,
        log: Path,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self._command = [str(part) for part in command]
        self._core = core
        self._log = log
        self._environment = {**_without_proxies(), **(environment or {})}
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The id of the program's first process."""
        assert self._process, "not started"
        return self._process.pid

    def start(self) -> None:
        """Spawn it; its output goes to the log file."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["taskset", "-c", str(self._core), *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                cwd=self._folder,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise StartFailed if it has ended."""
        assert self._process, "not started"
        code = self._process.poll()
        if code is not None:
            tail = self._log.read_text(errors="replace")[-2000:]
            raise StartFailed(f"{self._command[0]} ended with code {code}:\n{tail}")

    def wait_ready(self, url: str, seconds: float) -> float:
        """Poll a URL until it answers 200; returns the seconds it took."""
        return self.wait(lambda: _answers(url), f"answer {url}", seconds)

    def wait_listening(self, port: int, seconds: float) -> float:
        """Poll a port until something listens; returns the seconds it took."""
        return self.wait(lambda: _listens(port), f"listen on {port}", seconds)

    def wait(self, is_ready: Callable[[], bool], what: str, seconds: float) -> float:
        """Poll until something is so; returns the seconds it took."""
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            self.check()
            if is_ready():
                return time.monotonic() - started
            time.sleep(0.02)
        tail = self._log.read_text(errors="replace")[-2000:]
        raise StartFailed(f"{self._command[0]} did not {what} within {seconds:.0f} s:\n{tail}")

    def stop(self, seconds: float = 10.0) -> None:
        """SIGTERM, wait, then SIGKILL whatever of its tree is left."""
        if not self._process:
            return
        family = descendants(self._process.pid)
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
        for pid in family:
            if _is_alive(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._process.wait(seconds)
        self._process = None


def descendants(root: int) -> list[int]:
    """A process and everything below it that is alive now."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := stat_fields(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, queue = [root], [root]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def stat_fields(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat from the state on; None when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _without_proxies() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


def _is_alive(pid: int) -> bool:
    fields = stat_fields(pid)
    return fields is not None and fields[0] != "Z"


def call(method: str, url: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """One HTTP call past any proxy of the environment: status and body. OSError when nobody answers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        target = parts._replace(scheme="", netloc="").geturl() or "/"
        connection.request(method, target, body, dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read()
    except http.client.HTTPException as error:
        raise ConnectionError(f"{url}: {error!r}") from error
    finally:
        connection.close()


def _answers(url: str) -> bool:
    try:
        return call("GET", url)[0] == http.HTTPStatus.OK
    except OSError:
        return False


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True
