"""Audit events as lines of JSON, as they are exported and sent to a SIEM."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from polyforge.tenancy.audit.store import Entry


def line_of(entry: Entry) -> bytes:
    """One event as JSON without a line break: its fields, `time` in ISO 8601, and `hash`, its place in the chain."""
    fields: dict[str, Any] = msgspec.structs.asdict(entry.event)
    fields["before"], fields["after"] = decoded(entry.event.before), decoded(entry.event.after)
    time = datetime.fromtimestamp(entry.event.at, UTC).isoformat(timespec="microseconds")
    return msgspec.json.encode({"time": time, **fields, "hash": entry.hash.hex()})


def decoded(text: str | None) -> Any:
    """What the JSON of an event says; the text itself where it is none, so that a row that was changed can be read."""
    if text is None:
        return None
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
