"""Runs whose jobs ended without them: cancelled while no worker had them, or failed because workers died of them."""

from typing import Any, Final

import msgspec

from polyforge.flows.running.notes import NewEvent
from polyforge.flows.running.records import EventType, RunError
from polyforge.flows.running.store import RunEditor
from polyforge.jobs.records import JobError

_encode: Final = msgspec.json.Encoder().encode


async def end_as_its_job(
    editor: RunEditor, run_id: str, outcome: str, at: float, error: JobError | None, keep: float
) -> None:
    """Have a run be over as its job is, with its last event, unless it is over already; its row stays so long."""
    told = None if error is None else msgspec.to_builtins(RunError(error.code, error.message, hint=error.hint))
    values: dict[str, Any] = {"state": outcome, "ended_at": at, "expires_at": at + keep, "error": told}
    last: EventType = "run.cancelled" if outcome == "cancelled" else "run.failed"
    await editor.end(run_id, values, NewEvent(at, last, "", "", _encode(told or {}).decode()))
