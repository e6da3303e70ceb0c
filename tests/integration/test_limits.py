"""Limits over the API, and what counters begin with; on SQLite and on PostgreSQL."""

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, select

from polyforge.database.database import Database
from polyforge.database.events.store import Event, SystemEvents
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import Unavailable
from polyforge.kernel.ids import encode
from polyforge.kernel.usage import Usage
from polyforge.tenancy.admin_key import AdminKey
from polyforge.tenancy.audit.tables import audit_events
from polyforge.tenancy.bootstrap import install
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.corrections.schemas import NewCorrection
from polyforge.tenancy.corrections.service import CORRECTED, CorrectionService
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID
from polyforge.tenancy.keys import new_secret
from polyforge.tenancy.ledger.records import UsageRecord
from polyforge.tenancy.ledger_store import LedgerStore
from polyforge.tenancy.limits import api as limits_api
from polyforge.tenancy.limits.book import LimitBook
from polyforge.tenancy.limits.counters import LimitCounters, Over, Take
from polyforge.tenancy.limits.notices import LimitNotices
from polyforge.tenancy.limits.records import SUBJECT_KINDS, Limit
from polyforge.tenancy.limits.service import LimitService
from polyforge.tenancy.limits.settings import LimitSettings, declared_limits
from polyforge.tenancy.limits.store import SystemLimits
from polyforge.tenancy.limits.windows import window_start
from polyforge.tenancy.people.tables import group_members, groups, users
from tests.support.recording import recorder
from tests.support.routes import Routes
from tests.unit.limits.limit_samples import limit, opened
from tests.unit.tenancy.samples import NOW, caller, record

ANN, CREW = "0000000000000000000000000A", "0000000000000000000000000C"
KEY = "0000000000000000000000000K"
DECLARED = {
    "house": {"subject": "provider", "subject_id": "lab", "measure": "money", "amount": 5, "window": "day"},
    "everybody": {"subject": "model", "measure": "requests", "amount": 9, "window": "hour", "organization": "*"},
}


class Api(Routes):
    """The routes of limits behind a stand-in for the server's middleware."""

    def __init__(self, database: Database, clock: FakeClock, counters: LimitCounters) -> None:
        self.database = database
        self.clock = clock
        self.ledger = LedgerStore(database)
        declared = declared_limits({name: LimitSettings.model_validate(each) for name, each in DECLARED.items()})
        self.counters = counters
        self.book = LimitBook(database, clock, counters, declared)
        super().__init__(limits_api.router(LimitService(database, clock, recorder(clock), self.book, counters)))

    async def set(self, status: int = 201, **fields: Any) -> Any:
        body = {"name": "n", "subject": "key", "subject_id": KEY, "measure": "money", "amount": 1.0, "window": "day"}
        if fields.get("subject", "key") == "key" and "subject_id" not in fields:
            body["subject_id"] = "*"
        return await self("POST", "/limits", status, {**body, **fields})

    async def called(self, **changes: Any) -> UsageRecord:
        """A call that is in the ledger."""
        call = record(**{"id": _id_at(changes.get("started_at", NOW)), "started_at": NOW, **changes})
        await self.ledger.append(f"j{call.id}", 0, 1, [call])
        return call

    async def spend(self, limit_id: str, subject_id: str, amount: int) -> Over | None:
        """What a call does to a counter that nobody else uses."""
        found = self.book.get(limit_id)
        assert found is not None
        counter = self.book.counter(found, subject_id)
        await self.book.ready([counter])
        take = Take(counter, amount)
        outcome = self.counters.reserve_many([take], self.clock.now())
        if isinstance(outcome, Over):
            return outcome
        self.counters.settle_many([take], 1, amount, amount, self.clock.now())
        return None


def _id_at(moment: float) -> str:
    return encode((int(moment * 1000) << 80) + random.getrandbits(80))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
async def api(database: Database, clock: FakeClock, tmp_path: Path) -> AsyncIterator[Api]:
    await install(database, AdminKey(new_secret(), created=False), clock)
    counters = opened(tmp_path)
    made = Api(database, clock, counters)
    await made.book.open()
    yield made
    await made.client.aclose()
    await made.book.close()
    counters.close()


