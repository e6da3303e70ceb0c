"""Keeping secrets over HTTP, using them, and sealing them anew; on SQLite and on PostgreSQL."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import insert, select, update

from polyforge.database.database import Database
from polyforge.database.events.tables import events
from polyforge.database.events.tail import EventTail
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import NotConfigured, NotFound, Unavailable
from polyforge.kernel.ids import new_ulid
from polyforge.secrets.sealing import MasterKeys
from polyforge.tenancy.admin_key import AdminKey
from polyforge.tenancy.audit.tables import audit_events
from polyforge.tenancy.bootstrap import install
from polyforge.tenancy.callers import ALL, Caller
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID
from polyforge.tenancy.keys import new_secret
from polyforge.tenancy.people.tables import signing_keys, users
from polyforge.tenancy.store import SystemEditor
from polyforge.tenancy.vault import service as service_module
from polyforge.tenancy.vault.api import router
from polyforge.tenancy.vault.declared import DeclaredSecrets
from polyforge.tenancy.vault.records import StoredSecret
from polyforge.tenancy.vault.resolver import FRESH_SECONDS, SecretResolver
from polyforge.tenancy.vault.sealing import Batch, SealedColumn, Sealing
from polyforge.tenancy.vault.service import VaultService
from polyforge.tenancy.vault.store import SystemVault
from polyforge.tenancy.vault.tables import secrets
from polyforge.wiring.gateway import SEALED
from tests.support.databases import Place
from tests.support.recording import MASTER, recorder
from tests.support.routes import Routes, decoded
from tests.unit.tenancy.samples import NOW, caller

OTHER_PROJECT = "0000000000000000000000009P"
FOREIGN_ORGANIZATION = "0000000000000000000000008A"
FOREIGN_PROJECT = "0000000000000000000000008P"
ABSENT = "0" * 26
VALUE = "plaintext-of-the-secret-that-nobody-must-find"
NEXT = MasterKeys([b"next" * 8, bytes(range(32))])


class Api(Routes):
    """The routes of secrets behind a stand-in for the server's middleware; `caller` is who calls."""

    def __init__(self, database: Database, clock: FakeClock, master: MasterKeys = MASTER) -> None:
        vault = VaultService(database, clock, recorder(clock), master)
        super().__init__(router(vault, Sealing(database, master, SEALED)), prefix="/api/v1/secrets")

    async def __call__(self, method: str, path: str, status: int, body: object = None, **options: Any) -> Any:
        """The answer to a request that must have this status, and must not hold the value."""
        answer = await self.ask(method, path, status, body, **options)
        assert method == "POST" or VALUE not in answer.text
        return decoded(answer)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
async def installed(database: Database, clock: FakeClock) -> Database:
    """With another project beside the default one, and a foreign organization that has a project, too."""
    await install(database, AdminKey(new_secret(), created=False), clock)
    async with database.write() as session:
        editor = SystemEditor(session)
        await editor.lock()
        await editor.ensure_project(DEFAULT_ORGANIZATION_ID, OTHER_PROJECT, "other", NOW)
        await editor.ensure_project(FOREIGN_ORGANIZATION, FOREIGN_PROJECT, "foreign", NOW)
    return database


@pytest.fixture
async def api(installed: Database, clock: FakeClock) -> AsyncIterator[Api]:
    made = Api(installed, clock)
    yield made
    await made.client.aclose()


def foreign(*scopes: str) -> Caller:
    return replace(caller(*scopes), organization_id=FOREIGN_ORGANIZATION, project_id=FOREIGN_PROJECT)


async def rows(database: Database, table: Any) -> list[dict[str, Any]]:
    async with database.read() as session:
        return [dict(row) for row in await session.all(select(table))]


# --- keep, show, change, remove ---


async def test_a_secret_is_kept_and_never_shown(api: Api) -> None:
    made = await api("POST", "", 201, {"name": "openai", "value": VALUE})
    shown = {
        "name": "openai",
        "version": 1,
        "projects": None,
        "created_at": "2023-11-14T22:13:20Z",
        "changed_at": "2023-11-14T22:13:20Z",
    }
    assert {name: value for name, value in made.items() if name != "id"} == shown
    assert await api("GET", "/openai", 200) == made
    assert (await api("GET", "", 200)) == {"data": [made], "next_cursor": None}


