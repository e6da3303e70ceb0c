"""Managing keys, on behalf of a caller and within its project."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from msgspec.structs import asdict

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.database.sessions import WriteSession
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Conflict, Denied, Invalid, NotFound
from polyforge.kernel.ids import decode, new_ulid
from polyforge.kernel.money import from_usd
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.keys import ADMIN_KEY_ID, ApiKey, Secret, WhichKeys, new_secret
from polyforge.tenancy.schemas import KeyChanges, KeyLimitsBody, NewKey
from polyforge.tenancy.store import KeyEditor, KeyStore


def _nobody() -> None:
    """The listener of who does not need to hear of changes."""


class KeyService:
    """Makes, shows, changes and ends API keys.

    A caller only makes or manages keys that may do no more than it may itself: no scope that it lacks, no model that it
    may not use. `changed` is called after every change, so that this process need not wait to hear of its own.
    """

    def __init__(
        self, database: Database, clock: Clock, recorder: Recorder, changed: Callable[[], None] = _nobody
    ) -> None:
        self._database = database
        self._clock = clock
        self._recorder = recorder
        self._changed = changed

    async def create(self, caller: Caller, body: NewKey) -> tuple[ApiKey, Secret]:
        """A new key and its secret, which cannot be had again."""
        models = body.models
        if models is None and caller.models is not None:
            models = list(caller.models)
        _require_no_more(caller, body.scopes, models)
        secret = new_secret()
        values = {
            **self._limits(body, KeyLimitsBody.model_fields),
            "id": new_ulid(),
            "name": body.name,
            "prefix": secret.prefix,
            "hash": secret.hash,
            "scopes": sorted(set(body.scopes)),
            "models": models,
            "created_at": self._clock.now(),
            "created_by": caller.key_id,
        }
        async with self._database.write(_scope(caller)) as session:
            key = await KeyEditor(session, _scope(caller)).add(values)
            await self._record(session, caller, "key.created", None, key)
        self._changed()
        return key, secret

    async def get(self, caller: Caller, key_id: str) -> ApiKey:
        """One key; NotFound when the project has none with this id."""
        _require_id(key_id)
        async with self._database.read(_scope(caller)) as session:
            return await KeyStore(session, _scope(caller)).get(key_id)

    async def page(
        self, caller: Caller, which: WhichKeys, limit: int, cursor: str | None = None
    ) -> tuple[list[ApiKey], str | None]:
        """Up to `limit` of the keys that are asked for, and the cursor of the next page, None after the last."""
        if cursor is not None and not _is_id(cursor):
            raise Invalid("the cursor is not one that a list gave", param="cursor")
        async with self._database.read(_scope(caller)) as session:
            keys = await KeyStore(session, _scope(caller)).page(which, limit + 1, cursor)
        return keys[:limit], keys[limit - 1].id if len(keys) > limit else None

    async def expiring(self, caller: Caller, within_seconds: float, limit: int) -> list[ApiKey]:
        """Up to `limit` of the project's keys that stop working soon, the first ones first."""
        now = self._clock.now()
        async with self._database.read(_scope(caller)) as session:
            return await KeyStore(session, _scope(caller)).expiring(now, now + within_seconds, limit)

    async def change(self, caller: Caller, key_id: str, body: KeyChanges) -> ApiKey:
        """The key with what `body` sets; Conflict when it has been revoked."""
        values = self._limits(body, body.model_fields_set)
        if "name" in body.model_fields_set:
            values["name"] = body.name
        async with self._database.write(_scope(caller)) as session:
            editor = KeyEditor(session, _scope(caller))
            key = await _manageable(editor, caller, key_id)
            _require_no_more(caller, key.scopes, values.get("models", key.models))
            changed = await editor.change(key_id, values)
            await self._record(session, caller, "key.changed", key, changed)
        self._changed()
        return changed

    async def rotate(self, caller: Caller, key_id: str, grace_seconds: int = 0) -> tuple[ApiKey, Secret]:
        """The key with a new secret; the old one works for another `grace_seconds`, any older one no more."""
        secret = new_secret()
        values: dict[str, Any] = {"prefix": secret.prefix, "hash": secret.hash}
        async with self._database.write(_scope(caller)) as session:
            editor = KeyEditor(session, _scope(caller))
            key = await _manageable(editor, caller, key_id)
            values["previous_hash"] = key.hash if grace_seconds else None
            values["previous_until"] = self._clock.now() + grace_seconds if grace_seconds else None
            changed = await editor.change(key_id, values)
            await self._record(session, caller, "key.rotated", key, changed)
        self._changed()
        return changed, secret

    async def revoke(self, caller: Caller, key_id: str) -> None:
        """End a key for good; one that has ended already stays as it is."""
        async with self._database.write(_scope(caller)) as session:
            editor = KeyEditor(session, _scope(caller))
            key = await _locked(editor, caller, key_id)
            if key.revoked_at is None:
                changed = await editor.change(key_id, {"revoked_at": self._clock.now()})
                await self._record(session, caller, "key.revoked", key, changed)
        self._changed()

    async def _record(
        self, session: WriteSession, caller: Caller, action: str, before: ApiKey | None, after: ApiKey
    ) -> None:
        subject = Subject("key", after.id, after.organization_id, after.project_id)
        told = None if before is None else _told(before)
        await self._recorder.changed(session, caller, "keys", action, subject, told, _told(after))

    def _limits(self, body: KeyLimitsBody, fields: Iterable[str]) -> dict[str, Any]:
        values = {name: getattr(body, name) for name in fields if name in KeyLimitsBody.model_fields}
        if "budget_usd" in values:
            usd = values.pop("budget_usd")
            values["budget_micros"] = None if usd is None else from_usd(usd)
        if values.get("expires_at") is not None:
            values["expires_at"] = self._future(values["expires_at"])
        return values

    def _future(self, moment: datetime) -> float:
        seconds = moment.timestamp()
        if seconds <= self._clock.now():
            raise Invalid("must lie in the future", param="expires_at")
        return seconds