async def test_a_limit_is_set_shown_changed_and_removed(api: Api, database: Database) -> None:
    made = await api.set(thresholds=[0.8, 0.5])
    assert made == {
        "id": made["id"],
        "name": "n",
        "declared": False,
        "organization_id": DEFAULT_ORGANIZATION_ID,
        "project_id": None,
        "subject": "key",
        "subject_id": "*",
        "measure": "money",
        "amount": 1.0,
        "window": "day",
        "thresholds": [0.5, 0.8],
        "hard": True,
        "created_at": "2023-11-14T22:13:20Z",
        "created_by": api.caller.key_id,
        "use": None,
        "subjects": None,
    }
    mine = await api("GET", f"/limits/{made['id']}?subject_id={KEY}", 200)
    assert mine["use"] == {
        "used": 0,
        "allowed": 1.0,
        "left": 1.0,
        "percent": 0,
        "starts_again": "2023-11-15T00:00:00Z",
    }
    changed = await api("PATCH", f"/limits/{made['id']}", 200, {"amount": 2.5, "hard": False})
    assert (changed["amount"], changed["hard"], changed["thresholds"]) == (2.5, False, [0.5, 0.8])
    await api("DELETE", f"/limits/{made['id']}", 204)
    await api("GET", f"/limits/{made['id']}", 404)
    async with database.read() as session:
        told = [event.kind for event in await SystemEvents(session).after(0) if event.resource_id == made["id"]]
        actions = [
            row["action"] for row in await session.all(select(audit_events.c.action).order_by(audit_events.c.sequence))
        ]
    assert told == ["limit.created", "limit.changed", "limit.removed"]
    assert actions[-3:] == told


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"window": "fortnight"}, None),
        ({"window": "rolling:59"}, None),
        ({"window": "rolling:2592001"}, None),
        ({"window": None}, "window"),
        ({"measure": "concurrency"}, "window"),
        ({"measure": "concurrency", "window": None, "thresholds": [0.5]}, "thresholds"),
        ({"measure": "requests", "amount": 1.5}, "amount"),
        ({"amount": -1}, None),
        ({"thresholds": [1.5]}, None),
        ({"subject": "planet"}, None),
        ({"subject": "project", "subject_id": "lab"}, "subject_id"),
        ({"subject": "project", "subject_id": KEY}, "subject_id"),
        ({"subject": "organization", "subject_id": KEY}, "subject_id"),
        ({"project_id": KEY}, "project_id"),
    ],
)
async def test_what_cannot_be_is_refused(api: Api, fields: dict[str, Any], param: str | None) -> None:
    refused = await api.client.post(
        "/api/v1/limits",
        json={"name": "n", "subject": "key", "measure": "money", "amount": 1, "window": "day", **fields},
    )
    assert refused.status_code in (400, 422), refused.text
    assert param is None or refused.json()["param"] == param


async def test_a_change_that_cannot_be_names_its_field(api: Api) -> None:
    flights = await api.set(measure="concurrency", window=None, amount=3)
    for changes, param in (({"thresholds": [0.5]}, "thresholds"), ({"amount": 1.5}, "amount")):
        assert (await api("PATCH", f"/limits/{flights['id']}", 400, changes))["param"] == param


async def test_names_are_given_once(api: Api) -> None:
    await api.set()
    assert (await api.set(409))["param"] == "name"


async def test_lists_show_how_limits_stand_declared_ones_last(api: Api) -> None:
    ours = [(await api.set(name=f"limit {number}"))["id"] for number in range(3)]
    first = await api("GET", "/limits?limit=2", 200)
    assert [each["id"] for each in first["data"]] == [ours[2], ours[1]]
    second = await api("GET", f"/limits?limit=2&cursor={first['next_cursor']}", 200)
    third = await api("GET", f"/limits?limit=2&cursor={second['next_cursor']}", 200)
    rest = [*second["data"], *third["data"]]
    assert rest[0]["id"] == ours[0]
    assert {each["name"]: each["organization_id"] for each in rest[1:]} == {
        "house": DEFAULT_ORGANIZATION_ID,
        "everybody": None,
    }
    assert third["next_cursor"] is None
    budgets = (await api("GET", "/budgets", 200))["data"]
    assert [each["measure"] for each in budgets] == ["money"] * 4
    api.caller = caller("limits:read")
    assert "everybody" not in [each["name"] for each in (await api("GET", "/limits", 200))["data"]]


async def test_what_is_declared_is_changed_where_it_stands(api: Api) -> None:
    declared = next(each for each in api.book.declared if each.name == "house")
    assert (await api("PATCH", f"/limits/{declared.id}", 403, {"amount": 1}))["code"] == "permission_denied"
    await api("DELETE", f"/limits/{declared.id}", 403)
    assert (await api("POST", f"/limits/{declared.id}/top-up", 200, {"amount": 2}))["use"]["allowed"] == 7.0


