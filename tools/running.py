"""A server of its own for a tool, with embedded storage in a folder that the tool gives."""

import os
import secrets
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Final, NamedTuple

START_SECONDS: Final = 120
STOP_SECONDS: Final = 60
LAST_CHARACTERS: Final = 2_000


class Server(NamedTuple):
    """A server that answers."""

    url: str
    admin_key: str


@contextmanager
def running(folder: Path, *options: str) -> Generator[Server]:
    """`polyforge up` on a free port, until the tool is done with it; SystemExit when it does not start."""
    admin_key = f"pf-{secrets.token_urlsafe(24)}"
    here = ("--data", str(folder / "data"), "--port", "0")
    command = [sys.executable, "-m", "polyforge", "up", *here, *options]
    environment = {**os.environ, "POLYFORGE_ADMIN_KEY": admin_key}
    log = folder / "server.log"
    with log.open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
    try:
        yield Server(_address(process, log), admin_key)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        finally:
            process.kill()


def _address(process: "subprocess.Popen[str]", log: Path) -> str:
    assert process.stdout is not None
    patience = Timer(START_SECONDS, process.kill)
    patience.start()
    try:
        for line in process.stdout:
            if line.startswith("ready "):
                return line.split()[1]
    finally:
        patience.cancel()
    raise SystemExit(f"the server did not start:\n{log.read_text(errors='replace')[-LAST_CHARACTERS:]}")
