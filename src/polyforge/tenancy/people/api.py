"""Routes of people: signing in, one's own account, and all accounts for operators."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from polyforge.kernel.clock import utc
from polyforge.kernel.errors import Denied
from polyforge.tenancy.callers import Caller, Origin
from polyforge.tenancy.people.account import AccountService
from polyforge.tenancy.people.cookies import CsrfKey, SessionCookie
from polyforge.tenancy.people.links import LinkService
from polyforge.tenancy.people.paging import check_cursor
from polyforge.tenancy.people.records import Session, User
from polyforge.tenancy.people.schemas import (
    Address,
    CodeProof,
    DisabledUserView,
    Email,
    LinkToken,
    MeView,
    NameChange,
    NewPassword,
    NewUser,
    PasswordChange,
    PasswordProof,
    ProjectChoice,
    RecoveryCodes,
    SecondFactorView,
    SecondStep,
    SessionPage,
    SessionView,
    SignedOut,
    SignIn,
    SignInView,
    UserPage,
    UserView,
)
from polyforge.tenancy.people.sessions import LONGEST_SECONDS, Sessions
from polyforge.tenancy.people.sign_in import SignInService
from polyforge.tenancy.people.users import UserService
from polyforge.tenancy.permission import Open, Permission, SignedIn
from polyforge.tenancy.schemas import MAX_PAGE

Anybody = Annotated[Origin, Depends(Open())]
Somebody = Annotated[Caller, Depends(SignedIn())]
Reader = Annotated[Caller, Depends(Permission("users:read"))]
Editor = Annotated[Caller, Depends(Permission("users:write"))]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Cursor = Annotated[str | None, Query(max_length=26)]


def ways_in(sign_in: SignInService, links: LinkService, cookie: SessionCookie) -> APIRouter:
    """The routes of who has not signed in yet."""
    routes = APIRouter(prefix="/api/v1/auth", tags=["sign-in"])

    @routes.post("/sign-in")
    async def begin_session(origin: Anybody, body: SignIn, response: Response) -> SignInView:
        """Sign in: sets the session's cookie, or says that a code is needed first."""
        done = await sign_in.sign_in(origin, body.email, body.password)
        if done.session is not None:
            _set_cookie(response, cookie.issued(done.session, LONGEST_SECONDS))
        return SignInView(second_factor=done.second_factor)

    @routes.post("/second-factor")
    async def finish_sign_in(origin: Anybody, body: SecondStep, response: Response) -> SignInView:
        """Finish a sign-in with a code of the second factor; sets the session's cookie."""
        _set_cookie(response, cookie.issued(await sign_in.finish(origin, body.token, body.code), LONGEST_SECONDS))
        return SignInView()

    @routes.post("/verify", status_code=204)
    async def verify_address(origin: Anybody, body: LinkToken) -> Response:
        """Show that an e-mail address is yours, by the link that was sent to it."""
        await links.verify(origin, body.token)
        return Response(status_code=204)

    @routes.post("/password-reset", status_code=202)
    async def ask_for_reset(origin: Anybody, body: Address) -> Response:
        """Have a link sent to set a new password. The answer is the same whether or not there is such an account."""
        await links.ask_reset(origin, body.email)
        return Response(status_code=202)

    @routes.post("/password-reset/finish", status_code=204)
    async def finish_reset(origin: Anybody, body: NewPassword) -> Response:
        """Set a new password by the link of a reset; every session ends."""
        await links.reset(origin, body.token, body.password)
        return Response(status_code=204)

    return routes


def own_account(
    account: AccountService, sessions: Sessions, links: LinkService, cookie: SessionCookie, csrf: CsrfKey
) -> APIRouter:
    """The routes of who has signed in, about nobody but themselves."""
    routes = APIRouter(prefix="/api/v1/me", tags=["me"])
    _add_account(routes, account, links, csrf)
    _add_second_factor(routes, account)
    _add_sessions(routes, sessions, cookie)
    return routes


