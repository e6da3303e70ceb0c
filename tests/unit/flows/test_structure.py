"""Loops, links and the order that follows."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from polyforge.flows.structure import Structure
from tests.support.flows import flow, link, loaded, node


def structure(nodes: dict[str, Any], **more: Any) -> Structure:
    return Structure(loaded(flow(nodes, **more)))


def x(*sources: str) -> dict[str, Any]:
    return node("acme.x", **{f"i{place}": (source, "out") for place, source in enumerate(sources)})


def test_order_and_ties() -> None:
    assert structure({"c": x("b"), "b": x("a"), "a": x(), "d": x("a"), "a2": x()}).order == ("a", "a2", "b", "c", "d")


def test_control_edges_count() -> None:
    edges = [{"from": ["b", "then"], "to": "a"}]
    assert structure({"a": x(), "b": x()}, control=edges).order == ("b", "a")


def test_a_loop_waits_for_what_its_nodes_take_from_outside() -> None:
    loop = {"kind": "foreach", "nodes": ["in2", "in1"], "over": link("list", "out"), "collect": {"r": ["in2", "out"]}}
    found = structure(
        {"list": x(), "late": x("list"), "in1": x("loop", "late"), "in2": x("in1"), "after": x("loop")},
        groups={"loop": loop},
    )
    assert found.order == ("list", "late", "loop", "in1", "in2", "after")
    assert found.scope("in1") == ("loop",)
    assert not found.cycles


def test_loops_in_loops() -> None:
    outer = {"kind": "foreach", "nodes": ["a"], "over": link("s", "out")}
    inner = {"kind": "foreach", "nodes": ["b"], "over": link("a", "out"), "parent": "outer"}
    found = structure(
        {"s": x(), "a": x("outer"), "b": x("inner", "outer", "s")}, groups={"inner": inner, "outer": outer}
    )
    assert found.order == ("s", "outer", "a", "inner", "b")
    assert found.scope("b") == ("outer", "inner")


def test_cycles_are_named_from_their_first_part_along_the_links() -> None:
    found = structure({"a": x(), "b": x("a", "d"), "c": x("b"), "d": x("c"), "e": x("d"), "self": x("self")})
    assert found.cycles == (("b", "c", "d"), ("self",))
    assert set(found.order) == {"a", "b", "c", "d", "e", "self"}


def test_two_loops_that_wait_for_one_another_are_a_cycle() -> None:
    groups = {
        "g": {"kind": "foreach", "nodes": ["a"], "over": link("h", "r"), "collect": {"r": ["a", "out"]}},
        "h": {"kind": "foreach", "nodes": ["b"], "over": link("g", "r"), "collect": {"r": ["b", "out"]}},
    }
    assert structure({"a": x(), "b": x()}, groups=groups).cycles == (("g", "h"),)


def test_groups_that_cannot_be() -> None:
    def codes(groups: dict[str, Any]) -> list[tuple[str, str | None]]:
        found = structure(
            {"a": x(), "b": x()}, groups={name: {"kind": "while", **each} for name, each in groups.items()}
        )
        assert len(found.order) == len(set(found.order))
        return [(each.code, each.node) for each in found.problems]

    assert codes({"g": {"nodes": ["a"]}, "h": {"nodes": ["a"]}}) == [("bad_group", "a")]
    assert codes({"g": {"nodes": ["z"]}}) == [("unknown_node", "g")]
    assert codes({"a": {"nodes": ["b"]}}) == [("bad_id", "a")]
    assert codes({"g": {"nodes": [], "parent": "h"}, "h": {"nodes": [], "parent": "g"}}) == [("bad_group", "h")]
    assert codes({"g": {"nodes": [], "parent": "g"}}) == [("bad_group", "g")]
    assert codes({"g": {"nodes": [], "parent": "a"}}) == [("bad_group", "g")]
    tower = {f"g{place}": {"nodes": [], **({"parent": f"g{place - 1}"} if place else {})} for place in range(10)}
    assert ("bad_group", "g8") in codes(tower)


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=30), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_every_part_is_behind_what_it_waits_for(pairs: list[tuple[int, int]], chance: Any) -> None:
    sources: dict[str, list[str]] = {f"n{place:02}": [] for place in range(12)}
    for one, other in pairs:
        if one != other:
            sources[f"n{max(one, other):02}"].append(f"n{min(one, other):02}")
    items = list(sources.items())
    chance.shuffle(items)
    found = structure({name: x(*waits) for name, waits in items})
    places = {part: place for place, part in enumerate(found.order)}
    assert all(places[source] < places[part] for part, waits in sources.items() for source in waits)
    assert found.order == structure({name: x(*waits) for name, waits in sources.items()}).order


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20))
@settings(max_examples=200, deadline=None)
def test_cycles_are_cycles(pairs: list[tuple[int, int]]) -> None:
    sources: dict[str, list[str]] = {f"n{place}": [] for place in range(8)}
    for one, other in pairs:
        sources[f"n{other}"].append(f"n{one}")
    found = structure({name: x(*waits) for name, waits in sources.items()})
    for cycle in found.cycles:
        assert all(one in sources[other] for one, other in zip(cycle, (*cycle[1:], cycle[0]), strict=True))
    assert sorted(found.order) == sorted(sources)
