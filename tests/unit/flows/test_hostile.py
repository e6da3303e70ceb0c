"""Whatever is done to a flow, it is judged and never anything worse."""

import random
from collections.abc import Mapping
from copy import deepcopy
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyforge.flows.built_in import built_in
from polyforge.flows.canonical import save, version_id
from polyforge.flows.diffing import differences
from polyforge.flows.merging import merge
from polyforge.flows.plan import compile_plan, steps_in
from polyforge.flows.problems import MEANINGS
from polyforge.flows.reading import load
from polyforge.flows.validating import check
from polyforge.kernel.errors import Invalid
from tests.support.flows import MODEL, answering, flow, link, loaded, made_up_flows, node
from tests.unit.flows.samples import SAMPLES

ODD: tuple[Any, ...] = (
    None, True, 0, -1, 2**53, 1.5, float("inf"), "", "{{", "{{x}}", "x" * 300, "\ud800", "a\u202eb", [], {},
    [[]], {"from": []},
    {"from": ["chat", "text"]}, {"from": ["g", "item"], "coerce": "check"}, {"$literal": {}}, {"$ref": "model:x"},
    {"$secret": "x"}, {"type": "object"}, ["chat", "text"], "chat", "g", "h", "value", "list<text>", "constructor",
)  # fmt: skip


def rich(samples: Mapping[str, Any] = SAMPLES) -> dict[str, Any]:
    """A flow with some of everything, and a node for each sample, which are linked to nothing."""
    whole = answering(
        split=node(
            "data.transform", {"inputs": {"a": "text"}, "jmespath": "a", "result": "list<text>"}, a=("chat", "text")
        ),
        each=node("prompt.template", {"template": "{{a}} {{b}}"}, a=("g", "item"), b=("question", "value")),
        again=node("prompt.template", {"template": "{{a}}"}, a=("h", "draft")),
        way=node("control.branch", {"when": "size(value) > 2", "inputs": {"value": "text"}}, value=("chat", "text")),
        one=node("control.merge", {"names": ["a", "b"], "type": "text"}, a=("way", "then"), b=("way", "else")),
        call=node("http.request", {"url": "https://x.example/{{p}}", "headers": {"A": "{{p}}"}}, p=("one", "value")),
        ask=node("human.approval", {"question": "Ok?", "assignees": ["role:x"], "expires_in_s": 60}),
        **{name.replace(".", "_"): node(name, params) for name, params in samples.items()},
    )
    over = {"kind": "foreach", "nodes": ["each"], "over": link("split", "value"), "max_iterations": 9}
    rounds = {"kind": "while", "nodes": ["again"], "when": "index < 3", "max_iterations": 9, "parent": "g"}
    whole["groups"] = {
        "g": {**over, "collect": {"all": ["each", "text"]}},
        "h": {**rounds, "start": {"draft": "x"}, "carry": {"draft": ["again", "text"]}},
    }
    whole["control"] = [{"from": ["way", "then"], "to": "ask"}]
    whole["nodes"]["call"]["policy"] = {"on_error": "branch", "join": "any", "timeout_s": 5}
    return whole


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    items = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [(*path, key) for key, _ in items] + [each for key, inner in items for each in places(inner, (*path, key))]


def broken(value: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """A flow with a few things in it taken out, replaced, moved or named otherwise."""
    value = deepcopy(value)
    for _ in range(chance.randint(1, 4)):
        path = chance.choice(places(value))
        holder = value
        for key in path[:-1]:
            holder = holder[key]
        match chance.choice(("out", "odd", "copy", "name")):
            case "out":
                del holder[path[-1]]
            case "odd":
                holder[path[-1]] = chance.choice(ODD)
            case "copy":
                source = value
                for key in chance.choice(places(value)):
                    source = source[key]
                holder[path[-1]] = deepcopy(source)
            case _:
                name = chance.choice([each for each in ODD if isinstance(each, str)])
                if isinstance(holder, dict):
                    holder[name] = holder.pop(path[-1])
        if not places(value):
            break
    return value


def judge(value: Any) -> None:
    """Everything that is done with a flow before it runs."""
    reading = load(value)
    assert (reading.document is None) == bool(reading.problems)
    if reading.document is None:
        return
    save(reading.document)
    checked = check(reading.document, built_in())
    assert all(each.code in MEANINGS and each.message for each in checked.problems)
    assert sorted(checked.structure.order) == sorted({*reading.document.nodes, *reading.document.groups})
    if checked.can_run:
        assert {step.id for step in steps_in(compile_plan(checked))} == set(reading.document.nodes)
    else:
        with pytest.raises(Invalid):
            compile_plan(checked)


@given(st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_broken_flows_are_judged(seed: int) -> None:
    judge(broken(rich({} if seed % 2 else SAMPLES), random.Random(seed)))


def test_what_is_broken_could_run() -> None:
    assert check(loaded(rich({})), built_in()).can_run


@given(made_up_flows())
@settings(max_examples=40, deadline=None)
def test_made_up_flows_are_judged(value: Any) -> None:
    judge(value)


@given(st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_broken_flows_are_compared_and_merged(seed: int) -> None:
    chance = random.Random(seed)
    read = [load(broken(rich(), chance)).document for _ in range(6)]
    there = [each for each in read if each is not None]
    for one, other in pairwise(there):
        assert differences(one, other).same_version is (version_id(one) == version_id(other))
        merge(loaded(rich()), one, other)


def test_what_can_be_wrong_with_one_node_does_not_hide_another() -> None:
    value = rich()
    del value["nodes"]["call"]["params"]["url"]
    value["nodes"]["way"]["params"]["when"] = "nope"
    found = {
        each.node for each in check(loaded(value), built_in()).problems if each.code in ("bad_param", "bad_expression")
    }
    assert found == {"call", "way"}


def test_there_is_a_most_of_all_expressions_together() -> None:
    params = {"inputs": {"a": "text"}, "cel": "a" + " + a" * 900}
    many = flow({f"n{place}": node("data.transform", params, a="x") for place in range(90)})
    assert [each.code for each in check(loaded(many), built_in()).problems] == ["too_large"]
    group = {"kind": "while", "nodes": [], "max_iterations": 1, "start": {"a": 1}, "when": "a > 1" + " " * 3_900}
    many = flow({}, groups={f"g{place}": group for place in range(90)})
    assert [each.code for each in check(loaded(many), built_in()).problems] == ["too_large"]


def test_nothing_of_a_template_is_read_twice() -> None:
    value = flow({"a": node("model.chat", {"model": MODEL, "prompt": "{{a}}"}, a="{{b}}")})
    assert check(loaded(value), built_in()).can_run
