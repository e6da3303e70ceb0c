"""What changed, in the terms of flows."""

from copy import deepcopy
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyforge.flows.canonical import same, version_id
from polyforge.flows.diffing import Changes, Differences, LinkChange, differences
from polyforge.flows.patching import MOST_EDITS, Operation, Words, patch, word_changes
from tests.support.flows import answering, link, loaded, made_up_flows, node, values


def compared(before: Any, after: Any) -> Differences:
    return differences(loaded(before), loaded(after))


def applied(value: Any, operations: tuple[Operation, ...]) -> Any:
    """The value after a JSON patch (RFC 6902)."""
    value = deepcopy(value)
    for each in operations:
        keys = [key.replace("~1", "/").replace("~0", "~") for key in each.path.split("/")[1:]]
        if not keys:
            value = each.value
            continue
        holder = value
        for key in keys[:-1]:
            holder = holder[int(key)] if isinstance(holder, list) else holder[key]
        last: Any = int(keys[-1]) if isinstance(holder, list) else keys[-1]
        if each.op == "remove":
            del holder[last]
        elif each.op == "add" and isinstance(holder, list):
            holder.insert(last, each.value)
        else:
            assert each.op == "add" or last in holder or isinstance(holder, list)
            holder[last] = each.value
    return value


@given(values, values)
@settings(max_examples=500, deadline=None)
def test_a_patch_leads_from_one_value_to_the_other(before: Any, after: Any) -> None:
    operations = patch(before, after)
    assert same(applied(before, operations), after)
    assert (operations == ()) is same(before, after)


def test_lists_are_changed_where_they_differ() -> None:
    assert patch([1, 2, 3, 4], [1, 2, 9, 3, 4]) == (Operation("add", "/2", 9),)
    assert patch([1, 2, 3, 4], [1, 4]) == (Operation("remove", "/2"), Operation("remove", "/1"))
    assert patch({"a/b": {"c~": 1}}, {"a/b": {"c~": 2}}) == (Operation("replace", "/a~1b/c~0", 2),)


words = st.text(st.sampled_from("ab \n"), max_size=60)


@given(words, words)
@settings(max_examples=500, deadline=None)
def test_words_of_both_texts_are_all_there(before: str, after: str) -> None:
    pieces = word_changes(before, after)
    assert "".join(each.text for each in pieces if each.what != "added") == before
    assert "".join(each.text for each in pieces if each.what != "removed") == after
    assert all(one.what != other.what for one, other in pairwise(pieces))


def test_a_changed_word_is_told_alone() -> None:
    assert word_changes("Write a long poem about tea", "Write a short poem about green tea") == (
        Words("same", "Write a "), Words("removed", "long"), Words("added", "short"), Words("same", " poem about"),
        Words("added", " green"), Words("same", " tea"),
    )  # fmt: skip


def test_texts_that_have_nothing_in_common_are_replaced_as_a_whole() -> None:
    before, after = " ".join(["a"] * MOST_EDITS), " ".join(f"b{place}" for place in range(MOST_EDITS))
    pieces = word_changes(before.replace(" ", "  "), after)
    assert [each.what for each in pieces] == ["removed", "added"]


def test_nothing_changed() -> None:
    found = compared(answering(), answering())
    assert found.same_version
    assert found.nodes == Changes()
    assert not found.layout


def test_layout_alone_is_no_other_version() -> None:
    found = compared(answering(), {**answering(), "ui": {"chat": {"x": 3}}})
    assert found.layout
    assert found.same_version


def test_nodes_that_come_go_and_change() -> None:
    after = answering(extra=node("prompt.template", {"template": "x"}))
    after["nodes"]["prompt"]["params"]["template"] = "Answer briefly: {{q}}"
    after["nodes"]["chat"]["params"]["temperature"] = 0.5
    found = compared({**answering(), "nodes": {**answering()["nodes"], "old": node("acme.x")}}, after)
    assert (found.nodes.added, found.nodes.removed) == (("extra",), ("old",))
    chat, prompt = found.nodes.changed
    assert (chat.id, chat.fields) == ("chat", (Operation("add", "/params/temperature", 0.5),))
    assert prompt.fields == (Operation("replace", "/params/template", "Answer briefly: {{q}}"),)
    assert [(each.what, each.text) for each in prompt.texts["/params/template"]] == [
        ("removed", "Answer:"), ("added", "Answer briefly:"), ("same", " {{q}}"),
    ]  # fmt: skip


def test_links_and_their_conversions() -> None:
    after = answering()
    after["nodes"]["chat"]["in"]["p"] = link("question", "value", "number_to_text")
    after["nodes"]["answer"]["in"] = {"value": "always"}
    answer, chat = compared(answering(), after).nodes.changed
    assert chat.links == (LinkChange("p", link("prompt", "text"), link("question", "value", "number_to_text")),)
    assert answer.links == (LinkChange("value", link("chat", "text"), "always"),)
    assert chat.fields == ()


def test_the_rest_of_a_flow() -> None:
    edge = {"from": ["question", "value"], "to": "chat"}
    one = {"kind": "foreach", "nodes": ["prompt"], "over": ["a"], "max_iterations": 3}
    after: dict[str, Any] = {**answering(), "name": "New", "control": [edge], "groups": {"g": one}}
    after["interface"] = {**after["interface"], "inputs": {"question": {"type": "json"}}}
    found = compared(answering(), after)
    assert found.about == (Operation("replace", "/name", "New"),)
    assert found.interface == (Operation("replace", "/inputs/question/type", "json"),)
    assert (found.control_added, found.control_removed) == ((edge,), ())
    assert found.groups.added == ("g",)
    back = compared(after, {**after, "control": [], "groups": {"g": {**one, "parallel": 4, "over": ["b"]}}})
    assert back.control_removed == (edge,)
    assert [each.path for each in back.groups.changed[0].fields] == ["/over/0", "/parallel"]


@given(made_up_flows(), made_up_flows())
@settings(max_examples=40, deadline=None)
def test_a_difference_is_another_version(one: Any, other: Any) -> None:
    before, after = loaded(one), loaded(other)
    assert differences(before, after).same_version is (version_id(before) == version_id(after))
    assert differences(before, before).same_version


@pytest.mark.parametrize("value", [True, 1, "1", None, [], {}])
def test_kinds_of_values_are_told_apart(value: Any) -> None:
    for other in (True, 1, "1", None, [], {}):
        assert (patch({"a": value}, {"a": other}) == ()) is (type(value) is type(other))
