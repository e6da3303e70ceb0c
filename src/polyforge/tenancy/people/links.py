"""Links that are e-mailed: to show that an address is somebody's, and to set a new password.

A link carries 256 random bits, of which only the SHA-256 is kept, works once, for its purpose, for a while, and is made
and sent in the background, so that asking for one tells nobody whether there is such an account.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Final

import msgspec

from polyforge.kernel.errors import WrongCredentials
from polyforge.kernel.ids import new_ulid
from polyforge.ports.notifier import Notice
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.callers import Caller, Origin
from polyforge.tenancy.people import letters
from polyforge.tenancy.people.attempts import Limit, network_of
from polyforge.tenancy.people.credentials import CredentialService, CredentialTools
from polyforge.tenancy.people.post import Post
from polyforge.tenancy.people.records import User, hash_of, is_token, new_token
from polyforge.tenancy.people.store import (
    SystemLinkEditor,
    SystemLinkStore,
    SystemSessionEditor,
    SystemUserEditor,
    SystemUserStore,
)

VERIFY: Final = "verify"
RESET: Final = "reset"
VERIFY_SECONDS: Final = 86_400.0
RESET_SECONDS: Final = 3_600.0
MAX_LETTERS_PER_ACCOUNT: Final = 5
MAX_LETTERS_PER_ADDRESS: Final = 30
_WINDOW_SECONDS: Final = 3_600.0


class LinkService(CredentialService):
    """Sends links and takes them back. `site` is our own address, from the settings and never from a request."""

    def __init__(self, tools: CredentialTools, post: Post, site: str) -> None:
        super().__init__(tools)
        self._post = post
        self._site = site

    @contextmanager
    def room(self) -> Generator[Callable[[User], None]]:
        """Room to ask somebody, whose account is about to be made, to show that the address is theirs.

        Unavailable when too many messages wait.
        """
        with self._post.room() as add:
            yield lambda user: add(partial(self._verification, user.id))

    async def ask_verification(self, caller: Caller) -> None:
        """Send the caller such a link again; RateLimited after a few."""
        await self._attempts.take(_letter_limits(caller.key_name, caller.origin))
        self._post.put(partial(self._verification, caller.key_id))

    async def verify(self, origin: Origin, token: str) -> None:
        """The address of the link's user is theirs; WrongCredentials for a link that is wrong, used or too old."""
        user = await self._holder(VERIFY, token)
        caller = await self._acting(user, origin)
        async with self._database.write() as session:
            now = self._clock.now()
            if await SystemLinkEditor(session).use(VERIFY, hash_of(token), now) is None:
                raise _dead()
            await SystemUserEditor(session).change(user.id, {"verified_at": now})
            subject = Subject("user", user.id, caller.organization_id)
            await self._recorder.changed(session, caller, "people", "user.verified", subject)

    async def ask_reset(self, origin: Origin, email: str) -> None:
        """Send a link to set a new password, if there is such an account; RateLimited after a few, either way."""
        await self._attempts.take(_letter_limits(email, origin))
        self._post.put(partial(self._reset, email))

    async def reset(self, origin: Origin, token: str, password: str) -> None:
        """Set a new password, which ends every session; WrongCredentials for a link that is wrong, used or too old.

        The second factor stays on: whoever reads somebody's e-mails need not have their device.
        """
        user = await self._holder(RESET, token)
        caller = await self._acting(user, origin)
        kept = await self._passwords.hash(password, user.email, user.name)
        async with self._database.write() as session:
            now = self._clock.now()
            links = SystemLinkEditor(session)
            if await links.use(RESET, hash_of(token), now) is None:
                raise _dead()
            await links.void(user.id)
            verified = user.verified_at or now
            await SystemUserEditor(session).change(user.id, {"password": kept, "verified_at": verified})
            await SystemSessionEditor(session).end_all(user.id, now)
            subject = Subject("user", user.id, caller.organization_id)
            await self._recorder.changed(session, caller, "people", "user.password_reset", subject)

    async def _acting(self, user: User, origin: Origin) -> Caller:
        return msgspec.structs.replace(await self._sessions.caller_of(user, None), origin=origin)

    async def _holder(self, purpose: str, token: str) -> User:
        if not is_token(token):
            raise _dead()
        async with self._database.read() as session:
            user_id = await SystemLinkStore(session).user_of(purpose, hash_of(token), self._clock.now())
            user = None if user_id is None else await SystemUserStore(session).by_id(user_id)
        if user is None or user.disabled_at is not None:
            raise _dead()
        return user

    async def _verification(self, user_id: str) -> Notice | None:
        async with self._database.read() as session:
            user = await SystemUserStore(session).by_id(user_id)
        if user is None or user.verified_at is not None:
            return None
        return letters.verification(user.email, self._site, await self._new(VERIFY, user, VERIFY_SECONDS))

    async def _reset(self, email: str) -> Notice | None:
        """Nothing for strangers, and for those who have no password because they come by single sign-on."""
        async with self._database.read() as session:
            user = await SystemUserStore(session).by_email(email)
        if user is None or user.password is None or user.disabled_at is not None:
            return None
        return letters.reset(user.email, self._site, await self._new(RESET, user, RESET_SECONDS))

    async def _new(self, purpose: str, user: User, seconds: float) -> str:
        token, now = new_token(), self._clock.now()
        values = {
            "id": new_ulid(),
            "purpose": purpose,
            "user_id": user.id,
            "hash": hash_of(token),
            "created_at": now,
            "expires_at": now + seconds,
        }
        async with self._database.write() as session:
            await SystemLinkEditor(session).add(values)
        return token


def _letter_limits(email: str, origin: Origin) -> list[Limit]:
    return [
        Limit("letters to an account", (email,), MAX_LETTERS_PER_ACCOUNT, _WINDOW_SECONDS),
        Limit("letters from an address", (network_of(origin.address),), MAX_LETTERS_PER_ADDRESS, _WINDOW_SECONDS),
    ]


def _dead() -> WrongCredentials:
    return WrongCredentials("the link is wrong, used or too old; ask for another")
