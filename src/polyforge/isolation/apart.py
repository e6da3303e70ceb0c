"""One piece of work in a process of its own: what is heavy, or reads what strangers wrote, and must end in any case."""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import msgspec

from polyforge.isolation.limits import ChildProgram, Ended, Limits
from polyforge.isolation.pool import Pool
from polyforge.kernel.errors import BrokenOff, Invalid, PolyforgeError, TimedOut

_FOLDER: Final = Path(__file__).parent
_encode: Final = msgspec.json.Encoder().encode


class _Refusal(msgspec.Struct):
    message: str
    param: str | None = None


class _Answer(msgspec.Struct):
    """What the child says: what the work gives, or why it was refused."""

    result: msgspec.Raw = msgspec.Raw(b"null")
    refusal: _Refusal | None = None


class _Told:
    """Passes on what the child writes; why it ended is told by the error."""

    def __init__(self, said: Callable[[str], None]) -> None:
        self._said = said

    def said(self, pid: int, line: str) -> None:
        del pid
        self._said(line)

    def ended(self, pid: int, ended: Ended, delay: float) -> None:
        """The error says it."""

    def refused(self, reason: str, delay: float) -> None:
        """The error says it."""


def program_of(module: str) -> tuple[str, ...]:
    """The command that runs a module of ours."""
    return (sys.executable, "-P", "-m", module)


class Apart:
    """Work in processes of their own, `at_once` of them at a time, each with the same limits."""

    def __init__(self, limits: Limits, at_once: int) -> None:
        self._limits = limits
        self._places = asyncio.Semaphore(at_once)
        # Of its own: what runs for minutes must not take the threads that others, and its own end, count on.
        self._threads = ThreadPoolExecutor(at_once, "apart")

    async def work(
        self,
        program: Sequence[str],
        asked: Mapping[str, Any],
        *,
        subject: str,
        said: Callable[[str], None],
    ) -> Any:
        """What a program gives for what is asked, both JSON, from a child process that is gone afterwards.

        The program hands its function to `polyforge.isolation.program.serve_work`. `subject` is what errors call the
        work, and `said` gets every line that it writes. The child has no secrets in its environment. Invalid with what
        the work refused, or for what takes more memory or processor time than it may; TimedOut after `run_seconds`;
        BrokenOff when it crashes. A cancelled call kills the child.
        """
        async with self._places:
            return await _work(self._threads, program, asked, self._limits, subject, said)


async def _work(
    threads: Executor,
    program: Sequence[str],
    asked: Mapping[str, Any],
    limits: Limits,
    subject: str,
    said: Callable[[str], None],
) -> Any:
    loop = asyncio.get_running_loop()

    def pass_on(line: str) -> None:
        loop.call_soon_threadsafe(said, line)

    told = _Told(pass_on)
    pool = Pool(
        ChildProgram(tuple(program), str(_FOLDER), {}), limits, size=1, subject=subject, listener=told
    )  # fmt: skip
    try:
        answer = await loop.run_in_executor(threads, _ask, pool, _encode(asked), subject, limits)
    finally:
        await asyncio.shield(asyncio.to_thread(pool.close))
    if answer.refusal is not None:
        raise Invalid(answer.refusal.message, param=answer.refusal.param)
    return msgspec.json.decode(answer.result)


def _ask(pool: Pool, asked: bytes, subject: str, limits: Limits) -> _Answer:
    pool.open()
    try:
        with pool.child() as child:
            payload = child.ask(b"", (memoryview(asked),)).payload
            try:
                return msgspec.json.decode(payload, type=_Answer)
            except msgspec.MsgspecError as error:
                raise child.end("protocol", str(error)) from error
    except (BrokenOff, TimedOut) as error:
        raise _told(error, subject, limits) from error


def _told(error: PolyforgeError, subject: str, limits: Limits) -> PolyforgeError:
    """Without what a pool says of children that come back."""
    ended = error.__cause__
    if not isinstance(ended, Ended):
        return error
    if ended.ending == "memory":
        return Invalid(f"{subject} took more than its {limits.memory_bytes} bytes of memory and was stopped")
    if ended.ending == "crashed" and ended.detail == "SIGXCPU":
        return Invalid(f"{subject} took more than its {limits.cpu_seconds} seconds of processor time and was stopped")
    if ended.ending == "time":
        return TimedOut(f"{subject} took longer than {limits.run_seconds:g} seconds and was stopped")
    return BrokenOff(f"{subject} ended before it was done: {ended}")
