"""Two people change one flow."""

from copy import deepcopy
from typing import Any

from hypothesis import given, settings

from polyforge.flows.canonical import version_id
from polyforge.flows.document import written
from polyforge.flows.merging import Conflict, Merged, merge
from tests.support.flows import answering, link, loaded, made_up_flows, node

BASE = answering()


def merged(ours: Any, theirs: Any, base: Any = BASE) -> Merged:
    return merge(loaded(base), loaded(ours), loaded(theirs))


def changed(name: str, **params: Any) -> Any:
    value = deepcopy(BASE)
    value["nodes"][name]["params"] |= params
    return value


def whole(found: Merged) -> dict[str, Any]:
    assert found.document is not None, found.problems
    return written(found.document)


def test_changes_in_different_nodes_come_together() -> None:
    found = merged(changed("chat", temperature=0.5), changed("prompt", template="New: {{q}}"))
    assert found.conflicts == ()
    nodes = whole(found)["nodes"]
    assert nodes["chat"]["params"]["temperature"] == 0.5
    assert nodes["prompt"]["params"]["template"] == "New: {{q}}"


def test_the_same_change_is_no_conflict() -> None:
    found = merged(changed("chat", temperature=0.5), changed("chat", temperature=0.5))
    assert found.conflicts == ()


def test_different_changes_of_one_node_are_a_conflict_and_ours_stays() -> None:
    found = merged(changed("chat", temperature=0.5), changed("chat", max_tokens=9))
    (conflict,) = found.conflicts
    assert (conflict.kind, conflict.section, conflict.id) == ("both_changed", "nodes", "chat")
    assert conflict.base["params"] == BASE["nodes"]["chat"]["params"]
    assert conflict.theirs["params"]["max_tokens"] == 9
    assert whole(found)["nodes"]["chat"]["params"] == conflict.ours["params"]


def test_added_and_removed_nodes() -> None:
    ours = answering(mine=node("acme.x"))
    theirs = answering(yours=node("acme.y"))
    base = answering(old=node("acme.z"))
    assert whole(merged(ours, theirs, base))["nodes"].keys() == {*BASE["nodes"], "mine", "yours"}


def test_one_changes_what_the_other_removes() -> None:
    base = answering(old=node("acme.z"))
    found = merged(answering(), answering(old=node("acme.z", {"a": 1})), base)
    (conflict,) = found.conflicts
    assert (conflict.kind, conflict.id) == ("changed_and_removed", "old")
    assert "old" not in whole(found)["nodes"]


def test_one_links_to_what_the_other_removes() -> None:
    base = answering(old=node("acme.z"))
    ours, theirs = answering(), answering(old=node("acme.z"), new=node("acme.x", a=("old", "out")))
    assert merged(ours, theirs, base).conflicts == (Conflict("link_to_removed", "nodes", "new", removed="old"),)
    assert merged(theirs, ours, base).conflicts == (Conflict("link_to_removed", "nodes", "new", removed="old"),)
    groups = {"g": {"kind": "foreach", "nodes": ["old"], "over": ["a"], "max_iterations": 1}}
    theirs = {**answering(old=node("acme.z")), "groups": groups}
    assert [(each.kind, each.id) for each in merged(ours, theirs, base).conflicts] == [("link_to_removed", "g")]


def test_lists_without_an_order_are_merged_by_what_is_in_them() -> None:
    def with_edges(*targets: str) -> Any:
        return {**BASE, "control": [{"from": ["question", "value"], "to": target} for target in targets]}

    found = merged(with_edges("chat", "answer"), with_edges("prompt"), with_edges("chat"))
    assert [edge["to"] for edge in whole(found)["control"]] == ["answer", "prompt"]
    assert found.conflicts == ()


def test_names_and_interfaces() -> None:
    ours: Any = {**BASE, "name": "Ours", "description": "More"}
    theirs: Any = {**deepcopy(BASE), "name": "Theirs"}
    theirs["interface"]["inputs"]["tone"] = {"type": "text", "required": False}
    found = merged(ours, theirs)
    assert [(each.section, each.id) for each in found.conflicts] == [("about", "name")]
    assert whole(found)["name"] == "Ours"
    assert whole(found)["description"] == "More"
    assert "tone" in whole(found)["interface"]["inputs"]


def test_nobody_is_asked_about_layout() -> None:
    found = merged({**BASE, "ui": {"a": 1, "b": 1}}, {**BASE, "ui": {"a": 2, "c": 2}}, {**BASE, "ui": {"b": 1}})
    assert found.conflicts == ()
    assert whole(found)["ui"] == {"a": 1, "c": 2}


def test_a_merge_that_would_be_too_large_says_so() -> None:
    many = {f"m{place}": node("acme.x") for place in range(4_000)}
    others = {f"o{place}": node("acme.x") for place in range(4_000)}
    found = merged(answering(**many), answering(**others))
    assert found.document is None
    assert found.problems[0].code == "too_many"


@given(made_up_flows(), made_up_flows())
@settings(max_examples=40, deadline=None)
def test_who_changed_nothing_changes_nothing(base: Any, other: Any) -> None:
    for found in (merged(other, base, base), merged(base, other, base), merged(other, other, base)):
        assert found.document is not None
        assert version_id(found.document) == version_id(loaded(other))
        assert [each for each in found.conflicts if each.kind != "link_to_removed"] == []


def test_a_new_conversion_on_a_link_is_a_change() -> None:
    ours = deepcopy(BASE)
    ours["nodes"]["chat"]["in"]["p"] = link("prompt", "text", "number_to_text")
    assert whole(merged(ours, BASE))["nodes"]["chat"]["in"]["p"]["coerce"] == "number_to_text"