async def test_a_budget_is_a_limit_on_money(api: Api) -> None:
    body = {"name": "b", "subject": "project", "subject_id": DEFAULT_PROJECT_ID, "amount_usd": 10}
    made = await api("POST", "/budgets", 201, body)
    assert (made["measure"], made["amount"], made["window"]) == ("money", 10.0, "month")
    assert (await api("PUT", f"/budgets/{made['id']}", 200, {"amount_usd": 12}))["amount"] == 12.0
    other = await api.set(measure="requests")
    await api("GET", f"/budgets/{other['id']}", 404)
    await api("PUT", f"/budgets/{other['id']}", 404, {"amount_usd": 1})
    await api("DELETE", f"/budgets/{made['id']}", 204)


async def test_reset_top_up_and_transfer(api: Api) -> None:
    poor, rich = [
        (await api.set(name=name, subject="model", subject_id=name, amount=amount))["id"]
        for name, amount in (("poor", 1.0), ("rich", 5.0))
    ]
    assert await api.spend(poor, "poor", 1_000_000) is None
    assert isinstance(await api.spend(poor, "poor", 1), Over)
    assert (await api("POST", f"/limits/{poor}/reset", 200))["use"]["used"] == 0
    assert await api.spend(poor, "poor", 1_000_000) is None
    assert (await api("POST", f"/limits/{poor}/top-up", 200, {"amount": 0.5}))["use"]["left"] == 0.5
    refused = await api("POST", f"/limits/{rich}/transfer", 409, {"to": poor, "amount": 5.1})
    assert refused == {"code": "conflict", "message": "only 5 USD are left of 'rich'", "param": "amount"}
    left = (await api("POST", f"/limits/{rich}/transfer", 200, {"to": poor, "amount": 4}))["use"]
    assert (left["allowed"], left["left"]) == (1.0, 1.0)
    assert (await api("GET", f"/limits/{poor}", 200))["use"]["left"] == 4.5
    api.clock.advance(86_400)
    assert (await api("GET", f"/limits/{poor}", 200))["use"]["allowed"] == 1.0
    assert (await api("GET", f"/limits/{rich}", 200))["use"]["allowed"] == 5.0
    for body, param in (({"to": rich}, "to"), ({"to": KEY}, "to"), ({"to": "?"}, "to")):
        assert (await api("POST", f"/limits/{rich}/transfer", 400, {**body, "amount": 1}))["param"] == param
    await api("POST", f"/limits/{KEY}/transfer", 404, {"to": rich, "amount": 1})


