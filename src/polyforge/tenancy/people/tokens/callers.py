"""From the bytes of an access token to its caller: verified once, then kept for a while.

What is kept is thrown away as soon as this process hears of a change of people that could make it untrue, which is
within half a second in every process, and after a minute in any case.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from typing import Final

import msgspec

from polyforge.database.database import Database
from polyforge.database.events.store import Event
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import NotFound, Unauthenticated
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.flights import Flights
from polyforge.tenancy.people.callers import Principals
from polyforge.tenancy.people.tokens.access import Claims, kid_of, verify
from polyforge.tenancy.people.tokens.signing import SUBJECT, SigningKeys
from polyforge.tenancy.people.tokens.store import SystemTokens

KEPT_SECONDS: Final = 60.0
_HARMLESS: Final = frozenset({"session", "sign_in", "invitation", "link"})
"""Kinds of things whose changes leave every access token as good as it was."""
_PRINCIPALS: Final = frozenset({"user", "service_account"})
"""Kinds of things whose changes touch only their own tokens."""


class _Data(msgspec.Struct):
    resource: str = ""


class _Known(msgspec.Struct, frozen=True, gc=False):
    caller: Caller
    until: float


class TokenCallers:
    """The callers of access tokens. Bounded in memory: `capacity` tokens, the least recently used out first."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        keys: SigningKeys,
        principals: Principals,
        issuer: str,
        *,
        capacity: int = 20_000,
        lookups: int = 2,
        waiting: int = 256,
    ) -> None:
        self._database = database
        self._clock = clock
        self._keys = keys
        self._principals = principals
        self._issuer = issuer
        self._capacity = capacity
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._flights: Flights[bytes, Caller] = Flights("new access tokens", waiting)
        self._lookups = asyncio.Semaphore(lookups)
        self._changes = 0

    def heard(self, events: Sequence[Event]) -> None:
        """Something happened to people; no events: anything may have."""
        self._changes += 1
        if not events:
            self._keys.forget()
            self._known.clear()
        for event in events:
            self._apply(event)

    def lookup(self, token: bytes) -> Caller | None:
        """The caller of a token that is known, None when it has to be looked up."""
        hash_ = sha256(token).digest()
        known = self._known.get(hash_)
        if known is None:
            return None
        if known.until <= self._clock.now():
            del self._known[hash_]
            return None
        self._known.move_to_end(hash_)
        return known.caller

    async def resolve(self, token: bytes) -> Caller:
        """The caller of a token: verified, and looked up once, however many requests wait.

        Unauthenticated when the token is not good, Unavailable when the database cannot tell.
        """
        known = self.lookup(token)
        if known is not None:
            return known
        claims = await self.read(token)
        hash_ = sha256(token).digest()
        return await self._flights.join(hash_, partial(self._fetch, hash_, claims))

    async def read(self, token: bytes) -> Claims:
        """What a token says, once it is verified; Unauthenticated when it is not good."""
        key = await self._keys.public(kid_of(token))
        if key is None:
            raise Unauthenticated("this access token is signed with a key that is not in use")
        return verify(token, key, self._issuer, self._clock.now())

    async def close(self) -> None:
        """Let go of who still waits."""
        await self._flights.close()

    def _apply(self, event: Event) -> None:
        kind = msgspec.json.decode(event.data, type=_Data).resource
        if kind == SUBJECT:
            self._keys.forget()
        if kind in _HARMLESS:
            return
        if kind not in _PRINCIPALS:
            self._known.clear()
            return
        theirs = [hash_ for hash_, known in self._known.items() if known.caller.key_id == event.resource_id]
        for hash_ in theirs:
            del self._known[hash_]

    async def _fetch(self, hash_: bytes, claims: Claims) -> Caller:
        async with self._lookups:
            changes = self._changes
            caller = await self._caller_of(claims)
        now = self._clock.now()
        until = min(float(claims.exp), now + KEPT_SECONDS)
        if changes == self._changes and until > now:
            # Otherwise a change came in meanwhile, perhaps of this very user: answer, but keep nothing.
            self._known[hash_] = _Known(caller, until)
            while len(self._known) > self._capacity:
                self._known.popitem(last=False)
        return caller

    async def _caller_of(self, claims: Claims) -> Caller:
        if claims.family is not None:
            await self._require_living(claims.family)
        caller = await self.principal(claims)
        return msgspec.structs.replace(
            caller, scopes=narrowed(caller.scopes, claims.scope), expires_at=float(claims.exp)
        )

    async def principal(self, claims: Claims) -> Caller:
        """Who a token is for, as they stand now; Unauthenticated when they may not call in its project any more."""
        try:
            if claims.kind == "user":
                return await self._principals.of_user(claims.sub, claims.project)
            caller = await self._principals.of_service(claims.sub)
        except NotFound as error:
            raise Unauthenticated("this access token is for a project that its user is no member of") from error
        if caller.project_id != claims.project:
            raise Unauthenticated("this access token is for another project")
        return caller

    async def _require_living(self, family: str) -> None:
        async with self._database.read() as session:
            lives = await SystemTokens(session).family_lives(family, self._clock.now())
        if not lives:
            raise Unauthenticated("this access token was revoked; sign in again")


def narrowed(held: frozenset[str], scope: str | None) -> frozenset[str]:
    """What is left of permissions when a token is narrowed to some; None: all of them."""
    return held if scope is None else held & frozenset(scope.split())
