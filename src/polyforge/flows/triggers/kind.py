"""The kind of job that a schedule makes: it begins a run."""

from typing import Any, Final

from polyforge.flows.triggers.firing import Firings, told_time
from polyforge.flows.triggers.records import JOB_KIND
from polyforge.jobs.running import JobContext
from polyforge.kernel.errors import Invalid

_RETRIES: Final = 3


class TriggerKind:
    """Begins one run each time, and does not wait for it: runs are jobs of their own."""

    name = JOB_KIND

    def __init__(self, firings: Firings) -> None:
        self._firings = firings

    async def run(self, context: JobContext) -> Any:
        """Begin it; what is repeated finds the run that began."""
        job = context.job
        trigger_id: Any = job.args.get("trigger_id")
        if not isinstance(trigger_id, str):
            raise Invalid("the arguments of this job name no trigger; make the trigger again", param="args")

        async def start() -> Any:
            outputs = {"at": told_time(job.run_after)}
            fired = await self._firings.on_time(job.caller, trigger_id, job.id, outputs)
            return {"run_id": fired.run_id}

        begun = await context.step("start", start, retries=_RETRIES)
        context.log("info", f"run {begun['run_id']} has begun")
        return begun