async def test_a_change_raises_the_version_and_touches_what_it_names(api: Api, clock: FakeClock) -> None:
    made = await api("POST", "", 201, {"name": "n", "value": VALUE, "projects": [OTHER_PROJECT, OTHER_PROJECT]})
    assert made["projects"] == [OTHER_PROJECT]
    clock.advance(60)
    changed = await api("PUT", "/n", 200, {"value": "other"})
    assert (changed["version"], changed["projects"], changed["id"]) == (2, [OTHER_PROJECT], made["id"])
    assert (changed["created_at"], changed["changed_at"]) == ("2023-11-14T22:13:20Z", "2023-11-14T22:14:20Z")
    assert (await api("PUT", "/n", 200, {"projects": None}))["projects"] is None
    assert (await api("PUT", "/n", 200, {"projects": []}))["version"] == 4
    assert (await api("PUT", "/n", 200, {}))["version"] == 4
    await api("DELETE", "/n", 204)
    await api("GET", "/n", 404)
    await api("DELETE", "/n", 404)
    again = await api("POST", "", 201, {"name": "n", "value": VALUE})
    assert again["version"] == 1
    assert again["id"] != made["id"]


async def test_a_list_has_pages_newest_first(api: Api) -> None:
    for number in range(5):
        await api("POST", "", 201, {"name": f"s{number}", "value": VALUE})
    first = await api("GET", "?limit=3", 200)
    second = await api("GET", f"?limit=3&cursor={first['next_cursor']}", 200)
    assert [secret["name"] for secret in first["data"] + second["data"]] == ["s4", "s3", "s2", "s1", "s0"]
    assert second["next_cursor"] is None
    for query in ("limit=0", "limit=1001", "cursor=" + "x" * 27):
        await api("GET", f"?{query}", 422)
    await api("GET", "?cursor=nonsense", 400)


@pytest.mark.parametrize(
    "body",
    [
        {"name": "", "value": "x"},
        {"name": "A", "value": "x"},
        {"name": ".a", "value": "x"},
        {"name": "a/b", "value": "x"},
        {"name": "a\n", "value": "x"},
        {"name": "a" * 201, "value": "x"},
        {"name": "sealing", "value": "x"},
        {"name": "a", "value": ""},
        {"name": "a", "value": None},
        {"name": "a", "value": 5},
        {"name": "a", "value": "é" * 32_769},
        {"name": "a"},
        {"name": "a", "value": "x", "projects": ["nonsense"]},
        {"name": "a", "value": "x", "projects": [ABSENT] * 1_001},
        {"name": "a", "value": "x", "extra": 1},
    ],
)
async def test_what_cannot_be_kept_is_refused(api: Api, body: dict[str, Any]) -> None:
    await api("POST", "", 422, body)


async def test_a_value_that_is_refused_is_not_repeated(api: Api) -> None:
    answer = await api.client.post("/api/v1/secrets", json={"name": "a", "value": VALUE * 10_000})
    assert answer.status_code == 422
    assert "at most 65536 are kept" in answer.text
    problem = answer.json()["detail"][0]
    assert VALUE not in problem["msg"] + str(problem["loc"])


