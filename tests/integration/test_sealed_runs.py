"""What runs were given and made is nowhere in the database as it was said; on SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Table, select, update

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.flows.running.approvals import Answer
from polyforge.flows.running.pages import RunResults
from polyforge.flows.running.records import FlowRun, Trigger
from polyforge.flows.running.sealing import SEALED, Seals
from polyforge.flows.running.store import RunStore
from polyforge.flows.running.tables import flow_approvals, flow_results, flow_run_events, flow_runs
from polyforge.kernel.clock import SystemClock
from polyforge.kernel.errors import Unavailable
from polyforge.secrets.sealed_text import head_of
from polyforge.secrets.sealing import MasterKeys
from polyforge.tenancy.vault.sealing import Sealing
from tests.support.databases import Place
from tests.support.flow_house import FlowHouse, flow_house
from tests.support.flows import flow, node
from tests.support.principals import install_default
from tests.support.recording import MASTER, SEALS
from tests.unit.tenancy.samples import caller

ME = caller("*")
SCOPE = Scope(ME.organization_id, ME.project_id)
WORD = "xyzzy"
TABLES = (flow_runs, flow_run_events, flow_approvals, flow_results)
NEW = MasterKeys([b"n" * 32, bytes(range(32))])


@pytest.fixture
async def house(place: Place, database: Database) -> AsyncIterator[FlowHouse]:
    await install_default(database, SystemClock())
    async with flow_house(place, database) as made:
        yield made


def asking() -> dict[str, Any]:
    """Shows an input, asks for a word, and gives both."""
    form = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}
    params = {"question": "Which one?", "assignees": ["role:owner"], "expires_in_s": 3_600, "form": form}
    pick = {"inputs": {"a": "record{word: text}"}, "cel": "a.word", "result": "text"}
    nodes = {
        "text": node("flow.input", {"name": "text"}),
        "ask": node("human.approval", params, show=("text", "value")),
        "pick": node("data.transform", pick, a=("ask", "approved")),
        "say": node("prompt.template", {"template": "{{a}} {{b}}"}, a=("text", "value"), b=("pick", "value")),
        "out": node("flow.output", {"name": "text"}, value=("say", "text")),
    }
    interface = {"inputs": {"text": {"type": "text"}}, "outputs": {"text": {"type": "text"}}}
    return flow(nodes, interface=interface)


async def told(house: FlowHouse) -> FlowRun:
    """A run that was begun, asked, was answered and ended, all with the word in it."""
    version = await house.flow(ME, asking())
    given = Trigger("webhook", None, {"body": WORD})
    run = await house.runs.start(ME, version, {"text": f"{WORD}-in"}, trigger=given)
    await house.worker()
    while not (found := (await house.approvals.page(ME, 10, None, run_id=run.id))[0]):
        run = await house.runs.wait(ME, run.id, 0.05)
        assert not run.finished, run
    await house.approvals.decide(ME, found[0].id, Answer("approve", {"word": f"{WORD}-said"}))
    done = await house.done(ME, run)
    assert done.outputs == {"text": f"{WORD}-in {WORD}-said"}
    await RunResults(house.database, house.clock, 1.0, SEALS).keep(ME, "a" * 64, {"text": WORD})
    return done


async def rows(house: FlowHouse, table: Table) -> list[dict[str, Any]]:
    async with house.database.read() as session:
        return [dict(row) for row in await session.all(select(table))]


async def test_nothing_of_a_run_lies_in_the_database_as_it_was_said(house: FlowHouse) -> None:
    done = await told(house)
    for table in TABLES:
        found = await rows(house, table)
        assert found
        assert WORD not in str(found), table.name
    assert (done.inputs, done.trigger.outputs) == ({"text": f"{WORD}-in"}, {"body": WORD})
    events = await house.runs.history(ME, done.id, 0, 100)
    assert WORD in str([each.payload for each in events])
    (approval,), _ = await house.approvals.page(ME, 10, None, run_id=done.id)
    assert (approval.answers, WORD in str(approval.shown)) == ({"word": f"{WORD}-said"}, True)
    assert await RunResults(house.database, house.clock, 1.0, SEALS).find(ME, "a" * 64) == {"text": WORD}
    again = await house.done(ME, await house.runs.rerun(ME, done.id, targets=["say"]))
    assert again.outputs == done.outputs


async def test_what_was_written_before_there_was_a_seal_is_read(house: FlowHouse) -> None:
    done = await told(house)
    async with house.database.write() as session:
        plain = {"inputs": '{"text":"old"}', "outputs": '{"text":"older"}', "trigger_outputs": "{}"}
        await session.change(update(flow_runs).values(plain))
        await session.change(update(flow_run_events).values(payload='{"old":1}'))
        await session.change(update(flow_approvals).values(answers='{"word":"old"}', shown=None))
    found = await house.runs.get(ME, done.id)
    assert (found.inputs, found.outputs, found.trigger.outputs) == ({"text": "old"}, {"text": "older"}, {})
    assert {str(each.payload) for each in await house.runs.history(ME, done.id, 0, 100)} == {"{'old': 1}"}
    (approval,), _ = await house.approvals.page(ME, 10, None, run_id=done.id)
    assert (approval.answers, approval.shown) == ({"word": "old"}, None)


async def test_a_value_does_not_open_in_the_place_of_another(house: FlowHouse) -> None:
    done = await told(house)
    async with house.database.write() as session:
        await session.change(update(flow_runs).values(outputs=flow_runs.c.inputs))
    with pytest.raises(Unavailable, match="cannot be opened"):
        await house.runs.get(ME, done.id)


async def test_a_new_master_key_seals_all_of_it_again(house: FlowHouse) -> None:
    done = await told(house)
    columns = [replace(column, rows=2) for column in SEALED]
    sealing = Sealing(house.database, NEW, columns)
    before = (await sealing.report()).rows
    assert before[MASTER.current] > len(TABLES)
    assert before[NEW.current] == 0
    await sealing.run()
    assert (await sealing.report()).rows == {NEW.current: before[MASTER.current]}
    for column in SEALED:
        texts = [row[column.column] for row in await rows(house, column.table) if row[column.column] is not None]
        assert texts
        assert all(text.startswith(head_of(NEW)) for text in texts), column.column
    only = Seals(MasterKeys([b"n" * 32]))
    async with house.database.read(SCOPE) as session:
        store = RunStore(session, SCOPE, only)
        assert await store.find(done.id) == done
        assert WORD in str(await store.events(done.id, 0, 100))
        assert WORD in str(await store.approvals(10, None, (), done.id))


async def test_with_one_master_key_nothing_is_looked_through(house: FlowHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_given: Any) -> Any:
        raise AssertionError("there is nothing that it could open")

    sealing = Sealing(house.database, MASTER, SEALED)
    monkeypatch.setattr(sealing, "renew_some", never)
    await sealing.run()
