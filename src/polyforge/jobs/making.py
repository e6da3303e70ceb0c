"""What a new job may be, and the row that it becomes."""

import re
from typing import Any, Final

from polyforge.jobs.queues import QUEUE_NAME
from polyforge.jobs.records import JOB_PREFIX, LOWEST_PRIORITY, MAX_JSON_BYTES, AskedBy, NewJob
from polyforge.jobs.store import encoded
from polyforge.kernel.errors import Invalid
from polyforge.kernel.ids import new_ulid
from polyforge.kernel.sizes import NAME_LENGTH
from polyforge.tenancy.callers import Caller

KIND_NAME: Final = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
MAX_ATTEMPTS: Final = 100
MAX_DEDUP_KEY: Final = 200
LONGEST_SECONDS: Final = 30 * 86_400.0


def check_new(new: NewJob) -> None:
    """Invalid names the field that a job cannot have."""
    check_work(new.kind, new.title, new.args, new.queue, new.priority)
    if not 1 <= new.max_attempts <= MAX_ATTEMPTS:
        raise Invalid(f"max_attempts must be 1 to {MAX_ATTEMPTS}", param="max_attempts")
    if new.dedup_key is not None and not (0 < len(new.dedup_key) <= MAX_DEDUP_KEY and is_text(new.dedup_key)):
        raise Invalid(f"dedup_key must have 1 to {MAX_DEDUP_KEY} characters, none of them NUL", param="dedup_key")
    if new.timeout_seconds is not None and not 0 < new.timeout_seconds <= LONGEST_SECONDS:
        raise Invalid(f"timeout_seconds must be above 0, and {LONGEST_SECONDS:.0f} at most", param="timeout_seconds")


def check_work(kind: str, title: str, args: object, queue: str, priority: int) -> None:
    """Invalid names the field that neither a job nor a schedule can have."""
    if not KIND_NAME.fullmatch(kind):
        raise Invalid("kind must be a name of lower-case letters, digits, `.`, `_` and `-`, at most 64", param="kind")
    if not title.strip() or len(title) > NAME_LENGTH or not is_text(title):
        raise Invalid(f"title must have 1 to {NAME_LENGTH} characters, none of them NUL", param="title")
    if not QUEUE_NAME.fullmatch(queue):
        raise Invalid("queue must be a name of lower-case letters, digits, `_` and `-`, at most 64", param="queue")
    if not 0 <= priority <= LOWEST_PRIORITY:
        raise Invalid(f"priority must be 0 (first) to {LOWEST_PRIORITY}", param="priority")
    check_json("args", args, MAX_JSON_BYTES)


def check_json(name: str, value: object, most: int) -> str:
    """The JSON of a value; Invalid when it cannot be kept."""
    try:
        text = encoded(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise Invalid(f"{name} is no JSON: {error}", param=name) from error
    if len(text.encode()) > most:
        message = f"{name} has more than {most} bytes; put the content into the object store and name it here"
        raise Invalid(message, param=name)
    return text


def is_text(text: str) -> bool:
    """Whether every database can keep it."""
    return "\0" not in text and text.encode(errors="replace") == text.encode(errors="surrogatepass")


def row_of(new: NewJob, caller: Caller, now: float, schedule_id: str | None) -> dict[str, Any]:
    """The row of a new job; the tenant is the caller's."""
    asked_by = AskedBy.of(caller, new.scopes)
    row = first_row(new.kind, new.title, encoded(new.args), new.queue, new.priority, encoded(asked_by), now)
    return row | {
        "organization_id": caller.organization_id,
        "project_id": caller.project_id,
        "run_after": now if new.run_after is None else new.run_after,
        "dedup_key": new.dedup_key,
        "schedule_id": schedule_id,
        "max_attempts": new.max_attempts,
        "timeout_seconds": new.timeout_seconds,
    }


def first_row(kind: str, title: str, args: str, queue: str, priority: int, asked_by: str, now: float) -> dict[str, Any]:
    """The columns that every job begins with."""
    return {
        "id": JOB_PREFIX + new_ulid(),
        "kind": kind,
        "title": title,
        "queue": queue,
        "priority": priority,
        "rank": priority,
        "state": "queued",
        "run_after": now,
        "args": args,
        "asked_by": asked_by,
        "attempt": 1,
        "max_attempts": 1,
        "run": 0,
        "takeovers": 0,
        "strikes": 0,
        "created_at": now,
        "progress_done": 0.0,
        "progress_unit": "",
        "progress_note": "",
        "cancel_requested": False,
    }
