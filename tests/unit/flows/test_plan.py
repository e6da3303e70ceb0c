"""A plan runs every part behind what it needs, and what is skipped takes along what must not run."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyforge.flows.built_in import built_in
from polyforge.flows.canonical import version_id
from polyforge.flows.plan import (
    Loop,
    Plan,
    State,
    Step,
    Value,
    Wire,
    compile_plan,
    decide,
    round_of,
    step_key,
    steps_in,
    wires_of,
)
from polyforge.flows.validating import check
from polyforge.kernel.errors import Invalid
from tests.support.flows import answering, flow, generated, link, loaded, node


def planned(value: Any) -> Plan:
    return compile_plan(check(loaded(value), built_in()))


def test_a_plan_says_where_everything_comes_from() -> None:
    plan = planned(answering())
    assert plan.version == version_id(loaded(answering()))
    assert plan.outputs == {"answer": "answer"}
    assert [part.id for part in plan.body] == ["question", "prompt", "chat", "answer"]
    chat = plan.body[2]
    assert isinstance(chat, Step)
    assert chat.inputs == {"p": Wire("prompt", "text", 0, None, required=True)}
    assert (chat.join, chat.timeout_s, chat.retries) == ("all", 300, 0)


def test_values_conversions_and_policies_are_in_the_plan() -> None:
    value = answering(
        count=node("data.transform", {"inputs": {"a": "text"}, "cel": "size(a)", "result": "number"}, a="three"),
        last={**node("prompt.template", {"template": "{{a}}"}, a=link("count", "value", "number_to_text")),
              "policy": {"timeout_s": 7, "retries": 2, "join": "first"}},
    )  # fmt: skip
    steps = {step.id: step for step in steps_in(planned(value))}
    assert steps["count"].inputs == {"a": Value("three")}
    assert steps["last"].inputs["a"] == Wire("count", "value", 0, "number_to_text", required=True)
    assert (steps["last"].timeout_s, steps["last"].retries, steps["last"].join) == (7, 2, "first")


def test_what_cannot_run_has_no_plan() -> None:
    with pytest.raises(Invalid, match=r"node x: there is no type of node 'acme\.x' here") as error:
        planned(flow({"x": node("acme.x")}))
    assert error.value.param == "x"


def nested() -> dict[str, Any]:
    """A loop in a loop, with a value from each level in the innermost node."""
    split = node(
        "data.transform", {"inputs": {"a": "any"}, "cel": "[1, 2]", "result": "list<number>"}, a=("outer", "item")
    )
    inner = node(
        "data.transform", {"inputs": {"i": "number", "o": "any", "s": "text"}, "cel": "i", "result": "number"},
        i=("inner", "item"), o=("outer", "item"), s=("start", "text"),
    )  # fmt: skip
    groups = {
        "outer": {"kind": "foreach", "nodes": ["split"], "over": [1, 2, 3], "max_iterations": 5, "parallel": 2,
                  "collect": {"all": ["inner", "all"]}},
        "inner": {"kind": "foreach", "nodes": ["leaf"], "over": link("split", "value"), "max_iterations": 5,
                  "parent": "outer", "collect": {"all": ["leaf", "value"]}},
    }  # fmt: skip
    after = node("data.transform", {"inputs": {"a": "json"}, "cel": "a"}, a=("outer", "all"))
    start = node("prompt.template", {"template": "x"})
    return flow({"start": start, "split": split, "leaf": inner, "after": after}, groups=groups)


def test_loops_in_loops_and_their_rounds() -> None:
    plan = planned(nested())
    start, outer, after = plan.body
    assert (start.id, outer.id, after.id) == ("start", "outer", "after")
    assert isinstance(outer, Loop)
    assert outer.parallel == 2
    assert outer.over == Value([1, 2, 3])
    split, inner = outer.body
    assert (split.id, inner.id) == ("split", "inner")
    assert isinstance(inner, Loop)
    (leaf,) = inner.body
    assert isinstance(leaf, Step)
    assert leaf.scope == ("outer", "inner")
    rounds = {port: round_of(wire, (2, 1)) for port, wire in leaf.inputs.items() if isinstance(wire, Wire)}
    assert rounds == {"i": (2, 1), "o": (2,), "s": ()}
    assert isinstance(inner.over, Wire)
    assert round_of(inner.over, (2,)) == (2,)
    assert inner.collect["all"].depth == 2
    assert outer.collect["all"].depth == 1
    assert step_key("leaf", (2, 1)) == "leaf[2,1]"
    assert step_key("start", ()) == "start"
    assert [step.id for step in steps_in(plan)] == ["start", "split", "leaf", "after"]


def test_a_loop_with_variables() -> None:
    group = {"kind": "while", "nodes": ["grow"], "max_iterations": 9, "when": "size(s) < 5",
             "start": {"s": "a", "fixed": link("first", "text")}, "carry": {"s": ["grow", "text"]}}  # fmt: skip
    grow = node("prompt.template", {"template": "{{a}}{{b}}"}, a=("g", "s"), b=("g", "fixed"))
    plan = planned(flow({"first": node("prompt.template", {"template": "x"}), "grow": grow}, groups={"g": group}))
    loop = plan.body[1]
    assert isinstance(loop, Loop)
    assert loop.start == {"s": Value("a"), "fixed": Wire("first", "text", 0, required=True)}
    assert loop.carry == {"s": Wire("grow", "text", 1, required=True)}
    assert (loop.when, loop.max_iterations) == ("size(s) < 5", 9)


def step(join: Any = "all", **wires: bool) -> Step:
    """A step that waits for wires, which are required or not."""
    inputs = {name: Wire(name, "out", 0, None, required) for name, required in wires.items()}
    return Step("s", "acme.x", 1, {}, inputs, (), join, 60, 0, "off", "fail", {}, ())


@pytest.mark.parametrize(
    ("join", "states", "decision"),
    [
        ("all", {}, "run"),
        ("all", {"a": "live", "b": "live"}, "run"),
        ("all", {"a": "live", "b": "open"}, "wait"),
        ("all", {"a": "dead", "b": "open"}, "skip"),
        ("any", {"a": "live", "b": "open"}, "wait"),
        ("any", {"a": "live", "b": "dead"}, "run"),
        ("any", {"a": "dead", "b": "dead"}, "skip"),
        ("any", {"a": "dead", "b": "open"}, "wait"),
        ("first", {"a": "live", "b": "open"}, "run"),
        ("first", {"a": "open", "b": "dead"}, "wait"),
        ("first", {"a": "dead", "b": "dead"}, "skip"),
    ],
)
def test_joins(join: str, states: dict[str, State], decision: str) -> None:
    assert decide(step(join, **dict.fromkeys(states, False)), lambda wire: states[wire.source]) == decision


def test_what_is_needed_is_waited_for_whatever_the_join() -> None:
    part = step("first", a=True, b=False)
    assert decide(part, lambda wire: "live" if wire.source == "b" else "open") == "wait"
    assert decide(part, lambda wire: "live" if wire.source == "b" else "dead") == "skip"
    assert decide(part, lambda wire: "live" if wire.source == "a" else "open") == "run"


def branching(chance: random.Random, count: int) -> dict[str, Any]:
    """A flow of branches, merges, prompts and control edges, each linked to what is before it."""
    nodes, ports, control = (
        {"n0": node("control.branch", {"when": "true"}, value="x")},
        [("n0", "then"), ("n0", "else")],
        [],
    )
    for place in range(1, count):
        name, (one, other) = f"n{place}", (chance.choice(ports), chance.choice(ports))
        kind = chance.choice(("branch", "merge", "prompt", "both", "waiting"))
        if kind == "branch":
            nodes[name] = node("control.branch", {"when": "true"}, value=one)
            ports += [(name, "then"), (name, "else")]
        elif kind == "merge":
            nodes[name] = node("control.merge", {"names": ["a", "b"], "type": "text"}, a=one, b=other)
            ports.append((name, "value"))
        elif kind == "both":
            nodes[name] = node("prompt.template", {"template": "{{a}}{{b}}"}, a=one, b=other)
            ports.append((name, "text"))
        else:
            nodes[name] = node("prompt.template", {"template": "{{a}}"}, a="text" if kind == "waiting" else one)
            control += [{"from": list(other), "to": name}] if kind == "waiting" else []
            ports.append((name, "text"))
    return flow(nodes, control=control)


@given(st.integers(0, 10_000), st.integers(2, 25))
@settings(max_examples=300, deadline=None)
def test_what_is_skipped_takes_along_what_must_not_run(seed: int, count: int) -> None:
    chance = random.Random(seed)
    checked = check(loaded(branching(chance, count)), built_in())
    if not checked.can_run:
        assert {each.code for each in checked.problems if each.severity == "error"} == {"never_runs"}
        return
    fired = dict[str, set[str]]()
    for part in compile_plan(checked).body:
        assert isinstance(part, Step)
        assert all(wire.source in fired for wire in wires_of(part)), "what it takes comes before it"
        decision = decide(part, lambda wire: "live" if wire.port in fired[wire.source] else "dead")
        assert decision != "wait"
        live = [wire.port in fired[wire.source] for wire in wires_of(part)]
        assert (decision == "run") is (any(live) or not live if part.join == "any" else all(live))
        outputs = set(checked.ports[part.id].outputs)
        chosen = {chance.choice(sorted(outputs))} if checked.known[part.id].exclusive else outputs
        fired[part.id] = chosen if decision == "run" else set()


@given(st.integers(0, 1_000), st.integers(3, 120))
@settings(max_examples=60, deadline=None)
def test_every_step_is_behind_its_inputs(seed: int, count: int) -> None:
    plan = planned(generated(count, seed))
    seen = set[str]()
    for part in plan.body:
        assert all(wire.source in seen for wire in wires_of(part))
        seen.add(part.id)
    assert len(seen) == count
