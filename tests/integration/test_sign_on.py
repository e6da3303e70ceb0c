"""Single sign-on over HTTP, with providers that are honest and ones that are not; on SQLite and on PostgreSQL."""

import contextlib
import re
import time
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from sqlalchemy import insert, select, update

from polyforge.database.database import Database
from polyforge.kernel.clock import SystemClock
from polyforge.kernel.hidden import Hidden
from polyforge.server.authentication import Authentication
from polyforge.server.browser import Browser
from polyforge.server.well_known import WellKnown
from polyforge.tenancy.audit.tables import audit_events
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID
from polyforge.tenancy.key_cache import KeyCache
from polyforge.tenancy.people.attempts import Attempts
from polyforge.tenancy.people.callers import Principals
from polyforge.tenancy.people.cookies import CsrfKey, SessionCookie
from polyforge.tenancy.people.sessions import Sessions
from polyforge.tenancy.people.sign_on import service as sign_on_service
from polyforge.tenancy.people.sign_on.accounts import SignOnAccounts
from polyforge.tenancy.people.sign_on.api import router
from polyforge.tenancy.people.sign_on.provider import Provider
from polyforge.tenancy.people.sign_on.service import SignOnCookie, SignOnService, callback_of
from polyforge.tenancy.people.sign_on.settings import IdentityProviderSettings
from polyforge.tenancy.people.tables import group_members, groups, identities, memberships, sign_ons, users
from polyforge.tenancy.people.tokens.callers import TokenCallers
from polyforge.tenancy.people.tokens.signing import SigningKeys
from tests.support.application import application, client_of
from tests.support.identity_provider import CLIENT_ID, CLIENT_SECRET, IdentityProvider, SigningKey
from tests.support.principals import add_user, install_default, membership
from tests.support.recording import MASTER, recorder

SITE = "http://polyforge.test"
START = "/api/v1/auth/sign-on/corp"
with warnings.catch_warnings(record=True):  # it uses what its own library deprecates
    import oidc_provider_mock

ADA = {
    "sub": "ada-1",
    "email": "Ada@Example.org",
    "email_verified": True,
    "name": "Ada\u0000 Lovelace",
    "groups": ["devs"],
}
KEY, OTHER_KEY = SigningKey("first"), SigningKey("second")


class MovableClock(SystemClock):
    """The machine's clock, some seconds ahead."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:  # type: ignore[override]
        return time.time() + self.ahead

    def monotonic(self) -> float:  # type: ignore[override]
        return time.monotonic() + self.ahead


class Secrets:
    """Secrets that are kept elsewhere."""

    def value(self, name: str) -> Hidden:
        return Hidden({"corp": CLIENT_SECRET}[name])

    def watch(self, name: str, changed: object) -> Any:
        assert name == "corp"
        return lambda: None


class House:
    """The application with providers; `browser` keeps cookies as browsers do."""

    def __init__(self, database: Database, clock: MovableClock, settings: dict[str, IdentityProviderSettings]) -> None:
        told, principals = recorder(clock), Principals(database)
        self.sessions = Sessions(database, clock, principals, told)
        providers = {name: Provider(name, chosen, callback_of(SITE, name), clock) for name, chosen in settings.items()}
        accounts = SignOnAccounts(database, clock, told)
        self.service = SignOnService(database, clock, providers, accounts, self.sessions, Attempts(database, clock))
        keys = SigningKeys(database, clock, MASTER, told)
        callers = TokenCallers(database, clock, keys, principals, SITE)
        cookie = SessionCookie(secure=False)
        browser = Browser(self.sessions, cookie, CsrfKey(MASTER), site=SITE, tls=False, behind_proxy=False)
        authentication = Authentication(KeyCache(database, clock), callers, browser, behind_proxy=False)
        routers = [router(self.service, cookie, SignOnCookie(secure=False))]
        self.app = application(routers, authentication, WellKnown(keys, SITE))
        self.browser = client_of(self.app, SITE)
        self.database = database

    async def begin(self, return_to: str = "/home", start: str = START) -> str:
        """Where the browser is sent to."""
        answer = await self.browser.get(start, params={"return_to": return_to})
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    async def come_back(self, back: dict[str, str], start: str = START) -> httpx.Response:
        return await self.browser.get(f"{start}/callback", params=back)

    async def sign_in(self, provider: IdentityProvider, status: int = 303) -> httpx.Response:
        """All the way there and back."""
        answer = await self.come_back(provider.visit(await self.begin()))
        assert answer.status_code == status, answer.text
        return answer

    async def email(self) -> str:
        """Who the browser's session is."""
        found = await self.sessions.authenticate(self.browser.cookies["polyforge_session"], None)
        return found.caller.key_name

    async def rows(self, table: Any) -> list[dict[str, Any]]:
        async with self.database.read() as session:
            return [dict(row) for row in await session.all(select(table))]


