"""Nodes of older versions."""

from collections.abc import Callable, Mapping
from typing import Any

from polyforge.flows import fields
from polyforge.flows.migrating import Migration, migrate
from polyforge.flows.nodetypes import NodeType, NodeTypes, fixed
from tests.support.flows import flow, loaded, node


def kind(v: int, migrate: Mapping[int, Callable[[Any], Any]] | None = None) -> NodeType:
    return NodeType(
        "acme.x", v, "X", "X.", "data", fields.parameters(), fixed({}, {}), migrate={} if migrate is None else migrate
    )


def renamed(params: Any) -> Any:
    params["new"] = params.pop("old")
    return params


def refusing(params: Any) -> Any:
    raise ValueError(f"{params['old']} has no successor")


TYPES = NodeTypes([kind(1), kind(3, {1: renamed, 2: refusing}), kind(2)])


def test_nodes_are_brought_to_the_newest_version_and_listed() -> None:
    before = loaded(flow({"a": node("acme.x", {"old": [1]}), "b": node("acme.x", None, 3), "c": node("acme.unknown")}))
    found = migrate(before, TYPES)
    assert found.migrations == (Migration("a", "acme.x", 1, 3),)
    assert found.document.nodes["a"].params == {"new": [1]}
    assert found.document.nodes["a"].v == 3
    assert found.document.nodes["c"] == before.nodes["c"]
    assert before.nodes["a"].params == {"old": [1]}
    assert found.problems == ()


def test_what_cannot_be_brought_forward_stays_and_is_told() -> None:
    before = loaded(flow({"a": node("acme.x", {"old": "this"}, 2)}))
    found = migrate(before, TYPES)
    assert found.document == before
    assert [(each.code, each.node) for each in found.problems] == [("migration_failed", "a")]
    assert "acme.x@2 to acme.x@3: this has no successor" in found.problems[0].message


def test_a_newer_version_than_ours_is_let_be() -> None:
    before = loaded(flow({"a": node("acme.x", None, 7)}))
    assert migrate(before, TYPES).document == before


def test_a_version_without_a_way_is_told() -> None:
    found = migrate(loaded(flow({"a": node("acme.x")})), NodeTypes([kind(1), kind(2)]))
    assert "there is no way" in found.problems[0].message
    unkeepable = NodeTypes([kind(1), kind(2, {1: lambda params: {**params, "x": float("nan")}})])
    assert "could not be kept" in migrate(loaded(flow({"a": node("acme.x")})), unkeepable).problems[0].message
