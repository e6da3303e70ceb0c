"""A run does what its flow says: joins, skips, loops, policies, sub-flows; and after any kill it goes on as before."""

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyforge.flows.built_in import runners
from polyforge.flows.evaluating import cel_holds
from polyforge.flows.running import executor
from polyforge.flows.running.contract import NodeCall, Outputs
from polyforge.flows.running.records import MAX_INLINE, Decision, NodeFailed, Site, Trigger
from polyforge.jobs.records import Progress
from polyforge.kernel.errors import Invalid, Unavailable
from tests.support.flow_runs import FlowBench, KillingJournal, Node
from tests.support.flows import answering, flow, generated, link, node
from tests.support.waiting import eventually_async

Json = Any
TEXTS = {"inputs": {"text": {"type": "text"}}, "outputs": {"text": {"type": "text"}}}


def bench(value: Json, *, inputs: Mapping[str, Json] | None = None, **changed: Node) -> FlowBench:
    """A flow with the nodes that come with the package, some of them changed (`model_chat` for `model.chat`)."""
    known: dict[Any, Any] = dict(runners())
    known |= {(name.replace("_", ".", 1), 1): run for name, run in changed.items()}
    made = FlowBench(value, known, **(inputs or {}))

    def counted(run: Node) -> Node:
        async def counting(call: NodeCall) -> Outputs:
            outputs = await run(call)
            made.done[call.idempotency_key] += 1
            return outputs

        return counting

    made.runners = {key: counted(run) for key, run in made.runners.items()}
    return made


def saying(text: str) -> dict[str, Json]:
    return node("prompt.template", {"template": text})


def outputs(**sources: tuple[str, str]) -> dict[str, Json]:
    """Nodes that give outputs of the flow."""
    return {f"out-{name}": node("flow.output", {"name": name}, value=pair) for name, pair in sources.items()}


def giving(**types: str) -> dict[str, Json]:
    return {"inputs": {}, "outputs": {name: {"type": kind} for name, kind in types.items()}}


async def answer(call: NodeCall) -> Outputs:
    """A model that says what it was asked, in two pieces, and costs something."""
    call.token("You said: ")
    call.token(call.inputs["p"])
    call.cost(7)
    return {"text": f"You said: {call.inputs['p']}"}


async def test_a_flow_answers() -> None:
    made = bench(answering(), inputs={"question": "Why?"}, model_chat=answer)
    assert await made.run() == {"answer": "You said: Answer: Why?"}
    assert made.pages.of("node.finished") == [("question", ""), ("prompt", ""), ("chat", ""), ("answer", "")]
    assert made.pages.of("node.token") == [], "the text is in the result"
    assert made.pages.cost == 7


async def test_texts_are_told_while_they_are_made() -> None:
    gate = asyncio.Event()

    async def slow(call: NodeCall) -> Outputs:
        call.token("Once ")
        call.token("upon")
        await gate.wait()
        return {"text": "Once upon a time"}

    made = bench(answering(), inputs={"question": "Why?"}, model_chat=slow)
    run = asyncio.create_task(made.run())
    await eventually_async(lambda: made.pages.of("node.token"))
    (told,) = [row for row in made.pages.rows.values() if row.type == "node.token"]
    assert told.payload == {"text": "Once upon"}
    gate.set()
    await run
    assert made.pages.of("node.token") == []


async def test_what_is_not_chosen_is_skipped_and_what_merges_goes_on() -> None:
    nodes = {
        "ask": node("control.branch", {"when": "size(value) > 3", "inputs": {"value": "text"}}, value="long text"),
        "yes": node("prompt.template", {"template": "long: {{a}}"}, a=("ask", "then")),
        "no": node("prompt.template", {"template": "short: {{a}}"}, a=("ask", "else")),
        "never": node("prompt.template", {"template": "{{a}}"}, a=("no", "text")),
        "both": node("control.merge", {"names": ["a", "b"], "type": "text"}, a=("yes", "text"), b=("no", "text")),
        **outputs(text=("both", "value")),
    }
    made = bench(flow(nodes, interface=giving(text="text")))
    assert await made.run() == {"text": "long: long text"}
    assert sorted(made.pages.of("node.skipped")) == [("never", ""), ("no", "")]


