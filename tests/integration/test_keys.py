"""Managing keys and reading usage over HTTP; on SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.routing import APIRoute
from msgspec import structs
from sqlalchemy import select

from polyforge.database.database import Database
from polyforge.kernel.clock import FakeClock
from polyforge.tenancy.admin_key import AdminKey
from polyforge.tenancy.api import router
from polyforge.tenancy.bootstrap import install
from polyforge.tenancy.callers import ALL
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID
from polyforge.tenancy.keys import ADMIN_KEY_ID, hash_of, new_secret
from polyforge.tenancy.ledger_store import LedgerStore
from polyforge.tenancy.permission import Permission
from polyforge.tenancy.service import KeyService
from polyforge.tenancy.store import SystemEditor
from polyforge.tenancy.tables import api_keys
from polyforge.tenancy.usage import api as usage_api
from polyforge.tenancy.usage.service import UsageService
from polyforge.wiring.usage import make_writer
from tests.support.recording import recorder
from tests.support.routes import Routes
from tests.unit.tenancy.samples import NOW, caller, record

OTHER_PROJECT = "0000000000000000000000009P"
ABSENT = "0" * 26
DAY = 86_400


class Api(Routes):
    """The routes of tenancy behind a stand-in for the server's middleware; `caller` is who calls."""

    def __init__(self, database: Database, clock: FakeClock) -> None:
        self.changes = 0
        super().__init__(
            router(KeyService(database, clock, recorder(clock), self._changed)),
            usage_api.router(UsageService(database, clock), make_writer),
        )

    def _changed(self) -> None:
        self.changes += 1


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
async def api(database: Database, clock: FakeClock) -> AsyncIterator[Api]:
    await install(database, AdminKey(new_secret(), created=False), clock)
    async with database.write() as session:
        editor = SystemEditor(session)
        await editor.lock()
        await editor.ensure_project(DEFAULT_ORGANIZATION_ID, OTHER_PROJECT, "other", NOW)
    made = Api(database, clock)
    yield made
    await made.client.aclose()


async def stored(database: Database, key_id: str) -> Any:
    async with database.read() as session:
        return await session.first(select(api_keys).where(api_keys.c.id == key_id))


# --- create, read, change, end ---


async def test_a_key_is_shown_once_and_only_its_hash_is_kept(api: Api, database: Database) -> None:
    limits = {"budget_usd": 12.345678, "budget_period": "month", "rpm": 10, "tpm": 2_000, "concurrency": 3}
    made = await api("POST", "/keys", 201, {"name": "app ключ", "models": ["a", "b/*"], **limits})
    secret = made.pop("key")
    assert made.items() >= limits.items()
    assert made["name"] == "app ключ"
    assert made["prefix"] == secret[:10]
    assert made["models"] == ["a", "b/*"]
    assert made["scopes"] == ["inference", "models:read"]
    assert made["created_at"] == "2023-11-14T22:13:20Z"
    assert made["expires_at"] is made["revoked_at"] is None
    assert await api("GET", f"/keys/{made['id']}", 200) == made
    row = await stored(database, made["id"])
    assert row["hash"] == hash_of(secret.encode())
    assert secret not in str(dict(row))
    assert api.changes == 1


async def test_a_list_has_pages_newest_first_and_leaves_ended_keys_out(api: Api) -> None:
    made = [await api("POST", "/keys", 201, {"name": f"k{number}"}) for number in range(5)]
    await api("DELETE", f"/keys/{made[2]['id']}", 204)
    first = await api("GET", "/keys?limit=3", 200)
    assert [key["name"] for key in first["data"]] == ["k4", "k3", "k1"]
    second = await api("GET", f"/keys?limit=3&cursor={first['next_cursor']}", 200)
    assert [key["name"] for key in second["data"]] == ["k0", "admin"]
    assert second["next_cursor"] is None
    everything = await api("GET", "/keys?include_revoked=true", 200)
    assert [key["revoked_at"] is not None for key in everything["data"]] == [False, False, True, False, False, False]
    exact = await api("GET", "/keys?limit=5", 200)
    assert exact["next_cursor"] is None
    assert not any("key" in key for key in everything["data"])


async def test_a_list_can_begin_with_the_oldest(api: Api) -> None:
    for number in range(3):
        await api("POST", "/keys", 201, {"name": f"k{number}"})
    first = await api("GET", "/keys?sort=created&limit=2", 200)
    second = await api("GET", f"/keys?sort=created&limit=2&cursor={first['next_cursor']}", 200)
    names = [key["name"] for page in (first, second) for key in page["data"]]
    assert (names, second["next_cursor"]) == (["admin", "k0", "k1", "k2"], None)