def declared(issuer: str, **more: Any) -> IdentityProviderSettings:
    values: dict[str, Any] = {
        "issuer": issuer,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "groups_claim": "groups",
        "roles": {"devs": "developer", "leads": "admin"},
        **more,
    }
    return IdentityProviderSettings(**values)


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    with IdentityProvider(KEY) as started:
        started.person = dict(ADA)
        yield started


@contextlib.asynccontextmanager
async def housed(
    database: Database, clock: MovableClock, **settings: IdentityProviderSettings
) -> AsyncGenerator[House]:
    await install_default(database, clock)
    house = House(database, clock, settings)
    await house.service.open(Secrets())
    yield house
    await house.browser.aclose()
    await house.service.close()


@pytest.fixture
async def house(database: Database, clock: MovableClock, provider: IdentityProvider) -> AsyncIterator[House]:
    async with housed(database, clock, corp=declared(provider.issuer)) as made:
        yield made


# --- the good way ---


async def test_somebody_new_signs_in_and_gets_an_account_with_the_roles_of_their_groups(
    house: House, provider: IdentityProvider
) -> None:
    answer = await house.sign_in(provider)
    assert answer.headers["location"] == "/home"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert await house.email() == "ada@example.org"
    assert "polyforge_sign_on" not in house.browser.cookies
    (user,) = await house.rows(users)
    assert (user["name"], user["password"], user["operator"]) == ("Ada Lovelace", None, False)
    assert user["verified_at"] is not None
    (group,) = await house.rows(groups)
    assert (group["name"], group["external"]) == ("corp/devs", "corp/devs")
    assert [row["role"] for row in await house.rows(memberships)] == ["developer"]
    actions = [row["action"] for row in await house.rows(audit_events)]
    assert actions == [
        "user.created",
        "identity.linked",
        "group.created",
        "membership.created",
        "group.joined",
        "session.began",
    ]


async def test_the_second_sign_in_is_the_same_user_and_changes_nothing(
    house: House, provider: IdentityProvider
) -> None:
    await house.sign_in(provider)
    provider.person.update(email="renamed@example.org", email_verified=False)
    await house.sign_in(provider)
    assert await house.email() == "ada@example.org"
    assert len(await house.rows(users)) == len(await house.rows(identities)) == 1
    assert [row["action"] for row in await house.rows(audit_events)][-2:] == ["session.began", "session.began"]


async def test_groups_follow_the_providers_word(house: House, provider: IdentityProvider) -> None:
    await house.sign_in(provider)
    provider.person["groups"] = ["leads", "unknown", 7, "x" * 500]
    await house.sign_in(provider)
    found = await house.sessions.authenticate(house.browser.cookies["polyforge_session"], None)
    assert found.caller.may("members:write")
    names = {group["id"]: group["name"] for group in await house.rows(groups)}
    assert [names[row["group_id"]] for row in await house.rows(group_members)] == ["corp/leads"]
    del provider.person["groups"]
    refused = await house.sign_in(provider, 403)
    assert "no role" in refused.json()["detail"]
    assert await house.rows(group_members) == []


async def test_a_role_that_the_settings_change_changes(
    database: Database, clock: MovableClock, house: House, provider: IdentityProvider
) -> None:
    await house.sign_in(provider)
    async with housed(database, clock, corp=declared(provider.issuer, roles={"devs": "viewer"})) as later:
        await later.sign_in(provider)
        assert [row["role"] for row in await later.rows(memberships)] == ["viewer"]


async def test_following_groups_takes_no_organization_its_last_owner(
    database: Database, clock: MovableClock, provider: IdentityProvider
) -> None:
    """Neither by a group that they are no longer in, nor by a role that the settings took from it."""
    owning = declared(provider.issuer, roles={"devs": "viewer", "leads": "owner"})
    async with housed(database, clock, corp=owning) as house:
        provider.person["groups"] = ["leads"]
        await house.sign_in(provider)
        provider.person["groups"] = ["devs"]
        assert "without an owner" in (await house.sign_in(provider, 409)).json()["detail"]
        provider.person["groups"] = ["leads"]
    async with housed(database, clock, corp=declared(provider.issuer, roles={"leads": "admin"})) as house:
        assert "without an owner" in (await house.sign_in(provider, 409)).json()["detail"]
        assert [row["role"] for row in await house.rows(memberships)] == ["owner"]
        heir = await add_user(database, clock.now(), email="heir@example.org", role="owner")
        await house.sign_in(provider)
        held = {row["principal_id"] == heir.id: row["role"] for row in await house.rows(memberships)}
        assert held == {True: "owner", False: "admin"}
    async with housed(database, clock, corp=owning) as house:
        provider.person["groups"] = ["devs"]
        await house.sign_in(provider)
        names = {group["id"]: group["name"] for group in await house.rows(groups)}
        assert [names[row["group_id"]] for row in await house.rows(group_members)] == ["corp/devs"]


async def test_one_provider_moves_nobody_in_the_groups_of_another(
    database: Database, clock: MovableClock, provider: IdentityProvider
) -> None:
    with IdentityProvider(OTHER_KEY) as partner:
        corp, other = declared(provider.issuer), declared(partner.issuer, roles={})
        async with housed(database, clock, corp=corp, partner=other) as house:
            await house.sign_in(provider)
            partner.person = {**ADA, "groups": ["devs", "leads", "corp/leads"]}
            start = "/api/v1/auth/sign-on/partner"
            answer = await house.come_back(partner.visit(await house.begin(start=start)), start)
            assert answer.status_code == 303
            assert [group["name"] for group in await house.rows(groups)] == ["corp/devs"]
            assert len(await house.rows(group_members)) == 1


@pytest.mark.parametrize("methods", [["client_secret_post"], ["client_secret_basic"], ["private_key_jwt"]])
async def test_the_client_says_who_it_is_as_the_provider_wants_it(
    database: Database, clock: MovableClock, provider: IdentityProvider, methods: list[str]
) -> None:
    provider.described["token_endpoint_auth_methods_supported"] = methods
    settings = declared(provider.issuer, client_secret="secret:corp")
    async with housed(database, clock, corp=settings) as house:
        await house.sign_in(provider)


async def test_the_sign_in_page_learns_what_there_is(house: House) -> None:
    answer = await house.browser.get("/api/v1/auth/providers")
    assert answer.json() == {"data": [{"name": "corp", "label": "corp", "start": START}]}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_real_provider(database: Database, clock: MovableClock) -> None:
    person = oidc_provider_mock.User(
        sub="grace", claims={"email": "grace@example.org", "email_verified": True, "teams": "devs"}
    )
    with oidc_provider_mock.run_server_in_thread(require_nonce=True, user_claims=[person]) as server:
        settings = declared(f"http://localhost:{server.server_port}", groups_claim="teams")
        async with housed(database, clock, corp=settings) as house:
            address = await house.begin()
            async with httpx.AsyncClient() as browser:
                answer = await browser.post(address, data={"sub": "grace"})
            assert answer.status_code == 302
            query = parse_qs(urlsplit(answer.headers["location"]).query)
            back = await house.come_back({name: values[0] for name, values in query.items()})
            assert (back.status_code, back.headers["location"]) == (303, "/home")
            assert await house.email() == "grace@example.org"


# --- whose account it is ---


async def test_a_verified_address_finds_the_account_that_has_it(
    house: House, provider: IdentityProvider, database: Database
) -> None:
    user = await add_user(database, 1.0)
    await house.sign_in(provider)
    assert [row["user_id"] for row in await house.rows(identities)] == [user.id]
    assert len(await house.rows(users)) == 1


async def test_an_unverified_address_finds_no_account_and_makes_none(
    house: House, provider: IdentityProvider, database: Database
) -> None:
    await add_user(database, 1.0)
    provider.person["email_verified"] = False
    await house.sign_in(provider, 403)
    assert await house.rows(identities) == []
    assert len(await house.rows(users)) == 1


async def test_an_account_whose_owner_never_verified_the_address_is_not_linked(
    house: House, provider: IdentityProvider, database: Database
) -> None:
    """Otherwise whoever made it first would share it, with the password that they set."""
    await add_user(database, 1.0, verified_at=None)
    await house.sign_in(provider, 409)
    assert await house.rows(identities) == []


async def test_an_address_that_was_given_to_somebody_else_is_not_their_predecessors_account(
    house: House, provider: IdentityProvider
) -> None:
    await house.sign_in(provider)
    provider.person["sub"] = "ada-2"
    await house.sign_in(provider, 409)
    assert len(await house.rows(identities)) == 1


async def test_a_disabled_user_does_not_get_in(house: House, provider: IdentityProvider, database: Database) -> None:
    await house.sign_in(provider)
    async with database.write() as session:
        await session.change(update(users).values(disabled_at=1.0))
    await house.sign_in(provider, 403)


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({"allowed_domains": ["example.org"]}, 303),
        ({"allowed_domains": ["example.com"]}, 403),
        ({"allowed_domains": ["ample.org"]}, 403),
        ({"create_users": False}, 403),
    ],
)
async def test_the_settings_say_who_may_come(
    database: Database, clock: MovableClock, provider: IdentityProvider, settings: dict[str, Any], status: int
) -> None:
    async with housed(database, clock, corp=declared(provider.issuer, **settings)) as house:
        await house.sign_in(provider, status)
        assert len(await house.rows(users)) == (status == 303)


async def test_without_new_users_the_known_ones_come(
    database: Database, clock: MovableClock, provider: IdentityProvider
) -> None:
    async with housed(database, clock, corp=declared(provider.issuer, create_users=False)) as house:
        await add_user(database, 1.0)
        await house.sign_in(provider)


async def test_a_group_that_follows_nobody_is_not_taken_over(
    house: House, provider: IdentityProvider, database: Database
) -> None:
    row = {"id": "0" * 26, "organization_id": DEFAULT_ORGANIZATION_ID, "name": "corp/devs", "created_at": 1.0}
    async with database.write() as session:
        await session.change(insert(groups).values(row))
        await session.change(insert(memberships).values(membership("0" * 26, "owner", 1.0, "group")))
    await house.sign_in(provider, 409)
    assert await house.rows(group_members) == await house.rows(users) == []


# --- the way back is believed once, from one browser ---


async def test_a_state_works_once(house: House, provider: IdentityProvider) -> None:
    address = await house.begin()
    cookie = house.browser.cookies["polyforge_sign_on"]
    assert (await house.come_back(provider.visit(address))).status_code == 303
    house.browser.cookies.set("polyforge_sign_on", cookie)
    again = await house.come_back(provider.visit(address))
    assert (again.status_code, "set-cookie" in again.headers) == (400, False)
    assert "/token" not in provider.calls[provider.calls.index("/token") + 1 :]