async def test_an_input_that_is_not_given_is_skipped_and_a_default_is_taken() -> None:
    interface = {
        "inputs": {"a": {"type": "text", "required": False}, "b": {"type": "text", "default": "b"}},
        "outputs": {"a": {"type": "text"}, "b": {"type": "text"}},
    }
    nodes = {
        "a": node("flow.input", {"name": "a"}),
        "b": node("flow.input", {"name": "b"}),
        **outputs(a=("a", "value"), b=("b", "value")),
    }
    assert await bench(flow(nodes, interface=interface)).run() == {"b": "b"}
    assert await bench(flow(nodes, interface=interface), inputs={"a": "x", "b": "y"}).run() == {"a": "x", "b": "y"}


async def test_what_triggered_it_is_given_to_its_node_only() -> None:
    nodes = {
        "clock": node("trigger.schedule", {"cron": "0 9 * * 1", "timezone": "UTC"}),
        "hook": node("trigger.webhook", {"signature": {"$secret": "s"}}),
        "body": node("data.transform", {"inputs": {"b": "json"}, "cel": "b.n", "result": "number"}, b=("hook", "body")),
        "at": node("prompt.template", {"template": "at {{t}}"}, t=("clock", "at")),
        **outputs(n=("body", "value"), at=("at", "text")),
    }
    value = flow(nodes, interface=giving(n="number", at="text"))
    made = bench(value)
    made.trigger = Trigger("webhook", "trigger", {"body": {"n": 3}, "headers": {}})
    assert await made.run() == {"n": 3}
    assert await bench(value).run() == {}


async def test_the_first_that_happens_counts_and_goes_on_counting_after_a_kill() -> None:
    """After the kill the other one would be first."""
    order = ["fast", "slow"]
    gates = {"fast": asyncio.Event(), "slow": asyncio.Event()}

    async def wait(call: NodeCall) -> Outputs:
        if call.node in gates:
            await gates[call.node].wait()
        return {"text": call.node}

    first = {**node("control.merge", {"names": ["a", "b"], "type": "text"}, a=("fast", "text"), b=("slow", "text")),
             "policy": {"join": "first"}}  # fmt: skip
    nodes = {"fast": saying("f"), "slow": saying("s"), "first": first, **outputs(text=("first", "value"))}
    made = bench(flow(nodes, interface=giving(text="text")), prompt_template=wait)
    gates[order[1]].set()
    # The steps so far: slow, and what was first.
    journal = KillingJournal(made.shelf, 2, after=True)
    with pytest.raises(asyncio.CancelledError):
        await made.run(journal)
    gates["fast"].set()
    assert await made.run() == {"text": "slow"}


def each(body: dict[str, Json], **more: Json) -> Json:
    group = {"kind": "foreach", "nodes": list(body), "max_iterations": 10, **more}
    return {"groups": {"loop": group}, "interface": giving(all="json")}


async def test_a_loop_goes_over_a_list_and_keeps_its_order() -> None:
    running, most = 0, 0

    async def slow(call: NodeCall) -> Outputs:
        nonlocal running, most
        running += 1
        most = max(most, running)
        # Later items are done sooner.
        await asyncio.sleep(0.02 / (call.path[0] + 1))
        running -= 1
        return {"text": f"{call.inputs['i']}!"}

    body = {"say": node("prompt.template", {"template": "{{i}}"}, i=("loop", "item"))}
    nodes = {**body, **outputs(all=("loop", "said"))}
    value = flow(nodes, **each(body, over=["a", "b", "c", "d", "e"], parallel=3, collect={"said": ["say", "text"]}))
    made = bench(value, prompt_template=slow)
    assert await made.run() == {"all": ["a!", "b!", "c!", "d!", "e!"]}
    assert most == 3, "so many at a time"


async def test_what_is_skipped_in_a_round_is_not_collected() -> None:
    body = {
        "odd": node("control.branch", {"when": "value % 2 == 1", "inputs": {"value": "any"}}, value=("loop", "item")),
        "kept": node("data.transform", {"inputs": {"a": "any"}, "cel": "a"}, a=("odd", "then")),
    }
    made = bench(flow({**body, **outputs(all=("loop", "found"))}, **each(body, over=[1, 2, 3, 4, 5],
                 collect={"found": ["kept", "value"]})))  # fmt: skip
    assert await made.run() == {"all": [1, 3, 5]}


