"""`polyforge up` as a test starts it: a process and a folder of its own, free ports, and an audit at the end."""

import asyncio
import contextlib
import dataclasses
import os
import re
import secrets
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import asyncpg
import psutil
import yaml

from tests.support.clients import Response, call
from tests.support.waiting import DEADLINE, eventually

Role = Literal["gateway", "models", "worker"]
ROLE_MODULES: dict[Role, str] = {
    "gateway": "polyforge.server",
    "models": "polyforge.wiring.models",
    "worker": "polyforge.wiring.worker",
}
ALL: tuple[Role, ...] = ("gateway", "models", "worker")
WITHOUT_WORKER: tuple[Role, ...] = ("gateway", "models")
MODELS_ALONE: tuple[Role, ...] = ("models",)
READY = re.compile(r"ready (https?://\S+|worker) in [\d.]+ s")
START_DEADLINE = 120.0
STOP_DEADLINE = 90.0


@dataclasses.dataclass(frozen=True)
class Key:
    """An API key that a test created."""

    id: str
    key: str


class Polyforge:
    """One installation: started, stopped and started again on the same folder.

    It has a worker only where `roles` say so, because most tests give it nothing to do and starting it takes a while.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        *,
        workers: int = 1,
        database_url: str | None = None,
        port: int = 0,
        environ: Mapping[str, str] | None = None,
        roles: Sequence[Role] = WITHOUT_WORKER,
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.config = folder / "polyforge.yaml"
        self.admin_key = "pf-" + secrets.token_urlsafe(32)
        self.database_url = database_url
        self.url = ""
        self.clean = True
        """Whether the log must be free of tracebacks; false for tests that break things on purpose."""
        self.patience = DEADLINE
        """Seconds that a process may take to go once its supervisor is gone."""
        self._settings = dict(settings)
        self._workers = workers
        self._roles = roles
        self._port = port
        self._environ = dict(environ or {})
        self._process: subprocess.Popen[str] | None = None
        self._lines: list[str] = []
        self._ready = threading.Event()
        self._reader: threading.Thread | None = None
        self._expected: dict[str, int] = {}

    def start(self, written_at: float | None = None) -> "Polyforge":
        """Start it and wait until it says that it is ready; `written_at` is when its file says it was last changed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.declare(self._settings)
        if written_at is not None:
            os.utime(self.config, (written_at, written_at))
        self._ready.clear()
        self._process = subprocess.Popen(
            [*self._command(), "--config", str(self.config), "--data", str(self.data)],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name="polyforge log", daemon=True)
        self._reader.start()
        self._await_ready()
        return self

    def declare(self, settings: Mapping[str, Any]) -> None:
        """Replace the settings file, whether it runs or not."""
        self._settings = dict(settings)
        whole = dict(settings)
        if self.database_url:
            whole["database"] = {**whole.get("database", {}), "url": self.database_url}
        draft = self.config.with_suffix(".new")
        draft.write_text(yaml.safe_dump(whole, sort_keys=False))
        draft.replace(self.config)

    def stop(self) -> int:
        """SIGTERM; the exit code. Nothing of it may be left afterwards."""
        process = self._running()
        family = self._family()
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            self._kill_all(family)
            raise AssertionError(f"still running {STOP_DEADLINE:g} s after SIGTERM\n{self.tail()}") from None
        self._await_gone(family)
        return code

    def kill_tree(self) -> None:
        """SIGKILL to the supervisor alone; its children must go with it."""
        family = self._family()
        process = self._running()
        process.kill()
        process.wait()
        self._await_gone(family)

    def restart(self) -> None:
        """Stop cleanly and start again on the same folder."""
        code = self.stop()
        assert code == 0, f"exit code {code} at SIGTERM\n{self.tail()}"
        self.start()

    def abandon(self) -> None:
        """Make sure that nothing is left, whatever state it is in."""
        if self._process is not None:
            self._kill_all(self._family())
            self._process.wait()
            self._forget_process()

    @property
    def workers(self) -> int:
        """How many gateways it has."""
        return self._workers

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        return self._running().pid

    def pids(self, role: Role) -> list[int]:
        """The processes of that role that run now."""
        module = ROLE_MODULES[role]
        return [child.pid for child in self._family() if module in _command_line(child)]

    def kill(self, role: Role, index: int = 0) -> int:
        """SIGKILL to one process; its id."""
        pid = sorted(self.pids(role))[index]
        os.kill(pid, signal.SIGKILL)
        return pid

    @property
    def log(self) -> str:
        """Everything that it has written so far."""
        return "".join(self._lines)

    def tail(self, lines: int = 60) -> str:
        """The last lines of the log."""
        return "".join(self._lines[-lines:])

    def call(self, path: str, *, key: str | None = None, **request: Any) -> Response:
        """One request. `request` is as for `clients.call`."""
        return call(self.url, path, key=key, **request)

    def api(self, method: str, path: str, json: object = None) -> Response:
        """One request to the management API as the administrator."""
        return call(self.url, f"/api/v1{path}", method=method, key=self.admin_key, json=json)

    def create_key(self, **limits: Any) -> Key:
        """A new key; `limits` as POST /api/v1/keys takes them."""
        name = limits.pop("name", f"test-{secrets.token_hex(4)}")
        response = self.api("POST", "/keys", {"name": name, **limits})
        assert response.status == 201, f"{response.status} {response.body.decode()}"
        return Key(response.json["id"], response.json["key"])

    def records(self, key_id: str | None = None) -> list[dict[str, Any]]:
        """The usage records of calls in the database, of one key or all, oldest first; not of refused requests."""
        return [row for row in self._rows(key_id) if row.get("status") != "refused"]

    def _rows(self, key_id: str | None) -> list[dict[str, Any]]:
        query = "SELECT * FROM usage_records" + (" WHERE key_id = {}" if key_id else "") + " ORDER BY id"
        arguments = [key_id] if key_id else []
        if self.database_url:
            with ThreadPoolExecutor(1) as one:
                return one.submit(asyncio.run, _query_postgres(self.database_url, query, arguments)).result()
        return _query_sqlite(self.data / "polyforge.db", query, arguments)

    def settled(self, key: Key, count: int = 1) -> list[dict[str, Any]]:
        """The usage records of `key` once there are `count`; the audit at the end wants exactly as many."""
        self._expected[key.id] = count
        records = eventually(lambda: _at_least(self.records(key.id), count), f"{count} usage records of {key.id}")
        assert len(records) == count, f"{len(records)} usage records instead of {count}: {records}"
        return records

    def audit(self) -> None:
        """What must hold after a clean stop: records counted once, and nothing unexpected in the log."""
        counts = {key_id: len(self.records(key_id)) for key_id in self._expected}
        wrong = {key: (count, self._expected[key]) for key, count in counts.items() if count != self._expected[key]}
        assert not wrong, f"usage records appeared or vanished after they were counted (now, before): {wrong}"
        if self.clean:
            assert "Traceback" not in self.log, self.log[max(self.log.index("Traceback") - 2000, 0) :][:6000]

    def _command(self) -> list[str]:
        where = ["--host", "127.0.0.1", "--port", str(self._port), "--workers", str(self._workers)]
        roles = [word for role in self._roles for word in ("--role", role)]
        return [sys.executable, "-m", "polyforge", "up", *where, *roles]

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("POLYFORGE_")}
        return {**inherited, "POLYFORGE_ADMIN_KEY": self.admin_key, "PYTHONUNBUFFERED": "1", **self._environ}

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._lines.append(line)
                if said := READY.search(line):
                    self.url = said.group(1)
                    self._ready.set()

    def _await_ready(self) -> None:
        end = time.monotonic() + START_DEADLINE
        while not self._ready.wait(0.05):
            code = self._running().poll()
            if code is None and time.monotonic() < end:
                continue
            self.abandon()
            raise AssertionError(f"polyforge up did not get ready (exit code {code})\n{self.tail()}")

    def _running(self) -> "subprocess.Popen[str]":
        assert self._process is not None, "polyforge is not running"
        return self._process

    def _forget_process(self) -> None:
        self._process = None
        if self._reader is not None:
            self._reader.join(DEADLINE)

    def _family(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self._running().pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def _kill_all(self, family: list[psutil.Process]) -> None:
        self._running().kill()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def _await_gone(self, family: list[psutil.Process]) -> None:
        _, alive = psutil.wait_procs(family, timeout=self.patience)
        left = [_command_line(process) for process in alive]
        for process in alive:
            process.kill()
        self._forget_process()
        assert not left, f"left running: {left}"


@contextlib.contextmanager
def stopping(server: Polyforge) -> Generator[Polyforge]:
    """Start `server` for the block; afterwards it must stop with exit code 0 and stand the audit."""
    try:
        yield server.start()
        if server.running:
            code = server.stop()
            assert code == 0, f"exit code {code} at SIGTERM\n{server.tail()}"
        server.audit()
    finally:
        server.abandon()


def _at_least(records: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    return records if len(records) >= count else []


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def _query_sqlite(path: Path, query: str, arguments: list[str]) -> list[dict[str, Any]]:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=DEADLINE)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query.format("?"), arguments)]


async def _query_postgres(url: str, query: str, arguments: list[str]) -> list[dict[str, Any]]:
    connection = await asyncpg.connect(re.sub(r"^postgresql\+\w+:", "postgresql:", url))
    try:
        return [dict(row) for row in await connection.fetch(query.format("$1"), *arguments)]
    finally:
        await connection.close()
