"""Signing in, sessions, second factors and links, with the attacks on each; on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pyotp.totp import TOTP
from sqlalchemy import select

from polyforge.database.database import Database
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import WrongCredentials
from polyforge.kernel.sizes import NAME_LENGTH
from polyforge.tenancy.audit.tables import audit_events
from polyforge.tenancy.callers import Origin
from polyforge.tenancy.people.passwords import Argon2Profile, Passwords
from polyforge.tenancy.people.records import hash_of
from polyforge.tenancy.people.sign_in import (
    MAX_CODES_PER_ACCOUNT,
    MAX_PER_ACCOUNT,
    MAX_PER_ACCOUNT_AND_ADDRESS,
    MAX_PER_ADDRESS,
)
from polyforge.tenancy.people.store import SystemUserEditor, SystemUserStore
from polyforge.tenancy.people.tables import sessions, users
from tests.support.databases import Place
from tests.support.people import HOST, OTHER_PASSWORD, PASSWORD, SITE, House, house
from tests.unit.tenancy.samples import NOW

ANN, BEN = "ann@example.org", "ben@example.org"
HOUR, DAY = 3_600, 86_400


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
async def home(database: Database, clock: FakeClock, place: Place) -> AsyncIterator[House]:
    async with house(database, clock, place.data) as made:
        await made.user(ANN)
        yield made


async def rows(database: Database, table: Any) -> list[Any]:
    async with database.read() as session:
        return list(await session.all(select(table)))


# --- the first user ---


async def test_the_first_user_operates_the_installation_and_owns_the_default_organization(home: House) -> None:
    ann = await home.visitor().sign_in(ANN)
    me = await ann("GET", "/me", 200)
    assert me["user"]["operator"] is me["user"]["verified"] is True
    assert {"organization:write", "keys:write", "settings:write", "users:write"} <= set(me["permissions"])
    second = await home.user(BEN)
    assert second["operator"] is second["verified"] is False
    ben = await home.visitor().sign_in(BEN)
    assert (await ben("GET", "/me", 200))["permissions"] == []
    await ben("GET", "/keys", 403)


async def test_a_password_is_kept_as_argon2id_only(home: House, database: Database) -> None:
    (row,) = await rows(database, users)
    assert row["password"].startswith("$argon2id$v=19$")
    assert PASSWORD not in str(dict(row))


@pytest.mark.parametrize("password", ["short", "password1234", "ann@example.org", "x" * 12, "ann.ann.ann.2024!"])
async def test_a_weak_password_is_refused(home: House, password: str) -> None:
    refused = await home.admin(
        "POST", "/users", 400, {"email": "ann2@example.org", "name": "ann", "password": password}
    )
    assert refused["param"] == "password"


@pytest.mark.parametrize("email", ["nobody", "a@b@c", "ä@example.org", "a b@c.org", "a@c..org", "a@c.org\nbcc: d@e.f"])
async def test_what_is_no_address_is_refused(home: House, email: str) -> None:
    await home.admin("POST", "/users", 400, {"email": email, "name": "n", "password": PASSWORD})


async def test_an_address_is_one_account_in_whatever_case(home: House) -> None:
    await home.admin("POST", "/users", 409, {"email": "ANN@Example.org", "name": "n", "password": PASSWORD})
    await home.visitor().sign_in(" Ann@EXAMPLE.org ")


async def test_the_longest_address_signs_in(home: House, database: Database) -> None:
    """It is longer than names are, which PostgreSQL minds."""
    longest = f"{'a' * 64}@{'b' * 63}.{'c' * 63}.{'d' * 57}.org"
    assert len(longest) == 254
    await home.user(longest)
    visitor = await home.visitor().sign_in(longest)
    await visitor("PATCH", "/me", 200, {"name": "long"})
    renamed = next(each for each in await rows(database, audit_events) if each["action"] == "user.renamed")
    assert renamed["actor_name"] == longest[:NAME_LENGTH]


async def test_two_who_make_the_same_account_at_once_are_told_so(
    home: House, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nobody_yet(_: SystemUserEditor, __: str) -> None:
        """What the second of them sees before the first has committed."""

    monkeypatch.setattr(SystemUserEditor, "by_email", nobody_yet)
    await home.admin("POST", "/users", 409, {"email": ANN, "name": "n", "password": PASSWORD})


async def test_a_sign_in_that_a_new_password_overtook_begins_no_session(home: House, database: Database) -> None:
    async with database.read() as session:
        verified = await SystemUserStore(session).by_email(ANN)
    assert verified is not None
    await home.visitor()("POST", "/auth/password-reset", 202, {"email": ANN})
    link = {"token": await home.letter(ANN), "password": OTHER_PASSWORD}
    await home.visitor()("POST", "/auth/password-reset/finish", 204, link)
    with pytest.raises(WrongCredentials):
        await home.people.sessions.begin(verified, Origin("192.0.2.1"), "password")
    assert await rows(database, sessions) == []


# --- sessions ---


async def test_a_session_is_a_random_cookie_of_which_only_the_hash_is_kept(home: House, database: Database) -> None:
    ann = home.visitor()
    answer = await ann.raw("POST", "/auth/sign-in", {"email": ANN, "password": PASSWORD})
    header = answer.headers["set-cookie"]
    assert header.startswith("polyforge_session=")
    assert {"Path=/", "HttpOnly", "SameSite=Lax"} <= {part.strip() for part in header.split(";")}
    assert "Secure" not in header
    assert answer.json() == {"second_factor": None}
    (row,) = await rows(database, sessions)
    assert ann.cookie is not None
    assert row["hash"] == hash_of(ann.cookie)
    assert ann.cookie not in str(dict(row))


async def test_over_tls_the_cookie_is_bound_to_the_host(database: Database, clock: FakeClock, place: Place) -> None:
    async with house(database, clock, place.data, behind_proxy=True) as home:
        await home.user(ANN)
        answer = await home.visitor().raw("POST", "/auth/sign-in", {"email": ANN, "password": PASSWORD})
        header = answer.headers["set-cookie"]
        assert header.startswith("__Host-polyforge_session=")
        assert "Secure" in header
        token = header.partition("=")[2].partition(";")[0]
        plain = await home.visitor().raw("GET", "/me", headers={"cookie": f"polyforge_session={token}"})
        assert plain.status_code == 401
        bound = await home.visitor().raw("GET", "/me", headers={"cookie": f"__Host-polyforge_session={token}"})
        assert bound.status_code == 200


async def test_signing_in_makes_a_new_session_whatever_cookie_was_there(home: House) -> None:
    planted = "A" * 43
    ann = home.visitor()
    ann.client.cookies.set("polyforge_session", planted, domain="forge.test")
    await ann("POST", "/auth/sign-in", 200, {"email": ANN, "password": PASSWORD})
    fixed = await home.visitor().raw("GET", "/me", headers={"cookie": f"polyforge_session={planted}"})
    assert fixed.status_code == 401
    first = await home.visitor().sign_in(ANN)
    before = first.cookie
    await first.sign_in(ANN)
    assert first.cookie != before


async def test_two_session_cookies_are_none(home: House) -> None:
    ann = await home.visitor().sign_in(ANN)
    twice = f"polyforge_session={ann.cookie}; polyforge_session={'B' * 43}"
    assert (await home.visitor().raw("GET", "/me", headers={"cookie": twice})).status_code == 401


async def test_a_session_ends_after_half_a_day_without_use_and_after_thirty_days(home: House, clock: FakeClock) -> None:
    ann, idle = await home.visitor().sign_in(ANN), await home.visitor().sign_in(ANN)
    for _ in range(60):
        clock.advance(11.9 * HOUR)
        await ann("GET", "/me", 200)
    assert (await idle.raw("GET", "/me")).status_code == 401
    clock.advance(6 * HOUR)
    assert (await ann.raw("GET", "/me")).status_code == 401


async def test_sessions_are_listed_and_ended_one_by_one_and_all_at_once(home: House, place: Place) -> None:
    other = House(place.database(), home.clock, place.data, home.admin_key)
    await other.database.open()
    async with other.opened():
        here, there = await home.visitor().sign_in(ANN), await other.visitor("198.51.100.7").sign_in(ANN)
        listed = (await here("GET", "/me/sessions", 200))["data"]
        assert [(each["address"], each["current"]) for each in listed] == [("198.51.100.7", False), ("192.0.2.1", True)]
        await here("DELETE", f"/me/sessions/{listed[0]['id']}", 204)
        await here("DELETE", f"/me/sessions/{listed[0]['id']}", 404)
        await there("GET", "/me", 401)
        await there.sign_in(ANN)
        assert await here("POST", "/me/sign-out-everywhere", 200) == {"sessions": 2}
        await here("GET", "/me", 401)
        await there("GET", "/me", 401)
    await other.database.close()


async def test_nobody_sees_or_ends_the_sessions_of_others(home: House) -> None:
    await home.user(BEN, "viewer")
    ann, ben = await home.visitor().sign_in(ANN), await home.visitor().sign_in(BEN)
    theirs = (await ann("GET", "/me/sessions", 200))["data"][0]["id"]
    assert theirs not in str(await ben("GET", "/me/sessions", 200))
    await ben("DELETE", f"/me/sessions/{theirs}", 404)
    await ann("GET", "/me", 200)


async def test_signing_out_ends_the_session_not_just_the_cookie(home: House) -> None:
    ann = await home.visitor().sign_in(ANN)
    stolen = ann.cookie
    await ann("POST", "/me/sign-out", 204)
    assert ann.cookie is None
    assert (
        await home.visitor().raw("GET", "/me", headers={"cookie": f"polyforge_session={stolen}"})
    ).status_code == 401


async def test_a_disabled_user_is_out_in_every_worker_at_the_next_request(home: House, place: Place) -> None:
    ben_id = (await home.user(BEN, "developer"))["id"]
    other = House(place.database(), home.clock, place.data, home.admin_key)
    await other.database.open()
    async with other.opened():
        ben = await other.visitor().sign_in(BEN)
        ann = await home.visitor().sign_in(ANN)
        await ann("POST", f"/users/{ben_id}/disable", 200)
        await ben("GET", "/me", 401)
        await ben("POST", "/auth/sign-in", 401, {"email": BEN, "password": PASSWORD})
        await ann("POST", f"/users/{ben_id}/enable", 200)
        await ben("GET", "/me", 401)
        await ben.sign_in(BEN)
    await other.database.close()


async def test_the_cookie_counts_under_api_only(home: House) -> None:
    ann = await home.visitor().sign_in(ANN)
    assert (await ann.client.get("/api/v1/me")).status_code == 200
    assert (await ann.client.get("/v1/models")).status_code == 401


async def test_a_session_works_in_a_chosen_project_and_only_in_ones_own(home: House) -> None:
    ann = await home.visitor().sign_in(ANN)
    here = (await ann("GET", "/me", 200))["project_id"]
    other = (await ann("POST", "/projects", 201, {"name": "second"}))["id"]
    assert {each["id"] for each in (await ann("GET", "/me/projects", 200))["data"]} == {here, other}
    assert (await ann("GET", "/me", 200, **{"x-polyforge-project": other}))["project_id"] == other
    assert (await ann("GET", "/me", 200))["project_id"] == here
    await ann("PUT", "/me/project", 204, {"project_id": other})
    assert (await ann("GET", "/me", 200))["project_id"] == other
    await home.user(BEN, "viewer")
    organization = await ann("POST", "/organizations", 201, {"name": "elsewhere"})
    foreign = next(
        each["id"]
        for each in (await ann("GET", "/me/projects", 200))["data"]
        if each["organization_id"] == organization["id"]
    )
    ben = await home.visitor().sign_in(BEN)
    absent = await ben("PUT", "/me/project", 404, {"project_id": "0" * 26})
    hidden = await ben("PUT", "/me/project", 404, {"project_id": foreign})
    assert absent["detail"] == hidden["detail"]
    await ben("GET", "/me", 404, **{"x-polyforge-project": foreign})
    await ben("GET", "/me", 404, **{"x-polyforge-project": "%00"})


# --- guessing ---


async def test_a_stranger_and_a_wrong_password_get_the_same_answer_after_the_same_work(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked: list[str] = []
    matches = home.people.passwords._matches
    monkeypatch.setattr(
        home.people.passwords, "_matches", lambda kept, password: (worked.append(kept), matches(kept, password))[1]
    )
    ben = await home.user(BEN)
    await home.admin("POST", f"/users/{ben['id']}/disable", 200)
    guesses = (
        {"email": ANN, "password": "wrong"},
        {"email": "x@y.z", "password": "wrong"},
        {"email": BEN, "password": PASSWORD},
    )
    answers = [await home.visitor().raw("POST", "/auth/sign-in", guess) for guess in guesses]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.json()["detail"] for answer in answers}) == 1
    assert len({tuple(sorted(set(answer.headers) - {"x-request-id"})) for answer in answers}) == 1
    costs = {kept.rpartition("$")[0].rpartition("$")[0] for kept in worked}
    assert len(worked) == 3
    assert costs == {"$argon2id$v=19$m=8,t=1,p=1"}


async def test_guessing_is_stopped_across_workers_and_restarts(home: House, place: Place, clock: FakeClock) -> None:
    wrong, right = {"email": ANN, "password": "wrong"}, {"email": ANN, "password": PASSWORD}
    guesser = home.visitor()
    for _ in range(MAX_PER_ACCOUNT_AND_ADDRESS):
        await guesser("POST", "/auth/sign-in", 401, wrong)
    other = House(place.database(), clock, place.data, home.admin_key)
    await other.database.open()
    async with other.opened():
        answer = await other.visitor().raw("POST", "/auth/sign-in", right)
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 900
        await other.visitor("198.51.100.7").sign_in(ANN)
        clock.advance(800)
        await guesser("POST", "/auth/sign-in", 429, right)
        clock.advance(101)
        await guesser("POST", "/auth/sign-in", 200, right)
    await other.database.close()


async def test_guesses_at_once_get_no_more_tries(home: House) -> None:
    tried = [home.visitor().raw("POST", "/auth/sign-in", {"email": ANN, "password": "wrong"}) for _ in range(20)]
    statuses = [answer.status_code for answer in await asyncio.gather(*tried)]
    assert sorted(set(statuses)) == [401, 429]
    assert statuses.count(401) <= MAX_PER_ACCOUNT_AND_ADDRESS


async def test_success_takes_its_attempt_back(home: House) -> None:
    for _ in range(3 * MAX_PER_ACCOUNT_AND_ADDRESS):
        await home.visitor().sign_in(ANN)
    for _ in range(4):
        for _ in range(MAX_PER_ACCOUNT_AND_ADDRESS - 1):
            await home.visitor()("POST", "/auth/sign-in", 401, {"email": ANN, "password": "wrong"})
        await home.visitor().sign_in(ANN)


async def test_one_address_cannot_try_many_accounts(home: House) -> None:
    statuses = [
        (await home.visitor().raw("POST", "/auth/sign-in", {"email": f"u{n}@x.org", "password": "wrong"})).status_code
        for n in range(MAX_PER_ADDRESS + 2)
    ]
    assert statuses == [401] * MAX_PER_ADDRESS + [429] * 2


async def test_many_addresses_cannot_lock_an_owner_out_of_where_they_sign_in(home: House) -> None:
    await home.visitor("192.0.2.99").sign_in(ANN)
    for number in range(MAX_PER_ACCOUNT):
        guesser = home.visitor(f"198.51.{number // 200}.{number % 200}")
        await guesser("POST", "/auth/sign-in", 401, {"email": ANN, "password": "wrong"})
    await home.visitor("203.0.113.1")("POST", "/auth/sign-in", 429, {"email": ANN, "password": PASSWORD})
    await home.visitor("192.0.2.99").sign_in(ANN)


async def test_the_lock_is_in_the_audit_log(home: House, database: Database) -> None:
    for _ in range(MAX_PER_ACCOUNT_AND_ADDRESS + 3):
        await home.visitor().raw("POST", "/auth/sign-in", {"email": ANN, "password": "wrong"})
    locks = [row for row in await rows(database, audit_events) if row["action"] == "sign_in.locked"]
    assert [(row["resource_id"], row["address"]) for row in locks] == [(ANN, "192.0.2.1")]


# --- other sites ---


async def test_a_change_with_the_cookie_needs_our_origin_and_our_proof(home: House) -> None:
    ann = await home.visitor().sign_in(ANN)
    body, proof = {"name": "anna"}, {"x-polyforge-csrf": ann.csrf}
    refused: tuple[dict[str, str | bytes], ...] = (
        {},
        {"origin": HOST},
        proof,
        {"origin": "http://evil.test", **proof},
        {"origin": "null", **proof},
        {"origin": HOST.replace("http:", "https:"), **proof},
        {"origin": f"{HOST}.evil.test", **proof},
        {"sec-fetch-site": "cross-site", **proof},
        {"sec-fetch-site": "same-site", **proof},
        {"sec-fetch-site": "none", **proof},
        {"origin": HOST, "x-polyforge-csrf": ""},
        {"origin": HOST, "x-polyforge-csrf": "é".encode()},
        {"origin": HOST, "x-polyforge-csrf": ann.csrf[:-1] + ("0" if ann.csrf[-1] != "0" else "1")},
    )
    for headers in refused:
        assert (await ann.raw("PATCH", "/me", body, headers)).status_code == 403, headers
    for own in ({"origin": HOST, **proof}, {"sec-fetch-site": "same-origin", **proof}, {"origin": SITE, **proof}):
        assert (await ann.raw("PATCH", "/me", body, own)).status_code == 200, own


async def test_the_proof_of_one_session_is_of_no_use_to_another(home: House) -> None:
    one, other = await home.visitor().sign_in(ANN), await home.visitor().sign_in(ANN)
    assert one.csrf != other.csrf
    answer = await one.raw("PATCH", "/me", {"name": "n"}, {"origin": HOST, "x-polyforge-csrf": other.csrf})
    assert answer.status_code == 403


async def test_another_site_cannot_sign_its_visitors_in(home: House) -> None:
    body = {"email": ANN, "password": PASSWORD}
    for headers in ({"origin": "http://evil.test"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
        assert (await home.visitor().raw("POST", "/auth/sign-in", body, headers)).status_code == 403
    assert (await home.visitor().raw("POST", "/auth/sign-in", body)).status_code == 200


async def test_behind_a_proxy_our_origin_is_what_the_proxy_says(
    database: Database, clock: FakeClock, place: Place
) -> None:
    async with house(database, clock, place.data, behind_proxy=True) as home:
        await home.user(ANN)
        ann = home.visitor()
        signed = await ann.raw("POST", "/auth/sign-in", {"email": ANN, "password": PASSWORD})
        cookie = signed.headers["set-cookie"].partition(";")[0]
        me = await home.visitor().raw("GET", "/me", headers={"cookie": cookie})
        given = {"cookie": cookie, "x-polyforge-csrf": me.json()["csrf"]}
        for scheme, origin, status in (
            ("https", "https://forge.test", 200),
            ("http", "https://forge.test", 403),
            ("https", "http://forge.test", 403),
        ):
            headers = {**given, "x-forwarded-proto": scheme, "origin": origin}
            answer = await home.visitor().raw("PATCH", "/me", {"name": "n"}, headers)
            assert answer.status_code == status, (scheme, origin)


async def test_a_key_needs_no_proof_and_wins_over_the_cookie(home: House) -> None:
    ann = await home.visitor().sign_in(ANN)
    await home.keys.sync()
    headers = {"authorization": f"Bearer {home.admin_key.secret.value}", "origin": "http://evil.test"}
    answer = await ann.raw("POST", "/keys", {"name": "n"}, headers)
    assert answer.status_code == 201


# --- the second factor ---


async def enrolled(home: House, clock: FakeClock) -> tuple[str, list[str]]:
    ann = await home.visitor().sign_in(ANN)
    begun = await ann("POST", "/me/second-factor", 200, {"password": PASSWORD})
    assert begun["uri"].startswith("otpauth://totp/Polyforge:ann%40example.org?secret=")
    wrong = {
        "token": begun["token"],
        "code": "000000" if TOTP(begun["secret"]).at(int(clock.now())) != "000000" else "1",
    }
    await ann("POST", "/me/second-factor/confirm", 401, wrong)
    right = {"token": begun["token"], "code": TOTP(begun["secret"]).at(int(clock.now()))}
    codes = (await ann("POST", "/me/second-factor/confirm", 200, right))["codes"]
    clock.advance(60)
    return begun["secret"], codes


async def test_with_a_second_factor_the_password_alone_opens_nothing(home: House, clock: FakeClock) -> None:
    secret, _ = await enrolled(home, clock)
    ann = home.visitor()
    step = (await ann("POST", "/auth/sign-in", 200, {"email": ANN, "password": PASSWORD}))["second_factor"]
    assert ann.cookie is None
    await ann("GET", "/me", 401)
    code = TOTP(secret).at(int(clock.now()))
    await ann("POST", "/auth/second-factor", 200, {"token": step, "code": code})
    await ann.arrived()


async def test_a_code_and_a_sign_in_work_once(home: House, clock: FakeClock) -> None:
    secret, _ = await enrolled(home, clock)
    password = {"email": ANN, "password": PASSWORD}
    code = TOTP(secret).at(int(clock.now()))
    first = (await home.visitor()("POST", "/auth/sign-in", 200, password))["second_factor"]
    await home.visitor()("POST", "/auth/second-factor", 200, {"token": first, "code": code})
    await home.visitor()("POST", "/auth/second-factor", 401, {"token": first, "code": code})
    second = (await home.visitor()("POST", "/auth/sign-in", 200, password))["second_factor"]
    await home.visitor()("POST", "/auth/second-factor", 401, {"token": second, "code": code})
    earlier = TOTP(secret).at(int(clock.now()) - 30)
    await home.visitor()("POST", "/auth/second-factor", 401, {"token": second, "code": earlier})
    later = TOTP(secret).at(int(clock.now()) + 30)
    await home.visitor()("POST", "/auth/second-factor", 200, {"token": second, "code": later})


async def test_one_code_used_at_once_opens_one_session(home: House, clock: FakeClock) -> None:
    secret, _ = await enrolled(home, clock)
    step = (await home.visitor()("POST", "/auth/sign-in", 200, {"email": ANN, "password": PASSWORD}))["second_factor"]
    body = {"token": step, "code": TOTP(secret).at(int(clock.now()))}
    tried = await asyncio.gather(*(home.visitor().raw("POST", "/auth/second-factor", body) for _ in range(4)))
    assert sorted(answer.status_code for answer in tried) == [200, 401, 401, 401]


async def test_codes_far_from_now_are_wrong_and_guessing_them_is_stopped(home: House, clock: FakeClock) -> None:
    secret, _ = await enrolled(home, clock)
    step = (await home.visitor()("POST", "/auth/sign-in", 200, {"email": ANN, "password": PASSWORD}))["second_factor"]
    for offset in (-90, 90, 3_600):
        code = TOTP(secret).at(int(clock.now()) + offset)
        await home.visitor()("POST", "/auth/second-factor", 401, {"token": step, "code": code})
    for _ in range(MAX_PER_ACCOUNT_AND_ADDRESS - 3):
        await home.visitor()("POST", "/auth/second-factor", 401, {"token": step, "code": "12345x"})
    step = (await home.visitor()("POST", "/auth/sign-in", 200, {"email": ANN, "password": PASSWORD}))["second_factor"]
    right = TOTP(secret).at(int(clock.now()))
    await home.visitor()("POST", "/auth/second-factor", 429, {"token": step, "code": right})


async def test_who_has_the_password_cannot_lock_the_owner_out_of_the_second_factor(
    home: House, clock: FakeClock
) -> None:
    secret, _ = await enrolled(home, clock)
    password = {"email": ANN, "password": PASSWORD}
    statuses: list[int] = []
    for number in range(MAX_CODES_PER_ACCOUNT + 2):
        thief = home.visitor(f"198.51.100.{number}")
        step = (await thief("POST", "/auth/sign-in", 200, password))["second_factor"]
        statuses.append((await thief.raw("POST", "/auth/second-factor", {"token": step, "code": "x"})).status_code)
    assert statuses == [401] * MAX_CODES_PER_ACCOUNT + [429] * 2
    step = (await home.visitor()("POST", "/auth/sign-in", 200, password))["second_factor"]
    code = TOTP(secret).at(int(clock.now()))
    await home.visitor()("POST", "/auth/second-factor", 200, {"token": step, "code": code})


async def test_a_sign_in_waits_five_minutes_for_its_code(home: House, clock: FakeClock) -> None:
    secret, _ = await enrolled(home, clock)
    step = (await home.visitor()("POST", "/auth/sign-in", 200, {"email": ANN, "password": PASSWORD}))["second_factor"]
    clock.advance(301)
    code = TOTP(secret).at(int(clock.now()))
    await home.visitor()("POST", "/auth/second-factor", 401, {"token": step, "code": code})


async def test_a_recovery_code_works_once_and_only_its_hash_is_kept(
    home: House, clock: FakeClock, database: Database
) -> None:
    secret, codes = await enrolled(home, clock)
    assert len(set(codes)) == 10
    kept = str(dict((await rows(database, users))[0]))
    assert not any(code in kept for code in [*codes, secret])
    for status in (200, 401):
        step = (await home.visitor()("POST", "/auth/sign-in", 200, {"email": ANN, "password": PASSWORD}))[
            "second_factor"
        ]
        body = {"token": step, "code": codes[0].upper().replace("-", " ")}
        await home.visitor()("POST", "/auth/second-factor", status, body)


async def test_the_second_factor_is_removed_by_password_and_code_only(home: House, clock: FakeClock) -> None:
    _, codes = await enrolled(home, clock)
    ann = home.visitor()
    step = (await ann("POST", "/auth/sign-in", 200, {"email": ANN, "password": PASSWORD}))["second_factor"]
    await ann("POST", "/auth/second-factor", 200, {"token": step, "code": codes[0]})
    await ann.arrived()
    await ann("POST", "/me/second-factor", 409, {"password": PASSWORD})
    await ann("POST", "/me/second-factor/remove", 401, {"password": "wrong", "code": codes[1]})
    await ann("POST", "/me/second-factor/remove", 401, {"password": PASSWORD, "code": codes[0]})
    await ann("POST", "/me/second-factor/remove", 204, {"password": PASSWORD, "code": codes[1]})
    await home.visitor().sign_in(ANN)


async def test_an_enrolment_is_of_use_to_its_owner_only(home: House, clock: FakeClock) -> None:
    await home.user(BEN)
    ann, ben = await home.visitor().sign_in(ANN), await home.visitor().sign_in(BEN)
    begun = await ann("POST", "/me/second-factor", 200, {"password": PASSWORD})
    body = {"token": begun["token"], "code": TOTP(begun["secret"]).at(int(clock.now()))}
    await ben("POST", "/me/second-factor/confirm", 401, body)
    await ann("POST", "/me/second-factor/confirm", 401, {**body, "token": "é" * 20})
    clock.advance(601)
    late = {**body, "code": TOTP(begun["secret"]).at(int(clock.now()))}
    await ann("POST", "/me/second-factor/confirm", 401, late)


# --- passwords and links ---


async def test_changing_the_password_needs_the_old_one_and_ends_the_other_sessions(home: House) -> None:
    ann, other = await home.visitor().sign_in(ANN), await home.visitor().sign_in(ANN)
    await ann("POST", "/me/password", 401, {"old": "wrong", "new": OTHER_PASSWORD})
    await ann("POST", "/me/password", 400, {"old": PASSWORD, "new": "annexample1234"})
    await ann("POST", "/me/password", 204, {"old": PASSWORD, "new": OTHER_PASSWORD})
    await ann("GET", "/me", 200)
    await other("GET", "/me", 401)
    await home.visitor()("POST", "/auth/sign-in", 401, {"email": ANN, "password": PASSWORD})
    await home.visitor().sign_in(ANN, OTHER_PASSWORD)


async def test_a_stolen_session_cannot_guess_the_password(home: House) -> None:
    ann = await home.visitor().sign_in(ANN)
    for _ in range(MAX_PER_ACCOUNT_AND_ADDRESS):
        await ann("POST", "/me/password", 401, {"old": "wrong", "new": OTHER_PASSWORD})
    await ann("POST", "/me/password", 429, {"old": PASSWORD, "new": OTHER_PASSWORD})


async def test_a_reset_sets_a_password_once_and_ends_every_session(home: House) -> None:
    ann = await home.visitor().sign_in(ANN)
    await home.visitor()("POST", "/auth/password-reset", 202, {"email": ANN})
    token = await home.letter(ANN)
    body = {"token": token, "password": OTHER_PASSWORD}
    await home.visitor()("POST", "/auth/password-reset/finish", 400, {**body, "password": "password1234"})
    await home.visitor()("POST", "/auth/password-reset/finish", 204, body)
    await home.visitor()("POST", "/auth/password-reset/finish", 401, body)
    await ann("GET", "/me", 401)
    await home.visitor().sign_in(ANN, OTHER_PASSWORD)


async def test_a_reset_link_dies_after_an_hour_with_a_newer_one_and_with_a_changed_password(
    home: House, clock: FakeClock
) -> None:
    async def asked() -> str | None:
        await home.visitor()("POST", "/auth/password-reset", 202, {"email": ANN})
        return await home.letter(ANN)

    async def finish(token: str | None, status: int) -> None:
        body = {"token": token, "password": OTHER_PASSWORD}
        await home.visitor()("POST", "/auth/password-reset/finish", status, body)

    first, second = await asked(), await asked()
    assert first != second
    await finish(first, 401)
    clock.advance(HOUR + 1)
    await finish(second, 401)
    third = await asked()
    ann = await home.visitor().sign_in(ANN)
    await ann("POST", "/me/password", 204, {"old": PASSWORD, "new": "another longer secret"})
    await finish(third, 401)


async def test_a_link_serves_its_purpose_only(home: House) -> None:
    await home.user(BEN)
    token = await home.letter(BEN)
    await home.visitor()("POST", "/auth/password-reset/finish", 401, {"token": token, "password": OTHER_PASSWORD})
    await home.visitor()("POST", "/auth/second-factor", 401, {"token": token, "code": "000000"})
    for status in (204, 401):
        await home.visitor()("POST", "/auth/verify", status, {"token": token})
    assert (await (await home.visitor().sign_in(BEN))("GET", "/me", 200))["user"]["verified"] is True


async def test_asking_for_a_reset_tells_nobody_whether_there_is_an_account(home: House) -> None:
    answers = [
        await home.visitor().raw("POST", "/auth/password-reset", {"email": email}) for email in (ANN, "no@body.org")
    ]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert len({answer.content for answer in answers}) == 1
    assert await home.letter(ANN) is not None
    assert await home.letter("no@body.org") is None
    for email in (ANN, "no@body.org"):
        statuses = [
            (await home.visitor().raw("POST", "/auth/password-reset", {"email": email})).status_code for _ in range(5)
        ]
        assert statuses == [202] * 4 + [429]


async def test_links_lead_to_our_own_address_whatever_host_was_asked(home: House, place: Place) -> None:
    await home.visitor().raw("POST", "/auth/password-reset", {"email": ANN}, {"host": "evil.test"})
    await home.letter(ANN)
    (letter,) = (path for path in (place.data / "outbox").glob("*.eml"))
    assert f"{SITE}/auth/reset#token=" in letter.read_text()
    assert "evil" not in letter.read_text()
    assert letter.stat().st_mode & 0o777 == 0o600


async def test_an_account_that_signs_in_elsewhere_is_sent_no_reset(home: House, database: Database) -> None:
    ben = await home.user(BEN)
    greeting = await home.letter(BEN)
    assert greeting is not None
    async with database.write() as session:
        await SystemUserEditor(session).change(ben["id"], {"password": None})
    await home.visitor()("POST", "/auth/password-reset", 202, {"email": BEN})
    assert await home.letter(BEN) == greeting


@pytest.mark.parametrize("token", ["", "x", "A" * 43, "é" * 43, "\x00", "A" * 400])
async def test_made_up_tokens_open_nothing(home: House, token: str) -> None:
    for path, body in (
        ("/auth/verify", {}),
        ("/auth/password-reset/finish", {"password": OTHER_PASSWORD}),
        ("/auth/second-factor", {"code": "000000"}),
        ("/auth/invitations/accept", {}),
    ):
        answer = await home.visitor().raw("POST", path, {"token": token, **body})
        assert answer.status_code in (400, 401), path
    answer = await home.visitor().raw("GET", "/me", headers={"cookie": b"polyforge_session=" + token.encode()})
    assert answer.status_code == 401


async def test_odd_passwords_are_wrong_not_faults(home: House) -> None:
    for password in ("\x00", "é" * 200, "😀" * 20):
        await home.visitor("198.51.100.1").raw("POST", "/auth/sign-in", {"email": ANN, "password": password})
    lone = b'{"email": "ann@example.org", "password": "\\ud800abc"}'
    answer = await home.visitor("198.51.100.2").client.post("/api/v1/auth/sign-in", content=lone)
    assert answer.status_code in (400, 401)


async def test_the_cost_of_a_password_follows_the_settings_at_the_next_sign_in(
    home: House, database: Database, place: Place
) -> None:
    home.people.sign_in._passwords = Passwords(Argon2Profile(passes=2, memory_kib=16, lanes=1))
    await home.visitor().sign_in(ANN)
    (row,) = await rows(database, users)
    assert row["password"].startswith("$argon2id$v=19$m=16,t=2,p=1$")
    await home.visitor().sign_in(ANN)