async def refuse_threes(call: NodeCall) -> Outputs:
    if call.inputs["a"] == 3:
        raise Invalid("no threes")
    return {"value": call.inputs["a"]}


def failing(**more: Json) -> Json:
    body = {"look": node("data.transform", {"inputs": {"a": "any"}, "cel": "a"}, a=("loop", "item"))}
    nodes = {**body, **outputs(all=("loop", "found"))}
    return flow(nodes, **each(body, over=[1, 2, 3, 4], collect={"found": ["look", "value"]}, **more))


async def test_an_item_that_fails_is_left_out_or_ends_the_run() -> None:
    made = bench(failing(on_error="leave_out"), data_transform=refuse_threes)
    assert await made.run() == {"all": [1, 2, 4]}
    assert made.pages.of("item.left_out") == [("loop", "2")]
    with pytest.raises(NodeFailed, match=r"node look \[2\]: no threes") as failed:
        await bench(failing(), data_transform=refuse_threes).run()
    assert (failed.value.code, failed.value.error.path) == ("invalid_request", "2")


async def test_what_was_left_out_stays_out_after_a_kill() -> None:
    broken = True

    async def sometimes(call: NodeCall) -> Outputs:
        if broken and call.inputs.get("a") == 3:
            raise Invalid("not today")
        return {"value": call.inputs["a"]}

    made = bench(failing(on_error="leave_out"), data_transform=sometimes)
    with pytest.raises(asyncio.CancelledError):
        await made.run(KillingJournal(made.shelf, 3, after=True))
    broken = False
    assert await made.run() == {"all": [1, 2, 4]}


class Moody:
    """Does what `work` does, but for the first times, when it cannot be had."""

    def __init__(self, work: Callable[..., Awaitable[Any]], times: int) -> None:
        self._work = work
        self.left = times

    async def __call__(self, *given: Any, **named: Any) -> Any:
        self.left -= 1
        if self.left >= 0:
            raise Unavailable("busy")
        return await self._work(*given, **named)


LONG = "x" * (MAX_INLINE + 1)


def kept_long() -> FlowBench:
    """A flow whose outputs are long, and whose nodes leave items out where they fail."""

    async def copy(call: NodeCall) -> Outputs:
        return {"value": LONG + str(call.inputs["a"])}

    return bench(failing(on_error="leave_out"), data_transform=copy)


def without_callers(made: FlowBench, times: int) -> Moody:
    made.who = moody = Moody(made.who, times)
    return moody


def without_room(made: FlowBench, times: int) -> Moody:
    made.values.keep = moody = Moody(made.values.keep, times)
    return moody


@pytest.mark.parametrize("break_", [without_callers, without_room])
async def test_what_the_runner_cannot_have_is_waited_for_and_no_failure_of_the_node(
    break_: Callable[[FlowBench, int], Moody],
) -> None:
    made = kept_long()
    break_(made, 2)
    assert await made.run() == {"all": [f"{LONG}{number}" for number in (1, 2, 3, 4)]}
    assert set(made.done.values()) == {1}, "no node is run again for it"
    made = kept_long()
    moody = break_(made, 1_000)
    with pytest.raises(NodeFailed, match="busy") as failed:
        await made.run()
    assert (failed.value.fatal, failed.value.code) == (True, "unavailable")
    assert made.pages.of("item.left_out") == []
    moody.left = 0
    assert len((await made.run())["all"]) == 4


async def test_who_cannot_be_asked_now_is_asked_later() -> None:
    made = bench(deciding())
    made.approvals.ask = Moody(made.approvals.ask, 2)
    made.approvals.close = Moody(made.approvals.close, 2)
    made.approvals.decisions["appr_0"] = Decision("expired")
    run = asyncio.create_task(made.run())
    await eventually_async(lambda: "waiting" in made.pages.states)
    made.tell("approval:appr_0")
    assert await run == {"late": "late"}


async def test_progress_says_of_how_many_nodes_unless_there_are_loops() -> None:
    nodes = {
        "ask": node("control.branch", {"when": "size(value) > 3", "inputs": {"value": "text"}}, value="long text"),
        "yes": node("prompt.template", {"template": "{{a}}"}, a=("ask", "then")),
        "no": node("prompt.template", {"template": "{{a}}"}, a=("ask", "else")),
        **outputs(text=("yes", "text")),
    }
    for made, progress in (
        (bench(flow(nodes, interface=giving(text="text"))), Progress(4, 4, "nodes")),
        (with_sub(calling()), Progress(2, 2, "nodes")),
        (bench(failing(on_error="leave_out"), data_transform=refuse_threes), Progress(3, None, "nodes")),
    ):
        await made.run()
        assert made.current is not None
        assert made.current.notes.progress == progress


