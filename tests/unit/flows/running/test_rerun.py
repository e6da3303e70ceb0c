"""What a run takes over from an earlier one: what neither changed nor comes after something that did."""

from typing import Any

import pytest

from polyforge.flows.running.frames import made
from polyforge.flows.running.rerun import stale, taken_over
from tests.support.flows import flow, loaded, node


def sample(**changed: Any) -> dict[str, Any]:
    """Two lines from two inputs, with a loop in one of them and a loop in that."""
    nodes = {
        "a": node("flow.input", {"name": "a"}),
        "b": node("flow.input", {"name": "b"}),
        "left": node("prompt.template", {"template": "{{x}}"}, x=("a", "value")),
        "right": node("prompt.template", {"template": "{{x}}"}, x=("b", "value")),
        "in-outer": node("prompt.template", {"template": "{{x}}"}, x=("left", "text")),
        "in-inner": node("prompt.template", {"template": "{{x}}"}, x=("in-outer", "text")),
        "after": node("data.transform", {"inputs": {"l": "json"}, "cel": "l"}, l=("outer", "all")),
        "out": node("flow.output", {"name": "out"}, value=("after", "value")),
        **changed,
    }
    groups = {
        "outer": {"kind": "foreach", "nodes": ["in-outer"], "over": [1, 2], "max_iterations": 5,
                  "collect": {"all": ["inner", "all"]}},
        "inner": {"kind": "foreach", "nodes": ["in-inner"], "over": [1, 2], "max_iterations": 5, "parent": "outer",
                  "collect": {"all": ["in-inner", "text"]}},
    }  # fmt: skip
    interface = {"inputs": {"a": {"type": "text"}, "b": {"type": "text"}}, "outputs": {"out": {"type": "json"}}}
    return flow(nodes, groups=groups, interface=interface)


LOOPS = {"outer", "inner", "in-outer", "in-inner"}
INPUTS = {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    ("targets", "again"),
    [
        ([], set()),
        (["right"], {"right"}),
        (["after"], {"after", "out"}),
        (["in-inner"], LOOPS | {"after", "out"}),
        (["inner"], LOOPS | {"after", "out"}),
        (["left"], {"left", "after", "out"} | LOOPS),
    ],
)
def test_what_comes_after_a_target_runs_again(targets: list[str], again: set[str]) -> None:
    document = loaded(sample())
    assert stale(document, document, INPUTS, INPUTS, targets) == again


def test_what_comes_after_a_change_runs_again() -> None:
    before = loaded(sample())
    changed = loaded(sample(right=node("prompt.template", {"template": "{{x}}!"}, x=("b", "value"))))
    assert stale(before, changed, INPUTS, INPUTS, []) == {"right"}
    assert stale(before, before, INPUTS, {"a": "1", "b": "3"}, []) == {"b", "right"}
    assert stale(before, before, {"a": "1"}, {"a": "1", "b": "2"}, []) == {"b", "right"}
    renamed = sample()
    renamed["nodes"]["right"]["title"] = "Another title"
    assert stale(before, loaded(renamed), INPUTS, INPUTS, []) == set(), "a title changes no result"
    shorter = sample()
    shorter["groups"]["outer"]["over"] = [1]
    assert stale(before, loaded(shorter), INPUTS, INPUTS, []) == LOOPS | {"after", "out"}


def test_results_are_taken_over_by_the_node_of_their_steps() -> None:
    done = made({"text": "x"})
    steps = ["left", "in-outer[0]", "in-inner[1,0]", "call/say", "call[2]/say[1]", "call~1/say"]
    results = dict.fromkeys(steps, done)
    assert set(taken_over(results, {"left", "in-inner"})) == {"in-outer[0]", "call/say", "call[2]/say[1]", "call~1/say"}
    assert set(taken_over(results, {"call", "left", "in-outer"})) == {"in-inner[1,0]"}
