"""The supervisor with stand-ins for its processes, as tests start and observe it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from polyforge.supervisor.spec import MODULES, VARIABLE, SupervisorSpec
from tests.support.waiting import DEADLINE, eventually

DUMMY = Path(__file__).with_name("dummy_process.py")
SOURCE = Path(__file__).parents[2] / "src"


class Supervised:
    """One supervisor on a folder of its own; its output goes to files, so that nothing can block it."""

    def __init__(
        self, folder: Path, *, environ: dict[str, str] | None = None, stdin: int = subprocess.DEVNULL, **spec: Any
    ) -> None:
        self.data = folder / "data"
        self.data.mkdir(parents=True, exist_ok=True)
        self._out = folder / "stdout.txt"
        self._err = folder / "stderr.txt"
        self._environ = environ or {}
        self._stdin = stdin
        self._spec = spec
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Supervised":
        """Start it, without waiting."""
        commands = {role: [sys.executable, "-P", str(DUMMY), role] for role in MODULES}
        spec = SupervisorSpec(
            str(self.data), time.monotonic(), ("gateway", "models"), port=0, commands=commands
        )._replace(**self._spec)
        environ = {"PYTHONPATH": str(SOURCE), VARIABLE: spec.to_json(), **self._environ}
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "polyforge.supervisor"],
                env={**os.environ, **environ},
                stdin=self._stdin,
                stdout=out,
                stderr=err,
            )
        return self

    def up(self) -> "Supervised":
        """Start it and wait for its ready line."""
        self.start()
        eventually(lambda: "ready " in self.stdout or self._ended(), "the ready line")
        assert "ready " in self.stdout, self.stderr
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def stdout(self) -> str:
        return self._out.read_text() if self._out.exists() else ""

    @property
    def stderr(self) -> str:
        return self._err.read_text() if self._err.exists() else ""

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON lines that it has written."""
        return [json.loads(line) for line in self.stderr.splitlines() if line.startswith("{")]

    @property
    def runtime(self) -> Path:
        """The folder of this session."""
        (folder,) = (self.data / "run").iterdir()
        return folder

    @property
    def facts(self) -> dict[str, Any]:
        """children.json."""
        return json.loads((self.runtime / "children.json").read_text())

    @property
    def restarts(self) -> dict[str, int]:
        """How often the first process of each role was started again; none before the first is shown."""
        if not any(self.data.glob("run/*/children.json")):
            return {}
        return {each["role"]: each["restarts"] for each in self.facts.get("children", []) if each["index"] == 0}

    def child(self, role: str, index: int = 0) -> dict[str, Any]:
        """One process as children.json shows it."""
        return next(each for each in self.facts["children"] if (each["role"], each["index"]) == (role, index))

    def told(self, role: str, index: int = 0) -> dict[str, Any]:
        """What the stand-in saw of its surroundings."""
        return json.loads((self.runtime / f"{role}-{index}.json").read_text())

    def send(self, number: int) -> None:
        """A signal to the supervisor."""
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Its exit status."""
        assert self._process is not None
        return self._process.wait(DEADLINE)

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self.send(signal.SIGTERM)
        return self.wait()

    def end(self) -> None:
        """Whatever happened, leave nothing running."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None


@contextlib.contextmanager
def supervised(folder: Path, **options: Any) -> Generator[Supervised]:
    """A supervisor that is not started yet, and is gone after the block."""
    one = Supervised(folder, **options)
    try:
        yield one
    finally:
        one.end()


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be collected does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
