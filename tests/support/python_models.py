"""Models in Python that behave as they are told, in the processes that their backend gives them."""

import struct
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from polyforge.adapters.model_backends.python import Python, Settings
from polyforge.kernel.errors import PolyforgeError
from polyforge.kernel.tensors import Tensor
from polyforge.ports.model_backend import ModelRequest, Outputs, ProcessFacts

PATIENCE = 60.0

MISCHIEF = """
    import ctypes, os, signal, subprocess, sys, time
    import numpy as np

    class Wrong(ValueError):
        param = "x"

    def misbehave(what, channel):
        if what == 1:
            ctypes.string_at(0)
        if what == 2:
            held = []
            while True:
                held.append(np.ones(4_000_000))
        if what == 3:
            time.sleep(3600)
        if what == 4:
            for _ in range(200):
                print("x" * 20_000)
                print("y" * 20_000, file=sys.stderr)
        if what == 5:
            os.write(channel, b"HTTP/1.1 200 OK and so on, which is longer than a preface")
            time.sleep(3600)
        if what == 6:
            os._exit(7)
        if what == 7:
            raise KeyError("a bug")
        if what == 8:
            raise Wrong("x must not be 8")
        if what == 9:
            time.sleep(0.2)
        if what == 10:
            sys.exit("I give up")
        if what == 11:
            os.close(1)
            os.close(2)
        if what == 12:
            subprocess.Popen(["sleep", "3600"])
            ctypes.string_at(0)
        if what == 13:
            input()

    def find_channel():
        for number in range(3, 100):
            try:
                if os.readlink(f"/proc/self/fd/{number}").startswith("socket:"):
                    return number
            except OSError:
                continue

    class Model:
        inputs = {"x": ("INT64", [-1])}
        outputs = {"y": ("INT64", [-1]), "pid": ("INT64", [-1])}

        def load(self):
            self.channel = find_channel()

        def predict(self, inputs):
            misbehave(inputs["x"][0], self.channel)
            return {"y": inputs["x"] + 1, "pid": np.full(len(inputs["x"]), os.getpid())}

        def stream(self, inputs):
            for number in range(inputs["x"][0]):
                if number == 900:
                    misbehave(inputs["x"][-1], self.channel)
                yield {"y": inputs["x"] + number, "pid": np.full(len(inputs["x"]), os.getpid())}
"""
SEGFAULT, LEAK, HANG, PRINT, GARBAGE, EXIT, BUG, REFUSE, SLOW, QUIT, DUMB, ORPHAN, ASK = range(1, 14)
FINE = 100


def write_model(folder: Path, source: str = MISCHIEF) -> Path:
    """A folder with a model.py of this text."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.py").write_text(textwrap.dedent(source))
    return folder


def python_model(folder: Path, **settings: Any) -> Python:
    """The model of a folder, not loaded."""
    return Python(Settings(folder=folder, name="mischief", **settings))


def order(*numbers: int) -> ModelRequest:
    """A request for the model that does what the first number says."""
    return ModelRequest({"x": Tensor("x", "INT64", (len(numbers),), struct.pack(f"<{len(numbers)}q", *numbers))}, {})


def numbers(answer: Outputs | PolyforgeError, place: int = 0) -> list[int]:
    """The elements of an output; fails when the answer is an error."""
    assert not isinstance(answer, PolyforgeError), answer.message
    return [number for (number,) in struct.iter_unpack("<q", answer[place].data)]


def ask(backend: Python, *numbers: int) -> Outputs | PolyforgeError:
    """The answer to one request."""
    (answer,) = backend.run([order(*numbers)])
    return answer


def wait_for(backend: Python, holds: Callable[[ProcessFacts], bool]) -> ProcessFacts:
    """The facts of a backend's processes once they are as wanted."""
    deadline = time.monotonic() + PATIENCE
    while not holds(facts := backend.processes):
        assert time.monotonic() < deadline, facts
        time.sleep(0.02)
    return facts


def is_running(pid: int) -> bool:
    """Whether there is such a process that has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def in_threads(count: int, call: Callable[[], None]) -> list[threading.Thread]:
    """Threads that are running this."""
    threads = [threading.Thread(target=call) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads
