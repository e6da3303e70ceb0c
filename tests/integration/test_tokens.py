"""Tokens over HTTP: OAuth 2's endpoints, what they give, and how soon it ends; on SQLite and on PostgreSQL."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import jwt
import pytest
from authlib.integrations.httpx_client import AsyncOAuth2Client
from jwt import PyJWK
from msgspec import Raw
from msgspec.structs import replace
from sqlalchemy import select, update

from polyforge.database.database import Database
from polyforge.database.events.store import Event
from polyforge.database.events.tail import EventTail
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import Unauthenticated
from polyforge.kernel.ids import new_ulid
from polyforge.secrets.sealing import MasterKeys
from polyforge.server.authentication import Authentication
from polyforge.server.browser import Browser
from polyforge.server.well_known import WellKnown
from polyforge.tenancy.api import router as keys_router
from polyforge.tenancy.audit.log import AuditLog, Chain, Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.audit.tables import audit_events
from polyforge.tenancy.callers import Caller, Origin
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID
from polyforge.tenancy.key_cache import KeyCache
from polyforge.tenancy.people.attempts import Attempts
from polyforge.tenancy.people.callers import Principals
from polyforge.tenancy.people.cookies import CsrfKey, SessionCookie
from polyforge.tenancy.people.records import User, hash_of
from polyforge.tenancy.people.sessions import Sessions
from polyforge.tenancy.people.store import SystemSessionEditor
from polyforge.tenancy.people.tables import memberships, refresh_tokens, service_accounts, signing_keys, users
from polyforge.tenancy.people.tokens.access import TTL_SECONDS
from polyforge.tenancy.people.tokens.api import router
from polyforge.tenancy.people.tokens.callers import KEPT_SECONDS, TokenCallers
from polyforge.tenancy.people.tokens.service import MAX_FAMILIES, REFRESH_SECONDS, Issued, TokenService, _new_token
from polyforge.tenancy.people.tokens.signing import LEAD_SECONDS, ROTATE_SECONDS, SigningKeys
from polyforge.tenancy.people.tokens.store import SystemTokenEditor, SystemTokens
from polyforge.tenancy.service import KeyService
from polyforge.tenancy.usage import api as usage_api
from polyforge.tenancy.usage.service import UsageService
from polyforge.wiring.usage import make_writer
from tests.support.application import application, client_of
from tests.support.databases import somebody_waits
from tests.support.principals import add_service_account, add_user, install_default
from tests.support.recording import MASTER, recorder
from tests.support.waiting import eventually_async
from tests.unit.tenancy.samples import NOW, caller

ISSUER = "http://polyforge.test"
SIGNING = Raw(b'{"resource":"signing_key"}')
FORM = {"content-type": "application/x-www-form-urlencoded"}


class Worker:
    """One process's rooms of tokens, and its application. `signed_in` is who has a session."""

    def __init__(self, database: Database, clock: FakeClock, master: MasterKeys = MASTER) -> None:
        self.clock = clock
        told = Recorder(AuditLog(Chain(master), clock))
        self.principals = Principals(database)
        self.keys = SigningKeys(database, clock, master, told)
        self.callers = TokenCallers(database, clock, self.keys, self.principals, ISSUER)
        self.tail = EventTail(database, poll_seconds=0.05)
        self.tail.listen(("people",), self.callers.heard)
        self.service = TokenService(
            database, clock, self.keys, self.callers, self.principals, Attempts(database, clock), told, ISSUER
        )
        self.sessions = Sessions(database, clock, self.principals, told)
        self.csrf = CsrfKey(master)
        cookie = SessionCookie(secure=False)
        browser = Browser(self.sessions, cookie, self.csrf, site=ISSUER, tls=False, behind_proxy=False)
        authentication = Authentication(KeyCache(database, clock), self.callers, browser, behind_proxy=False)
        usage = usage_api.router(UsageService(database, clock), make_writer)
        routers = [router(self.service), keys_router(KeyService(database, clock, told)), usage]
        self.app = application(routers, authentication, WellKnown(self.keys, ISSUER))
        self.client = client_of(self.app, ISSUER)

    async def open(self) -> None:
        await self.tail.open()

    async def close(self) -> None:
        await self.client.aclose()
        await self.tail.close()
        await self.callers.close()

    async def exchange(self, status: int = 200, /, **parameters: str) -> Any:
        answer = await self.client.post("/api/v1/auth/token", data=parameters)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def refresh(self, token: str, status: int = 200, **more: str) -> Any:
        return await self.exchange(status, grant_type="refresh_token", refresh_token=token, **more)

    async def sign_in(self, user: User, status: int = 201, **body: str) -> Any:
        """Tokens of a user, for a session of theirs."""
        session = await self.sessions.begin(user, Origin("192.0.2.1"), "test")
        proof = self.csrf.value(hash_of(session))
        headers = {"cookie": f"polyforge_session={session}", "origin": ISSUER, "x-polyforge-csrf": proof}
        answer = await self.client.post("/api/v1/me/tokens", json=body, headers=headers)
        assert answer.status_code == status, answer.text
        assert status != 201 or answer.headers["cache-control"] == "no-store"
        return answer.json()

    async def status(self, token: str) -> int:
        """What reading keys answers to a token."""
        answer = await self.client.get("/api/v1/keys", headers={"authorization": f"Bearer {token}"})
        return answer.status_code

    async def caller(self, token: str) -> Caller:
        return await self.callers.resolve(token.encode())


