"""One model host as a process of its own, started and killed as a supervisor does."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polyforge.egress.http import HttpClient
from tests.support.waiting import DEADLINE

SOURCE = Path(__file__).parents[2] / "src"


class Host:
    """One model host with its settings."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.socket = folder / "models.sock"
        self.output = folder / "output.txt"
        self._folder = folder
        self._settings = settings
        self._life: int | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> bool:
        """Start it; whether it said that it is ready."""
        ready, ready_write = os.pipe()
        life, self._life = os.pipe()
        spec = {
            "config": None,
            "overrides": {"data": str(self._folder), **self._settings},
            "index": 0,
            "workers": 1,
            "ready_fd": ready_write,
            "life_fd": life,
            "model_socket": str(self.socket),
            "session": "01JCTEST00000000000000000",
            "runtime": str(self._folder),
        }
        environ = {**os.environ, "PYTHONPATH": str(SOURCE), "POLYFORGE_PROCESS": json.dumps(spec)}
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "polyforge.wiring.models"],
                cwd=self._folder,
                env=environ,
                pass_fds=(ready_write, life),
                stdout=output,
                stderr=output,
            )
        os.close(ready_write)
        os.close(life)
        with os.fdopen(ready, "rb") as signs:
            return signs.read().endswith(b"1")

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(DEADLINE)

    def abandon(self) -> None:
        """What happens to it when its supervisor ends."""
        assert self._life is not None
        os.close(self._life)
        self._life = None

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self._life is not None:
            self.abandon()


class Caller:
    """Calls a host over its socket."""

    def __init__(self, host: Host, connections: int = 16) -> None:
        self._http = HttpClient("http://models", {}, None, connections, unix_socket=str(host.socket))

    async def call(self, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        """The status of an answer, and its JSON; None where it has no body."""
        content = json.dumps(body or {}).encode()
        answer = self._http.post(path, content, {"content-type": "application/json"})
        try:
            await answer.open()
            text = await answer.body(64 * 1024 * 1024)
            return answer.status, json.loads(text) if text else None
        finally:
            await answer.close()

    async def close(self) -> None:
        await self._http.close()