async def test_keys_are_found_by_a_part_of_their_names(api: Api) -> None:
    for name in ("Web shop", "web_100%", "Éclair", "मोबाइल ऐप"):
        await api("POST", "/keys", 201, {"name": name})

    async def found(search: str) -> list[str]:
        return [key["name"] for key in (await api("GET", "/keys?search=" + quote(search), 200))["data"]]

    assert await found("WEB") == ["web_100%", "Web shop"]
    assert await found("_100%") == ["web_100%"]
    assert await found("b_s") == []
    assert await found("Écl") == ["Éclair"]
    assert await found("ऐप") == ["मोबाइल ऐप"]
    assert await found("") == ["मोबाइल ऐप", "Éclair", "web_100%", "Web shop", "admin"]


async def test_a_key_tells_who_made_it(api: Api) -> None:
    me = "0" * 25 + "9"
    api.caller = structs.replace(caller(ALL), key_id=me)
    mine = [await api("POST", "/keys", 201, {"name": f"k{number}"}) for number in range(3)]
    assert {key["created_by"] for key in mine} == {me}
    api.caller = structs.replace(caller(ALL), key_id=ABSENT)
    other = await api("POST", "/keys", 201, {"name": "other"})
    rotated = await api("POST", f"/keys/{mine[0]['id']}/rotate", 200)
    assert rotated["created_by"] == me
    first = await api("GET", f"/keys?created_by={me}&limit=2", 200)
    assert [key["name"] for key in first["data"]] == ["k2", "k1"]
    second = await api("GET", f"/keys?created_by={me}&limit=2&cursor={first['next_cursor']}", 200)
    assert ([key["name"] for key in second["data"]], second["next_cursor"]) == (["k0"], None)
    assert [key["id"] for key in (await api("GET", f"/keys?created_by={ABSENT}", 200))["data"]] == [other["id"]]
    assert (await api("GET", "/keys?created_by=nobody", 200))["data"] == []
    assert (await api("GET", f"/keys/{ADMIN_KEY_ID}", 200))["created_by"] is None


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "sort=hash", "search=%00", "cursor=" + "x" * 27, "created_by=" + "x" * 27],
)
async def test_a_wrong_page_is_refused(api: Api, query: str) -> None:
    await api("GET", f"/keys?{query}", 422)


@pytest.mark.parametrize("cursor", ["nonsense", "%00", "I" * 26])
async def test_a_cursor_that_no_list_gave_is_refused(api: Api, cursor: str) -> None:
    assert (await api("GET", f"/keys?cursor={cursor}", 400))["param"] == "cursor"


async def test_a_change_touches_what_it_names_and_null_takes_a_limit_away(api: Api) -> None:
    made = await api("POST", "/keys", 201, {"name": "n", "rpm": 5, "budget_usd": 1, "budget_period": "day"})
    changed = await api("PATCH", f"/keys/{made['id']}", 200, {"name": "m", "rpm": None, "tpm": 7})
    assert (changed["name"], changed["rpm"], changed["tpm"]) == ("m", None, 7)
    assert (changed["budget_usd"], changed["budget_period"]) == (1, "day")
    changed = await api("PATCH", f"/keys/{made['id']}", 200, {"budget_usd": None, "models": ["x"]})
    assert (changed["budget_usd"], changed["models"], changed["name"]) == (None, ["x"], "m")
    assert await api("PATCH", f"/keys/{made['id']}", 200, {}) == changed
    await api("PATCH", f"/keys/{made['id']}", 422, {"name": None})
    await api("PATCH", f"/keys/{made['id']}", 422, {"scopes": ["*"]})


async def test_rotating_replaces_the_secret_and_keeps_the_rest(api: Api, database: Database) -> None:
    made = await api("POST", "/keys", 201, {"name": "n", "rpm": 5})
    rotated = await api("POST", f"/keys/{made['id']}/rotate", 200)
    assert rotated["key"] != made["key"]
    assert {**rotated, "key": "", "prefix": ""} == {**made, "key": "", "prefix": ""}
    row = await stored(database, made["id"])
    assert (row["hash"], row["previous_hash"]) == (hash_of(rotated["key"].encode()), None)
    again = await api("POST", f"/keys/{made['id']}/rotate", 200, {"grace_seconds": 60})
    row = await stored(database, made["id"])
    assert (row["hash"], row["previous_hash"], row["previous_until"]) == (
        hash_of(again["key"].encode()),
        hash_of(rotated["key"].encode()),
        NOW + 60,
    )