def users_router(users: UserService) -> APIRouter:
    """The routes of all accounts."""
    routes = APIRouter(prefix="/api/v1/users", tags=["users"])

    @routes.post("", status_code=201)
    async def create_user(caller: Editor, body: NewUser) -> UserView:
        """Make a user. The first, made with the admin key, is an operator and owns the default organization."""
        made = await users.create(caller, body.email, body.name, body.password, body.role, operator=body.operator)
        return user_view(made)

    @routes.get("")
    async def list_users(
        caller: Reader, limit: Limit = 100, cursor: Cursor = None, email: Annotated[Email | None, Query()] = None
    ) -> UserPage:
        """All users of the installation, newest first, or the one with an e-mail address."""
        found, following = await users.page(limit, cursor, email)
        return UserPage(data=[user_view(each) for each in found], next_cursor=following)

    @routes.get("/{user_id}")
    async def get_user(caller: Reader, user_id: str) -> UserView:
        """One user."""
        return user_view(await users.get(user_id))

    @routes.post("/{user_id}/disable")
    async def disable_user(caller: Editor, user_id: str) -> DisabledUserView:
        """Shut a user out, everywhere and at once. API keys that they made belong to their projects and go on."""
        user = user_view(await users.disable(caller, user_id))
        return DisabledUserView(**user.model_dump(), keys=await users.keys_of(user.id))

    @routes.post("/{user_id}/enable")
    async def enable_user(caller: Editor, user_id: str) -> UserView:
        """Let a user in again."""
        return user_view(await users.enable(caller, user_id))

    @routes.delete("/{user_id}", status_code=204)
    async def remove_user(caller: Editor, user_id: str) -> Response:
        """Delete a user with memberships, sessions and links."""
        await users.remove(caller, user_id)
        return Response(status_code=204)

    return routes


def _add_account(routes: APIRouter, account: AccountService, links: LinkService, csrf: CsrfKey) -> None:
    @routes.get("")
    async def get_me(caller: Somebody, request: Request, response: Response) -> MeView:
        """Who you are, where, and what you may do there."""
        response.headers["cache-control"] = "no-store"
        user = await account.user(caller) if caller.kind == "user" else None
        place = await account.names_of_place(caller)
        return _me(caller, user, place, _session_of(request), csrf)

    @routes.patch("")
    async def change_me(caller: Somebody, body: NameChange) -> UserView:
        """Change your name."""
        return user_view(await account.rename(caller, body.name))

    @routes.post("/password", status_code=204)
    async def change_password(caller: Somebody, body: PasswordChange, request: Request) -> Response:
        """Change your password by the old one; every other session ends."""
        current = _session_of(request)
        await account.change_password(caller, current.id if current else None, body.old, body.new)
        return Response(status_code=204)

    @routes.post("/verification", status_code=202)
    async def send_verification(caller: Somebody) -> Response:
        """Have the link sent again that shows that your e-mail address is yours."""
        await account.user(caller)
        await links.ask_verification(caller)
        return Response(status_code=202)


def _add_second_factor(routes: APIRouter, account: AccountService) -> None:
    @routes.post("/second-factor")
    async def begin_second_factor(caller: Somebody, body: PasswordProof, response: Response) -> SecondFactorView:
        """Get a secret for an authenticator app; the second factor is on once a code confirms it."""
        response.headers["cache-control"] = "no-store"
        begun = await account.enrol(caller, body.password)
        return SecondFactorView(secret=begun.secret, uri=begun.uri, token=begun.token)

    @routes.post("/second-factor/confirm")
    async def confirm_second_factor(caller: Somebody, body: SecondStep, response: Response) -> RecoveryCodes:
        """Turn the second factor on. The recovery codes are in this answer and nowhere else."""
        response.headers["cache-control"] = "no-store"
        return RecoveryCodes(codes=await account.confirm(caller, body.token, body.code))

    @routes.post("/second-factor/remove", status_code=204)
    async def remove_second_factor(caller: Somebody, body: CodeProof) -> Response:
        """Turn the second factor off, by the password and a code or a recovery code."""
        await account.remove_second_factor(caller, body.password, body.code)
        return Response(status_code=204)


