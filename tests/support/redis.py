"""A real Redis server in a temporary folder."""

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ports import LOOPBACK, free_port

MISSING = "Redis is not installed: `apt-get install redis-server` (Debian, Ubuntu), `brew install redis` (macOS)"
_STARTS_IN_SECONDS = 120


class RedisServer:
    """One server without persistence, which can be paused, stopped, and started again empty."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="redis-", dir="/tmp"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = ["--port", str(self.port), "--bind", LOOPBACK, "--save", "", "--appendonly", "no"]
        command = ["redis-server", *options, "--dir", str(self._folder), "--logfile", str(self._folder / "log")]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + _STARTS_IN_SECONDS
        while self.command("PING") != "PONG":
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Redis did not start:\n{(self._folder / 'log').read_text()}")
            time.sleep(0.02)

    def command(self, *words: str) -> str:
        """What the server answers to a command, as text; empty when it does not."""
        done = subprocess.run(
            ["redis-cli", "-h", LOOPBACK, "-p", str(self.port), *words],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    def pause(self) -> None:
        """Let it hang: connections stay open, and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait(timeout=30)
            self._process = None

    def remove(self) -> None:
        """End it for good and leave nothing behind."""
        self.kill()
        shutil.rmtree(self._folder)


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A server of the test's own."""
    if shutil.which("redis-server") is None:
        pytest.skip(MISSING)
    server = RedisServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()
