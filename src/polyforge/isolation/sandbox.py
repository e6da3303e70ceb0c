"""Runs Python that nobody vouches for, once, in a process that can do nothing but compute."""

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

from polyforge.isolation.child import Child, start_child
from polyforge.isolation.frames import Frame
from polyforge.isolation.limits import ChildProgram, Ended, Limits, Refused
from polyforge.isolation.sandbox_program import OK
from polyforge.kernel.errors import Invalid, NotSupported, TimedOut, Unavailable

_PACKAGE: Final = Path(__file__).parents[1]
_MODULE: Final = "polyforge.isolation.sandbox_program"
_BEGIN: Final = (
    "import runpy, sys, types\n"
    "package = sys.modules['polyforge'] = types.ModuleType('polyforge')\n"
    "package.__path__ = [sys.argv[1]]\n"
    "runpy.run_module(sys.argv[2], run_name='__main__', alter_sys=True)\n"
)
"""Makes modules of this package known to an interpreter without any libraries."""
_START_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.005
_STOP_SECONDS: Final = 5.0
_OPEN_FILES: Final = 64


class _Holder:
    """The child of one run as others may end it, also before it is there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._over = False

    def hold(self, start: Callable[[], Child]) -> Child:
        """Start a child, unless it is over already; TimedOut then."""
        with self._lock:
            if self._over:
                raise TimedOut("the code was stopped before it began")
            self._child = start()
            return self._child

    def stop(self) -> None:
        """Kill it."""
        with self._lock:
            self._over = True
            if self._child is not None:
                self._child.end("time")


class Sandbox:
    """Processes for code, `at_once` at a time, each for one run."""

    def __init__(self, at_once: int) -> None:
        self._slots = asyncio.Semaphore(at_once)
        # Of its own: what runs for minutes must not take the threads that others count on.
        self._threads = ThreadPoolExecutor(at_once, "sandbox")

    def close(self) -> None:
        """Take no more; what runs is ended by whoever asked for it."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def run(self, code: str, inputs: bytes, *, memory_bytes: int, seconds: float, output_bytes: int) -> bytes:
        """What the code leaves as `result`, as JSON; `inputs` is an object as JSON, whose names the code has.

        Invalid where the code fails, or is given more than it may leave, TimedOut where it takes too long,
        NotSupported on a machine that cannot keep it in. When the call is cancelled, the process is killed.
        """
        if len(inputs) > output_bytes:
            raise Invalid(f"the inputs of the code have more than {output_bytes} bytes; hand it less", param="inputs")
        limits = Limits(memory_bytes, seconds, _START_SECONDS, open_files=_OPEN_FILES, frame_bytes=output_bytes)
        holder = _Holder()
        async with self._slots:
            loop = asyncio.get_running_loop()
            work = loop.run_in_executor(self._threads, _run, holder, limits, code.encode(), inputs)
            try:
                frame = await asyncio.shield(work)
            except asyncio.CancelledError:
                await asyncio.to_thread(holder.stop)
                await asyncio.wait({asyncio.gather(work, return_exceptions=True)}, timeout=_STOP_SECONDS)
                raise
        payload = bytes(frame.payload)
        if frame.header != OK:
            raise Invalid(f"the code failed: {payload.decode(errors='replace')}", param="code")
        return payload


def _run(holder: _Holder, limits: Limits, code: bytes, inputs: bytes) -> Frame:
    """The life of one child, all of it in this thread."""
    try:
        child = holder.hold(partial(start_child, _program(limits), limits))
    except OSError as error:
        raise Unavailable(f"no process can be started for the code: {error.strerror}") from error
    try:
        _wait_until_ready(child)
        return child.ask(code, [memoryview(inputs)])
    except Refused as error:
        raise NotSupported(str(error)) from error
    except Ended as error:
        raise _told(error, limits) from error
    finally:
        child.dismiss()
        child.release()


def _program(limits: Limits) -> ChildProgram:
    command = (sys.executable, "-I", "-S", "-c", _BEGIN, str(_PACKAGE), _MODULE)
    arguments = {"memory_bytes": limits.memory_bytes, "cpu_seconds": int(limits.run_seconds) + 1}
    return ChildProgram(command, "/", arguments)


def _wait_until_ready(child: Child) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while child.take_hello() is None:
        if time.monotonic() > deadline:
            raise child.end("time", "it did not get ready")
        time.sleep(_LOOK_SECONDS)


def _told(ended: Ended, limits: Limits) -> Exception:
    if ended.ending == "time":
        return TimedOut(f"the code took longer than {limits.run_seconds:g} seconds and was stopped")
    if ended.ending == "protocol":
        return Invalid(f"the code left more than {limits.frame_bytes} bytes, or spoke out of turn", param="code")
    return Invalid(f"the code crashed ({ended.detail}); it may have taken too much memory", param="code")
