"""Tells of a change twice in its own transaction: to the audit log for good, and to the event stream for everybody."""

from collections.abc import Mapping
from typing import Any

from polyforge.database.events.log import Stream, append_event
from polyforge.database.sessions import WriteSession
from polyforge.tenancy.audit.log import AuditLog, Subject
from polyforge.tenancy.callers import Caller


class Recorder:
    """What services call at the end of each changing transaction."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit

    async def changed(
        self,
        session: WriteSession,
        caller: Caller,
        stream: Stream,
        action: str,
        subject: Subject,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
    ) -> None:
        """Something changed: `action` is `thing.verb` in the past tense, as in `key.revoked`.

        What happens on the stream `settings` concerns the whole installation, whoever did it from wherever. Last in its
        transaction: it takes the locks of the audit log and of the events, in this order.
        """
        event = await self._audit.record(session, caller, action, subject, before, after)
        await append_event(
            session,
            stream,
            action,
            subject.id,
            at=event.at,
            organization_id=None if stream == "settings" else subject.organization_id,
            project_id=None if stream == "settings" else subject.project_id,
            data={"actor": event.actor_id, "resource": subject.kind},
        )

    async def read(self, session: WriteSession, caller: Caller, action: str, subject: Subject) -> None:
        """Something sensitive was read: a secret revealed, a payload opened, an export made."""
        await self._audit.record(session, caller, action, subject)

    async def noted(
        self, session: WriteSession, caller: Caller, action: str, subject: Subject, after: Mapping[str, Any]
    ) -> None:
        """Something happened that is for the audit log alone: what is no settled thing that others would follow."""
        await self._audit.record(session, caller, action, subject, None, after)
