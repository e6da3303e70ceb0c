"""Searching, reading and exporting the audit log over HTTP; on SQLite and on PostgreSQL."""

import itertools
import json
import re
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.routing import APIRoute
from msgspec.structs import replace
from sqlalchemy import event, select

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.kernel.clock import FakeClock, SystemClock
from polyforge.tenancy.audit import store
from polyforge.tenancy.audit.api import router
from polyforge.tenancy.audit.exports.service import ExportService
from polyforge.tenancy.audit.exports.store import DeadLetter, SystemExportEditor
from polyforge.tenancy.audit.log import AuditEvent
from polyforge.tenancy.audit.search import Search
from polyforge.tenancy.audit.service import AuditService
from polyforge.tenancy.audit.store import AuditStore
from polyforge.tenancy.audit.tables import audit_events
from polyforge.tenancy.audit.verification import Verifier
from polyforge.tenancy.callers import ALL
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID
from polyforge.tenancy.permission import Permission
from tests.support.audit import CHAIN, OTHER_ORGANIZATION, audit_event, fill, tamper
from tests.support.recording import recorder
from tests.support.routes import Routes
from tests.unit.tenancy.samples import NOW, caller

ABSENT = "0" * 26
COUNT = 240
ACTIONS = ("key.created", "key.revoked", "user.created", "secret.revealed")
ACTORS = tuple(f"{number:026d}" for number in range(3))


def varied(sequence: int) -> AuditEvent:
    """Every combination occurs; each third event belongs to another organization, and times go back now and then."""
    action = ACTIONS[sequence * sequence % 7 % 4]
    return audit_event(
        sequence,
        at=NOW + sequence // 2 - (5 if sequence % 11 == 0 else 0),
        organization_id=OTHER_ORGANIZATION if sequence % 3 == 0 else DEFAULT_ORGANIZATION_ID,
        action=action,
        resource_kind=action.partition(".")[0] if sequence % 5 else "project",
        resource_id=f"r{sequence % 4}",
        actor_id=ACTORS[sequence % 13 % 3],
    )


EVENTS = [varied(sequence) for sequence in range(1, COUNT + 1)]


class Api(Routes):
    """The routes of the audit log behind a stand-in for the server's middleware; `caller` is who calls."""

    def __init__(self, database: Database, clock: FakeClock) -> None:
        told = recorder(clock)
        audit = AuditService(database, clock, told, Verifier(database, CHAIN))
        exports = ExportService(database, clock, told, {"siem": "https", "copy": "file"})
        super().__init__(router(audit, exports), prefix="/api/v1/audit")

    async def found(self, limit: int = 7, **query: str) -> list[int]:
        """The sequence numbers of all pages of a search."""
        found: list[int] = []
        cursor: str | None = None
        while True:
            page = await self("GET", "", 200, params={**query, "limit": limit} | ({"cursor": cursor} if cursor else {}))
            assert len(page["data"]) <= limit
            found += [each["sequence"] for each in page["data"]]
            cursor = page["next_cursor"]
            if cursor is None:
                return found


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW + COUNT)


@pytest.fixture
async def api(database: Database, clock: FakeClock) -> AsyncIterator[Api]:
    await fill(database, COUNT, varied)
    made = Api(database, clock)
    yield made
    await made.client.aclose()


def expected(**query: str) -> list[int]:
    """The same search, told a second time."""
    action = query.get("action")
    since, until = (datetime.fromisoformat(query[name]).timestamp() if name in query else None for name in BOUNDS)
    found = [
        each
        for each in EVENTS
        if each.organization_id == DEFAULT_ORGANIZATION_ID
        and (action is None or each.action == action or action == each.action.partition(".")[0] + ".*")
        and query.get("actor") in (None, each.actor_id)
        and query.get("resource_kind") in (None, each.resource_kind)
        and query.get("resource_id") in (None, each.resource_id)
        and (since is None or each.at >= since)
        and (until is None or each.at < until)
    ]
    return [each.sequence for each in sorted(found, key=lambda each: (each.at, each.sequence), reverse=True)]


