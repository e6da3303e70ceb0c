"""Work in a process of its own: what it gives, what it refuses, and that it ends whatever it does."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from polyforge.isolation.apart import Apart
from polyforge.isolation.limits import Limits
from polyforge.kernel.errors import BrokenOff, Invalid, PolyforgeError, TimedOut
from tests.support import heavy_work
from tests.support.waiting import eventually

PROGRAM = (sys.executable, str(heavy_work.__file__))
LIMITS = Limits(memory_bytes=2**30, run_seconds=60, start_seconds=60)


async def do(limits: Limits = LIMITS, said: list[str] | None = None, **asked: Any) -> Any:
    lines = [] if said is None else said
    return await Apart(limits, 1).work(PROGRAM, asked, subject="the sum", said=lines.append)


async def test_it_gives_what_the_work_gives_and_tells_what_it_writes() -> None:
    said: list[str] = []
    assert await do(do="add", numbers=[1, 2.5], said=said) == 3.5
    assert said == ["adding [1, 2.5]"]


async def test_what_it_refuses_names_the_field() -> None:
    with pytest.raises(Invalid, match="there are none") as refused:
        await do(do="refuse")
    assert refused.value.param == "numbers"


async def test_it_has_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_SECRET", "s")
    assert await do(do="environment") == []


@pytest.mark.parametrize(
    ("what", "limits", "error", "told"),
    [
        ("stay", Limits(2**30, 1, 60), TimedOut, "longer than 1 seconds"),
        ("compute", Limits(2**30, 60, 60, cpu_seconds=1), Invalid, "more than its 1 seconds of processor time"),
        ("hoard", Limits(128 << 20, 60, 60), Invalid, "more than its 134217728 bytes of memory"),
        ("crash", LIMITS, BrokenOff, "ended before it was done: crashed SIGABRT"),
    ],
)
async def test_it_ends_whatever_it_does(what: str, limits: Limits, error: type[PolyforgeError], told: str) -> None:
    with pytest.raises(error, match=f"^the sum.*{told}"):
        await do(limits, do=what)
    assert _children() == []


async def test_no_more_than_so_many_run_at_once(tmp_path: Path) -> None:
    apart = Apart(LIMITS, 1)
    asked = [{"do": "alone", "folder": str(tmp_path), "name": name} for name in "abc"]
    done = await asyncio.gather(*(apart.work(PROGRAM, each, subject="the sum", said=print) for each in asked))
    assert done == [1, 1, 1]


async def test_work_takes_no_thread_that_others_count_on() -> None:
    with ThreadPoolExecutor(1) as usual:
        asyncio.get_running_loop().set_default_executor(usual)
        call = asyncio.create_task(do(do="stay"))
        await asyncio.to_thread(eventually, _children)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert _children() == []


async def test_a_call_that_is_cancelled_leaves_no_process() -> None:
    call = asyncio.create_task(do(do="stay"))
    await asyncio.to_thread(eventually, _children)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.to_thread(eventually, lambda: not _children())


def _children() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if PROGRAM[1] in " ".join(_command(each))]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []
