"""Whatever is done to the audit log behind its back is found; on SQLite and on PostgreSQL."""

import sqlite3
from typing import Any

import pytest
from sqlalchemy import select

from polyforge.database.database import Database
from polyforge.database.engine import sqlite_path
from polyforge.kernel.clock import FakeClock
from polyforge.secrets.sealing import MasterKeys
from polyforge.tenancy.audit.log import AuditEvent, AuditLog, Chain, Subject
from polyforge.tenancy.audit.store import Mark, SystemAuditStore
from polyforge.tenancy.audit.tables import audit_events
from polyforge.tenancy.audit.verification import Fault, Verdict, Verifier
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID
from tests.support.audit import CHAIN, audit_event, fill, put, remove, set_head, tamper
from tests.support.databases import Place
from tests.unit.tenancy.samples import NOW, caller

COUNT = 1_300
"""More than two batches."""
EVERYTHING = 1_000_000


async def verified(database: Database, start: Mark = Mark(), most: int = EVERYTHING) -> Verdict:  # noqa: B008
    return await Verifier(database, CHAIN).verify(start, most)


async def row(database: Database, sequence: int) -> dict[str, Any]:
    async with database.read() as session:
        found = await session.first(select(audit_events).where(audit_events.c.sequence == sequence))
    assert found is not None
    return dict(found)


@pytest.fixture
async def log(database: Database) -> Database:
    await fill(database, COUNT)
    return database


async def test_a_log_that_nobody_touched_is_right(log: Database) -> None:
    verdict = await verified(log)
    assert verdict.fault is None
    assert (verdict.checked, verdict.newest, verdict.complete) == (COUNT, COUNT, True)


async def test_an_empty_log_is_right(database: Database) -> None:
    assert await verified(database) == Verdict(Mark(), 0, 0, complete=True)


async def test_what_the_log_itself_writes_is_right(log: Database) -> None:
    writer = AuditLog(CHAIN, FakeClock(NOW + 0.1))
    subject = Subject("secret", "s" * 300, DEFAULT_ORGANIZATION_ID)
    async with log.write() as session:
        await writer.record(session, caller("*"), "secret.revealed", subject, {"naïve": 0.1}, {"b": [1, None, "\n\0"]})
    assert (await verified(log)).fault is None
    assert (await row(log, COUNT + 1))["topic"] == "secret"


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "1" * 26},
        {"at": NOW + 777.000001},
        {"organization_id": "0" * 26},
        {"project_id": None},
        {"actor_kind": "user"},
        {"actor_id": "0000000000000000000000000L"},
        {"actor_name": "samplf"},
        {"address": "192.0.2.2"},
        {"agent": "curl/9"},
        {"request_id": "0" * 26},
        {"action": "key.createe"},
        {"topic": "kex"},
        {"resource_kind": "kex"},
        {"resource_id": "0" * 26},
        {"before": "null"},
        {"after": '{"name":"m"}'},
        {"after": None},
        {"hash": bytes(32)},
    ],
    ids=lambda changes: next(iter(changes)),
)
async def test_a_change_of_any_column_is_found(log: Database, changes: dict[str, Any]) -> None:
    await tamper(log, 777, **changes)
    verdict = await verified(log)
    assert verdict.fault == Fault(777, "changed")
    assert (verdict.checked, verdict.mark.sequence, verdict.complete) == (776, 776, True)


async def test_every_flipped_byte_of_a_hash_is_found(log: Database) -> None:
    right = (await row(log, 5))["hash"]
    for place in range(len(right)):
        await tamper(log, 5, hash=right[:place] + bytes([right[place] ^ 1]) + right[place + 1 :])
        assert (await verified(log, most=10)).fault == Fault(5, "changed")


@pytest.mark.parametrize("sequence", [1, 500, 501, 999])
async def test_a_removed_event_is_found(log: Database, sequence: int) -> None:
    await remove(log, sequence)
    assert (await verified(log)).fault == Fault(sequence, "missing")


async def test_events_that_changed_places_are_found(log: Database) -> None:
    first, second = await row(log, 600), await row(log, 601)
    for each in (600, 601):
        await remove(log, each)
    await put(log, {**first, "sequence": 601})
    await put(log, {**second, "sequence": 600})
    assert (await verified(log)).fault == Fault(600, "changed")


async def test_closing_the_gap_of_a_removed_event_is_found(log: Database) -> None:
    await remove(log, 600)
    await tamper(log, 601, sequence=600)
    assert (await verified(log)).fault == Fault(600, "changed")


async def test_a_removed_end_is_found(log: Database) -> None:
    for sequence in (COUNT - 1, COUNT):
        await remove(log, sequence)
    verdict = await verified(log)
    assert verdict.fault == Fault(COUNT - 1, "missing")
    assert verdict.newest == COUNT


async def test_a_log_that_was_emptied_is_found(log: Database) -> None:
    async with log.write() as session:
        await session.raw("DELETE FROM audit_events", ())
    assert (await verified(log)).fault == Fault(1, "missing")


