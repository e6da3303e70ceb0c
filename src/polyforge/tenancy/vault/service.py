"""Keeping secrets, on behalf of a caller and within its organization. No value ever comes back out of here."""

from collections.abc import Sequence
from typing import Any

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.database.sessions import WriteSession
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Conflict, Invalid
from polyforge.kernel.ids import new_ulid
from polyforge.secrets.sealing import MasterKeys
from polyforge.tenancy.audit.log import MASKED, Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.people.paging import check_cursor, page_of
from polyforge.tenancy.vault.records import StoredSecret, seal
from polyforge.tenancy.vault.schemas import NewSecret, SecretChanges
from polyforge.tenancy.vault.store import VaultEditor, VaultStore

MAX_SECRETS = 10_000
"""Per organization."""


class VaultService:
    """Makes, lists, changes and removes secrets."""

    def __init__(self, database: Database, clock: Clock, recorder: Recorder, master: MasterKeys) -> None:
        self._database = database
        self._clock = clock
        self._recorder = recorder
        self._master = master

    async def create(self, caller: Caller, body: NewSecret) -> StoredSecret:
        """A new secret; Conflict when the organization has one of this name, Invalid for a project that it has not."""
        secret_id, now = new_ulid(), self._clock.now()
        values = {
            **seal(self._master, caller.organization_id, secret_id, body.value.get_secret_value()),
            "id": secret_id,
            "name": body.name,
            "projects": _sorted(body.projects),
            "version": 1,
            "created_at": now,
            "changed_at": now,
        }
        async with self._database.write(_scope(caller)) as session:
            editor = VaultEditor(session, _scope(caller))
            await editor.lock()
            if await editor.find(body.name) is not None:
                raise Conflict(f"there is a secret {body.name!r} already; PUT changes it", param="name")
            if await editor.count() >= MAX_SECRETS:
                raise Conflict(f"an organization keeps at most {MAX_SECRETS} secrets; remove some first")
            await _require_known(editor, body.projects)
            secret = await editor.add(values)
            await self._record(session, caller, "secret.created", secret, None, _told(secret, new_value=True))
        return secret

    async def get(self, caller: Caller, name: str) -> StoredSecret:
        """One secret; NotFound when the organization has none of this name."""
        async with self._database.read(_scope(caller)) as session:
            return await VaultStore(session, _scope(caller)).get(name)

    async def page(
        self, caller: Caller, limit: int, cursor: str | None = None
    ) -> tuple[list[StoredSecret], str | None]:
        """Up to `limit` secrets, newest first, and the cursor of the next page, None after the last."""
        check_cursor(cursor)
        async with self._database.read(_scope(caller)) as session:
            found = await VaultStore(session, _scope(caller)).page(limit + 1, cursor)
        return page_of(found, limit)

    async def change(self, caller: Caller, name: str, body: SecretChanges) -> StoredSecret:
        """The secret with what `body` sets, its version one higher."""
        given = body.model_fields_set
        async with self._database.write(_scope(caller)) as session:
            editor = VaultEditor(session, _scope(caller))
            await editor.lock()
            before = await editor.get(name)
            if not given:
                return before
            values: dict[str, Any] = {"version": before.version + 1, "changed_at": self._clock.now()}
            if "value" in given:
                values |= seal(self._master, caller.organization_id, before.id, body.value.get_secret_value())
            if "projects" in given:
                await _require_known(editor, body.projects)
                values["projects"] = _sorted(body.projects)
            after = await editor.change(name, values)
            told = _told(after, new_value="value" in given)
            await self._record(session, caller, "secret.changed", after, _told(before), told)
        return after

    async def remove(self, caller: Caller, name: str) -> None:
        """Take a secret away for good; within a second nothing can use it."""
        async with self._database.write(_scope(caller)) as session:
            editor = VaultEditor(session, _scope(caller))
            await editor.lock()
            before = await editor.get(name)
            await editor.remove(name)
            await self._record(session, caller, "secret.removed", before, _told(before), None)

    async def _record(
        self,
        session: WriteSession,
        caller: Caller,
        action: str,
        secret: StoredSecret,
        before: dict[str, Any] | None,
        after: dict[str, Any] | None,
    ) -> None:
        subject = Subject("secret", secret.id, secret.organization_id)
        await self._recorder.changed(session, caller, "secrets", action, subject, before, after)


def _told(secret: StoredSecret, *, new_value: bool = False) -> dict[str, Any]:
    """What the audit log keeps of a secret: everything but its value, of which it says whether it is a new one."""
    told: dict[str, Any] = {"name": secret.name, "version": secret.version, "projects": secret.projects}
    return {**told, "value": MASKED} if new_value else told


async def _require_known(editor: VaultEditor, projects: Sequence[str] | None) -> None:
    if not projects:
        return
    known = await editor.known_projects(projects)
    if unknown := sorted(set(projects) - known):
        raise Invalid(f"there is no project {unknown[0]!r}", param="projects")


def _sorted(projects: Sequence[str] | None) -> list[str] | None:
    return None if projects is None else sorted(set(projects))


def _scope(caller: Caller) -> Scope:
    return Scope(caller.organization_id)
