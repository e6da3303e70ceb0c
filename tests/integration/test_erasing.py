"""What is known of a person is taken away, and every sum stays what it was; on SQLite and on PostgreSQL."""

from typing import Any

import pytest
from sqlalchemy import func, select

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import Invalid
from polyforge.kernel.ids import new_ulid
from polyforge.secrets.sealing import MasterKeys
from polyforge.tenancy.admin_key import AdminKey
from polyforge.tenancy.audit.log import AuditLog, Chain
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.audit.tables import audit_events
from polyforge.tenancy.bootstrap import install
from polyforge.tenancy.callers import ALL
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID
from polyforge.tenancy.erasing import service as erasing
from polyforge.tenancy.erasing import store
from polyforge.tenancy.erasing.records import Erased, Person
from polyforge.tenancy.erasing.service import ErasingService
from polyforge.tenancy.history import store as history
from polyforge.tenancy.history.tables import request_feedback
from polyforge.tenancy.keys import new_secret
from polyforge.tenancy.ledger.records import UsageRecord
from polyforge.tenancy.ledger_store import LedgerStore
from polyforge.tenancy.payloads.records import Offered, Part, Payload
from polyforge.tenancy.payloads.settings import PayloadSettings
from polyforge.tenancy.payloads.tables import request_payloads
from polyforge.tenancy.payloads.writer import PayloadWriter
from polyforge.tenancy.tables import daily_usage, hourly_usage, usage_records
from tests.support.files import rooms
from tests.unit.tenancy.samples import NOW, caller, record

MASTER = MasterKeys([b"m" * 32])
USER, OTHER_PROJECT = "0000000000000000000000000U", "0000000000000000000000009P"
WORDS = Payload(Part(b"asked", 5), Part(b"said", 4), "text/plain", 200)


class Installation:
    """A ledger with payloads and feedback, and what forgets."""

    def __init__(self, database: Database) -> None:
        clock = FakeClock(NOW)
        self.database = database
        self.ledger = LedgerStore(database)
        self.writer = PayloadWriter(PayloadSettings(), database, clock, MASTER, lambda _: None)
        self.service = ErasingService(database, Recorder(AuditLog(Chain(MASTER), clock)), MASTER, rooms())
        self._position = 0

    async def called(self, *calls: UsageRecord) -> None:
        """Calls with a payload and feedback each."""
        await self.ledger.append("j", self._position, self._position + 1, calls)
        self._position += 1
        for call in calls:
            scope = Scope(call.organization_id, call.project_id)
            self.writer.offer(Offered(call.id, scope, call.user_id, call.end_user, 9, lambda: WORDS))
            await self.say(call, call.key_id)
        await self.writer.flush()

    async def say(self, call: UsageRecord, giver: str) -> None:
        """Feedback."""
        whose = {"organization_id": call.organization_id, "project_id": call.project_id}
        about = {"model": call.model, "provider": call.provider, "deployment": call.deployment}
        said: dict[str, Any] = {"rating": 1, "score": None, "comment": "", "labels": [], "given_by": giver}
        row = {"id": new_ulid(), "request_id": call.id, "created_at": NOW, **whose, **about, **said}
        async with self.database.write() as session:
            await session.change(request_feedback.insert().values(**row))

    async def erase(self, person: Person) -> Erased:
        """All of it, however many calls that takes."""
        done = Erased()
        cursor: str | None = None
        for _ in range(100):
            done = done.then(await self.service.erase(caller(ALL), person, cursor))
            if done.place is None:
                return done
            cursor = str(done.place)
        raise AssertionError("it never ends")

    async def column(self, column: Any) -> list[Any]:
        """What a column holds, sorted."""
        async with self.database.read() as session:
            return sorted(row[column.name] for row in await session.all(select(column)))

    async def sums(self) -> list[Any]:
        """What everybody used."""
        found: list[Any] = []
        async with self.database.read() as session:
            for table in (usage_records, hourly_usage, daily_usage):
                price, count = func.sum(table.c.price_micros), func.count(table.c.end_user.distinct())
                found.append(tuple((await session.all(select(price.label("p"), count.label("n"))))[0].values()))
        return found