BOUNDS = ("since", "until")
FILTERS: dict[str, tuple[str | None, ...]] = {
    "action": (None, "key.created", "key.*", "nothing.*"),
    "actor": (None, ACTORS[1]),
    "resource_kind": (None, "key", "project"),
    "resource_id": (None, "r2"),
    "since": (None, datetime.fromtimestamp(NOW + 20, UTC).isoformat()),
    "until": (None, datetime.fromtimestamp(NOW + 71, UTC).isoformat()),
}


def combinations() -> Iterator[dict[str, str]]:
    for values in itertools.product(*FILTERS.values()):
        yield {name: value for name, value in zip(FILTERS, values, strict=True) if value is not None}


# --- search ---


@pytest.mark.parametrize("looked_at", [3, 5_000])
async def test_every_combination_of_filters_finds_what_it_should_page_by_page(
    api: Api, monkeypatch: pytest.MonkeyPatch, looked_at: int
) -> None:
    """Also where a page may only go through three events: it then comes back short, and the next one goes on."""
    monkeypatch.setattr(store, "LOOKED_AT", looked_at)
    for query in combinations():
        assert await api.found(limit=50, **query) == expected(**query), query
    assert await api.found(limit=1, action="key.*", actor=ACTORS[0]) == expected(action="key.*", actor=ACTORS[0])


async def test_a_page_is_full_and_knows_when_it_is_the_last(api: Api) -> None:
    mine = expected()
    page = await api("GET", f"?limit={len(mine)}", 200)
    assert [each["sequence"] for each in page["data"]] == mine
    assert page["next_cursor"] is None
    page = await api("GET", f"?limit={len(mine) - 1}", 200)
    assert page["next_cursor"] == str(mine[-2])


async def test_events_that_come_while_paging_do_not_move_the_pages(api: Api, database: Database) -> None:
    first = await api("GET", "?limit=10", 200)
    await api("GET", "/export?until=2000-01-01", 200)
    second = await api("GET", f"?limit=10&cursor={first['next_cursor']}", 200)
    assert [each["sequence"] for each in first["data"] + second["data"]] == expected()[:20]


@pytest.mark.parametrize(
    ("query", "status", "param"),
    [
        ("limit=0", 422, None),
        ("limit=1001", 422, None),
        ("cursor=x", 422, None),
        ("cursor=999999999999999999", 400, "cursor"),
        ("cursor=1000000000000000000", 422, None),
        ("action=k*", 400, "action"),
        ("action=key.re*", 400, "action"),
        ("action=a.b.*", 400, "action"),
        ("action=*", 400, "action"),
        ("action=%00", 422, None),
        ("actor=", 422, None),
        ("resource_id=%0a", 422, None),
        ("since=never", 422, None),
        ("since=0001-01-01&until=9999-12-31", 200, None),
        ("actor=' OR 1=1 --", 200, None),
    ],
)
async def test_an_odd_search_is_answered_or_refused(api: Api, query: str, status: int, param: str | None) -> None:
    answer = await api("GET", f"?{query}", status)
    assert answer.get("param") == param


async def test_a_cursor_of_another_organization_is_none(api: Api) -> None:
    theirs = next(each.sequence for each in EVENTS if each.organization_id == OTHER_ORGANIZATION)
    assert (await api("GET", f"?cursor={theirs}", 400))["param"] == "cursor"


async def test_one_event_shows_everything_but_only_to_its_organization(api: Api) -> None:
    mine = await api("GET", f"/{EVENTS[0].id}", 200)
    assert mine.pop("hash") == CHAIN.link(EVENTS[0], bytes(32)).hex()
    assert mine == {
        "id": EVENTS[0].id,
        "sequence": 1,
        "at": datetime.fromtimestamp(EVENTS[0].at, UTC).isoformat().replace("+00:00", "Z"),
        "organization_id": DEFAULT_ORGANIZATION_ID,
        "project_id": EVENTS[0].project_id,
        "actor_kind": "key",
        "actor_id": EVENTS[0].actor_id,
        "actor_name": "sample",
        "address": "192.0.2.1",
        "agent": "curl/8",
        "request_id": None,
        "action": EVENTS[0].action,
        "resource_kind": EVENTS[0].resource_kind,
        "resource_id": "r1",
        "before": None,
        "after": {"name": "n"},
    }
    api.caller = replace(caller(ALL), organization_id=OTHER_ORGANIZATION)
    foreign = await api("GET", f"/{EVENTS[0].id}", 404)
    absent = await api("GET", f"/{ABSENT}", 404)
    assert foreign["message"].replace(EVENTS[0].id, ABSENT) == absent["message"]
    for odd in ("x", "%00", "é"):
        await api("GET", f"/{odd}", 404)