async def test_a_revoked_key_stays_readable_and_cannot_be_changed(api: Api, clock: FakeClock) -> None:
    made = await api("POST", "/keys", 201, {"name": "n"})
    await api("DELETE", f"/keys/{made['id']}", 204)
    clock.advance(60)
    await api("DELETE", f"/keys/{made['id']}", 204)
    assert (await api("GET", f"/keys/{made['id']}", 200))["revoked_at"] == "2023-11-14T22:13:20Z"
    await api("PATCH", f"/keys/{made['id']}", 409, {"name": "m"})
    await api("POST", f"/keys/{made['id']}/rotate", 409)


async def test_an_expiry_lies_in_the_future(api: Api) -> None:
    made = await api("POST", "/keys", 201, {"name": "n", "expires_at": "2023-11-14T23:13:21+01:00"})
    assert made["expires_at"] == "2023-11-14T22:13:21Z"
    refused = await api("POST", "/keys", 400, {"name": "n", "expires_at": "2023-11-14T22:13:20Z"})
    assert refused["param"] == "expires_at"


async def test_the_admin_key_is_not_managed_here(api: Api) -> None:
    await api("PATCH", f"/keys/{ADMIN_KEY_ID}", 409, {"name": "m"})
    await api("POST", f"/keys/{ADMIN_KEY_ID}/rotate", 409)
    await api("DELETE", f"/keys/{ADMIN_KEY_ID}", 409)


# --- who may ---


async def test_a_caller_makes_no_key_that_may_do_more_than_itself(api: Api) -> None:
    api.caller = caller("keys:write", "keys:read", "inference", models=("openai/*", "mine"))
    for scopes in (["*"], ["usage:read"], ["inference", "metrics:read"]):
        assert "lacks the scope" in (await api("POST", "/keys", 403, {"name": "n", "scopes": scopes}))["message"]
    for models in (["*"], ["other"], ["openai/a", "o*"]):
        await api("POST", "/keys", 403, {"name": "n", "scopes": ["inference"], "models": models})
    made = await api("POST", "/keys", 201, {"name": "n", "scopes": ["inference"], "models": ["openai/gpt*", "mine"]})
    await api("PATCH", f"/keys/{made['id']}", 403, {"models": None})
    await api("PATCH", f"/keys/{made['id']}", 403, {"models": ["other"]})
    inherited = await api("POST", "/keys", 201, {"name": "n", "scopes": ["inference"]})
    assert inherited["models"] == ["openai/*", "mine"]


async def test_a_caller_manages_no_key_that_may_do_more_than_itself(api: Api) -> None:
    strong = await api("POST", "/keys", 201, {"name": "n", "scopes": ["*"]})
    wide = await api("POST", "/keys", 201, {"name": "n", "scopes": ["inference"]})
    api.caller = caller("keys:write", "inference", models=("mine",))
    for key in (strong, wide):
        await api("POST", f"/keys/{key['id']}/rotate", 403)
        await api("PATCH", f"/keys/{key['id']}", 403, {"name": "m"})
        await api("DELETE", f"/keys/{key['id']}", 403)


async def test_a_key_of_another_project_looks_like_one_that_does_not_exist(api: Api) -> None:
    made = await api("POST", "/keys", 201, {"name": "n"})
    api.caller = caller(ALL, project_id=OTHER_PROJECT)
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", {"name": "m"}),
        ("POST", "/rotate", None),
        ("DELETE", "", None),
    ):
        foreign = await api(method, f"/keys/{made['id']}{path}", 404, body)
        absent = await api(method, f"/keys/{ABSENT}{path}", 404, body)
        assert foreign["message"].replace(made["id"], ABSENT) == absent["message"]
        assert {**foreign, "message": ""} == {**absent, "message": ""}
    assert (await api("GET", "/keys", 200))["data"] == []
    await api("POST", "/keys", 201, {"name": "theirs"})
    assert [key["name"] for key in (await api("GET", "/keys", 200))["data"]] == ["theirs"]


@pytest.mark.parametrize("key_id", ["x", "%00", "O" * 26, "é", "a" * 5_000])
async def test_an_id_that_cannot_be_one_does_not_exist(api: Api, key_id: str) -> None:
    await api("GET", f"/keys/{key_id}", 404)


