"""Signing in with an identity provider: the way there, and the way back.

The way back is believed once, from the browser that began it: the state is in a cookie of that browser, and its hash in
a row that is used up before anything else happens (RFC 9700 section 4.7).
"""

import hmac
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from polyforge.database.database import Database
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Invalid, NoRole, NotFound, SignOnOver, SignOnRefused
from polyforge.kernel.ids import new_ulid
from polyforge.ports.secret_source import SecretSource
from polyforge.tenancy.callers import Origin
from polyforge.tenancy.people.attempts import Attempts, Limit, network_of
from polyforge.tenancy.people.cookies import SessionCookie
from polyforge.tenancy.people.records import hash_of, is_token, new_token
from polyforge.tenancy.people.sessions import Sessions
from polyforge.tenancy.people.sign_on.accounts import SignOnAccounts
from polyforge.tenancy.people.sign_on.provider import Provider
from polyforge.tenancy.people.sign_on.store import SignOn, SystemSignOnEditor

START: Final = "/api/v1/auth/sign-on"
SIGN_ON_SECONDS: Final = 600.0
MAX_RETURN_CHARACTERS: Final = 500
_BEGUN_PER_NETWORK: Final = 300
_WINDOW_SECONDS: Final = 15 * 60.0
_KEPT_SECONDS: Final = 86_400.0
_LOCAL: Final = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")
"""A path of our own: browsers read `//host` and `/\\host` as another site's."""


class SignOnCookie(SessionCookie):
    """The cookie that binds a sign-on to the browser that began it; it comes along when people are sent back."""

    def __init__(self, *, secure: bool) -> None:
        super().__init__(secure=secure)
        self.name = self.name.replace("session", "sign_on")


class Return(msgspec.Struct, frozen=True):
    """What a provider sent somebody back with."""

    state: str | None = None
    code: str | None = None
    error: str | None = None
    iss: str | None = None


class SignOnService:
    """Sends people to identity providers, and signs them in when they come back."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        providers: Mapping[str, Provider],
        accounts: SignOnAccounts,
        sessions: Sessions,
        attempts: Attempts,
    ) -> None:
        self._database = database
        self._clock = clock
        self.providers = providers
        self._accounts = accounts
        self._sessions = sessions
        self._attempts = attempts

    async def open(self, secrets: SecretSource) -> None:
        """Make the providers ready; none is called before somebody signs in."""
        for provider in self.providers.values():
            await provider.open(secrets)

    async def close(self) -> None:
        """Hang up on the providers."""
        for provider in self.providers.values():
            await provider.close()

    async def begin(self, name: str, return_to: str, origin: Origin) -> tuple[str, str]:
        """Where to send somebody, and the state for their browser's cookie; Invalid for a place that is not here."""
        provider = self._provider(name)
        _require_local(return_to)
        await self._attempts.take([_limit(origin)])
        state, nonce, verifier, now = new_token(), new_token(), new_token(), self._clock.now()
        address = await provider.address(state, nonce, verifier)
        row = {
            "id": new_ulid(),
            "hash": hash_of(state),
            "provider": name,
            "nonce": nonce,
            "verifier": verifier,
            "return_to": return_to,
            "created_at": now,
            "expires_at": now + SIGN_ON_SECONDS,
            "used_at": None,
        }
        async with self._database.write() as session:
            editor = SystemSignOnEditor(session)
            await editor.forget(now - _KEPT_SECONDS)
            await editor.add(row)
        return address, state

    async def finish(self, name: str, back: Return, cookie: str | None, origin: Origin) -> tuple[str, str]:
        """The token of a new session, and where to go now.

        SignOnOver when this browser began no such sign-on, Denied when the provider or the settings keep somebody out,
        UpstreamFailed when the provider's answer cannot be trusted.
        """
        provider = self._provider(name)
        begun = await self._begun(name, back.state, cookie)
        await provider.check_sender(back.iss)
        if back.error is not None or not back.code:
            raise SignOnRefused("the identity provider did not sign you in")
        identity = await provider.identity(back.code, begun.verifier, begun.nonce)
        user = await self._accounts.admit(name, provider.settings, identity, origin)
        if not (await self._sessions.caller_of(user, None)).scopes:
            raise NoRole("you have an account, but no role yet; ask an administrator for one")
        await self._attempts.succeeded([_limit(origin)])
        return await self._sessions.begin(user, origin, f"sign-on {name}"), begun.return_to

    async def _begun(self, name: str, state: str | None, cookie: str | None) -> SignOn:
        """The sign-on of a state, used up by this."""
        if state is not None and cookie is not None and _same(state, cookie):
            async with self._database.write() as session:
                begun = await SystemSignOnEditor(session).use(hash_of(state), name, self._clock.now())
            if begun is not None:
                return begun
        raise SignOnOver("this sign-in was not begun in this browser, took too long, or was used before; begin again")

    def _provider(self, name: str) -> Provider:
        provider = self.providers.get(name)
        if provider is None:
            raise NotFound("there is no such identity provider")
        return provider


def callback_of(address: str, provider: str) -> str:
    """Where a provider is told to send people back to."""
    return f"{address}{START}/{provider}/callback"


def _limit(origin: Origin) -> Limit:
    return Limit("sign on", (network_of(origin.address),), _BEGUN_PER_NETWORK, _WINDOW_SECONDS)


def _same(state: str, cookie: str) -> bool:
    return is_token(state) and hmac.compare_digest(state.encode(), cookie.encode())


def _require_local(return_to: str) -> None:
    if len(return_to) > MAX_RETURN_CHARACTERS or _LOCAL.fullmatch(return_to) is None:
        raise Invalid("must be a path of this server", param="return_to")
