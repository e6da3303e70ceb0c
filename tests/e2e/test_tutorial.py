"""The tutorial, as a reader would follow it: every block is run, in order, in an empty folder."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.upstream import Upstream

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ADDRESS = "127.0.0.1:8080"
DEADLINE = 60.0
UPSTREAM_KEY = "sk-tutorial"


class Reader:
    """Follows the tutorial: `console` blocks start the server (again), `yaml` is its settings, the others are run."""

    def __init__(self, folder: Path, upstream: Upstream) -> None:
        self._folder = folder
        self._upstream = upstream
        self._port = free_port()
        self._server: subprocess.Popen[str] | None = None
        self._listener: threading.Thread | None = None
        self._log: list[str] = []
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("POLYFORGE_")}
        (folder / ".venv").symlink_to(sys.prefix)
        (folder / "exported").touch()

    def follow(self, language: str, block: str) -> None:
        """Do what one block says; AssertionError when it does not work."""
        block = block.replace(ADDRESS, f"127.0.0.1:{self._port}")
        if language == "console":
            assert "make up" in block, block
            self.stop()
            self._start()
        elif language == "yaml":
            (self._folder / "polyforge.yaml").write_text(block)
        elif language == "python":
            (self._folder / "block.py").write_text(block)
            self._run(f"'{sys.executable}' block.py")
        else:
            assert language == "bash", f"nobody knows how to run {language}"
            self._run(block)

    def stop(self) -> None:
        """End the server, if it runs, as Ctrl-C would."""
        if self._server is None or self._listener is None:
            return
        self._server.terminate()
        code = self._server.wait(DEADLINE)
        self._listener.join(DEADLINE)
        self._server = None
        assert code == 0, self._said()

    def _start(self) -> None:
        environment = {**self._environment, "POLYFORGE_SERVER__PORT": str(self._port), "OPENAI_API_KEY": UPSTREAM_KEY}
        if (self._folder / "polyforge.yaml").exists():
            environment["POLYFORGE_PROVIDERS__OPENAI__BASE_URL"] = self._upstream.url
        self._server = subprocess.Popen(
            [sys.executable, "-m", "polyforge", "up"],
            cwd=self._folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        ready = threading.Event()
        self._listener = threading.Thread(target=self._listen, args=(self._server, ready), daemon=True)
        self._listener.start()
        assert ready.wait(DEADLINE), self._said()
        assert self._server.poll() is None, self._said()

    def _listen(self, server: "subprocess.Popen[str]", ready: threading.Event) -> None:
        assert server.stdout is not None
        with server.stdout as lines:
            for line in lines:
                self._log.append(line)
                if line.startswith("ready http"):
                    ready.set()
        ready.set()

    def _run(self, commands: str) -> None:
        """Run commands in bash; what they export stays for the next."""
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"source exported\n{commands}\nexport -p >exported"],
            cwd=self._folder,
            env={**self._environment, "POLYFORGE_URL": f"http://127.0.0.1:{self._port}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert ran.returncode == 0, f"{commands}\n{ran.stdout}\n{ran.stderr}\n{self._said()}"

    def _said(self) -> str:
        return "".join(self._log[-40:])


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    upstream = Upstream(api_key=UPSTREAM_KEY).start()
    reader = Reader(tmp_path, upstream)
    yield reader
    reader.stop()
    upstream.stop()


def test_every_block_of_the_tutorial_works(reader: Reader) -> None:
    blocks = BLOCK.findall(TUTORIAL.read_text())
    assert {language for language, _ in blocks} == {"bash", "console", "python", "yaml"}
    for language, block in blocks:
        reader.follow(language, block)