def oauth_client(*arguments: Any, **options: Any) -> Any:
    """Authlib's client."""
    return AsyncOAuth2Client(*arguments, **options)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
async def worker(database: Database, clock: FakeClock) -> AsyncIterator[Worker]:
    await install_default(database, clock)
    made = Worker(database, clock)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def user(database: Database, worker: Worker) -> User:
    return await add_user(database, NOW)


async def actions(database: Database) -> list[str]:
    async with database.read() as session:
        return [row["action"] for row in await session.all(select(audit_events).order_by(audit_events.c.sequence))]


# --- service accounts ---


async def test_a_service_account_gets_a_token_for_its_secret(database: Database, worker: Worker) -> None:
    account_id, secret = await add_service_account(database, NOW)
    body = await worker.exchange(grant_type="client_credentials", client_id=account_id, client_secret=secret)
    assert set(body) == {"access_token", "token_type", "expires_in"}
    assert (body["token_type"], body["expires_in"]) == ("Bearer", TTL_SECONDS)
    caller = await worker.caller(body["access_token"])
    assert (caller.kind, caller.key_id, caller.project_id) == ("service", account_id, DEFAULT_PROJECT_ID)
    assert caller.expires_at == NOW + TTL_SECONDS
    assert await worker.status(body["access_token"]) == 200


async def test_the_secret_comes_as_basic_as_json_or_in_the_form(database: Database, worker: Worker) -> None:
    account_id, secret = await add_service_account(database, NOW)
    basic = base64.b64encode(f"{account_id}:{secret}".encode()).decode()
    grant = {"grant_type": "client_credentials"}
    path = "/api/v1/auth/token"
    by_header = await worker.client.post(path, data=grant, headers={"authorization": f"Basic {basic}"})
    by_json = await worker.client.post(path, json={**grant, "client_id": account_id, "client_secret": secret})
    assert (by_header.status_code, by_json.status_code) == (200, 200)
    assert by_header.headers["cache-control"] == "no-store"
    both = {**grant, "client_id": account_id, "client_secret": secret}
    twice = await worker.client.post(path, data=both, headers={"authorization": f"Basic {basic}"})
    assert (twice.status_code, twice.json()["error"]) == (400, "invalid_request")


async def test_a_real_client_library_gets_and_refreshes_tokens(database: Database, worker: Worker, user: User) -> None:
    account_id, secret = await add_service_account(database, NOW)
    transport = httpx2.ASGITransport(worker.app)
    metadata = (await worker.client.get("/.well-known/oauth-authorization-server")).json()
    async with oauth_client(account_id, secret, transport=transport) as robot:
        token = await robot.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
    assert await worker.status(token["access_token"]) == 200
    first = await worker.sign_in(user)
    async with oauth_client("app", token=first, transport=transport) as person:
        second = await person.refresh_token(metadata["token_endpoint"])
        assert await worker.status(second["access_token"]) == 200
        await person.revoke_token(metadata["revocation_endpoint"], second["refresh_token"])
    await worker.refresh(second["refresh_token"], 400)


