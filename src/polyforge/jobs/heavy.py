"""Steps that compute much, or read what strangers wrote: each in a process of its own, with limits."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from polyforge.isolation.apart import work_apart
from polyforge.isolation.limits import Limits
from polyforge.jobs.running import JobContext
from polyforge.jobs.settings import HeavySettings

_START_SECONDS: Final = 60.0


class HeavySteps:
    """Those of all jobs of this process; what is more than `at_once` waits its turn."""

    def __init__(self, settings: HeavySettings) -> None:
        self._limits = Limits(
            settings.memory_bytes, settings.seconds, _START_SECONDS, cpu_seconds=settings.processor_seconds
        )
        self._places = asyncio.Semaphore(settings.at_once)

    async def step(
        self, context: JobContext, name: str, program: Sequence[str], asked: Mapping[str, Any], *, retries: int = 0
    ) -> Any:
        """What a program gives for what is asked, as a step of the job; see `JobContext.step` and `work_apart`.

        What it writes to its output is in the job's log. It is killed when the job is cancelled.
        """
        loop = asyncio.get_running_loop()

        def said(line: str) -> None:
            loop.call_soon_threadsafe(context.log, "info", line)

        async def work() -> Any:
            async with self._places:
                return await work_apart(program, asked, self._limits, subject=f"the step {name!r}", said=said)

        return await context.step(name, work, retries=retries)
