"""Runs and approvals on behalf of callers, with workers that do them, on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import select, update

from polyforge.database.database import Database
from polyforge.flows.running import approvals
from polyforge.flows.running.approvals import Answer
from polyforge.flows.running.contract import NodeCall, Outputs
from polyforge.flows.running.records import MAX_INLINE, Approval, FlowRun, Trigger
from polyforge.flows.running.store import RunFilter
from polyforge.flows.running.tables import flow_approvals, flow_run_events, flow_runs
from polyforge.jobs.service import MAX_MESSAGES
from polyforge.jobs.tables import jobs
from polyforge.kernel.clock import SystemClock
from polyforge.kernel.errors import (
    Conflict,
    Denied,
    IdempotencyKeyReused,
    Invalid,
    NotFound,
    RateLimited,
    WrongCredentials,
)
from polyforge.tenancy.callers import Caller
from tests.support.databases import Place
from tests.support.flow_house import FlowHouse, flow_house
from tests.support.flows import flow, loaded, node
from tests.support.principals import add_user, install_default
from tests.support.waiting import eventually_async
from tests.unit.tenancy.samples import caller

SCOPES = ("flows:read", "flows:write", "flows:run", "approvals:decide", "jobs:write")
ME = caller(*SCOPES)
STRANGER = caller("*", project_id="0000000000000000000000009P")


@pytest.fixture
async def house(place: Place, database: Database) -> AsyncIterator[FlowHouse]:
    await install_default(database, SystemClock())
    async with flow_house(place, database) as made:
        yield made


def shouting(**more: Any) -> dict[str, Any]:
    nodes = {
        "text": node("flow.input", {"name": "text"}),
        "say": node("prompt.template", {"template": "{{a}}!"}, a=("text", "value")),
        "again": node("prompt.template", {"template": "{{a}}!"}, a=("say", "text")),
        "out": node("flow.output", {"name": "text"}, value=("again", "text")),
    }
    interface = {"inputs": {"text": {"type": "text"}}, "outputs": {"text": {"type": "text"}}}
    return flow(nodes, interface=interface, **more)


async def test_a_flow_runs(house: FlowHouse) -> None:
    version = await house.flow(ME, shouting())
    run = await house.runs.start(ME, version, {"text": "hey"}, trigger=Trigger("cli"))
    assert (run.state, run.version, run.trigger.kind) == ("queued", version.version, "cli")
    await house.worker()
    done = await house.done(ME, run)
    assert (done.state, done.outputs, done.error) == ("succeeded", {"text": "hey!!"}, None)
    assert done.started_at is not None
    told = [(each.type, each.node) async for each in house.runs.events(ME, run.id, 0)]
    assert told[0] == ("run.started", "")
    assert told[-1] == ("run.succeeded", "")
    assert [node for kind, node in told if kind == "node.finished"] == ["text", "say", "again", "out"]
    assert await house.runs.page(ME, 10, None, RunFilter(version.flow_id, ("succeeded",))) == ([done], None)
    assert await house.runs.page(STRANGER, 10, None, RunFilter()) == ([], None)
    with pytest.raises(NotFound):
        await house.runs.get(STRANGER, run.id)
    with pytest.raises(NotFound):
        [each async for each in house.runs.events(STRANGER, run.id, 0)]


async def test_inputs_are_looked_at_before_a_run_is_made(house: FlowHouse) -> None:
    version = await house.flow(ME, shouting())
    with pytest.raises(Invalid, match="give the input 'text'") as wrong:
        await house.runs.start(ME, version, {})
    assert wrong.value.param == "inputs.text"
    with pytest.raises(Invalid, match="is no text"):
        await house.runs.start(ME, version, {"text": 3})
    with pytest.raises(Invalid, match="the flow has no input 'more'; it has: text"):
        await house.runs.start(ME, version, {"text": "a", "more": 1})
    with pytest.raises(Denied):
        await house.runs.start(caller("flows:read"), version, {"text": "a"})
    assert await house.runs.page(ME, 10, None, RunFilter()) == ([], None)


async def test_a_key_begins_one_run(house: FlowHouse) -> None:
    version = await house.flow(ME, shouting())
    first = await house.runs.start(ME, version, {"text": "a"}, idempotency_key="k")
    assert (await house.runs.start(ME, version, {"text": "a"}, idempotency_key="k")).id == first.id
    with pytest.raises(IdempotencyKeyReused):
        await house.runs.start(ME, version, {"text": "b"}, idempotency_key="k")
    other = await house.runs.start(caller(*SCOPES), version, {"text": "b"}, idempotency_key="k")
    assert other.id != first.id
    assert len((await house.runs.page(ME, 10, None, RunFilter()))[0]) == 2


async def test_a_key_finds_its_run_whatever_its_reference_means_by_now(house: FlowHouse) -> None:
    version = await house.flow(ME, shouting())
    asked: dict[str, Any] = {"idempotency_key": "k", "max_cost": 7}
    assert await house.runs.begun_before(ME, "sample@prod", {"text": "a"}, **asked) is None
    first = await house.runs.start(ME, version, {"text": "a"}, reference="sample@prod", **asked)
    moved = replace(version, version="f" * 64)
    assert (await house.runs.start(ME, moved, {"text": "a"}, reference="sample@prod", **asked)).id == first.id
    found = await house.runs.begun_before(ME, "sample@prod", {"text": "a"}, **asked)
    assert found is not None
    assert found.id == first.id
    for reference, text in (("sample@beta", "a"), ("sample@prod", "b")):
        with pytest.raises(IdempotencyKeyReused):
            await house.runs.begun_before(ME, reference, {"text": text}, **asked)
    assert await house.runs.begun_before(caller(*SCOPES), "sample@prod", {"text": "b"}, **asked) is None
    with pytest.raises(Denied):
        await house.runs.begun_before(caller("flows:read"), "sample@prod", {"text": "a"}, **asked)


async def test_the_key_of_a_trigger_is_its_own_whoever_it_acts_as(house: FlowHouse) -> None:
    version = await house.flow(ME, shouting())
    asked: dict[str, Any] = {"trigger": Trigger("schedule", "trig_1"), "idempotency_key": "trigger:1"}
    first = await house.runs.start(ME, version, {"text": "a"}, **asked)
    assert (await house.runs.start(caller(*SCOPES), version, {"text": "b"}, **asked)).id == first.id
    found = await house.runs.begun_before(caller(*SCOPES), "other", {}, **asked)
    assert found is not None
    assert found.id == first.id
    other: dict[str, Any] = {**asked, "trigger": Trigger("schedule", "trig_2")}
    assert await house.runs.begun_before(ME, "sample", {"text": "a"}, **other) is None


async def test_a_project_has_so_many_unfinished_runs(place: Place, database: Database) -> None:
    await install_default(database, SystemClock())
    async with flow_house(place, database, max_unfinished=1) as house:
        version = await house.flow(ME, shouting())
        run = await house.runs.start(ME, version, {"text": "a"})
        with pytest.raises(RateLimited, match="1 runs of this project"):
            await house.runs.start(ME, version, {"text": "a"})
        cancelled = await house.runs.cancel(ME, run.id)
        assert cancelled.state == "cancelled"
        await house.runs.start(ME, version, {"text": "a"})


async def test_cancelling_reaches_what_a_node_does(house: FlowHouse) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def long(call: NodeCall) -> Outputs:
        began.set()
        try:
            await asyncio.sleep(3_600)
        finally:
            ended.set()
        return {}

    house.runners["prompt.template", 1] = long
    run = await house.runs.start(ME, await house.flow(ME, shouting()), {"text": "a"})
    await house.worker()
    await began.wait()
    await house.runs.cancel(ME, run.id)
    done = await house.done(ME, run)
    assert (done.state, done.error) == ("cancelled", None)
    assert ended.is_set()
    with pytest.raises(Conflict, match="cancelled already"):
        await house.runs.cancel(ME, run.id)


async def test_a_failure_names_the_node_and_the_job_can_be_tried_again(house: FlowHouse) -> None:
    broken = True
    original, tried = house.runners["prompt.template", 1], list[str]()

    async def run_node(call: NodeCall) -> Outputs:
        tried.append(call.node)
        call.cost(5)
        if broken and call.node == "again":
            raise Invalid("not in this form")
        return await original(call)

    house.runners["prompt.template", 1] = run_node
    run = await house.runs.start(ME, await house.flow(ME, shouting()), {"text": "a"})
    await house.worker()
    failed = await house.done(ME, run)
    assert failed.error is not None
    assert (failed.state, failed.error.code, failed.error.node) == ("failed", "invalid_request", "again")
    assert "not in this form" in failed.error.message
    await eventually_job(house, run, "failed")
    broken = False
    await house.jobs.retry(ME, run.job_id)
    await eventually_state(house, run, "succeeded")
    assert tried == ["say", "again", "again"], "what was done is not repeated"
    again = await house.runs.get(ME, run.id)
    assert (again.error, again.cost_micros) == (None, 15), "what the failure cost counts"


async def eventually_job(house: FlowHouse, run: FlowRun, state: str) -> None:
    async with asyncio.timeout(60):
        while (await house.jobs.get(ME, run.job_id)).state != state:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def eventually_state(house: FlowHouse, run: FlowRun, state: str) -> FlowRun:
    async with asyncio.timeout(60):
        while (found := await house.runs.get(ME, run.id)).state != state:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return found


async def test_who_may_not_run_flows_any_more_stops_what_runs(house: FlowHouse) -> None:
    async def refuse(then: Caller) -> Caller:
        raise Denied("the key was revoked")

    house.confirmed = refuse  # pyright: ignore[reportAttributeAccessIssue]
    run = await house.runs.start(ME, await house.flow(ME, shouting()), {"text": "a"})
    await house.worker()
    failed = await house.done(ME, run)
    assert failed.error is not None
    assert failed.error.code == "access_revoked"


async def test_long_outputs_are_read_from_where_they_lie(house: FlowHouse) -> None:
    async def long(call: NodeCall) -> Outputs:
        return {"text": call.inputs["a"] * (MAX_INLINE + 1)}

    house.runners["prompt.template", 1] = long
    nodes = shouting()
    del nodes["nodes"]["again"]
    nodes["nodes"]["out"]["in"]["value"]["from"] = ["say", "text"]
    run = await house.runs.start(ME, await house.flow(ME, nodes), {"text": "a"})
    await house.worker()
    done = await house.done(ME, run)
    outputs = await house.runs.outputs(ME, done)
    assert outputs is not None
    assert len(outputs["text"]) == MAX_INLINE + 1
    (event,) = [each for each in await house.runs.history(ME, run.id, 0, 100) if each.node == "say" and each.payload]
    assert "outputs" not in event.payload
    assert await house.runs.value(ME, run.id, event.payload["stored"])
    with pytest.raises(NotFound):
        await house.runs.value(STRANGER, run.id, event.payload["stored"])


async def test_a_part_of_a_run_is_repeated(house: FlowHouse) -> None:
    original, done = house.runners["prompt.template", 1], list[str]()

    async def counted(call: NodeCall) -> Outputs:
        done.append(call.node)
        call.cost(5)
        return await original(call)

    house.runners["prompt.template", 1] = counted
    version = await house.flow(ME, shouting())
    await house.worker()
    first = await house.done(ME, await house.runs.start(ME, version, {"text": "a"}))
    assert (first.cost_micros, done) == (10, ["say", "again"])
    again = await house.done(ME, await house.runs.rerun(ME, first.id, targets=["again"]))
    assert (again.outputs, again.parent_id, again.cost_micros) == ({"text": "a!!"}, first.id, 5)
    assert done == ["say", "again", "again"]
    cached = {each.node for each in await house.runs.history(ME, again.id, 0, 100) if each.payload.get("cached")}
    assert cached == {"say"}
    other = await house.done(ME, await house.runs.rerun(ME, again.id, targets=[], inputs={"text": "b"}))
    assert (other.outputs, done[3:]) == ({"text": "b!!"}, ["say", "again"])
    whole = await house.done(ME, await house.runs.rerun(ME, again.id))
    assert done[5:] == ["say", "again"]
    assert whole.state == "succeeded"
    with pytest.raises(Invalid, match="there is no node 'nobody'"):
        await house.runs.rerun(ME, first.id, targets=["nobody"])


FORM = {"type": "object", "properties": {"amount": {"type": "number", "maximum": 100}}, "required": ["amount"]}


def deciding(*assignees: str) -> dict[str, Any]:
    params = {
        "question": "May {{who}} have it?",
        "assignees": list(assignees or ("role:admin",)),
        "expires_in_s": 3_600,
        "form": FORM,
    }
    pick = {"inputs": {"a": "record{amount: number}"}, "cel": "a.amount", "result": "number"}
    why = {"inputs": {"a": "record{reason: text}"}, "cel": "a.reason", "result": "text"}
    nodes = {
        "who": node("flow.input", {"name": "who"}),
        "ask": node("human.approval", params, who=("who", "value")),
        "yes": node("data.transform", pick, a=("ask", "approved")),
        "no": node("data.transform", why, a=("ask", "rejected")),
        "late": node("prompt.template", {"template": "too late"}),
        "out-yes": node("flow.output", {"name": "amount"}, value=("yes", "value")),
        "out-no": node("flow.output", {"name": "reason"}, value=("no", "value")),
        "out-late": node("flow.output", {"name": "late"}, value=("late", "text")),
    }
    outputs = {"amount": {"type": "number"}, "reason": {"type": "text"}, "late": {"type": "text"}}
    control = [{"from": ["ask", "expired"], "to": "late"}]
    interface = {"inputs": {"who": {"type": "text"}}, "outputs": outputs}
    return flow(nodes, control=control, interface=interface)


async def asked(house: FlowHouse, run: FlowRun) -> Approval:
    """The approval that a run waits for."""
    await eventually_state(house, run, "waiting")
    (found,), _ = await house.approvals.page(ME, 10, None, run_id=run.id)
    return found


async def person(house: FlowHouse, role: str, email: str = "ada@example.org") -> Caller:
    user = await add_user(house.database, house.clock.now(), email, role)
    return replace(ME, kind="user", key_id=user.id, key_name=email, user_id=user.id)


async def test_somebody_who_is_asked_decides(house: FlowHouse) -> None:
    boss, other = await person(house, "boss"), await person(house, "developer", "other@example.org")
    version = await house.flow(ME, deciding("role:boss"))
    run = await house.runs.start(ME, version, {"who": "Ann"})
    await house.worker()
    approval = await asked(house, run)
    assert (approval.question, approval.state) == ("May Ann have it?", "pending")
    assert [each.id for each in (await house.approvals.page(boss, 10, None, mine=True))[0]] == [approval.id]
    assert await house.approvals.page(other, 10, None, mine=True) == ([], None)
    with pytest.raises(Denied, match="this is for role:boss to decide"):
        await house.approvals.decide(other, approval.id, Answer("approve", {"amount": 5}))
    with pytest.raises(NotFound):
        await house.approvals.decide(STRANGER, approval.id, Answer("approve", {"amount": 5}))
    with pytest.raises(Invalid) as wrong:
        await house.approvals.decide(boss, approval.id, Answer("approve", {"amount": 500}))
    assert wrong.value.param == "values.amount"
    with pytest.raises(Invalid, match="say why"):
        await house.approvals.decide(boss, approval.id, Answer("reject"))
    decided = await house.approvals.decide(boss, approval.id, Answer("approve", {"amount": 5}))
    assert (decided.state, decided.decided_by_name, decided.decided_via) == ("approved", "ada@example.org", "api")
    with pytest.raises(Conflict, match="approved already"):
        await house.approvals.decide(boss, approval.id, Answer("reject", reason="no"))
    assert (await house.done(ME, run)).outputs == {"amount": 5}


@pytest.mark.parametrize("name", ["user:ada@example.org", "user:ID"])
async def test_people_are_asked_by_name_or_id(house: FlowHouse, name: str) -> None:
    ada = await person(house, "viewer")
    version = await house.flow(ME, deciding(name.replace("ID", ada.key_id)))
    run = await house.runs.start(ME, version, {"who": "Ann"})
    await house.worker()
    approval = await asked(house, run)
    await house.approvals.decide(ada, approval.id, Answer("reject", reason="not now"))
    assert (await house.done(ME, run)).outputs == {"reason": "not now"}


async def test_approvals_are_decided_however_many_wait_to_be_heard_of(house: FlowHouse) -> None:
    run = await house.runs.start(ME, await house.flow(ME, deciding()), {"who": "Ada"})
    worker = await house.worker()
    approval = await asked(house, run)
    await worker.drain(5)
    await worker.close()
    for number in range(MAX_MESSAGES):
        await house.jobs.tell(ME, run.job_id, "others", {"number": number})
    boss = replace(ME, scopes=frozenset({"*"}))
    await house.approvals.decide(boss, approval.id, Answer("approve", {"amount": 1}))
    await house.worker()
    assert (await house.done(ME, run)).outputs == {"amount": 1}


async def test_a_list_of_what_somebody_may_decide_goes_on_after_a_long_stretch_for_others(
    house: FlowHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(approvals, "_PAGE", 1)
    monkeypatch.setattr(approvals, "_MOST_PAGES", 2)
    ada = await person(house, "viewer")
    mine = await house.flow(ME, deciding("user:ada@example.org"), "mine")
    others = await house.flow(ME, deciding(), "others")
    await house.worker()
    wanted = await asked(house, await house.runs.start(ME, mine, {"who": "Ann"}))
    for _ in range(3):
        await asked(house, await house.runs.start(ME, others, {"who": "Ann"}))
    found, cursor, looks = list[str](), None, 0
    while looks == 0 or cursor is not None:
        rows, cursor = await house.approvals.page(ada, 1, cursor, mine=True)
        found += [each.id for each in rows]
        looks += 1
        assert looks < 5
    assert found == [wanted.id]


async def test_nobody_decides_in_time(house: FlowHouse) -> None:
    version = await house.flow(ME, deciding())
    run = await house.runs.start(ME, version, {"who": "Ann"})
    worker = await house.worker()
    approval = await asked(house, run)
    await worker.drain(5)
    await worker.close()
    # As if an hour had passed: the moment until which it waits is a step of its own.
    for steps in house.shelf.runs.values():
        steps[:] = [(name, b"0" if name.endswith(":until") else kept) for name, kept in steps]
    async with house.database.write() as session:
        past = update(flow_approvals).where(flow_approvals.c.id == approval.id).values(expires_at=1.0)
        await session.change(past)
        await session.change(update(jobs).where(jobs.c.id == run.job_id).values(due_at=1.0))
    with pytest.raises(Conflict, match="its time is over"):
        await house.approvals.decide(replace(ME, scopes=frozenset({"*"})), approval.id, Answer("reject", reason="x"))
    await house.worker()
    assert (await house.done(ME, run)).outputs == {"late": "too late"}
    assert (await house.approvals.get(ME, approval.id)).state == "expired"


async def test_a_link_decides_once_in_the_name_of_who_made_it(house: FlowHouse) -> None:
    boss = await person(house, "admin")
    run = await house.runs.start(ME, await house.flow(ME, deciding()), {"who": "Ann"})
    await house.worker()
    approval = await asked(house, run)
    token, until = await house.approvals.link(boss, approval.id, 3_600)
    assert until <= approval.expires_at
    answer = Answer("approve", {"amount": 7})
    for wrong in ("", "x", token[:-2], "a" + token, token + "é", token.replace(".", "")):
        with pytest.raises(WrongCredentials):
            await house.approvals.decide_by_link(wrong, approval.id, answer)
    with pytest.raises(WrongCredentials):
        await house.approvals.decide_by_link(
            token, f"{approval.id[:-1]}{'1' if approval.id[-1] == '0' else '0'}", answer
        )
    decided = await house.approvals.decide_by_link(token, approval.id, answer)
    assert (decided.state, decided.decided_by_id, decided.decided_via) == ("approved", boss.key_id, "link")
    with pytest.raises(Conflict):
        await house.approvals.decide_by_link(token, approval.id, answer)
    assert (await house.done(ME, run)).outputs == {"amount": 7}


async def test_a_cancelled_run_asks_nobody_any_more(house: FlowHouse) -> None:
    run = await house.runs.start(ME, await house.flow(ME, deciding()), {"who": "Ann"})
    await house.worker()
    approval = await asked(house, run)
    await house.runs.cancel(ME, run.id)
    await eventually_state(house, run, "cancelled")
    assert (await house.approvals.get(ME, approval.id)).state == "withdrawn"


async def test_a_waiting_run_goes_on_in_another_worker(house: FlowHouse) -> None:
    run = await house.runs.start(ME, await house.flow(ME, deciding()), {"who": "Ann"})
    worker = await house.worker()
    approval = await asked(house, run)
    await worker.drain(5)
    await worker.close()
    await house.approvals.decide(replace(ME, scopes=frozenset({"*"})), approval.id, Answer("approve", {"amount": 1}))
    await house.worker()
    assert (await house.done(ME, run)).outputs == {"amount": 1}
    asked_for, _ = await house.approvals.page(ME, 10, None, run_id=run.id)
    assert len(asked_for) == 1


async def test_sub_flows_are_fixed_when_the_run_is_made(house: FlowHouse) -> None:
    await house.flow(ME, shouting(), "shout")
    params = {"flow": {"$ref": "flow:shout"}, "inputs": {"text": "text"}, "outputs": {"text": "text"}}
    nodes = {
        "call": node("flow.call", params, text="hey"),
        "out": node("flow.output", {"name": "text"}, value=("call", "text")),
    }
    outer = await house.flow(ME, flow(nodes, interface={"inputs": {}, "outputs": {"text": {"type": "text"}}}), "outer")
    run = await house.runs.start(ME, outer, {})
    changed = shouting()
    changed["nodes"]["say"]["params"]["template"] = "{{a}}?"
    await house.drafts.save(ME, "shout", loaded(changed), None)
    await house.drafts.commit(ME, "shout", "asks", None)
    await house.worker()
    assert (await house.done(ME, run)).outputs == {"text": "hey!!"}
    assert (await house.done(ME, await house.runs.start(ME, outer, {}))).outputs == {"text": "hey?!"}


async def test_a_version_stays_while_runs_take_it(house: FlowHouse) -> None:
    inner = await house.flow(ME, shouting(), "shout")
    params = {"flow": {"$ref": "flow:shout"}, "inputs": {"text": "text"}, "outputs": {"text": "text"}}
    nodes = {
        "call": node("flow.call", params, text="hey"),
        "out": node("flow.output", {"name": "text"}, value=("call", "text")),
    }
    outer = await house.flow(ME, flow(nodes, interface={"inputs": {}, "outputs": {"text": {"type": "text"}}}), "outer")
    takes = await house.runs.start(ME, outer, {})
    assert takes.id in (await house.runs.why_any(ME, inner.flow_id) or "")
    assert await house.runs.why_any(STRANGER, inner.flow_id) is None
    second = shouting(description="another")
    await house.drafts.save(ME, "shout", loaded(second), None)
    await house.drafts.commit(ME, "shout", "another", None)
    await house.runs.start(ME, await house.flows.resolve(ME, "shout"), {"text": "a"})
    for name, version in (("shout", inner), ("outer", outer)):
        assert takes.id in (await house.runs.why(ME, version.flow_id, version.version) or "")
        await house.flows.archive(ME, name)
        with pytest.raises(Conflict, match="not over"):
            await house.flows.remove(ME, version.flow_id)
    assert await house.runs.why(ME, inner.flow_id, outer.version) is None
    assert await house.runs.why(STRANGER, inner.flow_id, inner.version) is None
    await house.worker()
    assert (await house.done(ME, takes)).outputs == {"text": "hey!!"}
    assert await house.runs.why_any(ME, outer.flow_id) is None
    await house.flows.remove(ME, outer.flow_id)


async def test_old_runs_go_with_all_that_is_theirs(house: FlowHouse) -> None:
    version = await house.flow(ME, shouting())
    run = await house.runs.start(ME, version, {"text": "a"})
    kept = await house.runs.start(ME, version, {"text": "b"})
    await house.worker()
    await house.done(ME, run)
    await house.done(ME, kept)
    async with house.database.write() as session:
        await session.change(update(flow_runs).where(flow_runs.c.id == run.id).values(expires_at=1.0))
    assert await house.pruning.step() == 1
    async with house.database.read() as session:
        assert [row["id"] for row in await session.all(select(flow_runs.c.id))] == [kept.id]
        left = {row["run_id"] for row in await session.all(select(flow_run_events.c.run_id))}
    assert left == {kept.id}


async def test_a_run_whose_job_ended_without_it_is_over(house: FlowHouse) -> None:
    run = await house.runs.start(ME, await house.flow(ME, shouting()), {"text": "a"})
    await house.jobs.cancel(ME, run.job_id)
    await house.pruning.step()
    assert (await house.runs.page(ME, 10, None, RunFilter()))[0][0].state == "cancelled"
    assert [each.type for each in await house.runs.history(ME, run.id, 0, 10)] == ["run.cancelled"]


async def test_events_can_be_followed_from_any_of_them(house: FlowHouse) -> None:
    run = await house.runs.start(ME, await house.flow(ME, shouting()), {"text": "a"})
    following = asyncio.create_task(collect(house, run, 0))
    await house.worker()
    whole = await following
    assert await eventually_async(lambda: whole)
    assert await collect(house, run, whole[2]) == whole[3:]


async def collect(house: FlowHouse, run: FlowRun, after: int) -> list[int]:
    return [each.seq async for each in house.runs.events(ME, run.id, after)]