def _add_sessions(routes: APIRouter, sessions: Sessions, cookie: SessionCookie) -> None:
    @routes.put("/project", status_code=204)
    async def choose_project(caller: Somebody, body: ProjectChoice, request: Request) -> Response:
        """Work in another of your projects from now on; x-polyforge-project chooses for one request only."""
        session = _session_of(request)
        if session is None:
            raise Denied("only a session has a chosen project; a key belongs to one")
        await sessions.choose_project(session, body.project_id)
        return Response(status_code=204)

    @routes.get("/sessions")
    async def list_sessions(
        caller: Somebody, request: Request, limit: Limit = 100, cursor: Cursor = None
    ) -> SessionPage:
        """Where you are signed in, newest first."""
        check_cursor(cursor)
        current = _session_of(request)
        found, following = await sessions.page(caller, limit, cursor)
        return SessionPage(data=[_session_view(each, current) for each in found], next_cursor=following)

    @routes.delete("/sessions/{session_id}", status_code=204)
    async def end_session(caller: Somebody, session_id: str) -> Response:
        """Sign out in one place."""
        await sessions.end(caller, session_id)
        return Response(status_code=204)

    @routes.post("/sign-out", status_code=204)
    async def sign_out(caller: Somebody, request: Request) -> Response:
        """Sign out here."""
        session = _session_of(request)
        if session is None:
            raise Denied("only a session can be signed out")
        await sessions.end(caller, session.id)
        return _signed_out(cookie)

    @routes.post("/sign-out-everywhere")
    async def sign_out_everywhere(caller: Somebody, response: Response) -> SignedOut:
        """Sign out everywhere, here too; refresh tokens end as well."""
        ended = await sessions.end_all(caller)
        _set_cookie(response, cookie.cleared())
        return SignedOut(sessions=ended)


def _session_of(request: Request) -> Session | None:
    """The session whose cookie came with the request, as the server's middleware found it."""
    return getattr(request.state, "session", None)


def _set_cookie(response: Response, value: str) -> None:
    response.headers["set-cookie"] = value
    response.headers["cache-control"] = "no-store"


def _signed_out(cookie: SessionCookie) -> Response:
    response = Response(status_code=204)
    _set_cookie(response, cookie.cleared())
    return response


def user_view(user: User) -> UserView:
    """A user without anything secret."""
    return UserView(
        id=user.id,
        email=user.email,
        name=user.name,
        verified=user.verified_at is not None,
        has_password=user.password is not None,
        second_factor=user.totp is not None,
        operator=user.operator,
        created_at=utc(user.created_at),
        disabled_at=None if user.disabled_at is None else utc(user.disabled_at),
    )


def _me(
    caller: Caller, user: User | None, place: tuple[str, str] | None, session: Session | None, csrf: CsrfKey
) -> MeView:
    return MeView(
        kind=caller.kind,
        id=caller.key_id,
        name=user.name if user else caller.key_name,
        user=user_view(user) if user else None,
        organization_id=caller.organization_id,
        organization_name=place[0] if place else None,
        project_id=caller.project_id,
        project_name=place[1] if place else None,
        permissions=sorted(caller.scopes),
        csrf=csrf.value(session.hash) if session else None,
    )


def _session_view(session: Session, current: Session | None) -> SessionView:
    return SessionView(
        id=session.id,
        current=current is not None and session.id == current.id,
        address=session.address,
        agent=session.agent,
        created_at=utc(session.created_at),
        seen_at=utc(session.seen_at),
        expires_at=utc(session.expires_at),
    )
