"""Feature flags over HTTP and in memory; on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import select

from polyforge.database.database import Database
from polyforge.database.events.store import SystemEvents
from polyforge.database.events.tail import EventTail
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import Unavailable
from polyforge.operations.flags import service
from polyforge.operations.flags.api import router
from polyforge.operations.flags.flags import Flags
from polyforge.operations.flags.service import FlagService
from polyforge.tenancy.audit.tables import audit_events
from polyforge.tenancy.defaults import DEFAULT_PROJECT_ID
from tests.support.databases import Place
from tests.support.recording import recorder
from tests.support.routes import Routes, decoded
from tests.support.waiting import eventually_async
from tests.unit.tenancy.samples import NOW, caller

OTHER_PROJECT = "0000000000000000000000009P"


class Api(Routes):
    """The routes of flags behind a stand-in for the server's middleware; `caller` is who calls."""

    def __init__(self, database: Database, clock: FakeClock) -> None:
        super().__init__(router(FlagService(database, clock, recorder(clock))))

    async def __call__(self, method: str, path: str, status: int, body: object = None, **options: Any) -> Any:
        answer = await self.ask(method, path, status, body, **options)
        if answer.headers.get("etag"):
            assert answer.headers["etag"] == f'"{answer.json()["version"]}"'
        return decoded(answer)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
async def api(database: Database, clock: FakeClock) -> AsyncIterator[Api]:
    made = Api(database, clock)
    yield made
    await made.client.aclose()


async def test_a_flag_is_set_changed_removed_and_remembered(api: Api, clock: FakeClock) -> None:
    assert api.caller
    made = await api("PUT", "/flags/new.router", 200, {"enabled": True, "projects": [OTHER_PROJECT], "share": 12.5})
    assert made == {
        "name": "new.router",
        "enabled": True,
        "projects": [OTHER_PROJECT],
        "share": 12.5,
        "version": 1,
        "changed_at": "2023-11-14T22:13:20Z",
        "changed_by": api.caller.key_id,
    }
    assert await api("GET", "/flags/new.router", 200) == made
    clock.advance(60)
    await api("PUT", "/flags/new.router", 200, {"enabled": False})
    await api("DELETE", "/flags/new.router", 204)
    await api("GET", "/flags/new.router", 404)
    await api("DELETE", "/flags/new.router", 404)
    back = await api("POST", "/flags/new.router/rollback", 200, {"version": 1})
    assert (back["version"], back["enabled"], back["share"]) == (4, True, 12.5)
    first = await api("GET", "/flags/new.router/history?limit=3", 200)
    assert [(each["version"], each["removed"], each["enabled"]) for each in first["data"]] == [
        (4, False, True),
        (3, True, None),
        (2, False, False),
    ]
    rest = await api("GET", f"/flags/new.router/history?cursor={first['next_cursor']}", 200)
    assert [each["version"] for each in rest["data"]] == [1]
    assert rest["next_cursor"] is None


async def test_a_change_that_is_based_on_an_old_version_is_refused(api: Api) -> None:
    on = {"enabled": True}
    await api("PUT", "/flags/f", 409, {**on, "version": 1})
    await api("PUT", "/flags/f", 200, {**on, "version": 0})
    await api("PUT", "/flags/f", 409, {**on, "version": 0})
    await api("PUT", "/flags/f", 200, {**on, "version": 1})
    await api("PUT", "/flags/f", 409, on, headers={"if-match": '"1"'})
    await api("DELETE", "/flags/f", 409, headers={"if-match": '"1"'})
    await api("POST", "/flags/f/rollback", 409, {"version": 1}, headers={"if-match": '"1"'})
    await api("PUT", "/flags/f", 400, on, headers={"if-match": "x"})
    assert (await api("GET", "/flags/f", 200))["version"] == 2
    await api("DELETE", "/flags/f", 204, headers={"if-match": '"2"'})