async def test_a_longer_list_than_allowed_fails() -> None:
    body = {"say": saying("x")}
    value = flow({**body, **outputs(all=("loop", "x"))}, **each(body, over=[0] * 11, collect={"x": ["say", "text"]}))
    with pytest.raises(NodeFailed, match="the list has 11 items"):
        await bench(value).run()


def growing(when: str, **more: Json) -> Json:
    grow = node("prompt.template", {"template": "{{a}}x"}, a=("loop", "s"))
    group = {"kind": "while", "nodes": ["grow"], "max_iterations": 5, "when": when, "start": {"s": ""},
             "carry": {"s": ["grow", "text"]}, **more}  # fmt: skip
    nodes = {"grow": grow, **outputs(s=("loop", "s"), rounds=("loop", "rounds"))}
    return flow(nodes, groups={"loop": group}, interface=giving(s="text", rounds="number"))


async def test_a_loop_with_variables() -> None:
    assert await bench(growing("size(s) < 3")).run() == {"s": "xxx", "rounds": 3}
    assert await bench(growing("index < 0")).run() == {"s": "", "rounds": 0}
    with pytest.raises(NodeFailed, match="node loop: it would go on after 5 rounds"):
        await bench(growing("true")).run()


def nested() -> Json:
    """Loops in loops, with values from each level, and from outside, in the innermost node."""
    say = node(
        "prompt.template", {"template": "{{p}}{{o}}{{i}}"}, p=("start", "text"),
        o=("outer", "item"), i=("inner", "item"),
    )  # fmt: skip
    groups = {
        "outer": {"kind": "foreach", "nodes": [], "over": ["a", "b"], "max_iterations": 5, "parallel": 2,
                  "collect": {"all": ["inner", "all"]}},
        "inner": {"kind": "foreach", "nodes": ["say"], "over": ["1", "2", "3"], "max_iterations": 5, "parallel": 2,
                  "parent": "outer", "collect": {"all": ["say", "text"]}},
    }  # fmt: skip
    nodes = {"start": saying(">"), "say": say, **outputs(all=("outer", "all"))}
    return flow(nodes, groups=groups, interface=giving(all="json"))


