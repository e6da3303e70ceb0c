"""Giving tokens out: to whoever is signed in, for a refresh token, and for the secret of a service account."""

import hmac
from typing import Final

import msgspec
from sqlalchemy import RowMapping

from polyforge.database.database import Database
from polyforge.database.sessions import WriteSession
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import (
    InvalidClient,
    InvalidGrant,
    InvalidScope,
    NotFound,
    Unauthenticated,
    UnsupportedTokenType,
)
from polyforge.kernel.ids import new_ulid
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller, Origin
from polyforge.tenancy.people.attempts import Attempts, Limit, network_of
from polyforge.tenancy.people.callers import Principals
from polyforge.tenancy.people.paging import is_id
from polyforge.tenancy.people.records import NOBODY, hash_of, is_token, new_token
from polyforge.tenancy.people.sessions import require_user
from polyforge.tenancy.people.store import SystemSessionEditor
from polyforge.tenancy.people.tokens.access import TOKEN_MARK, TTL_SECONDS, Claims, PrincipalKind, sign
from polyforge.tenancy.people.tokens.callers import TokenCallers, narrowed
from polyforge.tenancy.people.tokens.signing import SigningKeys
from polyforge.tenancy.people.tokens.store import RefreshToken, SystemTokenEditor, SystemTokens
from polyforge.tenancy.policy import PERMISSIONS

REFRESH_SECONDS: Final = 30 * 86_400
MAX_FAMILIES: Final = 100
"""Of one user; another one ends the oldest."""
FIRST_PARTY: Final = "polyforge"
"""The client id in the tokens of users, who need no client of their own."""
_REFRESH_MARK: Final = "pfr-"
_REMEMBERED_SECONDS: Final = 86_400.0
"""How long a used token is remembered, to notice when it comes again; later it is just unknown."""
_WINDOW_SECONDS: Final = 15 * 60.0
_FAILURES_OF_CLIENT: Final = 10
_FAILURES_OF_NETWORK: Final = 50


class Issued(msgspec.Struct, frozen=True):
    """What a client gets. Never log it."""

    access_token: str
    expires_in: int
    refresh_token: str | None = None
    scope: str | None = None