async def test_every_route_names_one_permission_and_refuses_without_it(api: Api) -> None:
    needed = {
        (method, route.path): [
            dependant.call.name for dependant in route.dependant.dependencies if isinstance(dependant.call, Permission)
        ]
        for route in _routes(api)
        for method in route.methods or ()
    }
    assert len(needed) == 14
    for (method, path), permissions in needed.items():
        assert len(permissions) == 1, path
        sub = path.removeprefix("/api/v1").format(key_id=ABSENT)
        body = {"name": "n"} if method in {"POST", "PATCH"} and "rotate" not in path else None
        api.nobody = True
        await api(method, sub, 401, body)
        api.nobody = False
        api.caller = caller(*{"keys:read", "keys:write", "usage:read", "costs:read", "inference"} - set(permissions))
        assert repr(permissions[0]) in (await api(method, sub, 403, body))["message"]


def _routes(api: Api) -> list[APIRoute]:
    found: list[APIRoute] = []
    pending: list[Any] = list(api.app.routes)
    while pending:
        route = pending.pop()
        if isinstance(route, APIRoute):
            found.append(route)
        pending.extend(getattr(getattr(route, "original_router", route), "routes", []))
    return found


def test_an_unknown_permission_is_a_mistake_at_start() -> None:
    with pytest.raises(ValueError, match="keys:reed"):
        Permission("keys:reed")


# --- usage ---


async def test_usage_is_summed_by_key_model_and_day(api: Api, database: Database) -> None:
    made = await api("POST", "/keys", 201, {"name": "spender"})
    mine = {"key_id": made["id"], "started_at": NOW - 10}
    records = [
        record(**mine),
        record(**mine, model="vectors", status="error"),
        record(**{**mine, "started_at": NOW - DAY}, status="interrupted", price=1_000_000),
        record(started_at=NOW - 20, status="cancelled"),
        record(**{**mine, "started_at": NOW - 31 * DAY}),
        record(**mine, project_id=OTHER_PROJECT),
    ]
    await LedgerStore(database).append("j", 0, 1, records)

    report = await api("GET", "/usage", 200)
    assert (report["since"], report["until"]) == ("2023-10-15T22:13:20Z", "2023-11-14T22:13:20Z")
    expected = {
        "requests": 4,
        "errors": 2,
        "cached_requests": 0,
        "input_tokens": 64,
        "cached_tokens": 20,
        "output_tokens": 80,
        "total_tokens": 144,
        "reasoning_tokens": 28,
        "images": 0,
        "audio_seconds": 0.0,
        "characters": 0,
        "mean_seconds": 0.123,
        "cost_usd": 0.00016,
        "price_usd": 1.00015,
    }
    assert report["totals"] == expected
    assert report["data"] == [expected]

    report = await api("GET", "/usage?group_by=key,model", 200)
    assert [(row["key"], row["key_name"], row["model"], row["requests"]) for row in report["data"]] == [
        ("0000000000000000000000000K", None, "assistant", 1),
        (made["id"], "spender", "assistant", 2),
        (made["id"], "spender", "vectors", 1),
    ]
    assert report["totals"] == expected
    assert "day" not in report["data"][0]

    report = await api("GET", "/usage?group_by=day&since=2023-11-13&until=2023-11-14T22:13:10Z", 200)
    assert [(row["day"], row["requests"]) for row in report["data"]] == [("2023-11-13", 1), ("2023-11-14", 1)]
    report = await api("GET", "/usage?group_by=project&since=2000-01-01", 200)
    assert [row["requests"] for row in report["data"]] == [5]
    report = await api("GET", "/usage?group_by=key&until=2000-01-01", 200)
    assert report["data"] == []


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("group_by=users", 400),
        ("since=2023-11-14&until=2023-11-13", 400),
        ("since=never", 422),
        ("until=0001-01-01", 200),
        ("since=0001-01-01T00:00:00%2B14:00", 422),
        ("since=9999-12-31&until=9999-12-31", 200),
        ("group_by=" + "key," * 30, 422),
        ("group_by=%00", 400),
    ],
)
async def test_odd_spans_and_groups_are_answered_or_refused(api: Api, query: str, status: int) -> None:
    await api("GET", f"/usage?{query}", status)


async def test_the_documentation_says_what_is_needed_and_given(api: Api) -> None:
    schema = api.app.openapi()
    assert schema["components"]["securitySchemes"]["api_key"]["scheme"] == "bearer"
    create = schema["paths"]["/api/v1/keys"]["post"]
    assert create["security"] == [{"api_key": []}]
    assert create["responses"]["201"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/IssuedKey"
    }
    assert "204" in schema["paths"]["/api/v1/keys/{key_id}"]["delete"]["responses"]
