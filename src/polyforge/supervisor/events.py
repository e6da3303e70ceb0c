"""What the supervisor says: JSON lines on stderr in the form of all our logs, and sentences for people."""

import json
import os
import time
from typing import Any

STDOUT = 1
STDERR = 2


def report(event: str, level: str = "info", **facts: Any) -> None:
    """Write one JSON line."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
    source = {"time": stamp, "level": level, "logger": "polyforge.supervisor", "process": "supervisor"}
    line = json.dumps({**source, "event": event, **facts})
    write(STDERR, line.encode() + b"\n")


def say(text: str, descriptor: int = STDERR) -> None:
    """Write a line for people."""
    write(descriptor, text.encode(errors="replace") + b"\n")


def write(descriptor: int, content: bytes) -> None:
    """Write all of it. Nobody reading must not end what serves, so a broken pipe loses the rest."""
    while content:
        try:
            content = content[os.write(descriptor, content) :]
        except OSError:
            return