async def test_an_end_that_was_taken_back_together_with_the_head_is_found_from_a_mark_that_was_kept(
    log: Database,
) -> None:
    kept = (await verified(log)).mark
    await remove(log, COUNT)
    await set_head(log, COUNT - 1, (await row(log, COUNT - 1))["hash"])
    assert (await verified(log, kept)).fault == Fault(COUNT, "missing")


async def test_a_head_that_was_set_back_alone_is_found(log: Database) -> None:
    await set_head(log, COUNT - 1, (await row(log, COUNT - 1))["hash"])
    assert (await verified(log)).fault == Fault(COUNT, "added")


async def test_a_changed_head_is_found(log: Database) -> None:
    await set_head(log, COUNT, bytes(32))
    assert (await verified(log)).fault == Fault(COUNT, "changed")


@pytest.mark.parametrize("sequence", [0, -7])
async def test_an_event_outside_of_the_chain_is_found(log: Database, sequence: int) -> None:
    await put(log, {**await row(log, 1), "sequence": sequence, "id": "Z" * 26})
    assert (await verified(log)).fault == Fault(sequence, "added")


async def test_an_event_forged_without_the_master_key_is_found(log: Database) -> None:
    foreign = Chain(MasterKeys([bytes(32)]))
    forged: AuditEvent = audit_event(COUNT + 1, actor_name="somebody else")
    linked = foreign.link(forged, (await row(log, COUNT))["hash"])
    await put(log, {**await row(log, 1), "sequence": COUNT + 1, "id": forged.id, "hash": linked})
    await set_head(log, COUNT + 1, linked)
    assert (await verified(log)).fault == Fault(COUNT + 1, "changed")


async def test_events_of_an_earlier_master_key_are_verified_while_it_is_configured(log: Database) -> None:
    renewed = MasterKeys([bytes(32), bytes(range(32))])
    writer = AuditLog(Chain(renewed), FakeClock(NOW))
    async with log.write() as session:
        await writer.record(session, caller("*"), "key.revoked", Subject("key", "k", DEFAULT_ORGANIZATION_ID))
    assert (await Verifier(log, Chain(renewed)).verify(Mark(), EVERYTHING)).fault is None
    assert (await verified(log)).fault == Fault(COUNT + 1, "changed")
    assert (await Verifier(log, Chain(MasterKeys([bytes(32)]))).verify(Mark(), EVERYTHING)).fault == Fault(1, "changed")


async def test_a_verification_goes_on_from_its_mark_and_tells_how_far_it_is(log: Database) -> None:
    seen: list[tuple[int, int]] = []
    mark, checked = Mark(), 0
    while True:
        verdict = await Verifier(log, CHAIN).verify(mark, 700, lambda *progress: seen.append(progress))
        mark, checked = verdict.mark, checked + verdict.checked
        if verdict.complete:
            break
        assert verdict.checked == 700
    assert checked == COUNT
    assert seen == [(500, COUNT), (700, COUNT), (1200, COUNT), (1300, COUNT)]


async def test_a_mark_that_the_log_does_not_have_any_more_is_a_fault(log: Database) -> None:
    await tamper(log, 100, hash=b"x" * 32)
    right = Mark(100, bytes(32))
    assert (await verified(log, right)).fault == Fault(100, "changed")


async def test_events_that_come_meanwhile_are_no_fault(log: Database) -> None:
    writer = AuditLog(CHAIN, FakeClock(NOW))

    async def add() -> None:
        async with log.write() as session:
            await writer.record(session, caller("*"), "key.revoked", Subject("key", "k", DEFAULT_ORGANIZATION_ID))

    verifier = Verifier(log, CHAIN)
    original = SystemAuditStore.head
    added = 0

    async def head(self: SystemAuditStore) -> Mark:
        nonlocal added
        found = await original(self)
        if added < 3:
            added += 1
            await add()
        return found

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(SystemAuditStore, "head", head)
        verdict = await verifier.verify(Mark(), EVERYTHING)
    assert verdict.fault is None
    assert verdict.checked == COUNT + 3


@pytest.mark.parametrize("kind", ["sqlite"])  # PostgreSQL lets nobody write a text that is not UTF-8
async def test_a_byte_flipped_in_the_file_itself_is_found_even_where_no_text_can_be_read(place: Place) -> None:
    database = place.database()
    await database.open()
    await fill(database, COUNT)
    with sqlite3.connect(sqlite_path(place.data)) as file:
        file.execute("UPDATE audit_events SET agent = CAST(x'6375ff6c' AS TEXT) WHERE sequence = 777")
        file.execute("UPDATE audit_events SET at = 'never' WHERE sequence = 900")
    file.close()
    verdict = await verified(database)
    assert (verdict.fault, verdict.mark.sequence) == (Fault(777, "unreadable"), 776)
    async with database.read() as session:
        mark = Mark(800, await SystemAuditStore(session).hash_of(800) or b"")
    assert (await verified(database, mark)).fault == Fault(900, "unreadable")
    await database.close()


def test_a_fault_says_what_it_means() -> None:
    assert Fault(7, "missing").message == "event 7 is missing"
    assert "event 8 is not what was written" in Fault(8, "changed").message