async def test_limits_are_exact(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await api("POST", "", 201, {"name": "a" * 200, "value": "é" * 32_768})
    monkeypatch.setattr(service_module, "MAX_SECRETS", 2)
    await api("POST", "", 201, {"name": "b", "value": "\0"})
    assert "at most 2 secrets" in (await api("POST", "", 409, {"name": "c", "value": "x"}))["message"]


async def test_a_name_is_taken_once_however_many_ask(api: Api) -> None:
    asked = [api.client.post("/api/v1/secrets", json={"name": "n", "value": f"value {number}"}) for number in range(6)]
    statuses = sorted(answer.status_code for answer in await asyncio.gather(*asked))
    assert statuses == [201, 409, 409, 409, 409, 409]
    changes = [api.client.put("/api/v1/secrets/n", json={"value": f"other {number}"}) for number in range(6)]
    versions = sorted(answer.json()["version"] for answer in await asyncio.gather(*changes))
    assert versions == [2, 3, 4, 5, 6, 7]


async def test_projects_are_those_of_the_organization(api: Api) -> None:
    for method, path, body in (("POST", "", {"name": "n", "value": "x"}), ("PUT", "/n", {})):
        answers = [
            await api(method, path, 400, {**body, "projects": [DEFAULT_PROJECT_ID, project]})
            for project in (FOREIGN_PROJECT, ABSENT)
        ]
        assert [answer["param"] for answer in answers] == ["projects", "projects"]
        assert answers[0]["message"].replace(FOREIGN_PROJECT, ABSENT) == answers[1]["message"]
        await api("POST", "", 201 if method == "POST" else 409, {"name": "n", "value": "x"})


async def test_a_foreign_secret_looks_like_one_that_does_not_exist(api: Api) -> None:
    await api("POST", "", 201, {"name": "ours", "value": VALUE})
    api.caller = foreign(ALL)
    for method, body in (("GET", None), ("PUT", {"value": "x"}), ("DELETE", None)):
        theirs = await api(method, "/ours", 404, body)
        absent = await api(method, "/gone", 404, body)
        assert theirs == {**absent, "message": absent["message"].replace("gone", "ours")}
    assert (await api("GET", "", 200))["data"] == []
    await api("POST", "", 201, {"name": "ours", "value": "their own"})
    api.caller = caller(ALL)
    assert (await api("GET", "/ours", 200))["version"] == 1


@pytest.mark.parametrize("name", ["%00", "a%00b", "A", "%C3%A4", "a" * 201, "a%20b"])
async def test_what_is_no_name_is_refused(api: Api, name: str) -> None:
    await api("GET", f"/{name}", 422)
    await api("PUT", f"/{name}", 422, {"value": "v"})
    await api("DELETE", f"/{name}", 422)


async def test_each_route_needs_its_permission(api: Api) -> None:
    needed = {
        ("POST", ""): "secrets:write",
        ("GET", ""): "secrets:read",
        ("GET", "/n"): "secrets:read",
        ("PUT", "/n"): "secrets:write",
        ("DELETE", "/n"): "secrets:write",
        ("GET", "/sealing"): "secrets:operate",
    }
    for (method, path), permission in needed.items():
        api.caller = caller(*{"secrets:read", "secrets:write", "secrets:operate", "secrets:use"} - {permission})
        body = {"name": "n", "value": "x"} if method == "POST" else {} if method == "PUT" else None
        assert permission in (await api(method, path, 403, body))["message"]


# --- what is told of it ---


async def test_changes_are_recorded_without_the_value(api: Api, installed: Database) -> None:
    made = await api("POST", "", 201, {"name": "n", "value": VALUE})
    await api("PUT", "/n", 200, {"value": VALUE + "2"})
    await api("PUT", "/n", 200, {"projects": []})
    await api("DELETE", "/n", 204)
    audited = await rows(installed, audit_events)
    assert [event["action"] for event in audited] == [
        "secret.created",
        "secret.changed",
        "secret.changed",
        "secret.removed",
    ]
    assert {event["resource_id"] for event in audited} == {made["id"]}
    assert ["********" in (event["after"] or "") for event in audited] == [True, True, False, False]
    assert VALUE not in str(audited)
    told = await rows(installed, events)
    assert [event["stream"] for event in told] == ["secrets"] * 4
    assert VALUE not in str(told)


async def test_the_value_is_nowhere_in_the_database(api: Api, installed: Database, place: Place, kind: str) -> None:
    await api("POST", "", 201, {"name": "n", "value": VALUE})
    await api("PUT", "/n", 200, {"value": VALUE})
    assert VALUE not in str(await rows(installed, secrets))
    if kind == "sqlite":
        files = [path for path in place.data.rglob("*") if path.is_file()]
        assert any(b"sealed" in path.read_bytes() for path in files)
        assert not any(VALUE.encode() in path.read_bytes() for path in files)


# --- using them ---


async def test_a_secret_is_for_the_projects_that_may_use_it(api: Api, installed: Database, clock: FakeClock) -> None:
    resolver = SecretResolver(installed, clock, MASTER)
    await api("POST", "", 201, {"name": "all", "value": VALUE})
    await api("POST", "", 201, {"name": "one", "value": VALUE, "projects": [OTHER_PROJECT]})
    await api("POST", "", 201, {"name": "none", "value": VALUE, "projects": []})

    async def use(project: str, name: str, organization: str = DEFAULT_ORGANIZATION_ID) -> str:
        return (await resolver.value(organization, project, name)).reveal()

    assert await use(DEFAULT_PROJECT_ID, "all") == await use(OTHER_PROJECT, "one") == VALUE
    refusals: list[str] = []
    for project, name, organization in (
        (DEFAULT_PROJECT_ID, "absent", DEFAULT_ORGANIZATION_ID),
        (DEFAULT_PROJECT_ID, "one", DEFAULT_ORGANIZATION_ID),
        (DEFAULT_PROJECT_ID, "none", DEFAULT_ORGANIZATION_ID),
        (FOREIGN_PROJECT, "all", FOREIGN_ORGANIZATION),
    ):
        with pytest.raises(NotFound) as refused:
            await use(project, name, organization)
        refusals.append(refused.value.message.replace(name, "x"))
    assert len(set(refusals)) == 1
    assert VALUE not in repr(await resolver.value(DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID, "all"))


async def test_a_change_is_used_within_a_second_and_a_removal_too(
    api: Api, installed: Database, clock: FakeClock
) -> None:
    resolver = SecretResolver(installed, clock, MASTER)

    async def use() -> str:
        return (await resolver.value(DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID, "n")).reveal()

    await api("POST", "", 201, {"name": "n", "value": "first"})
    assert await use() == "first"
    await api("PUT", "/n", 200, {"value": "second"})
    clock.advance(FRESH_SECONDS)
    assert await use() == "second"
    await api("DELETE", "/n", 204)
    await api("POST", "", 201, {"name": "n", "value": "third"})
    clock.advance(FRESH_SECONDS)
    assert await use() == "third"
    await api("PUT", "/n", 200, {"projects": []})
    clock.advance(FRESH_SECONDS)
    with pytest.raises(NotFound):
        await use()


async def test_many_who_need_a_secret_at_once_look_once(
    api: Api, installed: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api("POST", "", 201, {"name": "n", "value": VALUE})
    looks: list[str] = []
    named = SystemVault.named

    async def counted(self: SystemVault, organization_id: str, names: Sequence[str]) -> list[StoredSecret]:
        looks.extend(names)
        return await named(self, organization_id, names)

    monkeypatch.setattr(SystemVault, "named", counted)
    resolver = SecretResolver(installed, clock, MASTER)
    values = await asyncio.gather(
        *(resolver.value(DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID, "n") for _ in range(20))
    )
    assert {value.reveal() for value in values} == {VALUE}
    assert looks == ["n"]
    await resolver.close()


async def test_few_values_are_kept_open(api: Api, installed: Database, clock: FakeClock) -> None:
    resolver = SecretResolver(installed, clock, MASTER, capacity=2)
    for name in ("a", "b", "c", "a"):
        if name not in {secret["name"] for secret in (await api("GET", "", 200))["data"]}:
            await api("POST", "", 201, {"name": name, "value": name})
        assert (await resolver.value(DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID, name)).reveal() == name
    assert len(resolver._opened) == 2


async def test_a_row_that_was_tampered_with_is_not_used(api: Api, installed: Database, clock: FakeClock) -> None:
    await api("POST", "", 201, {"name": "a", "value": VALUE})
    await api("POST", "", 201, {"name": "b", "value": "worthless", "projects": []})
    kept = {row["name"]: row["sealed"] for row in await rows(installed, secrets)}
    async with installed.write() as session:
        await session.change(update(secrets).where(secrets.c.name == "b").values(sealed=kept["a"], projects=None))
    with pytest.raises(Unavailable, match="'b' cannot be opened") as refused:
        await SecretResolver(installed, clock, MASTER).value(DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID, "b")
    assert VALUE not in str(refused.value)


# --- what the settings name ---


@pytest.fixture
async def declared(installed: Database) -> AsyncIterator[DeclaredSecrets]:
    """What two processes hear of each other: the change is made through one, and followed in the other."""
    made = DeclaredSecrets(installed, MASTER, DEFAULT_ORGANIZATION_ID)
    tail = EventTail(installed)
    tail.listen(("secrets",), made.heard)
    await tail.open()
    await made.open()
    yield made
    await made.close()
    await tail.close()


async def test_what_the_settings_name_is_followed(api: Api, declared: DeclaredSecrets, place: Place) -> None:
    changes: list[str] = []
    stop = declared.watch("n", lambda: changes.append("n"))
    declared.watch("other", lambda: changes.append("other"))
    with pytest.raises(Unavailable):
        declared.value("n")
    await declared.sync()
    with pytest.raises(NotConfigured, match="polyforge secret set n"):
        declared.value("n")

    async def becomes(value: str | None) -> None:
        async with asyncio.timeout(60):
            while _value_of(declared, "n") != value:  # noqa: ASYNC110  # what it waits for is another process's work
                await asyncio.sleep(0.02)

    elsewhere = place.database()
    await elsewhere.open()
    remote = Api(elsewhere, FakeClock(NOW))
    await remote("POST", "", 201, {"name": "n", "value": "first", "projects": []})
    await becomes("first")
    await remote("PUT", "/n", 200, {"value": "second"})
    await becomes("second")
    await api("DELETE", "/n", 204)
    await becomes(None)
    await api("POST", "", 201, {"name": "n", "value": "third"})
    await becomes("third")
    assert changes.count("n") == 5
    assert changes.count("other") == 1
    stop()
    stop()
    await declared.sync()
    with pytest.raises(Unavailable):
        declared.value("n")
    await remote.client.aclose()
    await elsewhere.close()


def _value_of(declared: DeclaredSecrets, name: str) -> str | None:
    try:
        return declared.value(name).reveal()
    except NotConfigured:
        return None


async def test_a_foreign_organization_cannot_set_what_the_settings_name(api: Api, declared: DeclaredSecrets) -> None:
    declared.watch("n", lambda: None)
    api.caller = foreign(ALL)
    await api("POST", "", 201, {"name": "n", "value": "theirs"})
    await declared.sync()
    with pytest.raises(NotConfigured):
        declared.value("n")


async def test_what_is_known_stays_while_the_database_is_down(api: Api, place: Place) -> None:
    await api("POST", "", 201, {"name": "n", "value": VALUE})
    other = place.database()
    await other.open()
    declared = DeclaredSecrets(other, MASTER, DEFAULT_ORGANIZATION_ID)
    declared.watch("n", lambda: None)
    await declared.open()
    await other.close()
    declared.heard([])
    async with asyncio.timeout(60):
        while not declared._follower.failing:  # noqa: ASYNC110  # nothing else tells that it has tried
            await asyncio.sleep(0.02)
    assert declared.value("n").reveal() == VALUE
    await declared.close()


# --- sealing anew ---


async def _fill(api: Api, database: Database, count: int) -> None:
    for number in range(count):
        await api("POST", "", 201, {"name": f"s{number}", "value": f"value {number}"})
    user, key = new_ulid(), new_ulid()
    person = {
        "id": user,
        "email": "a@example.com",
        "name": "a",
        "totp_step": 0,
        "recovery": [],
        "operator": False,
        "created_at": NOW,
        "totp": MASTER.seal(b"the second factor", f"totp/{user}"),
    }
    signing = {
        "id": key,
        "public": bytes(32),
        "sealed": MASTER.seal(b"private", f"signing key/{key}"),
        "created_at": NOW,
    }
    async with database.write() as session:
        await session.change(insert(users).values(person))
        await session.change(insert(users).values({**person, "id": new_ulid(), "email": "b@example.com", "totp": None}))
        await session.change(insert(signing_keys).values(signing))


async def _all_open(database: Database, clock: FakeClock, count: int, master: MasterKeys) -> None:
    resolver = SecretResolver(database, clock, master)
    for number in range(count):
        value = await resolver.value(DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID, f"s{number}")
        assert value.reveal() in (f"value {number}", f"changed {number}")


async def test_everything_is_sealed_anew_while_it_is_used_and_changed(
    api: Api, installed: Database, place: Place, clock: FakeClock
) -> None:
    count = 130
    await _fill(api, installed, count)
    renewing = [Sealing(installed, NEXT, SEALED)]
    elsewhere = place.database()
    await elsewhere.open()
    renewing.append(Sealing(elsewhere, NEXT, SEALED))
    assert (await renewing[0].report()).left == count + 2
    running = [asyncio.create_task(sealing.run()) for sealing in renewing]
    writer = Api(installed, clock, NEXT)
    turn = 0
    while not all(task.done() for task in running):
        await writer("PUT", f"/s{turn * 7 % count}", 200, {"value": f"changed {turn * 7 % count}"})
        await _all_open(installed, clock, 20, NEXT)
        turn += 1
    await asyncio.gather(*running)
    await _all_open(installed, clock, count, NEXT)
    report = await renewing[0].report()
    assert (report.left, report.rows[NEXT.current]) == (0, count + 2)
    alone = MasterKeys([b"next" * 8])
    await _all_open(installed, clock, count, alone)
    (user,) = [row for row in await rows(installed, users) if row["totp"]]
    assert alone.open(user["totp"], f"totp/{user['id']}") == b"the second factor"
    (key,) = await rows(installed, signing_keys)
    assert alone.open(key["sealed"], f"signing key/{key['id']}") == b"private"
    assert {row["master"] for row in await rows(installed, secrets)} == {alone.current}
    await writer.client.aclose()
    await elsewhere.close()


async def test_sealing_that_was_interrupted_goes_on_at_the_next_start(
    api: Api, installed: Database, clock: FakeClock
) -> None:
    await _fill(api, installed, 210)
    first = asyncio.create_task(Sealing(installed, NEXT, SEALED).run())
    report = await Sealing(installed, NEXT, SEALED).report()
    while report.left == 212:
        await asyncio.sleep(0)
        report = await Sealing(installed, NEXT, SEALED).report()
    first.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await first
    await _all_open(installed, clock, 210, NEXT)
    assert 0 < (await Sealing(installed, NEXT, SEALED).report()).left < 212
    await Sealing(installed, NEXT, SEALED).run()
    assert (await Sealing(installed, NEXT, SEALED).report()).left == 0


async def test_sealing_goes_on_after_any_fault(api: Api, installed: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    await _fill(api, installed, 3)
    faults: list[Exception] = [OSError("the disk"), RuntimeError("a mistake"), Unavailable("the database")]
    renew = Sealing.renew_some

    async def faulty(self: Sealing, column: SealedColumn, after: str) -> Batch:
        if faults:
            raise faults.pop()
        return await renew(self, column, after)

    monkeypatch.setattr(Sealing, "renew_some", faulty)
    monkeypatch.setattr("polyforge.tenancy.vault.sealing._RETRY_SECONDS", 0.0)
    await Sealing(installed, NEXT, SEALED).run()
    assert (await Sealing(installed, NEXT, SEALED).report()).left == 0


async def test_what_cannot_be_opened_is_left_as_it_is_and_the_rest_goes_on(api: Api, installed: Database) -> None:
    await _fill(api, installed, 3)
    lost = MasterKeys([b"lost" * 8])
    async with installed.write() as session:
        values = {"sealed": lost.seal(b"x", "y"), "master": lost.current}
        await session.change(update(secrets).where(secrets.c.name == "s1").values(values))
    await Sealing(installed, NEXT, SEALED).run()
    report = await Sealing(installed, NEXT, SEALED).report()
    assert (report.left, report.rows[lost.current], lost.current in report.available) == (1, 1, False)


async def test_progress_is_told_by_master_key(api: Api, installed: Database, clock: FakeClock) -> None:
    await _fill(api, installed, 2)
    shown = await Api(installed, clock, NEXT)("GET", "/sealing", 200)
    assert shown["current"] == NEXT.current
    assert shown["left"] == 4
    assert sorted(shown["data"], key=lambda each: each["rows"]) == [
        {"master": NEXT.current, "rows": 0, "current": True, "available": True},
        {"master": MASTER.current, "rows": 4, "current": False, "available": True},
    ]
