"""Sessions of people who signed in: how they begin, whom they stand for, and how they end."""

from collections.abc import Mapping
from typing import Final

import msgspec

from polyforge.database.database import Database
from polyforge.database.sessions import WriteSession
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Denied, NotFound, Unauthenticated, WrongCredentials
from polyforge.kernel.ids import new_ulid
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller, Origin
from polyforge.tenancy.people.callers import Principals
from polyforge.tenancy.people.paging import check_id, not_found, page_of
from polyforge.tenancy.people.records import IDLE_SECONDS, NOBODY, Session, User, hash_of, is_token, new_token
from polyforge.tenancy.people.store import SystemSessionEditor, SystemSessionStore, SystemUserEditor
from polyforge.tenancy.policy import effective

LONGEST_SECONDS: Final = 30 * 86_400.0
MAX_SESSIONS: Final = 100
"""Of one user; beginning another takes the oldest away."""
_TOUCH_SECONDS: Final = 60.0
_ADDRESS_LENGTH: Final = 64


class SignedInSession(msgspec.Struct, frozen=True):
    """A session that goes on, and the caller that its requests act for."""

    session: Session
    caller: Caller


class Sessions:
    """Begins, finds and ends sessions.

    Nothing is kept in memory: a session that was ended, a user who was disabled and a role that was taken away hold in
    every process from the next request on.
    """

    def __init__(self, database: Database, clock: Clock, principals: Principals, recorder: Recorder) -> None:
        self._database = database
        self._clock = clock
        self._principals = principals
        self._recorder = recorder

    async def begin(self, user: User, origin: Origin, method: str) -> str:
        """A new session of somebody who has just proved who they are by `method`; the token for its cookie.

        Unauthenticated when the user is disabled, or has another password by now than when `user` was read. Every
        sign-in makes a new token, so one that was planted in a browser before is of no use.
        """
        caller = msgspec.structs.replace(await self.caller_of(user, None), origin=origin)
        token, session_id, now = new_token(), new_ulid(), self._clock.now()
        values = {
            "id": session_id,
            "user_id": user.id,
            "hash": hash_of(token),
            "project_id": None,
            "created_at": now,
            "seen_at": now,
            "expires_at": now + LONGEST_SECONDS,
            "ended_at": None,
            "address": origin.address[:_ADDRESS_LENGTH],
            "agent": origin.agent,
        }
        async with self._database.write() as session:
            await _require_unchanged(SystemUserEditor(session), user)
            editor = SystemSessionEditor(session)
            await editor.add(values)
            await editor.trim(user.id, MAX_SESSIONS, now - LONGEST_SECONDS)
            await self._record(session, caller, "session.began", "session", session_id, {"method": method})
        return token

    async def authenticate(self, token: str, project_id: str | None) -> SignedInSession:
        """The session of a cookie and its caller, in the project that was asked for or else in the chosen one.

        Unauthenticated when the session is over or its user disabled; NotFound for a project that is not the user's.
        """
        if not is_token(token):
            raise _over()
        if project_id is not None:
            check_id(project_id, "project")
        async with self._database.read() as reading:
            found = await SystemSessionStore(reading).by_hash(hash_of(token))
        now = self._clock.now()
        if found is None or not _goes_on(found[0], now):
            raise _over()
        session, user = found
        if now - session.seen_at >= _TOUCH_SECONDS:
            async with self._database.write() as writing:
                await SystemSessionEditor(writing).change(session.id, {"seen_at": now})
        return SignedInSession(session, await self._caller_in(user, session, project_id))

    async def caller_of(self, user: User, project_id: str | None) -> Caller:
        """The caller of a user in a project, or in the first one; who is no member of any has the caller of nowhere.

        Nowhere holds nothing, so such a user can look after their own account, and an operator after the installation.
        """
        if project_id is not None:
            return await self._principals.of_user(user.id, project_id)
        try:
            return await self._principals.of_user(user.id, None)
        except NotFound:
            scopes = effective((), NOBODY, operator=user.operator)
            return Caller(user.id, user.email, NOBODY, NOBODY, scopes, kind="user")

    async def choose_project(self, session: Session, project_id: str) -> None:
        """Make a project the one that the session works in from now on; NotFound when it is not the user's."""
        await self._principals.of_user(session.user_id, project_id)
        async with self._database.write() as writing:
            await SystemSessionEditor(writing).change(session.id, {"project_id": project_id})

    async def page(self, caller: Caller, limit: int, cursor: str | None) -> tuple[list[Session], str | None]:
        """The caller's sessions that go on, newest first."""
        require_user(caller)
        async with self._database.read() as session:
            found = await SystemSessionStore(session).page(caller.key_id, self._clock.now(), limit + 1, cursor)
        return page_of(found, limit)

    async def end(self, caller: Caller, session_id: str) -> None:
        """End one of the caller's sessions; NotFound when there is none of this id."""
        require_user(caller)
        check_id(session_id, "session")
        async with self._database.write() as session:
            if not await SystemSessionEditor(session).end(caller.key_id, session_id, self._clock.now()):
                raise not_found("session", session_id)
            await self._record(session, caller, "session.ended", "session", session_id, None)

    async def end_all(self, caller: Caller, *, but: str | None = None) -> int:
        """Sign the caller out everywhere, refresh tokens included, but for the session `but`; how many sessions."""
        require_user(caller)
        async with self._database.write() as session:
            ended = await SystemSessionEditor(session).end_all(caller.key_id, self._clock.now(), but=but)
            await self._record(session, caller, "user.signed_out", "user", caller.key_id, {"sessions": ended})
        return ended

    async def _caller_in(self, user: User, session: Session, project_id: str | None) -> Caller:
        if project_id is None and session.project_id is not None:
            try:
                return await self._principals.of_user(user.id, session.project_id)
            except NotFound:
                # The chosen project is gone or no longer the user's: back to the first one.
                return await self.caller_of(user, None)
        return await self.caller_of(user, project_id)

    async def _record(
        self,
        session: WriteSession,
        caller: Caller,
        action: str,
        kind: str,
        id_: str,
        after: Mapping[str, object] | None,
    ) -> None:
        subject = Subject(kind, id_, caller.organization_id)
        await self._recorder.changed(session, caller, "people", action, subject, None, after)


def require_user(caller: Caller) -> None:
    """Denied for what is no person: keys and service accounts have no account of their own to look after."""
    if caller.kind != "user":
        raise Denied("only somebody who signed in can do this, not a key")


async def _require_unchanged(editor: SystemUserEditor, verified: User) -> None:
    """A change that ends all sessions must end this one too, which begins just then."""
    user = await editor.locked(verified.id)
    if user is None or user.disabled_at is not None or user.password != verified.password:
        raise WrongCredentials("the account has just been changed; sign in again")


def _goes_on(session: Session, now: float) -> bool:
    return session.ended_at is None and now < session.expires_at and now - session.seen_at < IDLE_SECONDS


def _over() -> Unauthenticated:
    return Unauthenticated("this session is over; sign in again")