async def test_an_event_that_was_changed_into_nonsense_can_still_be_looked_at(api: Api, database: Database) -> None:
    await tamper(database, 1, after="{")
    assert (await api("GET", f"/{EVENTS[0].id}", 200))["after"] == "{"


# --- plans ---

MANY = 20_000
LOOKED_AT_OF_MANY = 500
"""As small a part of it as LOOKED_AT is of what there may be: a whole table is better read at once and sorted."""
SEARCHES = (
    Search(),
    Search(since=NOW + 10, until=NOW + 15_000),
    Search(action="key.created"),
    Search(topic="key", until=NOW + 15_000),
    Search(actor_id=ACTORS[0], since=NOW),
    Search(resource_kind="project"),
    Search(resource_id="r2"),
    Search(
        action="key.revoked", actor_id=ACTORS[1], resource_kind="key", resource_id="r3", since=NOW, until=NOW + 9_000
    ),
    Search(topic="nothing", actor_id=ACTORS[1]),
)


@contextmanager
def statements(database: Database) -> Generator[list[tuple[str, Any]]]:
    """What is sent to the database meanwhile."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_more: object) -> None:
        if statement.startswith("SELECT audit_events"):
            seen.append((statement, parameters))

    engines = [engine.sync_engine for engine in database._open_engines().each()]
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    yield seen
    for engine in engines:
        event.remove(engine, "before_cursor_execute", note)


def goes_astray(statement: str, plan: str) -> bool:
    """Whether a plan reads what its page has no need of. What ends at a floor may be sorted: it is few."""
    wrong = "Seq Scan|SCAN" if "||" in statement else "Seq Scan|SCAN|Sort|TEMP B-TREE|Bitmap"
    return re.search(wrong, plan) is not None


async def plan_of(database: Database, statement: str, parameters: Any) -> str:
    words = "EXPLAIN QUERY PLAN" if database.dialect == "sqlite" else "EXPLAIN"
    async with database.bare() as connection:
        rows = await connection.exec_driver_sql(f"{words} {statement}", parameters)
        return "\n".join(str(row[-1]) for row in rows)


async def test_every_search_reads_one_index_in_its_order(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LOOKED_AT", LOOKED_AT_OF_MANY)
    await fill(database, MANY, varied)
    async with database.bare() as connection:
        await connection.exec_driver_sql("ANALYZE audit_events")
    scope = Scope(DEFAULT_ORGANIZATION_ID)
    with statements(database) as seen:
        for search in SEARCHES:
            async with database.read(scope) as session:
                reader = AuditStore(session, scope)
                page = await reader.page(search, 100, None)
                if page.cursor is not None:
                    await reader.page(search, 100, page.cursor)
        async with database.read(scope) as session:
            some = await AuditStore(session, scope).between(NOW, NOW + 9_000, None, 500)
            await AuditStore(session, scope).between(NOW, NOW + 9_000, store.Place(some[-1].event.at, 7), 500)
    assert len(seen) > 2 * len(SEARCHES)
    for statement, parameters in seen:
        plan = await plan_of(database, statement, parameters)
        assert re.search(
            r"(USING|Index (Only )?Scan|Bitmap Index Scan).*(ix_audit_events_|pk_audit_events|sqlite_autoindex)", plan
        ), plan
        assert not goes_astray(statement, plan), plan


async def test_a_search_for_several_things_looks_at_a_bounded_part_of_the_log(database: Database) -> None:
    """The rarest condition leads; the others cannot, because their indexes do not end where the page does."""
    await fill(database, MANY, varied)
    async with database.bare() as connection:
        await connection.exec_driver_sql("ANALYZE audit_events")
    scope = Scope(DEFAULT_ORGANIZATION_ID)
    rare = Search(topic="user", action="user.created", resource_kind="project", actor_id=ACTORS[2])
    with statements(database) as seen:
        async with database.read(scope) as session:
            await AuditStore(session, scope).page(rare, 100, None)
    *floors, page = seen
    assert len(floors) <= 4
    assert all("OFFSET" in statement for statement, _ in floors)
    plan = await plan_of(database, *page)
    counts = {
        name: sum(getattr(varied(sequence), name) == value for sequence in range(1, MANY + 1) if sequence % 3)
        for name, value in rare.named.items()
        if name != "topic"
    }
    assert counts["resource_kind"] < store.LOOKED_AT or counts["actor_id"] < store.LOOKED_AT, counts
    assert "ix_audit_events_resource_kind" in plan or "ix_audit_events_actor_id" in plan, plan


@pytest.mark.soak
async def test_ten_million_events_are_found_and_verified(
    database: Database, soak: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make soak`: the plans hold at full size. How long a page takes is printed, not judged."""
    count = 10_000_000 if soak else MANY
    if not soak:
        monkeypatch.setattr(store, "LOOKED_AT", LOOKED_AT_OF_MANY)
    await fill(database, count, varied)
    async with database.bare() as connection:
        await connection.exec_driver_sql("ANALYZE audit_events")
    scope = Scope(DEFAULT_ORGANIZATION_ID)
    clock = SystemClock()
    with statements(database) as seen:
        for search in SEARCHES:
            began = clock.monotonic()
            async with database.read(scope) as session:
                page = await AuditStore(session, scope).page(search, 100, None)
            print(f"{database.dialect}: {(clock.monotonic() - began) * 1000:.1f} ms for {search.named}")
            assert page.cursor is None or page.entries or len(search.named) > 1
    for statement, parameters in seen:
        plan = await plan_of(database, statement, parameters)
        assert not goes_astray(statement, plan), plan
    verdict = await Verifier(database, CHAIN).verify(store.Mark(), count + 1)
    assert (verdict.checked, verdict.fault) == (count, None)


