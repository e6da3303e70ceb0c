"""A flow exported to Python builds the same version again."""

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyforge.flows.canonical import version_id
from polyforge.flows.publishing.scripts import to_python
from polyforge.flows.sdk import Flow
from polyforge.kernel.errors import Invalid
from tests.support.flows import answering, flow, generated, link, loaded, made_up_flows, names, node


def rebuilt(script: str) -> Flow:
    """The flow that a script builds."""
    found: dict[str, Any] = {"__name__": "exported"}
    exec(compile(script, "exported.py", "exec"), found)
    made = found["flow"]
    assert isinstance(made, Flow)
    return made


def comes_back(value: Any) -> str:
    document = loaded(value)
    script = to_python(document)
    again = rebuilt(script)
    assert again.document() == msgspec.structs.replace(document, ui={}), script
    assert again.hash() == version_id(document)
    return script


@given(made_up_flows())
@settings(max_examples=150, deadline=None)
def test_the_hash_of_a_script_is_the_id_of_the_version(value: Any) -> None:
    comes_back(value)


@st.composite
def nested_loops(draw: st.DrawFn) -> dict[str, Any]:
    """Loops in loops, in circles, around nodes that are in others too."""
    ids = draw(st.lists(names, min_size=1, max_size=5, unique_by=str.lower))
    groups = draw(st.lists(names.filter(lambda name: name not in ids), min_size=1, max_size=5, unique=True))
    everything = [*ids, *groups, "elsewhere"]
    sources = st.builds(link, st.sampled_from(everything), names, st.none() | st.just("to_list"))
    places = st.dictionaries(names, st.tuples(st.sampled_from(everything), names).map(list), max_size=2)
    nodes = {name: node("prompt.template", {"template": "{{a}}"}) | {"in": {"a": draw(sources)}} for name in ids}
    made = {
        name: {
            "kind": draw(st.sampled_from(["foreach", "while"])),
            "nodes": draw(st.lists(st.sampled_from(everything), unique=True, max_size=4)),
            **({"parent": draw(st.sampled_from(everything))} if draw(st.booleans()) else {}),
            **({"over": draw(sources)} if draw(st.booleans()) else {}),
            **({"parallel": draw(st.integers(1, 4)), "max_iterations": 7} if draw(st.booleans()) else {}),
            "collect": draw(places),
            "carry": draw(places),
            "start": draw(
                st.dictionaries(names, sources | st.integers(0, 99) | st.just({"$literal": {"from": 1}}), max_size=2)
            ),
        }
        for name in groups
    }
    return flow(nodes, groups=made)


@given(nested_loops())
@settings(max_examples=150, deadline=None)
def test_loops_come_back_however_they_are_entangled(value: Any) -> None:
    comes_back(value)


@pytest.mark.parametrize("seed", range(3))
def test_large_flows_come_back(seed: int) -> None:
    comes_back(generated(300, seed))


def test_a_chain_of_thousands_of_nodes_comes_back() -> None:
    chain = {
        f"n{place}": node("prompt.template", {"template": "{{a}}"}, a=(f"n{place + 1}", "text"))
        for place in range(4_000)
    }
    comes_back(flow(chain))


def test_a_script_reads_in_the_order_in_which_things_happen() -> None:
    script = comes_back(answering())
    added = re.findall(r'flow\.add\(\s*"(\w+)"', script)
    assert added == ["question", "prompt", "chat", "answer"]
    assert "answer = " not in script, "nothing takes what an output gives"


def test_what_people_wrote_stays_text() -> None:
    """No name, title or prompt becomes code, whatever is in it."""
    hostile = '"""\n\\"); import os #\u202e\'"'
    value: dict[str, Any] = answering() | {"description": hostile, "name": 'a"""b'}
    value["nodes"]["chat"]["params"]["prompt"] = hostile + "{{p}}\r\n\u2028x"
    script = comes_back(value)
    assert "\u202e" not in script, "what hides other text is escaped"


def test_names_of_python_can_be_names_of_nodes() -> None:
    words = ["flow", "Flow", "class", "print", "a-b", "a_b", "match", "None"]
    nodes = {
        word: node("prompt.template", {"template": "{{a}}"}, a=(words[at - 1], "text")) for at, word in enumerate(words)
    }
    comes_back(flow(nodes))


def test_a_script_by_hand() -> None:
    made = Flow("Shout")
    made.takes("words", "list<text>")
    made.gives("loud", "list<text>")
    words = made.add("words", "flow.input", {"name": "words"})
    each = made.loop("each", "foreach", over=words["value"], max_iterations=100)
    with each:
        line = made.add("line", "prompt.template", {"template": "{{w}}!"}, {"w": each["item"]}, retries=1)
    each.collect({"lines": line["text"]})
    made.add("loud", "flow.output", {"name": "loud"}, {"value": each["lines"].converted("check")})
    document = made.document()
    assert document.groups["each"].nodes == ("line",)
    assert rebuilt(to_python(document)).to_json() == made.to_json()


def test_mistakes_are_named() -> None:
    made = Flow("Wrong")
    made.add("a", "prompt.template")
    with pytest.raises(Invalid, match="'a' already"):
        made.add("a", "prompt.template")
    made.add("b b", "prompt.template")
    with pytest.raises(Invalid, match="b b"):
        made.hash()