async def test_a_failed_return_uses_the_state_up(house: House, provider: IdentityProvider) -> None:
    address = await house.begin()
    back = provider.visit(address)
    assert (await house.come_back({**back, "code": "wrong"})).status_code == 403
    assert (await house.come_back(back)).status_code == 400


async def test_another_browser_cannot_finish(house: House, provider: IdentityProvider) -> None:
    """Login CSRF: the attacker's own code and state, in the victim's browser."""
    back = provider.visit(await house.begin())
    victim = client_of(house.app, SITE)
    assert (await victim.get(f"{START}/callback", params=back)).status_code == 400
    await victim.get(START)
    assert (await victim.get(f"{START}/callback", params=back)).status_code == 400
    await victim.aclose()


async def test_a_browser_that_cannot_be_signed_in_lands_on_the_sign_in_page(
    house: House, provider: IdentityProvider
) -> None:
    """What others get as a problem: here somebody looks at the screen."""
    house.browser.headers["accept"] = "text/html,application/xhtml+xml,*/*;q=0.8"

    async def told(back: dict[str, str]) -> str:
        answer = await house.come_back(back)
        assert (answer.status_code, answer.headers["cache-control"]) == (303, "no-store")
        assert "polyforge_session" not in house.browser.cookies
        return answer.headers["location"]

    back = provider.visit(await house.begin())
    assert await told({"state": back["state"], "error": "access_denied"}) == "/sign-in?error=sign_on_refused"
    assert await told(back) == "/sign-in?error=sign_on_over"
    provider.person["groups"] = []
    assert await told(provider.visit(await house.begin())) == "/sign-in?error=no_role"
    unknown = await house.browser.get("/api/v1/auth/sign-on/nobody")
    assert (unknown.status_code, unknown.headers["location"]) == (303, "/sign-in?error=not_found")
    away = await house.browser.get(START, params={"return_to": "//evil.example"})
    assert away.headers["location"] == "/sign-in?error=invalid_request"


@pytest.mark.parametrize("missing", ["state", "code"])
async def test_nothing_may_be_missing(house: House, provider: IdentityProvider, missing: str) -> None:
    back = provider.visit(await house.begin())
    del back[missing]
    assert (await house.come_back(back)).status_code in (400, 403)
    assert "/token" not in provider.calls


async def test_a_state_does_not_outlive_its_minutes(
    house: House, provider: IdentityProvider, clock: MovableClock
) -> None:
    address = await house.begin()
    clock.ahead = 601
    assert (await house.come_back(provider.visit(address))).status_code == 400


async def test_sign_ons_that_nobody_finished_are_forgotten(house: House, clock: MovableClock) -> None:
    await house.begin()
    await house.begin()
    clock.ahead = 2 * 86_400
    await house.begin()
    assert len(await house.rows(sign_ons)) == 1


async def test_a_state_is_for_one_provider(database: Database, clock: MovableClock, provider: IdentityProvider) -> None:
    async with housed(database, clock, corp=declared(provider.issuer), two=declared(provider.issuer)) as house:
        back = provider.visit(await house.begin())
        assert (await house.come_back(back, "/api/v1/auth/sign-on/two")).status_code == 400


async def test_an_answer_of_another_issuer_is_refused(house: House, provider: IdentityProvider) -> None:
    back = provider.visit(await house.begin())
    assert (await house.come_back({**back, "iss": "https://evil.test"})).status_code == 502
    back = provider.visit(await house.begin())
    assert (await house.come_back({**back, "iss": provider.issuer})).status_code == 303


async def test_who_says_that_it_names_itself_has_to(house: House, provider: IdentityProvider) -> None:
    provider.described["authorization_response_iss_parameter_supported"] = True
    await house.sign_in(provider, 502)


