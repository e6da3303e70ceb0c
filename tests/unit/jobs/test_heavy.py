"""Steps in a process of their own: done once, told in the log, bounded, and not too many at a time."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from polyforge.jobs.heavy import HeavySteps
from polyforge.jobs.running import JobContext
from polyforge.jobs.settings import HeavySettings
from polyforge.kernel.errors import Invalid
from tests.support import heavy_work
from tests.support.waiting import eventually_async
from tests.unit.jobs.test_run import Bench

PROGRAM = (sys.executable, heavy_work.__file__)


async def test_what_it_gives_is_kept_and_what_it_writes_is_in_the_log() -> None:
    bench, heavy = Bench(), HeavySteps(HeavySettings())

    async def kind(context: JobContext) -> Any:
        return await heavy.step(context, "sum", PROGRAM, {"do": "add", "numbers": [1, 2]})

    run = await bench.begin()
    assert await bench.go_on(run, kind) == 3
    await asyncio.sleep(0)
    assert "adding [1, 2]" in [line.text for line in run.notes.take()[0]]

    async def again(context: JobContext) -> Any:
        return await heavy.step(context, "sum", ("/nowhere",), {})

    assert await bench.run(again) == 3


async def test_one_that_takes_too_much_fails_with_the_reason() -> None:
    heavy = HeavySteps(HeavySettings(memory_bytes=64 << 20))

    async def kind(context: JobContext) -> Any:
        return await heavy.step(context, "hoard", PROGRAM, {"do": "hoard"}, retries=3)

    with pytest.raises(Invalid, match="the step 'hoard' took more than its 67108864 bytes"):
        await Bench().run(kind)


async def test_no_more_than_so_many_run_at_once(tmp_path: Path) -> None:
    heavy = HeavySteps(HeavySettings(at_once=1))

    async def kind(context: JobContext) -> Any:
        asked = [{"do": "alone", "folder": str(tmp_path), "name": name} for name in "abc"]
        steps = (heavy.step(context, each["name"], PROGRAM, each) for each in asked)
        return await asyncio.gather(*steps)

    assert await Bench().run(kind) == [1, 1, 1]


async def test_a_cancelled_job_takes_its_process_along(tmp_path: Path) -> None:
    bench, heavy = Bench(), HeavySteps(HeavySettings())

    async def kind(context: JobContext) -> Any:
        return await heavy.step(context, "sleep", PROGRAM, {"do": "stay", "folder": str(tmp_path)})

    run = await bench.begin()
    going = asyncio.create_task(bench.go_on(run, kind))
    pid = int(await eventually_async(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    run.stop("cancelled")
    with pytest.raises(asyncio.CancelledError):
        await going
    assert not psutil.pid_exists(pid)
