"""Signing in with a password, and with a second factor where one is on.

Whoever guesses learns nothing: a stranger, a wrong password and a disabled account get the same answer after the same
work. Failures are limited per account and address, per address, and per account from addresses that the account has
never been used from, so that a botnet cannot lock its owner out from where they usually sign in.
"""

from typing import Final

import msgspec

from polyforge.database.sessions import WriteSession
from polyforge.kernel.errors import WrongCredentials
from polyforge.kernel.ids import new_ulid
from polyforge.secrets.sealing import MasterKeys
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.callers import Caller, Origin
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID
from polyforge.tenancy.people.attempts import Limit, network_of
from polyforge.tenancy.people.credentials import CredentialService, CredentialTools
from polyforge.tenancy.people.records import NOBODY, User, hash_of, is_token, new_token
from polyforge.tenancy.people.second_factor import matching_step, without
from polyforge.tenancy.people.store import SystemLinkEditor, SystemLinkStore, SystemUserEditor, SystemUserStore

WINDOW_SECONDS: Final = 900.0
MAX_PER_ACCOUNT_AND_ADDRESS: Final = 5
MAX_PER_ADDRESS: Final = 50
MAX_PER_ACCOUNT: Final = 100
MAX_CODES_PER_ACCOUNT: Final = 20
SECOND_FACTOR_SECONDS: Final = 300.0
SECOND_FACTOR: Final = "second_factor"


class SignedIn(msgspec.Struct, frozen=True):
    """How far a sign-in got: a session's token, or that of a second step to be finished."""

    session: str | None = None
    second_factor: str | None = None


