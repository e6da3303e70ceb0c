"""The first user: made by whoever has the admin key, as long as there is nobody else."""

import hmac
from typing import Final

from polyforge.kernel.errors import WrongCredentials
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.bootstrap import ADMIN_NAME
from polyforge.tenancy.callers import ALL, Caller, Origin
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID
from polyforge.tenancy.keys import ADMIN_KEY_ID, hash_of
from polyforge.tenancy.people.attempts import Limit, network_of
from polyforge.tenancy.people.credentials import CredentialService, CredentialTools
from polyforge.tenancy.people.records import NOBODY
from polyforge.tenancy.people.sign_in import (
    MAX_PER_ACCOUNT,
    MAX_PER_ACCOUNT_AND_ADDRESS,
    MAX_PER_ADDRESS,
    WINDOW_SECONDS,
)
from polyforge.tenancy.people.store import SystemUserStore
from polyforge.tenancy.people.users import UserService, no_longer_first
from polyforge.tenancy.store import SystemStore

_NO_KEY: Final = bytes(32)


class ArrivalService(CredentialService):
    """Tells whether somebody is here, and lets the first one in, who is known by the admin key."""

    def __init__(self, tools: CredentialTools, users: UserService) -> None:
        super().__init__(tools)
        self._users = users

    async def somebody(self) -> bool:
        """Whether there is a user at all."""
        async with self._database.read() as session:
            return await SystemUserStore(session).any()

    async def first(self, origin: Origin, key: str, email: str, name: str, password: str) -> str:
        """Make the first user, who is signed in by it; the token of the session.

        Conflict once there is a user, WrongCredentials for a key that is not the admin key, RateLimited after too many.
        """
        if await self.somebody():
            raise no_longer_first()
        limits = _limits(origin)
        last = await self._attempts.take(limits)
        if not await self._is_admin_key(key):
            if last:
                await self._note_lock(origin)
            raise WrongCredentials("this is not the admin key; the file admin.key in the data folder holds it")
        await self._attempts.succeeded(limits)
        user = await self._users.create_first(_admin(origin), email, name, password)
        return await self._sessions.begin(user, origin, "password")

    async def _is_admin_key(self, given: str) -> bool:
        """Takes as long for one that is nearly right as for one that is not: hashes are compared, byte by byte."""
        async with self._database.read() as session:
            known = await SystemStore(session).by_id(ADMIN_KEY_ID)
        right = hmac.compare_digest(_NO_KEY if known is None else known.hash, hash_of(given.encode()))
        return right and known is not None and known.revoked_at is None

    async def _note_lock(self, origin: Origin) -> None:
        async with self._database.write() as session:
            subject = Subject("key", ADMIN_KEY_ID, DEFAULT_ORGANIZATION_ID)
            await self._recorder.read(session, _stranger(origin), "sign_in.locked", subject)


def _admin(origin: Origin) -> Caller:
    scopes = frozenset({ALL})
    return Caller(ADMIN_KEY_ID, ADMIN_NAME, DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID, scopes, origin=origin)


def _stranger(origin: Origin) -> Caller:
    return Caller(NOBODY, "nobody", DEFAULT_ORGANIZATION_ID, NOBODY, frozenset(), kind="system", origin=origin)


def _limits(origin: Origin) -> list[Limit]:
    address = network_of(origin.address)
    return [
        Limit("admin key from an address", (address,), MAX_PER_ACCOUNT_AND_ADDRESS, WINDOW_SECONDS, True),
        Limit("address", (address,), MAX_PER_ADDRESS, WINDOW_SECONDS),
        Limit("admin key", (), MAX_PER_ACCOUNT, WINDOW_SECONDS),
    ]