async def test_of_changes_at_once_that_are_based_on_the_same_version_one_is_made(api: Api) -> None:
    await api("PUT", "/flags/f", 200, {"enabled": False})
    path, body = "/api/v1/flags/f", {"enabled": True, "version": 1}
    answers = await asyncio.gather(*(api.client.put(path, json=body) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 5


async def test_there_is_no_way_back_to_what_never_was(api: Api) -> None:
    await api("POST", "/flags/f/rollback", 404, {"version": 1})
    await api("GET", "/flags/f/history", 404)
    await api("PUT", "/flags/f", 200, {"enabled": True})
    await api("DELETE", "/flags/f", 204)
    await api("POST", "/flags/f/rollback", 404, {"version": 9})
    assert "remove it instead" in (await api("POST", "/flags/f/rollback", 409, {"version": 2}))["message"]


async def test_flags_are_listed_by_name_page_by_page_and_bounded(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_FLAGS", 3)
    for name in ("c", "a", "b"):
        await api("PUT", f"/flags/{name}", 200, {"enabled": True})
    await api("PUT", "/flags/d", 409, {"enabled": True})
    await api("PUT", "/flags/a", 200, {"enabled": False})
    first = await api("GET", "/flags?limit=2", 200)
    assert ([flag["name"] for flag in first["data"]], first["next_cursor"]) == (["a", "b"], "b")
    second = await api("GET", "/flags?limit=2&cursor=b", 200)
    assert ([flag["name"] for flag in second["data"]], second["next_cursor"]) == (["c"], None)


async def test_a_cursor_is_a_name(api: Api) -> None:
    for cursor in ("%00", "A", "a" * 201):
        await api("GET", f"/flags?cursor={cursor}", 422)


@pytest.mark.parametrize("name", ["X", "-a", "a%20b", "a" * 201, "%00", "é"])
async def test_a_name_that_cannot_be_one_is_refused(api: Api, name: str) -> None:
    await api("PUT", f"/flags/{name}", 422, {"enabled": True})


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"enabled": "yes"},
        {"enabled": True, "share": 101},
        {"enabled": True, "share": -1},
        {"enabled": True, "projects": ["x"]},
        {"enabled": True, "projects": [OTHER_PROJECT] * 1001},
        {"enabled": True, "version": -1},
        {"enabled": True, "more": 1},
    ],
)
async def test_a_wrong_setting_is_refused(api: Api, body: dict[str, Any]) -> None:
    await api("PUT", "/flags/f", 422, body)


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/flags", "settings:read"),
        ("GET", "/flags/f", "settings:read"),
        ("GET", "/flags/f/history", "settings:read"),
        ("PUT", "/flags/f", "settings:write"),
        ("DELETE", "/flags/f", "settings:write"),
        ("POST", "/flags/f/rollback", "settings:write"),
    ],
)
async def test_each_route_needs_its_permission(api: Api, method: str, path: str, scope: str) -> None:
    body = {"PUT": {"enabled": True}, "POST": {"version": 1}}.get(method)
    api.caller = caller(*{"settings:read", "settings:write", "organization:write"} - {scope})
    assert repr(scope) in (await api(method, path, 403, body))["message"]
    api.nobody = True
    await api(method, path, 401, body)


async def test_a_change_is_in_the_audit_log_and_an_event_of_the_installation(api: Api, database: Database) -> None:
    await api("PUT", "/flags/f", 200, {"enabled": True})
    await api("DELETE", "/flags/f", 204)
    async with database.read() as session:
        audited = await session.all(select(audit_events).order_by(audit_events.c.sequence))
        told = await SystemEvents(session).after(0)
    setting = '{"enabled":true,"projects":null,"share":100.0}'
    assert [(row["action"], row["resource_id"], row["before"], row["after"]) for row in audited] == [
        ("flag.set", "f", None, setting),
        ("flag.removed", "f", setting, None),
    ]
    assert [(event.stream, event.kind, event.organization_id) for event in told] == [
        ("settings", "flag.set", None),
        ("settings", "flag.removed", None),
    ]


async def test_every_process_goes_by_a_change(api: Api, place: Place) -> None:
    await api("PUT", "/flags/early", 200, {"enabled": True})
    database = place.database()
    await database.open()
    tail = EventTail(database)
    flags = Flags(database, tail)
    await tail.open()
    await flags.open()
    assert flags.on("early", DEFAULT_PROJECT_ID)
    assert not flags.on("late", DEFAULT_PROJECT_ID)
    await api("PUT", "/flags/late", 200, {"enabled": True, "projects": [DEFAULT_PROJECT_ID]})
    await eventually_async(lambda: flags.on("late", DEFAULT_PROJECT_ID), "the new flag")
    assert not flags.on("late", OTHER_PROJECT)
    await api("DELETE", "/flags/late", 204)
    await eventually_async(lambda: not flags.on("late", DEFAULT_PROJECT_ID), "the end of the flag")
    await flags.close()
    await tail.close()
    await database.close()


class Broken(Database):
    """A database that is down when told to be."""

    down = True

    def read(self, scope: Any = None) -> Any:
        if self.down:
            raise Unavailable("the database does not answer; try again")
        return super().read(scope)


async def test_flags_that_could_not_be_read_at_the_start_come_later(api: Api, place: Place) -> None:
    await api("PUT", "/flags/f", 200, {"enabled": True})
    database = Broken(place.settings, place.data)
    await database.open()
    tail = EventTail(database, poll_seconds=0.01)
    flags = Flags(database, tail)
    await tail.open()
    await flags.open()
    assert not flags.on("f", DEFAULT_PROJECT_ID)
    database.down = False
    await eventually_async(lambda: flags.on("f", DEFAULT_PROJECT_ID), "the flag")
    await flags.close()
    await tail.close()
    await database.close()