async def test_a_wrong_secret_looks_like_an_unknown_client(database: Database, worker: Worker) -> None:
    account_id, secret = await add_service_account(database, NOW)
    answers = [
        await worker.exchange(401, grant_type="client_credentials", client_id=client_id, client_secret=wrong)
        for client_id, wrong in (
            (account_id, "wrong"),
            ("0" * 26, secret),
            ("x", secret),
            (account_id + "x", secret),
            ("\0", ""),
        )
    ]
    assert answers[0]["error"] == "invalid_client"
    assert all(answer == answers[0] for answer in answers)


async def test_guessing_secrets_is_stopped_and_noted_and_others_go_on(database: Database, worker: Worker) -> None:
    account_id, secret = await add_service_account(database, NOW)
    other_id, other_secret = await add_service_account(database, NOW)
    grant = {"grant_type": "client_credentials"}
    for _ in range(10):
        await worker.exchange(401, **grant, client_id=account_id, client_secret="guess")
    refused = await worker.client.post(
        "/api/v1/auth/token", data={**grant, "client_id": account_id, "client_secret": secret}
    )
    assert (refused.status_code, refused.json()["error"]) == (429, "temporarily_unavailable")
    assert 1 <= int(refused.headers["retry-after"]) <= 900
    assert (await actions(database)).count("service_account.guessed") == 1
    await worker.exchange(**grant, client_id=other_id, client_secret=other_secret)
    worker.clock.advance(901)
    await worker.exchange(**grant, client_id=account_id, client_secret=secret)


async def test_success_leaves_no_failures_behind(database: Database, worker: Worker) -> None:
    account_id, secret = await add_service_account(database, NOW)
    for _ in range(60):
        await worker.exchange(grant_type="client_credentials", client_id=account_id, client_secret=secret)


async def test_a_disabled_service_account_is_out_within_a_second_in_every_worker(
    database: Database, worker: Worker, clock: FakeClock
) -> None:
    account_id, secret = await add_service_account(database, NOW)
    other = Worker(database, clock)
    await other.open()
    grant = {"grant_type": "client_credentials", "client_id": account_id, "client_secret": secret}
    token = (await worker.exchange(**grant))["access_token"]
    assert [await each.status(token) for each in (worker, other)] == [200, 200]
    await change(database, update(service_accounts).values(disabled_at=NOW), "service_account", account_id)
    await refused_everywhere(token, worker, other)
    await worker.exchange(401, **grant)
    await other.close()


async def test_a_token_is_narrowed_to_what_was_asked_for(database: Database, worker: Worker) -> None:
    account_id, secret = await add_service_account(database, NOW, role="viewer")
    grant = {"grant_type": "client_credentials", "client_id": account_id, "client_secret": secret}
    narrow = await worker.exchange(**grant, scope="usage:read keys:write")
    assert narrow["scope"] == "usage:read"
    assert (await worker.caller(narrow["access_token"])).scopes == {"usage:read"}
    assert await worker.status(narrow["access_token"]) == 403
    assert (await worker.exchange(400, **grant, scope="keys:write"))["error"] == "invalid_scope"
    assert (await worker.exchange(400, **grant, scope="*"))["error"] == "invalid_scope"


# --- users ---


async def test_a_session_is_exchanged_for_tokens_of_its_user(database: Database, worker: Worker, user: User) -> None:
    body = await worker.sign_in(user)
    assert set(body) == {"access_token", "token_type", "expires_in", "refresh_token"}
    caller = await worker.caller(body["access_token"])
    assert (caller.kind, caller.key_id, caller.key_name) == ("user", user.id, user.email)
    async with database.read() as session:
        rows = await session.all(select(refresh_tokens))
    assert body["refresh_token"] not in str([dict(row) for row in rows])
    assert "token.issued" in await actions(database)


async def test_neither_keys_nor_tokens_make_tokens(database: Database, worker: Worker, user: User) -> None:
    body = await worker.sign_in(user)
    bearer = {"authorization": f"Bearer {body['access_token']}"}
    assert (await worker.client.post("/api/v1/me/tokens", headers=bearer)).status_code == 403
    account_id, secret = await add_service_account(database, NOW)
    robot = await worker.exchange(grant_type="client_credentials", client_id=account_id, client_secret=secret)
    bearer = {"authorization": f"Bearer {robot['access_token']}"}
    assert (await worker.client.post("/api/v1/me/tokens", headers=bearer)).status_code == 403


