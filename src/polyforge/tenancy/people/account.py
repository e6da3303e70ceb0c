"""What people do with their own account: name, password, second factor."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from polyforge.database.database import Database
from polyforge.database.sessions import WriteSession
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Conflict, WrongCredentials
from polyforge.secrets.sealing import MasterKeys, Unsealable
from polyforge.tenancy.audit.log import MASKED, Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.people.paging import not_found
from polyforge.tenancy.people.passwords import Passwords
from polyforge.tenancy.people.records import User
from polyforge.tenancy.people.second_factor import (
    matching_step,
    new_recovery_codes,
    new_secret,
    provisioning_uri,
    recovery_hash,
)
from polyforge.tenancy.people.sessions import require_user
from polyforge.tenancy.people.sign_in import SignInService, totp_seal
from polyforge.tenancy.people.store import (
    SystemLinkEditor,
    SystemPlaceStore,
    SystemSessionEditor,
    SystemUserEditor,
    SystemUserStore,
)

ENROL_SECONDS: Final = 600.0


class Enrolment(msgspec.Struct, frozen=True):
    """A second factor that is not on yet: shown once, for an authenticator app."""

    secret: str
    uri: str
    token: str
    """To be given back with the first code."""


class _Pending(msgspec.Struct, frozen=True):
    secret: str
    until: float


class AccountService:
    """Shows and changes the caller's own account."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        recorder: Recorder,
        sign_in: SignInService,
        passwords: Passwords,
        master: MasterKeys,
    ) -> None:
        self._database = database
        self._clock = clock
        self._recorder = recorder
        self._sign_in = sign_in
        self._passwords = passwords
        self._master = master

    async def names_of_place(self, caller: Caller) -> tuple[str, str] | None:
        """What the organization and the project are called in which the caller acts; None: nowhere."""
        async with self._database.read() as session:
            return await SystemPlaceStore(session).names(caller.organization_id, caller.project_id)

    async def user(self, caller: Caller) -> User:
        """The caller's account."""
        require_user(caller)
        async with self._database.read() as session:
            found = await SystemUserStore(session).by_id(caller.key_id)
        if found is None:
            raise not_found("user", caller.key_id)
        return found

    async def rename(self, caller: Caller, name: str) -> User:
        """The account under another name."""
        before = await self.user(caller)
        async with self._database.write() as session:
            await SystemUserEditor(session).change(before.id, {"name": name})
            await self._record(session, caller, "user.renamed", {"name": before.name}, {"name": name})
        return msgspec.structs.replace(before, name=name)

    async def change_password(self, caller: Caller, session_id: str | None, old: str, new: str) -> None:
        """Set another password, which ends every other session; WrongCredentials when the old one is wrong."""
        require_user(caller)
        user = await self._sign_in.check_password(caller, old)
        if user.password is None:
            raise Conflict("this account signs in by single sign-on and has no password")
        kept = await self._passwords.hash(new, user.email, user.name)
        async with self._database.write() as session:
            await SystemUserEditor(session).change(user.id, {"password": kept})
            await SystemLinkEditor(session).void(user.id)
            await SystemSessionEditor(session).end_all(user.id, self._clock.now(), but=session_id)
            await self._record(session, caller, "user.password_changed", {"password": MASKED}, {"password": MASKED})

    async def enrol(self, caller: Caller, password: str) -> Enrolment:
        """Begin to turn the second factor on; Conflict when it is on."""
        require_user(caller)
        user = await self._sign_in.check_password(caller, password)
        if user.totp is not None:
            raise Conflict("the second factor is on; remove it first")
        secret = new_secret()
        pending = msgspec.json.encode(_Pending(secret, self._clock.now() + ENROL_SECONDS))
        sealed = self._master.seal(pending, _pending_seal(user.id))
        return Enrolment(secret, provisioning_uri(secret, user.email), base64.urlsafe_b64encode(sealed).decode())

    async def confirm(self, caller: Caller, token: str, code: str) -> list[str]:
        """Turn the second factor on, now that a code shows that the app has the secret; the recovery codes."""
        require_user(caller)
        pending = self._pending(caller, token)
        step = matching_step(pending.secret, code, self._clock.now())
        if step is None:
            raise WrongCredentials("the code is wrong; is the clock of the device right?")
        codes = new_recovery_codes()
        values = {
            "totp": self._master.seal(pending.secret.encode(), totp_seal(caller.key_id)),
            "totp_step": step,
            "recovery": [recovery_hash(each) for each in codes],
        }
        async with self._database.write() as session:
            editor = SystemUserEditor(session)
            user = await editor.locked(caller.key_id)
            if user is None or user.totp is not None:
                raise Conflict("the second factor is on; remove it first")
            await editor.change(caller.key_id, values)
            await self._record(session, caller, "user.second_factor_on", None, {"second_factor": True})
        return codes

    async def remove_second_factor(self, caller: Caller, password: str, code: str) -> None:
        """Turn the second factor off, by the password and a code or a recovery code."""
        require_user(caller)
        user = await self._sign_in.check_password(caller, password)
        if user.totp is None:
            raise Conflict("the second factor is off")
        await self._sign_in.check_code(caller, code)
        async with self._database.write() as session:
            await SystemUserEditor(session).change(user.id, {"totp": None, "recovery": []})
            await self._record(session, caller, "user.second_factor_off", {"second_factor": True}, None)

    def _pending(self, caller: Caller, token: str) -> _Pending:
        try:
            sealed = base64.urlsafe_b64decode(token.encode())
            opened = self._master.open(sealed, _pending_seal(caller.key_id))
        except (Unsealable, binascii.Error) as error:
            raise WrongCredentials("the token is not one that began a second factor of yours") from error
        pending = msgspec.json.decode(opened, type=_Pending)
        if pending.until <= self._clock.now():
            raise WrongCredentials("that took too long; begin again")
        return pending

    async def _record(
        self,
        session: WriteSession,
        caller: Caller,
        action: str,
        before: Mapping[str, Any] | None,
        after: Mapping[str, Any] | None,
    ) -> None:
        subject = Subject("user", caller.key_id, caller.organization_id)
        await self._recorder.changed(session, caller, "people", action, subject, before, after)


def _pending_seal(user_id: str) -> str:
    return f"second factor under way/{user_id}"