class SignInService(CredentialService):
    """Turns an e-mail address and a password into a session."""

    def __init__(self, tools: CredentialTools, master: MasterKeys) -> None:
        super().__init__(tools)
        self._master = master

    async def sign_in(self, origin: Origin, email: str, password: str) -> SignedIn:
        """A session, or the token of the second step; WrongCredentials, or RateLimited after too many failures."""
        async with self._database.read() as session:
            store = SystemUserStore(session)
            user = await store.by_email(email)
            familiar = await store.has_come_from(user.id if user else None, origin.address)
        limits = _password_limits(email, origin, familiar=familiar)
        last = await self._attempts.take(limits)
        right = await self._passwords.verify(user.password if user else None, password)
        if user is None or not right or user.disabled_at is not None:
            if last:
                await self._note_lock(origin, email)
            raise WrongCredentials("the e-mail address or the password is wrong")
        await self._attempts.succeeded(limits)
        user = await self._renewed(user, password)
        if user.totp is None:
            return SignedIn(session=await self._sessions.begin(user, origin, "password"))
        return SignedIn(second_factor=await self._second_step(user))

    async def finish(self, origin: Origin, token: str, code: str) -> str:
        """The session's token, once the code of the second factor is right; each code works once.

        WrongCredentials for a wrong code, and for a link that is used or older than five minutes.
        """
        user = await self._waiting(token)
        limits = await self._code_limits(user.id, origin)
        last = await self._attempts.take(limits)
        async with self._database.write() as session:
            right = await self._spend_code(session, user.id, code)
            done = right and await SystemLinkEditor(session).use(SECOND_FACTOR, hash_of(token), self._clock.now())
        if not done:
            if last:
                await self._note_lock(origin, user.email)
            raise WrongCredentials("the code or the sign-in is wrong, used or too old")
        await self._attempts.succeeded(limits)
        return await self._sessions.begin(user, origin, "password and second factor")

    async def check_code(self, caller: Caller, code: str) -> None:
        """WrongCredentials unless it is a code of the caller's second factor, which is used up by this."""
        limits = await self._code_limits(caller.key_id, caller.origin)
        await self._attempts.take(limits)
        async with self._database.write() as session:
            right = await self._spend_code(session, caller.key_id, code)
        if not right:
            raise WrongCredentials("the code is wrong, used or too old")
        await self._attempts.succeeded(limits)

    async def check_password(self, caller: Caller, password: str) -> User:
        """The caller, who has proved to know their password; who has none, because of single sign-on, passes."""
        limits = _password_limits(caller.key_name, caller.origin, familiar=True)
        await self._attempts.take(limits)
        async with self._database.read() as session:
            user = await SystemUserStore(session).by_id(caller.key_id)
        if user is None:
            raise WrongCredentials("there is no such account any more")
        if user.password is not None and not await self._passwords.verify(user.password, password):
            raise WrongCredentials("the password is wrong")
        await self._attempts.succeeded(limits)
        return user

    async def _code_limits(self, user_id: str, origin: Origin) -> list[Limit]:
        """A code has six digits, of which three values are right at any time: twenty tries are few enough."""
        async with self._database.read() as session:
            familiar = await SystemUserStore(session).has_come_from(user_id, origin.address)
        address = network_of(origin.address)
        limits = [
            Limit("code from an address", (user_id, address), MAX_PER_ACCOUNT_AND_ADDRESS, WINDOW_SECONDS),
            Limit("address", (address,), MAX_PER_ADDRESS, WINDOW_SECONDS),
        ]
        if not familiar:
            limits.append(Limit("code", (user_id,), MAX_CODES_PER_ACCOUNT, WINDOW_SECONDS))
        return limits

    async def _second_step(self, user: User) -> str:
        token, now = new_token(), self._clock.now()
        values = {
            "id": new_ulid(),
            "purpose": SECOND_FACTOR,
            "user_id": user.id,
            "hash": hash_of(token),
            "created_at": now,
            "expires_at": now + SECOND_FACTOR_SECONDS,
        }
        async with self._database.write() as session:
            await SystemLinkEditor(session).add(values)
        return token

    async def _waiting(self, token: str) -> User:
        async with self._database.read() as session:
            links = SystemLinkStore(session)
            user_id = await links.user_of(SECOND_FACTOR, hash_of(token), self._clock.now()) if is_token(token) else None
            user = await SystemUserStore(session).by_id(user_id or NOBODY)
        if user is None or user.disabled_at is not None:
            raise WrongCredentials("the code or the sign-in is wrong, used or too old")
        return user

    async def _spend_code(self, session: WriteSession, user_id: str, code: str) -> bool:
        """Whether it is the code of now, or a recovery code; whichever it is does not work again."""
        editor = SystemUserEditor(session)
        user = await editor.locked(user_id)
        if user is None or user.totp is None:
            return False
        secret = self._master.open(user.totp, totp_seal(user_id)).decode()
        step = matching_step(secret, code, self._clock.now())
        if step is not None:
            return await editor.take_step(user_id, step)
        left = without(user.recovery, code)
        if left is None:
            return False
        await editor.change(user_id, {"recovery": left})
        return True

    async def _renewed(self, user: User, password: str) -> User:
        """The user with the password kept at today's cost."""
        if user.password is None or (renewed := await self._passwords.renewed(user.password, password)) is None:
            return user
        async with self._database.write() as session:
            await SystemUserEditor(session).change_password(user.id, user.password, renewed)
        return msgspec.structs.replace(user, password=renewed)

    async def _note_lock(self, origin: Origin, email: str) -> None:
        caller = Caller(NOBODY, "nobody", DEFAULT_ORGANIZATION_ID, NOBODY, frozenset(), kind="system", origin=origin)
        async with self._database.write() as session:
            subject = Subject("user", email, DEFAULT_ORGANIZATION_ID)
            await self._recorder.read(session, caller, "sign_in.locked", subject)


def totp_seal(user_id: str) -> str:
    """What the sealed secret of a second factor belongs to."""
    return f"totp/{user_id}"


def _password_limits(email: str, origin: Origin, *, familiar: bool) -> list[Limit]:
    address = network_of(origin.address)
    pair = Limit("account from an address", (email, address), MAX_PER_ACCOUNT_AND_ADDRESS, WINDOW_SECONDS, True)
    limits = [pair, Limit("address", (address,), MAX_PER_ADDRESS, WINDOW_SECONDS)]
    if not familiar:
        limits.append(Limit("account", (email,), MAX_PER_ACCOUNT, WINDOW_SECONDS))
    return limits
