"""Writes the audit log: one event per change and per sensitive read, in the transaction of what it tells of.

Events form one chain over the whole installation: each holds an HMAC-SHA-256 over itself and the one before, under a
key that is derived from the master key. Changing, removing or reordering rows therefore needs the master key to stay
unseen, and the head of the chain tells when the newest are missing.
"""

import hmac
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import msgspec
from sqlalchemy import insert, select, update

from polyforge.database.sessions import WriteSession
from polyforge.kernel.clock import Clock
from polyforge.kernel.ids import new_ulid
from polyforge.kernel.sizes import NAME_LENGTH
from polyforge.secrets.sealing import MasterKeys
from polyforge.tenancy.audit.tables import audit_events, audit_heads
from polyforge.tenancy.callers import Caller

HEAD = "audit"
FIRST_HASH = bytes(32)
"""What the first event has before it."""
MASKED = "********"
_PURPOSE = "audit chain"
_ADDRESS_LENGTH, _AGENT_LENGTH, _RESOURCE_LENGTH = 64, 300, 200
_encode = msgspec.json.Encoder(order="deterministic", enc_hook=str).encode


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened. The order of the fields is the order in which they are chained: never change it."""

    sequence: int
    id: str
    at: float
    organization_id: str
    project_id: str | None
    actor_kind: str
    actor_id: str
    actor_name: str
    address: str
    agent: str
    request_id: str | None
    action: str
    """As in `key.revoked`."""
    resource_kind: str
    resource_id: str
    before: str | None = None
    """JSON, with secrets masked."""
    after: str | None = None


class Subject(msgspec.Struct, frozen=True):
    """What an event is about, and where it lies."""

    kind: str
    id: str
    organization_id: str
    project_id: str | None = None


class Chain:
    """Computes the hashes of the chain. Events chained under an earlier master key are still verified."""

    def __init__(self, master: MasterKeys) -> None:
        self._keys = master.derive(_PURPOSE)

    def link(self, event: AuditEvent, previous: bytes) -> bytes:
        """The hash of an event that comes after the one with the hash `previous`."""
        return _digest(self._keys[0], event, previous)

    def holds(self, event: AuditEvent, previous: bytes, found: bytes) -> bool:
        """Whether `found` is the hash of this event after that one."""
        return any(hmac.compare_digest(_digest(key, event, previous), found) for key in self._keys)


def row_of(event: AuditEvent, linked: bytes) -> dict[str, Any]:
    """The row of an event with its hash."""
    return {**msgspec.structs.asdict(event), "topic": topic_of(event.action), "hash": linked}


def topic_of(action: str) -> str:
    """What of an action stands before its dot, as in `key` of `key.revoked`."""
    return action.partition(".")[0]


def _digest(key: bytes, event: AuditEvent, previous: bytes) -> bytes:
    return hmac.digest(key, previous + msgspec.json.encode(msgspec.structs.astuple(event)), sha256)


class AuditLog:
    """Adds events. Take its lock, that is call `record`, after every other lock of the transaction."""

    def __init__(self, chain: Chain, clock: Clock) -> None:
        self._chain = chain
        self._clock = clock

    async def record(
        self,
        session: WriteSession,
        caller: Caller,
        action: str,
        subject: Subject,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
    ) -> AuditEvent:
        """Add one event to the transaction. `before` and `after` must hold no secrets: mask them with MASKED."""
        query = select(audit_heads).where(audit_heads.c.name == HEAD)
        taken = update(audit_heads).where(audit_heads.c.name == HEAD).values(sequence=audit_heads.c.sequence + 1)
        await session.change(taken)
        head = await session.first(query)
        if head is None:
            raise RuntimeError("the audit log has no head; the schema is not complete")
        event = self._event(head["sequence"], caller, action, subject, before, after)
        linked = self._chain.link(event, head["hash"])
        await session.change(insert(audit_events).values(row_of(event, linked)))
        await session.change(update(audit_heads).where(audit_heads.c.name == HEAD).values(hash=linked))
        return event

    def _event(
        self,
        sequence: int,
        caller: Caller,
        action: str,
        subject: Subject,
        before: Mapping[str, Any] | None,
        after: Mapping[str, Any] | None,
    ) -> AuditEvent:
        origin = caller.origin
        return AuditEvent(
            sequence=sequence,
            id=new_ulid(),
            at=self._clock.now(),
            organization_id=subject.organization_id,
            project_id=subject.project_id,
            actor_kind=caller.kind,
            actor_id=caller.key_id,
            # A user is named by an e-mail address, which may be longer than a name.
            actor_name=caller.key_name[:NAME_LENGTH],
            address=origin.address[:_ADDRESS_LENGTH],
            agent=origin.agent[:_AGENT_LENGTH],
            request_id=origin.request_id,
            action=action,
            resource_kind=subject.kind,
            resource_id=subject.id[:_RESOURCE_LENGTH],
            before=None if before is None else _encode(before).decode(),
            after=None if after is None else _encode(after).decode(),
        )