async def test_nothing_is_both_given_away_and_spent(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something else is done to the limit, and what is there is spent, while a transfer is on its way."""
    rich, poor = [(await api.set(name=name, subject="model", subject_id=name))["id"] for name in ("rich", "poor")]
    assert await api.spend(rich, "rich", 1) is None
    spent: list[int] = []
    write = LimitService._write_transfer

    async def disturbed(service: LimitService, *given: Any) -> Any:
        await api("POST", f"/limits/{rich}/top-up", 200, {"amount": 0.5})
        spent.extend([amount for amount in (1_400_000, 800_000) if await api.spend(rich, "rich", amount) is None])
        return await write(service, *given)

    monkeypatch.setattr(LimitService, "_write_transfer", disturbed)
    answer = await api.client.post(f"/api/v1/limits/{rich}/transfer", json={"to": poor, "amount": 0.6})
    given = 600_000 if answer.status_code == 200 else 0
    assert spent
    assert 1 + sum(spent) + given <= 1_500_000


async def test_no_amount_is_more_than_can_be_counted(api: Api) -> None:
    rest = {"name": "vast", "subject": "group"}
    (wrong,) = (await api("POST", "/budgets", 422, {**rest, "amount_usd": 1.1e9}))["detail"]
    assert wrong["loc"] == ["body", "amount_usd"]
    wrong = await api("POST", "/limits", 400, {**rest, "measure": "money", "amount": 1.1e9, "window": "day"})
    assert (wrong["param"], wrong["message"]) == ("amount", "amount must be at most 1e+09 USD")
    made = await api("POST", "/budgets", 201, {**rest, "amount_usd": 1e9, "subject": "model", "subject_id": "vast"})
    assert (await api("PATCH", f"/limits/{made['id']}", 400, {"amount": 1.1e9}))["param"] == "amount"
    assert (await api("POST", f"/limits/{made['id']}/top-up", 200, {"amount": 1e9}))["use"]["allowed"] == 2e9
    assert (await api("POST", f"/limits/{made['id']}/top-up", 400, {"amount": 1}))["param"] == "amount"
    tokens = await api.set(name="tokens", measure="tokens", amount=1e15, window="day")
    assert tokens["amount"] == 1e15


async def test_where_each_has_its_own_one_says_whose(api: Api) -> None:
    made = await api.set(measure="requests", amount=3)
    assert (await api("POST", f"/limits/{made['id']}/reset", 400))["param"] == "subject_id"
    topped = await api("POST", f"/limits/{made['id']}/top-up", 200, {"amount": 2, "subject_id": KEY})
    assert topped["use"]["allowed"] == 5
    await api("POST", f"/limits/{made['id']}/top-up", 400, {"amount": 0.5, "subject_id": KEY})
    await api.called(key_id=KEY)
    shown = await api("GET", f"/limits/{made['id']}", 200)
    assert shown["subjects"] == [{"subject_id": KEY, "used": 1, "percent": 33.33}]


async def test_a_new_limit_counts_what_the_window_has_seen(api: Api) -> None:
    midnight = NOW - NOW % 86_400
    for started_at in (midnight - 1, midnight, NOW):
        await api.called(key_id=KEY, started_at=started_at, price=200_000)
    made = (await api.set(name="money"))["id"]
    assert (await api("GET", f"/limits/{made}?subject_id={KEY}", 200))["use"]["used"] == 0.4
    assert isinstance(await api.spend(made, KEY, 600_001), Over)
    assert await api.spend(made, KEY, 600_000) is None
    rolling = (await api.set(name="rolling", measure="requests", amount=2, window="rolling:7200"))["id"]
    assert await api.spend(rolling, KEY, 1) is None
    assert isinstance(await api.spend(rolling, KEY, 1), Over)


async def test_corrections_are_followed(api: Api, database: Database, clock: FakeClock) -> None:
    call = await api.called(key_id=KEY, price=900_000)
    made = (await api.set())["id"]
    assert isinstance(await api.spend(made, KEY, 200_000), Over)
    corrections = CorrectionService(database, clock, recorder(clock))
    await corrections.create(
        api.caller, NewCorrection(record_id=call.id, price_change_usd=-0.5, reason="the price was wrong")
    )
    api.book.heard([])
    await api.book.sync()
    assert (await api("GET", f"/limits/{made}?subject_id={KEY}", 200))["use"]["used"] == 0.4
    fresh = (await api.set(name="fresh"))["id"]
    assert (await api("GET", f"/limits/{fresh}?subject_id={KEY}", 200))["use"]["used"] == 0.4


async def test_a_correction_is_looked_for_where_it_may_count_only(
    database: Database, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = (limit(id=id_ * 26, organization_id=id_ * 26, measure="money") for id_ in "AB")
    counters = opened(tmp_path)
    book = LimitBook(database, clock, counters, [mine, theirs])
    await book.sync()
    await book.ready([book.counter(each, each.subject_id) for each in (mine, theirs)])
    asked: list[str] = []

    async def corrected(_store: SystemLimits, rule: Limit, _subject: str, _since: float) -> int:
        asked.append(rule.id)
        return 0

    monkeypatch.setattr(SystemLimits, "corrected", corrected)
    event = Event(1, "budgets", CORRECTED, mine.organization_id, None, KEY, NOW, msgspec.Raw(b"{}"))
    for heard, told in (([event], [mine.id]), ([], [mine.id, theirs.id])):
        asked.clear()
        book.heard(heard)
        await book.sync()
        assert asked == told
    counters.close()


async def test_sums_are_those_of_the_rows(api: Api, database: Database) -> None:
    """Random calls, and the sum of every kind of limit, window and measure over them."""
    dice = random.Random(5)
    await _crew(database)
    calls = [_random_call(dice) for _ in range(60)]
    await api.ledger.append("j", 0, 1, calls)
    subjects = {
        "organization": DEFAULT_ORGANIZATION_ID,
        "project": DEFAULT_PROJECT_ID,
        "group": CREW,
        "user": ANN,
        "key": KEY,
        "model": "m1",
        "provider": "p1",
        "end_user": "jo",
    }
    async with database.read() as session:
        store = SystemLimits(session)
        for kind in SUBJECT_KINDS:
            for measure in ("requests", "tokens", "money"):
                rule = limit(subject=kind, subject_id=subjects[kind], measure=measure)
                mine = [call for call in calls if _counts(call, rule)]
                for since in (0.0, window_start("day", NOW), window_start("hour", NOW), NOW - 1234.5):
                    expected = sum(_worth(call, measure) for call in mine if call.started_at >= since)
                    assert await store.used(rule, subjects[kind], since) == expected, (kind, measure, since)
                edges = [NOW - 1300 + 100 * number for number in range(14)]
                found = await store.spans(rule, subjects[kind], edges)
                wanted = [call for call in mine if edges[0] <= call.started_at < edges[-1]]
                assert sum(found) == sum(_worth(call, measure) for call in wanted)


def _random_call(dice: random.Random) -> UsageRecord:
    started_at = NOW - dice.choice([0, 30, 1_000, 4_000, 90_000, 3_000_000])
    return record(
        id=_id_at(started_at),
        key_id=dice.choice([KEY, "0000000000000000000000000Q"]),
        user_id=dice.choice([ANN, ""]),
        end_user=dice.choice(["jo", "al", ""]),
        model=dice.choice(["m1", "m2"]),
        provider=(provider := dice.choice(["p1", "p2", ""])),
        cached="" if provider else "exact",
        started_at=started_at,
        usage=Usage(input=dice.randrange(99), output=dice.randrange(99), cache_read=3),
        price=dice.randrange(10**6),
    )


def _counts(call: UsageRecord, rule: Limit) -> bool:
    if rule.subject == "group":
        return call.user_id == ANN
    field = {"model": "model", "provider": "provider", "end_user": "end_user"}.get(rule.subject, f"{rule.subject}_id")
    return getattr(call, field) == rule.subject_id


def _worth(call: UsageRecord, measure: str) -> int:
    # Who has no provider was given an answer that was kept, which uses no tokens.
    return {"requests": 1, "tokens": call.usage.total if call.provider else 0, "money": call.price}[measure]


async def _crew(database: Database) -> None:
    user = {"id": ANN, "email": "ann@example.com", "name": "n", "totp_step": 0, "recovery": [], "operator": False}
    crew = {"id": CREW, "organization_id": DEFAULT_ORGANIZATION_ID, "name": "crew", "created_at": NOW}
    member = {"group_id": CREW, "user_id": ANN, "organization_id": DEFAULT_ORGANIZATION_ID}
    async with database.write() as session:
        await session.change(insert(users).values({**user, "created_at": NOW}))
        await session.change(insert(groups).values(crew))
        await session.change(insert(group_members).values(member))


async def test_thresholds_become_events(api: Api, database: Database) -> None:
    notices = LimitNotices(database)
    api.counters.notice = notices.tell
    made = (await api.set(measure="requests", amount=2, thresholds=[0.5]))["id"]
    for _ in range(3):
        await api.spend(made, KEY, 1)
    await notices.flush()
    async with database.read() as session:
        events = [event for event in await SystemEvents(session).after(0) if event.resource_id == made][1:]
    assert [(event.kind, event.organization_id) for event in events] == [
        ("limit.threshold", DEFAULT_ORGANIZATION_ID),
        ("limit.reached", DEFAULT_ORGANIZATION_ID),
    ]


async def test_until_limits_are_known_nothing_goes_through(database: Database, tmp_path: Path) -> None:
    counters = opened(tmp_path)
    book = LimitBook(database, FakeClock(NOW), counters, [])
    assert book.any
    with pytest.raises(Unavailable):
        book.find(caller(), "m")
    await book.sync()
    assert not book.any
    counters.close()


async def test_what_counts_for_a_call(api: Api) -> None:
    someone = caller()
    model = (await api.set(name="a", subject="model", subject_id="m1"))["id"]
    every = (await api.set(name="b", subject="project", subject_id="*"))["id"]
    await api.set(name="c", subject="project", project_id=DEFAULT_PROJECT_ID, subject_id="*", measure="requests")
    other = caller(project_id="0000000000000000000000009P")

    def names(who: Caller, asked: str) -> set[tuple[str, str]]:
        rules = api.book.find(who, asked)
        assert rules is not None
        return {(each.limit.name, each.subject_id) for each in rules.counters}

    everybody = ("everybody", "m1")
    assert names(someone, "m1") == {
        ("a", "m1"),
        ("b", DEFAULT_PROJECT_ID),
        ("c", DEFAULT_PROJECT_ID),
        everybody,
    }
    assert names(other, "m1") == {("a", "m1"), ("b", other.project_id), everybody}
    assert names(someone, "m2") == {("b", DEFAULT_PROJECT_ID), ("c", DEFAULT_PROJECT_ID), ("everybody", "m2")}
    assert api.book.find(someone, "m1") is api.book.find(someone, "m1")
    await api("DELETE", f"/limits/{model}", 204)
    await api("DELETE", f"/limits/{every}", 204)
    assert names(other, "m1") == {everybody}