async def test_tokens_are_for_a_project_of_the_user(worker: Worker, user: User) -> None:
    await worker.sign_in(user, 404, project_id="0" * 26)
    body = await worker.sign_in(user, project_id=DEFAULT_PROJECT_ID)
    assert (await worker.caller(body["access_token"])).project_id == DEFAULT_PROJECT_ID


async def test_who_is_in_no_project_gets_no_tokens_that_would_be_of_no_use(database: Database, worker: Worker) -> None:
    operator = await add_user(database, NOW, "eve@example.org", role=None, operator=True)
    await worker.sign_in(operator, 404)
    async with database.read() as session:
        assert await session.all(select(refresh_tokens)) == []


async def test_refreshing_rotates_and_the_old_access_token_goes_on(worker: Worker, user: User) -> None:
    first = await worker.sign_in(user)
    worker.clock.advance(60)
    second = await worker.refresh(first["refresh_token"])
    assert second["refresh_token"] != first["refresh_token"]
    assert [await worker.status(body["access_token"]) for body in (first, second)] == [200, 200]
    third = await worker.refresh(second["refresh_token"], scope="usage:read")
    assert (await worker.caller(third["access_token"])).scopes == {"usage:read"}
    fourth = await worker.refresh(third["refresh_token"])
    assert await worker.status(fourth["access_token"]) == 200


async def test_a_refresh_token_that_comes_twice_ends_all_that_came_from_it(
    database: Database, worker: Worker, user: User
) -> None:
    first, bystander = await worker.sign_in(user), await worker.sign_in(user)
    second = await worker.refresh(first["refresh_token"])
    third = await worker.refresh(second["refresh_token"])
    assert await worker.status(third["access_token"]) == 200
    stolen = await worker.refresh(first["refresh_token"], 400)
    assert stolen["error"] == "invalid_grant"
    assert "token.reused" in await actions(database)
    await worker.refresh(third["refresh_token"], 400)
    for body in (first, second, third):
        await refused_everywhere(body["access_token"], worker)
    assert await worker.status(bystander["access_token"]) == 200
    await worker.refresh(bystander["refresh_token"])
    await worker.refresh(first["refresh_token"], 400)
    assert (await actions(database)).count("token.reused") == 1


async def test_of_two_uses_at_once_one_is_the_second(database: Database, worker: Worker, user: User) -> None:
    body = await worker.sign_in(user)
    exchange = {"grant_type": "refresh_token", "refresh_token": body["refresh_token"]}
    answers = await asyncio.gather(*(worker.client.post("/api/v1/auth/token", data=exchange) for _ in range(4)))
    good = [answer for answer in answers if answer.status_code == 200]
    assert len(good) == 1
    await worker.refresh(good[0].json()["refresh_token"], 400)


async def test_tokens_end_with_time(worker: Worker, user: User) -> None:
    body = await worker.sign_in(user)
    worker.clock.advance(TTL_SECONDS + 29)
    assert await worker.status(body["access_token"]) == 200
    worker.clock.advance(1)
    assert await worker.status(body["access_token"]) == 401
    worker.clock.advance(REFRESH_SECONDS)
    assert (await worker.refresh(body["refresh_token"], 400))["error"] == "invalid_grant"


async def test_a_cached_token_is_not_used_past_its_end(worker: Worker, user: User) -> None:
    token = (await worker.sign_in(user))["access_token"].encode()
    await eventually_async(lambda: worker.tail.place == 3)
    worker.clock.advance(TTL_SECONDS - 5)
    await worker.callers.resolve(token)
    assert worker.callers.lookup(token) is not None
    worker.clock.advance(5)
    assert worker.callers.lookup(token) is None
    worker.clock.advance(-TTL_SECONDS)
    await worker.callers.resolve(token)
    worker.clock.advance(KEPT_SECONDS)
    assert worker.callers.lookup(token) is None


async def test_signing_out_everywhere_ends_tokens_within_a_second_in_every_worker(
    database: Database, worker: Worker, clock: FakeClock, user: User
) -> None:
    other = Worker(database, clock)
    await other.open()
    body = await worker.sign_in(user)
    assert [await each.status(body["access_token"]) for each in (worker, other)] == [200, 200]
    await other.sessions.end_all(await other.principals.of_user(user.id, None))
    await refused_everywhere(body["access_token"], worker, other)
    await worker.refresh(body["refresh_token"], 400)
    await other.close()