class TokenService:
    """Gives out, rotates and revokes tokens."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        keys: SigningKeys,
        callers: TokenCallers,
        principals: Principals,
        attempts: Attempts,
        recorder: Recorder,
        issuer: str,
    ) -> None:
        self._database = database
        self._clock = clock
        self._keys = keys
        self._callers = callers
        self._principals = principals
        self._attempts = attempts
        self._recorder = recorder
        self.issuer = issuer

    async def issue(self, caller: Caller, session_id: str, project_id: str | None) -> Issued:
        """The first tokens of a family, for a user who is signed in by a session.

        NotFound for a project that is not theirs, and when they have none at all; Unauthenticated when the session has
        just been ended, as signing out everywhere does, so that these tokens do not outlive it.
        """
        require_user(caller)
        found = await self._principals.of_user(caller.key_id, project_id or caller.project_id)
        caller = msgspec.structs.replace(found, origin=caller.origin)
        now, family = self._clock.now(), new_ulid()
        token, row = _new_token(family, caller.key_id, caller.project_id, now)
        async with self._database.write() as session:
            if not await SystemSessionEditor(session).hold(caller.key_id, session_id, now):
                raise Unauthenticated("this session is over; sign in again")
            editor = SystemTokenEditor(session)
            await editor.forget_expired(caller.key_id, now)
            await self._end_surplus(editor, caller.key_id, now)
            await editor.add(row)
            await self._record(session, caller, "token.issued", row)
        return await self._issued(row, token, None)

    async def for_client(self, client_id: str, secret: str, origin: Origin, scope: str | None) -> Issued:
        """An access token of a service account (RFC 6749 section 4.4); InvalidClient when the secret is wrong.

        An unknown client costs as much as a wrong secret, and looks the same.
        """
        client_id = client_id if is_id(client_id) else NOBODY
        network = network_of(origin.address)
        limits = (
            Limit("client", (client_id, network), _FAILURES_OF_CLIENT, _WINDOW_SECONDS, forgiving=True),
            Limit("client network", (network,), _FAILURES_OF_NETWORK, _WINDOW_SECONDS),
        )
        last = await self._attempts.take(limits)
        async with self._database.read() as session:
            account = await SystemTokens(session).service_account(client_id)
        matches = hmac.compare_digest(hash_of(secret), account["hash"] if account else hash_of(NOBODY))
        if account is None or not matches or account["disabled_at"] is not None:
            if last and account is not None:
                await self._note_guessing(account, origin)
            raise InvalidClient("the client id or the client secret is wrong, or the service account is disabled")
        await self._attempts.succeeded(limits)
        caller = await self._principals.of_service(account["id"])
        return await self._access("service", caller.key_id, caller.project_id, None, _scope_of(caller, scope))

    async def refresh(self, token: str, origin: Origin, scope: str | None) -> Issued:
        """New tokens for a refresh token, which is used up; InvalidGrant when it is not good.

        A token that comes a second time was copied by somebody, so the whole family ends (RFC 9700 section 4.14.2).
        """
        row = await self._living(token)
        caller = await self._standing(row)
        narrow, now = _scope_of(caller, scope), self._clock.now()
        following, next_row = _new_token(row.family, row.principal_id, row.project_id, now)
        async with self._database.write() as session:
            editor = SystemTokenEditor(session)
            fresh = await editor.use(row.id, now)
            if fresh:
                await editor.forget_used(row.family, now - _REMEMBERED_SECONDS)
                await editor.add(next_row)
            elif await editor.end_family(row.family, now):
                await self._record(session, msgspec.structs.replace(caller, origin=origin), "token.reused", row)
        if not fresh:
            raise InvalidGrant("this refresh token was used before, so all that came from it were revoked")
        return await self._issued(next_row, following, narrow)

    async def revoke(self, token: str, origin: Origin) -> None:
        """End the family of a refresh token, or of an access token (RFC 7009); an unknown one is as good as ended.

        UnsupportedTokenType for an access token without a family: it is kept nowhere, and ends in minutes.
        """
        family = await self._family_of(token)
        if family is None:
            return
        async with self._database.write() as session:
            editor = SystemTokenEditor(session)
            row = await editor.newest_of(family)
            if row is not None and await editor.end_family(family, self._clock.now()):
                await self._record(session, _bearer_of(row, origin), "token.revoked", row)

    # The steps

    async def _living(self, token: str) -> RefreshToken:
        """The row of a refresh token, used before or not; InvalidGrant when it is unknown, ended or expired."""
        row = await self._known(token)
        if row is not None:
            async with self._database.read() as session:
                if await SystemTokens(session).family_lives(row.family, self._clock.now()):
                    return row
        raise InvalidGrant("this refresh token is not valid any more; sign in again")

    async def _known(self, token: str) -> RefreshToken | None:
        if not token.startswith(_REFRESH_MARK) or not is_token(token.removeprefix(_REFRESH_MARK)):
            return None
        async with self._database.read() as session:
            return await SystemTokens(session).by_hash(hash_of(token))

    async def _standing(self, row: RefreshToken) -> Caller:
        """The user of a token in its project; InvalidGrant when they are disabled or no member any more."""
        try:
            return await self._principals.of_user(row.principal_id, row.project_id)
        except (NotFound, Unauthenticated) as error:
            raise InvalidGrant("the user of this refresh token may not use its project any more") from error

    async def _family_of(self, token: str) -> str | None:
        if not token.startswith(TOKEN_MARK.decode()):
            row = await self._known(token)
            return row.family if row else None
        try:
            claims = await self._callers.read(token.encode())
        except Unauthenticated:
            return None
        if claims.family is None:
            raise UnsupportedTokenType("access tokens of service accounts end by themselves; disable the account")
        return claims.family

    async def _end_surplus(self, editor: SystemTokenEditor, user_id: str, now: float) -> None:
        families = await editor.families_of(user_id, now)
        for family in families[: max(0, len(families) - MAX_FAMILIES + 1)]:
            await editor.end_family(family, now)

    async def _issued(self, row: RefreshToken, token: str, scope: str | None) -> Issued:
        access = await self._access("user", row.principal_id, row.project_id, row.family, scope)
        return msgspec.structs.replace(access, refresh_token=token)

    async def _access(
        self, kind: PrincipalKind, subject: str, project_id: str, family: str | None, scope: str | None
    ) -> Issued:
        now = int(self._clock.now())
        claims = Claims(
            iss=self.issuer,
            aud=self.issuer,
            sub=subject,
            client_id=subject if kind == "service" else FIRST_PARTY,
            iat=now,
            nbf=now,
            exp=now + TTL_SECONDS,
            jti=new_ulid(),
            kind=kind,
            project=project_id,
            family=family,
            scope=scope,
        )
        kid, key = await self._keys.signer()
        return Issued(sign(claims, kid, key), TTL_SECONDS, None, scope)

    async def _note_guessing(self, account: RowMapping, origin: Origin) -> None:
        guesser = Caller(
            account["id"], "unknown", account["organization_id"], account["project_id"], frozenset(), origin=origin
        )
        subject = Subject("sign_in", account["id"], account["organization_id"], account["project_id"])
        async with self._database.write() as session:
            await self._recorder.changed(
                session, guesser, "people", "service_account.guessed", subject, None, {"failures": _FAILURES_OF_CLIENT}
            )

    async def _record(self, session: WriteSession, caller: Caller, action: str, row: RefreshToken) -> None:
        organization_id = await SystemTokens(session).organization_of(row.project_id)
        subject = Subject("user", row.principal_id, organization_id, row.project_id)
        await self._recorder.changed(session, caller, "people", action, subject, None, {"family": row.family})


def _new_token(family: str, user_id: str, project_id: str, now: float) -> tuple[str, RefreshToken]:
    """A refresh token, and what is kept of it."""
    token = _REFRESH_MARK + new_token()
    row = RefreshToken(
        id=new_ulid(),
        family=family,
        kind="user",
        principal_id=user_id,
        project_id=project_id,
        hash=hash_of(token),
        created_at=now,
        expires_at=now + REFRESH_SECONDS,
        used_at=None,
        ended_at=None,
    )
    return token, row


def _bearer_of(row: RefreshToken, origin: Origin) -> Caller:
    """Whoever holds a token, where that is all that is known of them."""
    return Caller(row.principal_id, "bearer of a token", "", row.project_id, frozenset(), kind="user", origin=origin)


def _scope_of(caller: Caller, scope: str | None) -> str | None:
    """What a token is narrowed to, of what was asked for; None when nothing was. InvalidScope when nothing is left."""
    if scope is None or not scope.strip():
        return None
    unknown = sorted(set(scope.split()) - PERMISSIONS)
    if unknown:
        raise InvalidScope(f"there is no permission {unknown[0][:50]!r}", param="scope")
    left = narrowed(caller.scopes, scope)
    if not left:
        raise InvalidScope("the caller has none of these permissions", param="scope")
    return " ".join(sorted(left))
