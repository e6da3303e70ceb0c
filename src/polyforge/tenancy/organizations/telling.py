"""What the audit log keeps of a change."""

from collections.abc import Mapping
from typing import Any

import msgspec

from polyforge.database.sessions import WriteSession
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller

_HIDDEN = frozenset({"hash", "organization_id"})


def told(record: msgspec.Struct | None) -> dict[str, Any] | None:
    """Everything of a record but its secrets and where it lies."""
    if record is None:
        return None
    return {name: value for name, value in msgspec.structs.asdict(record).items() if name not in _HIDDEN}


def differs(record: msgspec.Struct, values: Mapping[str, Any]) -> bool:
    """Whether one of the values is another than the record has, so that there is something to change and to tell."""
    return any(getattr(record, name) != value for name, value in values.items())


async def record(
    recorder: Recorder,
    session: WriteSession,
    caller: Caller,
    action: str,
    subject: Subject,
    before: msgspec.Struct | None,
    after: msgspec.Struct | None,
) -> None:
    """Record a change of people and places, last in its transaction."""
    await recorder.changed(session, caller, "people", action, subject, told(before), told(after))