async def test_tokens_that_are_asked_for_while_everything_ends_do_not_outlive_it(
    database: Database, worker: Worker, user: User
) -> None:
    """Ending is under way, and waits for the session, when tokens are asked for in that session."""
    token = await worker.sessions.begin(user, Origin("192.0.2.1"), "test")
    signed_in = await worker.sessions.authenticate(token, None)
    async with database.write() as session:
        assert await SystemSessionEditor(session).hold(user.id, signed_in.session.id, NOW)
        ending = asyncio.create_task(worker.sessions.end_all(signed_in.caller))
        if database.dialect == "postgresql":
            await somebody_waits(database)
        issuing = asyncio.create_task(worker.service.issue(signed_in.caller, signed_in.session.id, None))
        await asyncio.sleep(0)
    assert await ending == 1
    with pytest.raises(Unauthenticated):
        await _lives(worker, await issuing)


async def _lives(worker: Worker, issued: Issued) -> None:
    """Unauthenticated when these tokens open nothing any more."""
    await worker.caller(issued.access_token)


async def test_tokens_that_were_just_being_given_end_with_everything(
    database: Database, worker: Worker, user: User
) -> None:
    """Ending begins after the session was held for them, and before they are there."""
    signed_in = await worker.sessions.authenticate(await worker.sessions.begin(user, Origin(""), "test"), None)
    async with database.write() as session:
        assert await SystemSessionEditor(session).hold(user.id, signed_in.session.id, NOW)
        ending = asyncio.create_task(worker.sessions.end_all(signed_in.caller))
        if database.dialect == "postgresql":
            await somebody_waits(database)
        _, row = _new_token(new_ulid(), user.id, DEFAULT_PROJECT_ID, NOW)
        await SystemTokenEditor(session).add(row)
    await ending
    async with database.read() as reading:
        assert not await SystemTokens(reading).family_lives(row.family, NOW)


@pytest.mark.parametrize("way", ["everywhere", "revoked"])
async def test_a_token_that_is_being_rotated_while_its_family_ends_leaves_no_successor(
    database: Database, worker: Worker, user: User, way: str
) -> None:
    """Otherwise the successor would open everything again once the token that it came from has expired."""
    given = await worker.sign_in(user)
    row = await worker.service._living(given["refresh_token"])
    signed_in = await worker.principals.of_user(user.id, None)
    async with database.write() as session:
        editor = SystemTokenEditor(session)
        assert await editor.use(row.id, NOW)
        ending: asyncio.Task[object]
        if way == "everywhere":
            ending = asyncio.create_task(worker.sessions.end_all(signed_in))
        else:
            ending = asyncio.create_task(worker.service.revoke(given["refresh_token"], Origin("192.0.2.1")))
        if database.dialect == "postgresql":
            await somebody_waits(database)
        await editor.add(replace(row, id=new_ulid(), hash=hash_of("next"), expires_at=row.expires_at + 86_400))
    await ending
    async with database.read() as session:
        rows = await session.all(select(refresh_tokens))
    assert [each["ended_at"] is not None for each in rows] == [True, True]


async def test_a_session_that_is_over_gives_no_tokens(database: Database, worker: Worker, user: User) -> None:
    """It ended after the request was let in, and before it was answered."""
    token = await worker.sessions.begin(user, Origin("192.0.2.1"), "test")
    signed_in = await worker.sessions.authenticate(token, None)
    await worker.sessions.end(signed_in.caller, signed_in.session.id)
    with pytest.raises(Unauthenticated):
        await worker.service.issue(signed_in.caller, signed_in.session.id, None)
    async with database.read() as session:
        assert await session.all(select(refresh_tokens)) == []


async def test_disabling_a_user_and_taking_a_role_away_hold_within_a_second(
    database: Database, worker: Worker, user: User
) -> None:
    body = await worker.sign_in(user)
    assert await worker.status(body["access_token"]) == 200
    await change(database, update(memberships).values(role="billing"), "membership", "0" * 26)
    await eventually_answers(worker, body["access_token"], 403)
    await change(database, update(users).values(disabled_at=NOW), "user", user.id)
    await eventually_answers(worker, body["access_token"], 401)
    await worker.refresh(body["refresh_token"], 400)