async def test_an_error_of_the_provider_is_told_without_its_words(house: House, provider: IdentityProvider) -> None:
    back = provider.visit(await house.begin())
    answer = await house.come_back({"state": back["state"], "error": "<script>"})
    assert answer.status_code == 403
    assert "script" not in answer.text


async def test_what_is_kept_of_a_sign_on_does_not_finish_it(house: House, provider: IdentityProvider) -> None:
    address = await house.begin()
    (row,) = await house.rows(sign_ons)
    state = parse_qs(urlsplit(address).query)["state"][0]
    assert state not in str(row)
    assert row["verifier"] not in address


async def test_the_verifier_is_the_one_of_the_challenge(
    house: House, provider: IdentityProvider, database: Database
) -> None:
    """A code that somebody caught is of no use without it: the provider itself refuses."""
    address = await house.begin()
    async with database.write() as session:
        await session.change(update(sign_ons).values(verifier="a" * 43))
    assert (await house.come_back(provider.visit(address))).status_code == 403


@pytest.mark.parametrize(
    "goal",
    [
        "https://evil.test/",
        "//evil.test/",
        "/\\evil.test/",
        "\\\\evil.test/",
        "/\t/evil.test",
        "/\n/evil.test",
        " //evil.test",
        "javascript:alert(1)",
        "evil.test",
        "",
        "/a\\b",
        "/" + "a" * 600,
        "/ü",
    ],
)
async def test_people_are_sent_nowhere_else(house: House, goal: str) -> None:
    answer = await house.browser.get(START, params={"return_to": goal})
    assert answer.status_code in (400, 422), answer.headers.get("location")
    assert "location" not in answer.headers


@pytest.mark.parametrize("goal", ["/", "/a/b?c=d&e=%2F%2Fx#f", "/.well-known/x", "/a//b"])
async def test_people_come_back_to_where_they_were(house: House, provider: IdentityProvider, goal: str) -> None:
    answer = await house.come_back(provider.visit(await house.begin(goal)))
    assert answer.headers["location"] == goal


async def test_an_unknown_provider_does_not_exist(house: House) -> None:
    assert (await house.browser.get("/api/v1/auth/sign-on/nobody")).status_code == 404
    assert (await house.browser.get("/api/v1/auth/sign-on/nobody/callback")).status_code == 404


async def test_beginning_is_limited(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_on_service, "_BEGUN_PER_NETWORK", 3)
    for _ in range(3):
        await house.begin()
    assert (await house.browser.get(START)).status_code == 429
    assert len(await house.rows(sign_ons)) == 3


async def test_the_cookies_are_bound_to_the_browser_and_to_tls(house: House, provider: IdentityProvider) -> None:
    answer = await house.browser.get(START)
    rules = "Path=/; HttpOnly; SameSite=Lax"
    assert re.fullmatch(rf"polyforge_sign_on=[\w-]{{43}}; Max-Age=600; {rules}", answer.headers["set-cookie"])
    assert SignOnCookie(secure=True).issued("x", 1) == f"__Host-polyforge_sign_on=x; Max-Age=1; {rules}; Secure"


# --- what a provider says is checked ---


async def test_a_forged_token_leaves_nothing_behind(house: House, provider: IdentityProvider) -> None:
    provider.forge = lambda claims: KEY.sign({**claims, "nonce": "replayed"})
    answer = await house.sign_in(provider, 502)
    assert "polyforge_session" not in house.browser.cookies
    assert "set-cookie" not in answer.headers
    assert await house.rows(users) == []


async def test_a_provider_that_is_down_is_not_ours_to_be_down(house: House, provider: IdentityProvider) -> None:
    provider.__exit__()
    assert (await house.browser.get(START)).status_code == 503
    assert (await house.browser.get("/api/v1/auth/providers")).status_code == 200