@pytest.fixture
async def place(database: Database) -> Installation:
    await install(database, AdminKey(new_secret(), created=False), FakeClock(NOW))
    return Installation(database)


ANN = Person("end_user", "ann")


async def test_an_end_user_is_forgotten_and_stays_counted(place: Installation) -> None:
    anns = [record(end_user="ann", started_at=NOW + age) for age in range(3)]
    bob, nobody = record(end_user="bob"), record()
    theirs = record(end_user="ann", project_id=OTHER_PROJECT)
    await place.called(*anns, bob, nobody, theirs)
    before = await place.sums()
    assert await place.erase(ANN) == Erased(3, 3, 3)
    rest = sorted([bob.id, nobody.id, theirs.id])
    assert await place.column(request_payloads.c.id) == rest
    assert await place.column(request_feedback.c.request_id) == rest
    names = await place.column(usage_records.c.end_user)
    assert names[:3] == ["", "ann", "bob"]
    assert len({*names[3:]}) == 1
    assert names[3].startswith("erased-")
    # One name more: the other project's `ann` has kept hers.
    assert [(price, count - 1) for price, count in await place.sums()] == before
    for sums in (hourly_usage, daily_usage):
        assert set(await place.column(sums.c.end_user)) == set(names)


async def test_who_comes_back_is_counted_and_forgotten_again(place: Installation) -> None:
    await place.called(record(end_user="ann"))
    await place.erase(ANN)
    await place.called(record(end_user="ann"))
    before = [price for price, _ in await place.sums()]
    assert await place.erase(ANN) == Erased(1, 1, 1)
    assert await place.erase(ANN) == Erased()
    assert [price for price, _ in await place.sums()] == before
    assert len(set(await place.column(usage_records.c.end_user))) == 1


async def test_a_users_requests_lose_their_words_and_their_end_users(place: Installation) -> None:
    mine = [record(user_id=USER, end_user=name) for name in ("ann", "bob", "")]
    await place.called(*mine, record(end_user="ann"))
    await place.say(record(), USER)
    assert await place.erase(Person("user", USER)) == Erased(2, 3, 4)
    names = await place.column(usage_records.c.end_user)
    assert names[:2] == ["", "ann"]
    assert len({*names[2:]}) == 2
    assert await place.column(usage_records.c.user_id) == ["", USER, USER, USER]
    assert await place.erase(Person("user", USER)) == Erased()


async def test_it_is_done_in_small_steps_that_can_be_gone_on_with(
    place: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PAGE", 3)
    monkeypatch.setattr(history, "MOST_SEEN", 5)
    monkeypatch.setattr(erasing, "MOST_STEPS", 2)
    calls = [record(end_user="ann" if age % 3 else "bob", started_at=NOW + age) for age in range(40)]
    await place.called(*calls)
    first = await place.service.erase(caller(ALL), ANN, None)
    assert 0 < first.requests <= 6
    assert first.place is not None
    done = await place.erase(ANN)
    assert first.requests + done.requests == 26
    assert first.payloads + done.payloads == 26
    assert await place.column(usage_records.c.end_user) == ["bob"] * 14 + [names_of(place)] * 26
    assert len(await place.column(request_payloads.c.id)) == 14
    with pytest.raises(Invalid):
        await place.service.erase(caller(ALL), ANN, "nonsense")


def names_of(place: Installation) -> str:
    return place.service.pseudonym(DEFAULT_PROJECT_ID, "ann")


async def test_the_audit_log_has_the_pseudonym_and_never_the_name(place: Installation) -> None:
    await place.called(record(end_user="ann"))
    await place.erase(ANN)
    async with place.database.read() as session:
        (event,) = await session.all(select(audit_events).where(audit_events.c.action == "requests.deleted"))
    assert event["resource_id"] == names_of(place)
    assert event["organization_id"] == DEFAULT_ORGANIZATION_ID
    assert not any("ann" in str(value) for name, value in event.items() if name != "hash")