async def test_conditions_of_loops_do_not_hold_up_others(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []

    def looked(expression: str, values: Mapping[str, Json]) -> bool:
        threads.append(threading.current_thread())
        return cel_holds(expression, values)

    monkeypatch.setattr(executor, "cel_holds", looked)
    body = {"add": node("prompt.template", {"template": "{{s}}!"}, s=("loop", "s"))}
    group = {"kind": "while", "nodes": ["add"], "max_iterations": 5, "when": "index < 3", "start": {"s": ""},
             "carry": {"s": ["add", "text"]}}  # fmt: skip
    value = flow({**body, **outputs(text=("loop", "s"))}, groups={"loop": group}, interface=giving(text="text"))
    assert await bench(value).run() == {"text": "!!!"}
    assert len(threads) == 4
    assert threading.main_thread() not in threads


async def test_loops_in_loops() -> None:
    made = bench(nested())
    assert await made.run() == {"all": [[">a1", ">a2", ">a3"], [">b1", ">b2", ">b3"]]}
    assert ("say", "1,2") in made.pages.of("node.finished")


def with_policy(policy: Json) -> Json:
    shaky = {**node("data.transform", {"inputs": {}, "cel": "1", "result": "number"}), "policy": policy}
    shaky["params"]["inputs"] = {"x": "number"}
    shaky["in"] = {"x": 1}
    nodes = {
        "shaky": shaky,
        "shown": node("prompt.template", {"template": "{{n}}"}, n=link("shaky", "value", "number_to_text")),
        **outputs(text=("shown", "text")),
    }
    if policy.get("on_error") == "branch":
        pick = {"inputs": {"e": "record{code: text, message: text}"}, "cel": "e.code + ': ' + e.message",
                "result": "text"}  # fmt: skip
        nodes["told"] = node("data.transform", pick, e=("shaky", "error"))
        nodes["error"] = node("flow.output", {"name": "error"}, value=("told", "value"))
    interface = giving(text="text", **({"error": "text"} if "error" in nodes else {}))
    return flow(nodes, interface=interface)


def failing_times(times: int, error: Exception) -> Node:
    left = times

    async def run(call: NodeCall) -> Outputs:
        nonlocal left
        if call.node == "shaky":
            left -= 1
            if left >= 0:
                raise error
            return {"value": 5}
        return await runners()["data.transform", 1](call)

    return run


async def test_a_node_is_tried_again_as_its_policy_says() -> None:
    made = bench(with_policy({"retries": 2}), data_transform=failing_times(2, Unavailable("not now")))
    assert await made.run() == {"text": "5"}
    with pytest.raises(NodeFailed, match="node shaky: not now"):
        await bench(with_policy({"retries": 1}), data_transform=failing_times(2, Unavailable("not now"))).run()
    with pytest.raises(NodeFailed, match="never"):
        await bench(with_policy({"retries": 9}), data_transform=failing_times(1, Invalid("never"))).run()


async def test_where_a_node_fails_its_policy_says_what_then() -> None:
    made = bench(with_policy({"on_error": "default", "default": {"value": 9}}),
                 data_transform=failing_times(1, Invalid("no")))  # fmt: skip
    assert await made.run() == {"text": "9"}
    made = bench(with_policy({"on_error": "branch"}), data_transform=failing_times(1, Invalid("no")))
    assert await made.run() == {"error": "invalid_request: no"}
    assert ("shown", "") in made.pages.of("node.skipped")


async def test_a_node_may_take_so_long() -> None:
    async def sleep(call: NodeCall) -> Outputs:
        await asyncio.sleep(3600)
        return {}

    with pytest.raises(NodeFailed, match="node shaky: it took longer than 1 s") as failed:
        await bench(with_policy({"timeout_s": 1}), data_transform=sleep).run()
    assert failed.value.code == "timeout"


async def test_what_breaks_in_a_node_is_told_without_its_words() -> None:
    with pytest.raises(NodeFailed, match="node shaky: the node failed unexpectedly") as failed:
        await bench(with_policy({}), data_transform=failing_times(1, KeyError("secret"))).run()
    assert failed.value.code == "internal_error"
    assert "secret" not in str(msgspec.to_builtins(failed.value.error))


async def test_the_first_failure_ends_what_goes_on() -> None:
    ended = asyncio.Event()

    async def run(call: NodeCall) -> Outputs:
        if call.node == "bad":
            raise Invalid("no")
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()
        return {"text": ""}

    nodes = {"bad": saying("a"), "long": saying("b"), **outputs(a=("bad", "text"), b=("long", "text"))}
    with pytest.raises(NodeFailed, match="node bad: no"):
        await bench(flow(nodes, interface=giving(a="text", b="text")), prompt_template=run).run()
    assert ended.is_set()


async def test_no_node_begins_once_the_run_has_cost_too_much() -> None:
    async def dear(call: NodeCall) -> Outputs:
        call.cost(10)
        return {"text": "x"}

    body = {"say": node("prompt.template", {"template": "{{i}}"}, i=("loop", "item"))}
    nodes = {**body, **outputs(all=("loop", "said"))}
    more = {"collect": {"said": ["say", "text"]}, "on_error": "leave_out"}
    made = bench(flow(nodes, **each(body, over=["a", "b", "c", "d"], **more)), prompt_template=dear)
    made.most = 20
    with pytest.raises(NodeFailed, match=r"the run has cost 0\.000020 USD") as failed:
        await made.run()
    assert failed.value.code == "cost_limit_reached"
    assert sum(made.done.values()) == 2
    made.most = 40
    assert await made.run() == {"all": ["x"] * 4}
    assert made.pages.cost == 40


async def test_what_a_failure_cost_counts_when_the_run_goes_on() -> None:
    broken = True

    async def dear(call: NodeCall) -> Outputs:
        call.cost(10)
        if broken and call.node == "second":
            raise Invalid("not today")
        return {"text": "x"}

    nodes = {"first": saying("a"), "second": node("prompt.template", {"template": "{{a}}"}, a=("first", "text")),
             **outputs(text=("second", "text"))}  # fmt: skip
    made = bench(flow(nodes, interface=giving(text="text")), prompt_template=dear)
    made.most = 40
    for spent in (20, 30, 40):
        with pytest.raises(NodeFailed, match="not today"):
            await made.run()
        assert made.pages.cost == spent
    broken = False
    with pytest.raises(NodeFailed, match="the run has cost"):
        await made.run()
    made.most = 50
    assert await made.run() == {"text": "x"}
    assert made.pages.cost == 50


async def test_long_outputs_lie_elsewhere() -> None:
    long = "x" * (MAX_INLINE + 1)

    async def run(call: NodeCall) -> Outputs:
        return {"text": long if call.node == "long" else str(len(call.inputs["a"]))}

    nodes = {"long": saying("a"), "size": node("prompt.template", {"template": "{{a}}"}, a=("long", "text")),
             **outputs(text=("size", "text"))}  # fmt: skip
    made = bench(flow(nodes, interface=giving(text="text")), prompt_template=run)
    assert await made.run() == {"text": str(len(long))}
    assert len(made.values.kept) == 1
    kept = [row.payload for row in made.pages.rows.values() if row.type == "node.finished" and row.node == "long"]
    assert kept[0]["stored"] in made.values.kept
    assert "outputs" not in kept[0]


def deciding(**more: Json) -> Json:
    form = {"type": "object", "properties": {"n": {"type": "number"}}}
    params = {"question": "May {{who}}?", "assignees": ["role:admin"], "expires_in_s": 60, "form": form}
    ask = node("human.approval", params, who="Ann")
    nodes = {
        "ask": ask,
        "yes": node("data.transform", {"inputs": {"a": "any"}, "cel": "a.n", "result": "number"},
                    a=("ask", "approved")),
        "no": node("data.transform", {"inputs": {"a": "any"}, "cel": "a.reason", "result": "text"},
                   a=("ask", "rejected")),
        "late": {**saying("late")},
        **outputs(yes=("yes", "value"), no=("no", "value"), late=("late", "text")),
    }  # fmt: skip
    control = [{"from": ["ask", "expired"], "to": "late"}]
    return flow(nodes, control=control, interface=giving(yes="number", no="text", late="text"), **more)


@pytest.mark.parametrize(
    ("decision", "result"),
    [
        (Decision("approved", {"n": 3}), {"yes": 3}),
        (Decision("rejected", {}, "not now"), {"no": "not now"}),
        (Decision("expired"), {"late": "late"}),
    ],
)
async def test_somebody_decides(decision: Decision, result: Json) -> None:
    made = bench(deciding())
    made.approvals.decisions["appr_0"] = decision
    run = asyncio.create_task(made.run())
    await eventually_async(lambda: "waiting" in made.pages.states)
    made.tell("approval:appr_0")
    assert await run == result
    (question,) = made.approvals.questions.values()
    assert (question.text, question.assignees, question.seconds) == ("May Ann?", ("role:admin",), 60)


async def test_a_run_waits_for_some_time() -> None:
    nodes = {"start": saying("x"), "wait": node("control.wait", {"seconds": 60}, value=("start", "text")),
             "after": node("prompt.template", {"template": "{{a}}!"}, a=link("wait", "value")),
             **outputs(text=("after", "text"))}  # fmt: skip
    made = bench(flow(nodes, interface=giving(text="text")))
    run = asyncio.create_task(made.run(journal := KillingJournal(made.shelf, 2, after=True)))
    with pytest.raises(asyncio.CancelledError):
        await run
    assert journal.killed
    made.clock.advance(61)
    assert await made.run() == {"text": "x!"}


async def test_a_run_that_does_more_than_wait_is_not_let_go() -> None:
    """Also where that is no node: an output is read that lies elsewhere."""
    go_on = asyncio.Event()

    async def long(call: NodeCall) -> Outputs:
        return {"text": LONG}

    ask = node("human.approval", {"question": "May it?", "assignees": ["role:admin"], "expires_in_s": 60})
    nodes = {"ask": ask, "long": saying("a"), **outputs(text=("long", "text"))}
    made = bench(flow(nodes, interface=giving(text="text")), prompt_template=long)
    load = made.values.load

    async def slow(site: Site, name: str) -> bytes:
        await go_on.wait()
        return await load(site, name)

    made.values.load = slow
    run = asyncio.create_task(made.run())
    await eventually_async(lambda: "waiting" in made.pages.states)
    assert made.current is not None
    assert not made.current.let_go()
    go_on.set()
    await eventually_async(lambda: made.current is not None and made.current.resting)
    assert made.current.let_go()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert made.pages.states[-1] == "waiting"
    made.approvals.decisions["appr_0"] = Decision("approved", {})
    made.desk.messages["approval:appr_0"] = ["{}"]
    assert await made.run() == {"text": LONG}
    assert len(made.pages.of("node.waiting")) == 1


def shouting() -> Json:
    nodes = {"text": node("flow.input", {"name": "text"}),
             "say": node("prompt.template", {"template": "{{a}}!"}, a=("text", "value")),
             **outputs(text=("say", "text"))}  # fmt: skip
    return flow(nodes, interface=TEXTS)


def calling(policy: Json | None = None) -> Json:
    params = {"flow": {"$ref": "flow:shout@prod"}, "inputs": {"text": "text"}, "outputs": {"text": "text"}}
    call = {**node("flow.call", params, text="hey"), **({"policy": policy} if policy else {})}
    return flow({"call": call, **outputs(text=("call", "text"))}, interface=giving(text="text"))


async def test_another_flow_is_a_node() -> None:
    made = bench(calling())
    made.add(shouting(), "flow:shout@prod")
    assert await made.run() == {"text": "hey!"}
    assert ("call/say", "") in made.pages.of("node.finished")
    assert list(made.done) == ["job_01J0000000000000000000000A:call/say"]


async def test_what_fails_in_another_flow_is_the_nodes_to_deal_with() -> None:
    async def fail(call: NodeCall) -> Outputs:
        raise Invalid("no")

    made = bench(calling(), prompt_template=fail)
    made.add(shouting(), "flow:shout@prod")
    with pytest.raises(NodeFailed, match="node call/say: no"):
        await made.run()
    made = bench(calling({"on_error": "default", "default": {"text": "quiet"}}), prompt_template=fail)
    made.add(shouting(), "flow:shout@prod")
    assert await made.run() == {"text": "quiet"}


async def test_what_goes_into_another_flow_has_to_fit_it() -> None:
    made = bench(calling())
    value = shouting()
    value["interface"] = {"inputs": {"text": {"type": "text"}, "more": {"type": "number"}}, "outputs": {}}
    value["nodes"] = {"more": node("flow.input", {"name": "more"})}
    made.add(value, "flow:shout@prod")
    with pytest.raises(NodeFailed, match="node call: give the input 'more', which is number"):
        await made.run()
    assert made.pages.of("node.failed") == [("call", "")]


async def test_results_are_taken_from_earlier_runs_where_nothing_that_counts_differs() -> None:
    value = answering()
    value["nodes"]["chat"]["policy"] = {"cache": "auto"}
    value["nodes"]["chat"]["params"]["temperature"] = 0
    made = bench(value, inputs={"question": "Why?"}, model_chat=answer)
    await made.run()
    again = bench(value, inputs={"question": "Why?"}, model_chat=answer)
    again.results = made.results
    assert await again.run() == {"answer": "You said: Answer: Why?"}
    assert [key for key in again.done if "chat" in key] == []
    assert again.pages.cost == 0
    other = bench(value, inputs={"question": "How?"}, model_chat=answer)
    other.results = made.results
    assert await other.run() == {"answer": "You said: Answer: How?"}
    assert [key for key in other.done if "chat" in key]


async def test_kept_results_that_cannot_be_had_now_are_waited_for_and_not_needed_to_go_on() -> None:
    value = answering()
    value["nodes"]["chat"]["policy"] = {"cache": "auto"}
    value["nodes"]["chat"]["params"]["temperature"] = 0
    made = bench(value, inputs={"question": "Why?"}, model_chat=answer)
    made.results.find = Moody(made.results.find, 2)
    made.results.keep = Moody(made.results.keep, 1_000)
    assert await made.run() == {"answer": "You said: Answer: Why?"}
    assert [count for key, count in made.done.items() if "chat" in key] == [1]


def rich() -> Json:
    """A branch, a merge, loops in loops with items that fail, a loop with variables, and a sub-flow."""
    value = nested()
    nodes, groups = value["nodes"], value["groups"]
    nodes |= {
        "ask": node("control.branch", {"when": "size(value) > 0", "inputs": {"value": "text"}},
                    value=("start", "text")),
        "yes": node("prompt.template", {"template": "{{a}}y"}, a=("ask", "then")),
        "no": node("prompt.template", {"template": "{{a}}n"}, a=("ask", "else")),
        "both": {**node("control.merge", {"names": ["a", "b", "c"], "type": "text"}, a=("yes", "text"),
                        b=("no", "text"), c=("start", "text")), "policy": {"join": "first"}},
        "look": node("data.transform", {"inputs": {"a": "any"}, "cel": "10 / a"}, a=("some", "item")),
        "grow": node("prompt.template", {"template": "{{a}}{{b}}"}, a=("more", "s"), b=("yes", "text")),
        "call": node("flow.call", {"flow": {"$ref": "flow:shout@prod"}, "inputs": {"text": "text"},
                                   "outputs": {"text": "text"}}, text=("more", "s")),
        **outputs(some=("some", "found"), text=("call", "text"), yes=("yes", "text")),
    }  # fmt: skip
    groups["some"] = {"kind": "foreach", "nodes": ["look"], "over": [1, 0, 2], "max_iterations": 5, "parallel": 2,
                      "on_error": "leave_out", "collect": {"found": ["look", "value"]}}  # fmt: skip
    groups["more"] = {"kind": "while", "nodes": ["grow"], "max_iterations": 5, "when": "index < 2",
                      "start": {"s": ""}, "carry": {"s": ["grow", "text"]}}  # fmt: skip
    value["interface"] = giving(all="json", some="json", text="text", yes="text")
    nodes["out-both"] = node("prompt.template", {"template": "{{a}}"}, a=("both", "value"))
    nodes["out-both"] = node("flow.output", {"name": "both"}, value=("both", "value"))
    value["interface"]["outputs"]["both"] = {"type": "text"}
    return value


RICH = {
    "all": [[">a1", ">a2", ">a3"], [">b1", ">b2", ">b3"]],
    "some": [10, 5],
    "text": ">y>y!",
    "yes": ">y",
}


def with_sub(value: Json) -> FlowBench:
    made = bench(value)
    made.add(shouting(), "flow:shout@prod")
    return made


async def killed_at(made: FlowBench, kills: list[tuple[int, bool]]) -> Json:
    """Run to the end, over these kills."""
    for at, after in kills:
        journal = KillingJournal(made.shelf, at, after=after)
        try:
            return await made.run(journal)
        except asyncio.CancelledError:
            assert journal.killed
    return await made.run()


def once(made: FlowBench, kills: int) -> None:
    """Each step that was kept was done once, and the events say each thing once."""
    kept = Counter(name for steps in made.shelf.runs.values() for name, _ in steps)
    assert set(kept.values()) == {1}, kept
    finished = Counter(made.pages.of("node.finished"))
    assert set(finished.values()) == {1}
    repeated = sum(count - 1 for count in made.done.values())
    assert repeated <= kills * made.at_once


@given(st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=6))
@settings(max_examples=60, deadline=None)
def test_whatever_is_killed_when_the_result_is_the_same(kills: list[tuple[int, bool]]) -> None:
    made = with_sub(rich())
    result = asyncio.run(killed_at(made, kills))
    assert result.pop("both") in (">", ">y")
    assert result == RICH
    once(made, len(kills))
    assert set(made.pages.of("node.skipped")) == {("no", "")}


@given(st.integers(0, 200), st.lists(st.tuples(st.integers(1, 30), st.booleans()), max_size=3))
@settings(max_examples=30, deadline=None)
def test_flows_of_all_kinds_run_the_same_whatever_is_killed(seed: int, kills: list[tuple[int, bool]]) -> None:
    async def made_up(call: NodeCall) -> Outputs:
        return {"text": call.node}

    async def extracted(call: NodeCall) -> Outputs:
        return {"value": {"name": call.node}}

    async def picked(call: NodeCall) -> Outputs:
        return {"value": call.inputs["a"][:3]}

    changed: dict[str, Node] = {"model_chat": made_up, "model_extract": extracted, "data_transform": picked}
    value = generated(25, seed)
    calm, shaken = (
        bench(value, inputs={"text": "a long text"}, **changed),
        bench(value, inputs={"text": "a long text"}, **changed),
    )
    assert asyncio.run(killed_at(shaken, kills)) == asyncio.run(calm.run())
    once(shaken, len(kills))