def _told(key: ApiKey) -> dict[str, Any]:
    """What the audit log keeps of a key: everything but its hashes."""
    hidden = ("hash", "previous_hash", "organization_id", "project_id", "version")
    return {name: value for name, value in asdict(key).items() if name not in hidden}


async def _manageable(editor: KeyEditor, caller: Caller, key_id: str) -> ApiKey:
    key = await _locked(editor, caller, key_id)
    if key.revoked_at is not None:
        raise Conflict(f"key {key_id!r} has been revoked; create a new one")
    return key


async def _locked(editor: KeyEditor, caller: Caller, key_id: str) -> ApiKey:
    _require_id(key_id)
    key = await editor.locked(key_id)
    if key.id == ADMIN_KEY_ID:
        raise Conflict(
            "the admin key comes from POLYFORGE_ADMIN_KEY or the file admin.key; change it there and restart"
        )
    _require_no_more(caller, key.scopes, key.models)
    return key


def _require_no_more(caller: Caller, scopes: Iterable[str], models: Iterable[str] | None) -> None:
    if missing := sorted(scope for scope in scopes if not caller.may(scope)):
        raise Denied(f"this key lacks the scope {missing[0]!r}, so it cannot make or manage a key that has it")
    if caller.models is None:
        return
    if models is None:
        raise Denied("this key may use some models only, so it cannot make or manage a key that may use all")
    if foreign := [name for name in models if not caller.may_use(name)]:
        raise Denied(f"this key may not use {foreign[0]!r}, so it cannot make or manage a key that may")


def _scope(caller: Caller) -> Scope:
    return Scope(caller.organization_id, caller.project_id)


def _require_id(key_id: str) -> None:
    if not _is_id(key_id):
        raise NotFound(f"there is no key {key_id[:40]!r}")


def _is_id(text: str) -> bool:
    try:
        decode(text)
    except ValueError:
        return False
    return True