# --- export ---


async def test_an_export_has_every_event_of_its_time_in_order_and_is_recorded(api: Api, database: Database) -> None:
    since, until = datetime.fromtimestamp(NOW + 20, UTC), datetime.fromtimestamp(NOW + 71, UTC)
    answer = await api.client.get(
        "/api/v1/audit/export", params={"since": since.isoformat(), "until": until.isoformat()}
    )
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    wanted = expected(since=since.isoformat(), until=until.isoformat())
    assert [line["sequence"] for line in lines] == wanted[::-1]
    assert {line["organization_id"] for line in lines} == {DEFAULT_ORGANIZATION_ID}
    one = next(each for each in EVENTS if each.sequence == wanted[0])
    assert lines[-1]["at"] == one.at
    assert lines[-1]["after"] == {"name": "n"}
    assert lines[-1]["time"] == datetime.fromtimestamp(one.at, UTC).isoformat(timespec="microseconds")
    async with database.read() as session:
        told = await session.first(select(audit_events).where(audit_events.c.action == "audit.exported"))
    assert told is not None
    assert (told["resource_id"], told["actor_name"]) == ("2023-11-14T22:13:40Z/2023-11-14T22:14:31Z", "sample")


async def test_an_export_of_everything_comes_in_batches(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polyforge.tenancy.audit.service._BATCH", 7)
    answer = await api.client.get("/api/v1/audit/export")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["sequence"] for line in lines] == expected()[::-1]


async def test_an_export_that_was_refused_or_is_empty(api: Api) -> None:
    assert (await api("GET", "/export?since=2024-01-02&until=2024-01-01", 400))["param"] == "since"
    assert (await api.client.get("/api/v1/audit/export?since=2020-01-01&until=2020-01-01")).content == b""


# --- verification ---


async def test_verifying_goes_on_with_the_cursor_to_the_end(api: Api) -> None:
    first = await api("POST", "/verify", 200, {"limit": 100})
    cursor = first.pop("cursor")
    assert first == {"checked": 100, "sequence": 100, "newest": COUNT, "complete": False, "fault": None}
    second = await api("POST", "/verify", 200, {"cursor": cursor})
    assert (second["checked"], second["complete"], second["fault"]) == (COUNT - 100, True, None)


