"""Writes events: in the transaction of what they tell of, so that nobody hears of what did not happen."""

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

import msgspec
from sqlalchemy import insert

from polyforge.database.counting import take_number
from polyforge.database.events.tables import events
from polyforge.database.sessions import WriteSession

Stream = Literal["settings", "keys", "models", "budgets", "jobs", "alerts", "people", "secrets", "cache", "flows"]
STREAMS: Final[tuple[Stream, ...]] = get_args(Stream)
SEQUENCE = "events"
_NO_DATA: Mapping[str, Any] = {}
_encode = msgspec.json.Encoder(order="deterministic").encode


async def append_event(
    session: WriteSession,
    stream: Stream,
    kind: str,
    resource_id: str,
    *,
    at: float,
    organization_id: str | None = None,
    project_id: str | None = None,
    data: Mapping[str, Any] = _NO_DATA,
) -> int:
    """Add one event, last in its transaction, and return its sequence number.

    The number is taken under a lock that lasts until the commit, so that whoever has read up to a number has missed
    none below it. `data` holds no secrets: whoever may read the project's events sees it.
    """
    sequence = await take_number(session, SEQUENCE)
    row = {
        "sequence": sequence,
        "stream": stream,
        "kind": kind,
        "organization_id": organization_id,
        "project_id": project_id,
        "resource_id": resource_id,
        "at": at,
        "data": _encode(data).decode(),
    }
    await session.change(insert(events).values(row))
    session.tells = True
    return sequence