async def test_somebody_who_is_no_member_any_more_is_unknown(database: Database, worker: Worker, user: User) -> None:
    body = await worker.sign_in(user)
    await change(database, update(memberships).values(principal_id="0" * 26), "membership", "0" * 26)
    assert await worker.status(body["access_token"]) == 401
    await worker.refresh(body["refresh_token"], 400)


async def test_what_happens_to_others_leaves_a_cached_token_where_it_is(
    database: Database, worker: Worker, user: User
) -> None:
    token = (await worker.sign_in(user))["access_token"].encode()
    stranger = await add_user(database, NOW, "eve@example.org")
    await worker.sign_in(stranger)
    await eventually_async(lambda: worker.tail.place == 5)
    await worker.callers.resolve(token)
    await worker.sessions.end_all(await worker.principals.of_user(stranger.id, None))
    await eventually_async(lambda: worker.tail.place == 6)
    assert worker.callers.lookup(token) is not None
    await worker.sessions.end_all(await worker.principals.of_user(user.id, None))
    await eventually_async(lambda: worker.callers.lookup(token) is None)


async def test_a_change_during_a_look_up_is_not_kept(
    worker: Worker, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer was right when it was asked for; nobody may find it in the cache afterwards."""
    token = (await worker.sign_in(user))["access_token"].encode()
    await eventually_async(lambda: worker.tail.place == 3)
    of_user = worker.principals.of_user

    async def late(user_id: str, project_id: str | None) -> Caller:
        caller = await of_user(user_id, project_id)
        worker.callers.heard(())
        return caller

    monkeypatch.setattr(worker.principals, "of_user", late)
    assert (await worker.callers.resolve(token)).key_id == user.id
    assert worker.callers.lookup(token) is None


async def test_the_cache_is_bounded(database: Database, worker: Worker, clock: FakeClock, user: User) -> None:
    small = TokenCallers(database, clock, worker.keys, worker.principals, ISSUER, capacity=3)
    tokens = [(await worker.sign_in(user))["access_token"].encode() for _ in range(5)]
    for token in tokens:
        await small.resolve(token)
    assert [small.lookup(token) is not None for token in tokens] == [False, False, True, True, True]


async def test_revoking_ends_the_family_and_an_unknown_token_is_no_error(
    database: Database, worker: Worker, user: User
) -> None:
    for name in ("refresh_token", "access_token"):
        body = await worker.sign_in(user)
        answer = await worker.client.post("/api/v1/auth/revoke", data={"token": body[name]})
        assert (answer.status_code, answer.content) == (200, b"")
        await worker.refresh(body["refresh_token"], 400)
        await refused_everywhere(body["access_token"], worker)
        again = await worker.client.post("/api/v1/auth/revoke", data={"token": body[name]})
        assert again.status_code == 200
    assert (await actions(database)).count("token.revoked") == 2
    for unknown in ("x", "eyJ.a.b", "pfr-" + "a" * 43):
        assert (await worker.client.post("/api/v1/auth/revoke", data={"token": unknown})).status_code == 200
    account_id, secret = await add_service_account(database, NOW)
    robot = await worker.exchange(grant_type="client_credentials", client_id=account_id, client_secret=secret)
    answer = await worker.client.post("/api/v1/auth/revoke", data={"token": robot["access_token"]})
    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_token_type")


async def test_one_more_client_ends_the_oldest(worker: Worker, user: User) -> None:
    bodies = [await worker.sign_in(user) for _ in range(MAX_FAMILIES + 1)]
    await worker.refresh(bodies[0]["refresh_token"], 400)
    await worker.refresh(bodies[1]["refresh_token"])


async def test_what_is_over_is_forgotten(database: Database, worker: Worker, user: User) -> None:
    body = await worker.sign_in(user)
    for _ in range(3):
        worker.clock.advance(86_401)
        body = await worker.refresh(body["refresh_token"])
    async with database.read() as session:
        assert len(await session.all(select(refresh_tokens))) == 2
    worker.clock.advance(REFRESH_SECONDS)
    await worker.sign_in(user)
    async with database.read() as session:
        assert len(await session.all(select(refresh_tokens))) == 1


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ("", "invalid_request"),
        ("grant_type=password&username=a&password=b", "unsupported_grant_type"),
        ("grant_type=refresh_token", "invalid_request"),
        ("grant_type=refresh_token&refresh_token=x", "invalid_grant"),
        ("grant_type=refresh_token&refresh_token=x&refresh_token=y", "invalid_request"),
        ("grant_type=refresh_token&refresh_token=" + "x" * 20_000, "invalid_request"),
        ("grant_type=%ff", "invalid_request"),
    ],
)
async def test_errors_are_as_oauth_clients_know_them(worker: Worker, form: str, error: str) -> None:
    answer = await worker.client.post("/api/v1/auth/token", content=form, headers=FORM)
    assert answer.status_code in (400, 413)
    assert answer.json()["error"] == error
    assert set(answer.json()) == {"error", "error_description"}
    assert answer.headers["cache-control"] == "no-store"


# --- the keys that sign ---


async def key_ids(worker: Worker) -> list[str]:
    return [key["kid"] for key in (await worker.client.get("/.well-known/jwks.json")).json()["keys"]]


async def test_the_published_key_verifies_what_we_sign(worker: Worker, user: User) -> None:
    assert await key_ids(worker) == []
    token = (await worker.sign_in(user))["access_token"]
    (published,) = (await worker.client.get("/.well-known/jwks.json")).json()["keys"]
    assert published.keys() == {"kty", "crv", "use", "alg", "kid", "x"}
    claims = jwt.decode(token, PyJWK(published), ["EdDSA"], audience=ISSUER, options={"verify_exp": False})
    assert (claims["iss"], claims["sub"]) == (ISSUER, user.id)


async def test_private_keys_are_sealed(database: Database, worker: Worker, user: User) -> None:
    await worker.sign_in(user)
    _, key = await worker.keys.signer()
    async with database.read() as session:
        (row,) = await session.all(select(signing_keys))
    assert key.private_bytes_raw() not in row["sealed"]
    assert MASTER.open(row["sealed"], f"signing key/{row['id']}") == key.private_bytes_raw()


async def test_workers_that_start_together_make_one_key(database: Database, worker: Worker, clock: FakeClock) -> None:
    workers = [worker, *(Worker(database, clock) for _ in range(3))]
    signers = await asyncio.gather(*(each.keys.signer() for each in workers))
    assert len({kid for kid, _ in signers}) == 1


async def test_keys_rotate_with_overlap_and_old_ones_go(
    database: Database, worker: Worker, clock: FakeClock, user: User
) -> None:
    old = await worker.sign_in(user)
    (first,) = await key_ids(worker)
    clock.advance(ROTATE_SECONDS - 1)
    assert (await worker.keys.signer())[0] == first
    clock.advance(1)
    assert (await worker.keys.signer())[0] == first  # the next one is published first
    _, second = await key_ids(worker)
    clock.advance(LEAD_SECONDS - 1)
    last = await worker.service._access("user", user.id, DEFAULT_PROJECT_ID, None, None)
    assert jwt.get_unverified_header(last.access_token)["kid"] == first
    clock.advance(1)
    assert (await worker.keys.signer())[0] == second
    assert await worker.status(last.access_token) == 200
    clock.advance(TTL_SECONDS + 28)
    assert await worker.status(last.access_token) == 200
    clock.advance(60)
    assert await key_ids(worker) == [second]
    clock.advance(-300)  # even for a token that has not expired
    worker.keys.forget()
    async with database.write() as session:
        await session.change(update(signing_keys).where(signing_keys.c.id == first).values(retired_at=NOW))
    worker.callers.heard(())
    assert await worker.status(last.access_token) == 401
    assert await worker.status(old["access_token"]) == 401


async def test_a_key_that_has_had_its_day_signs_nothing_any_more(worker: Worker, user: User) -> None:
    """Somebody who stole it long ago makes a token of today with it, before anybody has retired its row."""
    await worker.sign_in(user)
    kid, stolen = await worker.keys.signer()
    worker.clock.advance(ROTATE_SECONDS)
    await worker.keys.signer()
    worker.clock.advance(LEAD_SECONDS)
    assert (await worker.keys.signer())[0] != kid
    now = int(worker.clock.now())
    payload = jwt.decode((await worker.sign_in(user))["access_token"], options={"verify_signature": False})
    made = {**payload, "iat": now, "nbf": now, "exp": now + TTL_SECONDS}
    headers = {"typ": "at+jwt", "kid": kid}
    assert await worker.status(jwt.encode(made, stolen, "EdDSA", headers)) == 200
    worker.clock.advance(TTL_SECONDS + 60)
    made = {**made, "iat": now + TTL_SECONDS + 60, "nbf": now, "exp": now + 2 * TTL_SECONDS + 60}
    assert await worker.status(jwt.encode(made, stolen, "EdDSA", headers)) == 401


@pytest.mark.parametrize("told", [(), (Event(1, "people", "signing_key.created", None, None, "K", NOW, SIGNING),)])
async def test_a_change_of_keys_and_one_that_nobody_can_name_empty_the_cache(
    worker: Worker, user: User, told: tuple[Event, ...]
) -> None:
    token = (await worker.sign_in(user))["access_token"].encode()
    await eventually_async(lambda: worker.tail.place == 3)
    await worker.callers.resolve(token)
    assert worker.callers.lookup(token) is not None
    worker.callers.heard(told)
    assert worker.callers.lookup(token) is None


async def test_every_worker_follows_a_new_key(database: Database, worker: Worker, clock: FakeClock, user: User) -> None:
    other = Worker(database, clock)
    await other.open()
    await other.keys.public("unknown")
    token = (await worker.sign_in(user))["access_token"]
    await eventually_answers(other, token, 200)
    clock.advance(ROTATE_SECONDS)
    await worker.keys.signer()
    clock.advance(LEAD_SECONDS)
    token = (await worker.sign_in(user))["access_token"]
    await eventually_answers(other, token, 200)
    await other.close()


async def test_unknown_keys_do_not_reach_the_database_each_time(
    worker: Worker, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    await worker.sign_in(user)
    await eventually_async(lambda: worker.tail.place == 3)
    looks: list[object] = []
    take = worker.keys._take
    monkeypatch.setattr(worker.keys, "_take", lambda rows: (looks.append(rows), take(rows)))
    worker.clock.advance(2)
    for number in range(50):
        assert await worker.keys.public(f"forged {number}") is None
    assert len(looks) == 1


async def test_many_who_need_the_keys_at_once_read_them_once_and_make_one(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[object] = []
    take = worker.keys._take
    monkeypatch.setattr(worker.keys, "_take", lambda rows: (looks.append(rows), take(rows)))
    signers = await asyncio.gather(*(worker.keys.signer() for _ in range(20)))
    assert len({kid for kid, _ in signers}) == 1
    assert len(looks) == 2  # one read, one made


async def test_a_change_of_the_keys_while_they_are_read_is_not_lost(
    worker: Worker, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    await worker.sign_in(user)
    looks: list[object] = []
    take = worker.keys._take

    def taken(rows: Any) -> None:
        if not looks:
            worker.keys.forget()  # as when the event arrives just then
        looks.append(rows)
        take(rows)

    worker.keys.forget()
    monkeypatch.setattr(worker.keys, "_take", taken)
    for _ in range(3):
        await worker.keys.key_set()
    assert len(looks) >= 2  # the event of the key that the sign-in made may arrive here, and is one more reason to look


async def test_another_master_key_makes_keys_of_its_own_and_still_verifies(
    database: Database, worker: Worker, clock: FakeClock, user: User
) -> None:
    token = (await worker.sign_in(user))["access_token"]
    other = Worker(database, clock, MasterKeys([bytes(32)]))
    assert (await other.caller(token)).key_id == user.id
    mine = (await worker.keys.signer())[0]
    theirs = (await other.keys.signer())[0]
    assert mine != theirs
    with pytest.raises(Unauthenticated):
        await other.caller(token[:-8] + "AAAAAAAA")
    await other.close()


# --- waiting ---


async def change(database: Database, statement: Any, kind: str, id_: str) -> None:
    """What a service does: a change, and its event, in one transaction."""
    async with database.write() as session:
        await session.change(statement)
        subject = Subject(kind, id_, DEFAULT_ORGANIZATION_ID)
        await recorder(FakeClock(NOW)).changed(session, caller(), "people", f"{kind}.changed", subject)


async def eventually_answers(worker: Worker, token: str, status: int) -> None:
    """The answer becomes this one; how soon is bounded by the tail's pace, which its own tests hold."""
    for _ in range(400):
        if await worker.status(token) == status:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"still {await worker.status(token)}, not {status}")


async def refused_everywhere(token: str, *workers: Worker) -> None:
    for worker in workers:
        await eventually_answers(worker, token, 401)
