"""Commands as people type them: each a process of its own, with its output, its errors and its exit code."""

import json
import os
import subprocess
import sys
from typing import Any, Final

from tests.support.server import Polyforge
from tests.support.waiting import DEADLINE

PATIENCE: Final = DEADLINE * 4


class Commands:
    """A command line on one installation, with one key. `before` is what every command begins with."""

    def __init__(self, server: Polyforge, key: str | None = None, *before: str, patience: float = PATIENCE) -> None:
        mine = {name: value for name, value in os.environ.items() if not name.startswith("POLYFORGE_")}
        names = {"POLYFORGE_URL": server.url, "POLYFORGE_API_KEY": key or server.admin_key, "COLUMNS": "200"}
        self._environ = {**mine, **names, "XDG_CONFIG_HOME": str(server.folder / "home")}
        self._before = before
        self._patience = patience

    def run(self, *words: str, given: str = "") -> "subprocess.CompletedProcess[str]":
        """What became of a command."""
        command = [sys.executable, "-m", "polyforge", *self._before, *words]
        return subprocess.run(
            command,
            input=given,
            capture_output=True,
            text=True,
            env=self._environ,
            timeout=self._patience,
            check=False,
        )

    def __call__(self, *words: str, given: str = "") -> str:
        """What one prints that does what it is asked."""
        done = self.run(*words, given=given)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def json(self, *words: str, given: str = "") -> Any:
        """The same as programs read it."""
        return json.loads(self(*words, "--json", given=given))

    def fails(self, *words: str, given: str = "", code: int = 1) -> str:
        """What one says that cannot do what it is asked: for people, and nothing that a program would take for it."""
        done = self.run(*words, given=given)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), (words, done.stdout, done.stderr)
        return done.stderr