async def test_verifying_says_the_first_event_that_is_wrong_and_why(api: Api, database: Database) -> None:
    await tamper(database, 42, address="192.0.2.66")
    verdict = await api("POST", "/verify", 200, {})
    assert (verdict["complete"], verdict["sequence"]) == (True, 41)
    assert (verdict["fault"]["sequence"], verdict["fault"]["reason"]) == (42, "changed")
    assert "event 42" in verdict["fault"]["message"]


@pytest.mark.parametrize(
    "cursor", ["", "1", "x.00", "1.zz", "1." + "0" * 62, "-1." + "0" * 64, f"{1 << 63}.{'0' * 64}"]
)
async def test_a_cursor_that_no_verification_gave_is_refused(api: Api, cursor: str) -> None:
    assert (await api("POST", "/verify", 400, {"cursor": cursor}))["param"] == "cursor"


# --- exports and dead letters ---


async def bury(database: Database, *letters: DeadLetter) -> None:
    async with database.write() as session:
        for letter in letters:
            await SystemExportEditor(session).bury(letter)


async def test_exports_say_how_far_they_are(api: Api, database: Database, clock: FakeClock) -> None:
    async with database.write() as session:
        editor = SystemExportEditor(session)
        await editor.claim("siem", "h", NOW, NOW + 60)
        failing = {"failures": 3, "error": "it answered 503", "retry_at": NOW + 9, "changed_at": NOW, "sequence": 200}
        await editor.change("siem", "h", 0, failing)
    await bury(database, DeadLetter("A" * 26, "siem", 7, "too large", NOW))
    siem, copy = (await api("GET", "/exports", 200))["data"]
    assert siem == {
        "name": "siem",
        "use": "https",
        "sequence": 200,
        "lag": COUNT - 200,
        "failures": 3,
        "error": "it answered 503",
        "retry_at": "2023-11-14T22:13:29Z",
        "changed_at": "2023-11-14T22:13:20Z",
        "dead_letters": 1,
    }
    assert (copy["lag"], copy["error"], copy["retry_at"], copy["changed_at"]) == (COUNT, None, None, None)


async def test_dead_letters_have_pages_and_can_be_asked_for_again(api: Api, database: Database) -> None:
    letters = [DeadLetter(f"{number:026d}", "siem" if number % 2 else "gone", number, "r", NOW) for number in range(5)]
    await bury(database, *letters)
    first = await api("GET", "/dead-letters?limit=3", 200)
    assert [letter["sequence"] for letter in first["data"]] == [4, 3, 2]
    second = await api("GET", f"/dead-letters?limit=3&cursor={first['next_cursor']}", 200)
    assert ([letter["sequence"] for letter in second["data"]], second["next_cursor"]) == ([1, 0], None)
    of_one = await api("GET", "/dead-letters?export=siem", 200)
    assert [letter["sequence"] for letter in of_one["data"]] == [3, 1]
    await api("GET", "/dead-letters?cursor=x", 400)

    wanted = await api("POST", f"/dead-letters/{letters[3].id}/retry", 202)
    assert wanted["wanted_at"] == "2023-11-14T22:17:20Z"
    assert await api("POST", f"/dead-letters/{letters[3].id}/retry", 202) == wanted
    await api("POST", f"/dead-letters/{letters[2].id}/retry", 409)
    await api("POST", f"/dead-letters/{'Z' * 26}/retry", 404)
    await api("POST", "/dead-letters/x/retry", 404)
    told = await api("GET", "?action=audit.dead_letter_retried", 200)
    assert [(each["resource_id"], each["after"]) for each in told["data"]] == [
        (letters[3].id, {"export": "siem", "sequence": 3})
    ]


async def test_every_route_names_one_permission_and_refuses_without_it(api: Api) -> None:
    needed = {
        (method, route.path): [
            dependant.call.name for dependant in route.dependant.dependencies if isinstance(dependant.call, Permission)
        ]
        for route in _routes(api)
        for method in route.methods or ()
    }
    assert len(needed) == 7
    for (method, path), permissions in needed.items():
        assert len(permissions) == 1, path
        sub = path.removeprefix("/api/v1/audit").format(event_id=ABSENT, letter_id=ABSENT)
        body = {} if path.endswith("verify") else None
        api.nobody = True
        await api(method, sub, 401, body)
        api.nobody = False
        api.caller = caller(*{"audit:read", "audit:operate", "keys:read"} - set(permissions))
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
