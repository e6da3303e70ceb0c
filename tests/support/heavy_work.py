"""Work for a process of its own, of every kind that there is."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from polyforge.isolation.program import Refusal, serve_work


def work(asked: dict[str, Any]) -> object:
    """What the tests ask for."""
    return _KINDS[asked["do"]](asked)


def _add(asked: dict[str, Any]) -> object:
    print("adding", asked["numbers"])
    return sum(asked["numbers"])


def _refuse(asked: dict[str, Any]) -> object:
    raise Refusal("numbers: there are none", "numbers")


def _stay(asked: dict[str, Any]) -> object:
    if folder := asked.get("folder"):
        (Path(folder) / "pid.new").write_text(str(os.getpid()))
        (Path(folder) / "pid.new").rename(Path(folder) / "pid")
    time.sleep(60)
    return None


def _compute(asked: dict[str, Any]) -> object:
    while True:
        pass


def _hoard(asked: dict[str, Any]) -> object:
    held: list[bytes] = []
    while True:
        held.append(os.urandom(4 << 20))


def _environment(asked: dict[str, Any]) -> object:
    return sorted(name for name in os.environ if "SECRET" in name)


def _crash(asked: dict[str, Any]) -> object:
    os.abort()


def _alone(asked: dict[str, Any]) -> object:
    """How many work in a folder at the same time, this one included."""
    folder = Path(asked["folder"])
    mine = folder / asked["name"]
    mine.touch()
    time.sleep(0.2)
    found = len(list(folder.iterdir()))
    mine.unlink()
    return found


_KINDS: dict[str, Callable[[dict[str, Any]], object]] = {
    "add": _add,
    "refuse": _refuse,
    "stay": _stay,
    "compute": _compute,
    "hoard": _hoard,
    "environment": _environment,
    "alone": _alone,
    "crash": _crash,
}


if __name__ == "__main__":
    serve_work(work)
