"""An audit log full of events, made faster than through the gateway but chained as the gateway chains them."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from sqlalchemy import delete, insert, update

from polyforge.database.database import Database
from polyforge.tenancy.audit.log import FIRST_HASH, HEAD, AuditEvent, Chain, row_of
from polyforge.tenancy.audit.tables import audit_events, audit_heads
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID
from tests.support.recording import MASTER
from tests.unit.tenancy.samples import NOW

CHAIN = Chain(MASTER)
OTHER_ORGANIZATION = "0000000000000000000000009A"
_ROWS = 1_000
"""In one statement: neither database takes more than 32,767 values."""
_PLACES = {"sqlite": lambda _: "?", "postgresql": lambda number: f"${number}"}


def audit_event(sequence: int, **changes: Any) -> AuditEvent:
    """An event of the default project, one second after the one before it."""
    values: dict[str, Any] = {
        "sequence": sequence,
        "id": f"{sequence:026d}",
        "at": NOW + sequence,
        "organization_id": DEFAULT_ORGANIZATION_ID,
        "project_id": DEFAULT_PROJECT_ID,
        "actor_kind": "key",
        "actor_id": "0000000000000000000000000K",
        "actor_name": "sample",
        "address": "192.0.2.1",
        "agent": "curl/8",
        "request_id": None,
        "action": "key.created",
        "resource_kind": "key",
        "resource_id": f"{sequence:026d}",
        "before": None,
        "after": '{"name":"n"}',
    }
    return AuditEvent(**{**values, **changes})


async def fill(database: Database, count: int, make: Callable[[int], AuditEvent] = audit_event) -> None:
    """Put `count` events into an empty log."""
    rows = _chained(count, make)
    columns = [column.name for column in audit_events.c]
    into = f"INSERT INTO audit_events ({', '.join(columns)}) VALUES "
    last: dict[str, Any] = {"sequence": 0, "hash": FIRST_HASH}
    while some := list(islice(rows, _ROWS)):
        async with database.write() as session:
            values = tuple(row[name] for row in some for name in columns)
            await session.raw(into + _places(database.dialect, len(some), len(columns)), values)
        last = some[-1]
    await set_head(database, last["sequence"], last["hash"])


def _places(dialect: str, rows: int, columns: int) -> str:
    names = [_PLACES[dialect](number + 1) for number in range(rows * columns)]
    return ", ".join(f"({', '.join(names[begin : begin + columns])})" for begin in range(0, len(names), columns))


async def set_head(database: Database, sequence: int, linked: bytes) -> None:
    """What the log says is its newest event."""
    async with database.write() as session:
        values = {"sequence": sequence, "hash": linked}
        await session.change(update(audit_heads).where(audit_heads.c.name == HEAD).values(values))


async def tamper(database: Database, number: int, **values: Any) -> None:
    """Change columns of an event behind the log's back."""
    async with database.write() as session:
        changed = await session.change(update(audit_events).where(audit_events.c.sequence == number).values(values))
        assert changed == 1


async def remove(database: Database, sequence: int) -> None:
    """Take an event out behind the log's back."""
    async with database.write() as session:
        assert await session.change(delete(audit_events).where(audit_events.c.sequence == sequence)) == 1


async def put(database: Database, row: dict[str, Any]) -> None:
    """Add a row behind the log's back."""
    async with database.write() as session:
        await session.change(insert(audit_events).values(row))


def _chained(count: int, make: Callable[[int], AuditEvent]) -> Iterator[dict[str, Any]]:
    previous = FIRST_HASH
    for sequence in range(1, count + 1):
        event = make(sequence)
        previous = CHAIN.link(event, previous)
        yield row_of(event, previous)
