"""What is a flow, and what is refused, with the place."""

import json
import sys
from typing import Any

import pytest

from polyforge.flows import bounds
from polyforge.flows.document import Given, Link, written
from polyforge.flows.reading import load, read
from tests.support.flows import answering, as_bytes, flow, link, loaded, node, refused


def code_of(content: bytes) -> str:
    reading = read(content)
    assert reading.document is None
    return reading.problems[0].code


def test_a_flow_is_read_whole() -> None:
    document = loaded(
        answering(),
    )
    assert document.name == "Test"
    assert document.nodes["prompt"].inputs["q"] == Link(("question", "value"))
    assert document.nodes["chat"].params["prompt"] == "{{p}}"
    assert document.interface.inputs["question"].type == "text"


def test_an_unknown_type_of_node_opens_and_is_saved_as_it_was() -> None:
    strange = node("acme.quantum", {"qubits": [1, {"$ref": "lab:7"}]}, 9, whatever={"a": None})
    document = loaded(flow({"q": strange}))
    assert written(document)["nodes"]["q"] == strange


def test_a_value_that_looks_like_a_link_is_marked() -> None:
    value = {"from": "Delhi", "to": "Pune"}
    document = loaded(flow({"n": node("acme.x", trip={"$literal": value})}))
    assert document.nodes["n"].inputs["trip"] == Given(value)
    assert written(document)["nodes"]["n"]["in"]["trip"] == {"$literal": value}


@pytest.mark.parametrize("value", [{"$literal": 1}, {"$literal": {"a": 1}}, {"$literal": {"from": 1}, "b": 2}])
def test_a_mark_that_is_not_needed_is_refused(value: Any) -> None:
    assert refused(flow({"n": node("acme.x", a=value)})) == ("wrong_shape", "n", "/in/a")


def test_order_that_means_nothing_is_not_kept() -> None:
    edges = [{"from": ["b", "x"], "to": "c"}, {"from": ["a", "x"], "to": "b"}]
    nodes = {name: node("acme.x") for name in "abc"}
    one = loaded(flow(nodes, control=edges, groups={"g": {"kind": "foreach", "nodes": ["b", "a"]}}))
    other = loaded(flow(nodes, control=edges[::-1], groups={"g": {"kind": "foreach", "nodes": ["a", "b"]}}))
    assert one == other


def test_types_are_written_in_one_way() -> None:
    document = loaded(flow({}, interface={"inputs": {"a": {"type": " record{b:text ,a?:list< number>}"}}}))
    assert document.interface.inputs["a"].type == "record{a?: list<number>, b: text}"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"\xff{}", "not_json"),
        (b'{"schema": "flow.v1",', "not_json"),
        (b"[]", "wrong_shape"),
        (b"null", "wrong_shape"),
        (b'{"schema": "flow.v2", "name": "x"}', "unknown_schema"),
        (b'{"schema": "flow.v1", "name": "x", "nodes": {"a": 1, "a": 2}}', "duplicate_key"),
        (b'{"schema": "flow.v1", "name": "x", "ui": {"x": NaN}}', "bad_number"),
        (b'{"schema": "flow.v1", "name": "x", "ui": {"x": 1e999}}', "bad_number"),
        (b'{"schema": "flow.v1", "name": "x", "ui": {"x": 9007199254740993}}', "bad_number"),
        (b'{"schema": "flow.v1", "name": "x", "ui": {"x": ' + b"9" * 10_000 + b"}}", "bad_number"),
        (b'{"schema": "flow.v1", "name": "x", "ui": {"x": "\\ud800"}}', "bad_text"),
        (b'{"schema": "flow.v1", "name": "x", "ui": {"x": "\\u0000"}}', "bad_text"),
        (b'{"schema": "flow.v1", "name": "x", "ui": {"__proto__": {}}}', "bad_text"),
        (b'{"schema": "flow.v1", "name": "x", "ui": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too_deep"),
        (b'{"schema": "flow.v1", "name": "x", "ui": {"x": ' + b"[" * 200 + b"]" * 200 + b"}}", "too_deep"),
        (b'{"schema": "flow.v1", "name": "x"}' + b" " * bounds.MAX_BYTES, "too_large"),
    ],
    ids=lambda value: value[:60] if isinstance(value, bytes) else value,
)
def test_what_is_no_flow_is_refused(content: bytes, code: str) -> None:
    assert code_of(content) == code


@pytest.mark.parametrize(
    "name",
    ["", "1a", "_a", "a b", "a.b", "a/b", "nodé", "а", "a\u200b", "a\u202e", "a" * 65, "constructor", "a\n", "-a"],
)
def test_names_are_plain(name: str) -> None:
    assert refused(flow({name: node("acme.x")}))[0] in ("bad_id", "bad_text")
    assert refused(flow({"n": {"type": "acme.x", "v": 1, "in": {name: 1}}}))[:2] in (("bad_id", "n"), ("bad_text", "n"))


def test_what_stands_in_a_node_is_refused_with_its_place() -> None:
    def broken(**fields: Any) -> Any:
        return flow({"n": {"type": "acme.x", "v": 1, **fields}})

    assert refused(broken(v=0)) == ("wrong_shape", "n", "/v")
    assert refused(broken(type="Acme")) == ("wrong_shape", "n", "/type")
    (problem,) = load(broken(type="Acme")).problems
    assert ("model.chat" in problem.message, "regex" in problem.message) == (True, False)
    assert refused(broken(code="import os")) == ("unknown_field", "n", None)
    assert refused(broken(policy={"retries": 99})) == ("wrong_shape", "n", "/policy/retries")
    assert refused(broken(policy={"retry": 1})) == ("unknown_field", "n", "/policy")
    assert refused(broken(params=[])) == ("wrong_shape", "n", "/params")
    assert refused(broken(**{"in": {"a": {"from": ["x"]}}})) == ("wrong_shape", "n", "/in/a/from")
    assert refused(broken(**{"in": {"a": {"from": ["x", "y"], "as": 1}}})) == ("unknown_field", "n", "/in/a")
    assert refused(broken(params={"text": "\ud800"})) == ("bad_text", "n", "/params/text")
    assert refused(broken(title="a\u202eb")) == ("bad_text", "n", "/title")


def test_every_wrong_node_is_told() -> None:
    reading = load(flow({"a": {"type": "acme.x"}, "b": {"v": 1}, "c": node("acme.x")}))
    assert [each.node for each in reading.problems] == ["a", "b"]


def test_there_is_a_most_of_everything() -> None:
    many = {f"n{place}": node("acme.x") for place in range(bounds.MAX_NODES + 1)}
    assert refused(flow(many)) == ("too_many", None, "/nodes")
    inputs = {f"i{place}": 1 for place in range(bounds.MAX_INPUTS + 1)}
    assert refused(flow({"n": node("acme.x", **inputs)})) == ("too_many", "n", "/in")
    text = node("acme.x", {"text": "x" * (bounds.MAX_TEXT + 1)})
    assert refused(flow({"n": text})) == ("too_large", "n", "/params/text")
    edges = [{"from": ["a", "x"], "to": "b"}] * (bounds.MAX_CONTROL + 1)
    assert refused(flow({}, control=edges)) == ("too_many", None, "/control")


def test_there_is_a_most_of_values() -> None:
    assert refused(flow({}, ui={"x": [0] * bounds.MAX_VALUES})) == ("too_many", None, None)


def test_a_million_links_are_refused() -> None:
    inputs = {f"i{place}": link("a", "x") for place in range(200)}
    nodes = {f"n{place}": node("acme.x", **inputs) for place in range(300)}
    reading = load(flow(nodes))
    assert [each.code for each in reading.problems] == ["too_many"]
    row = b'"a": {"from": ["a", "b"]},' * 1_000_000
    assert code_of(b'{"schema": "flow.v1", "name": "x", "nodes": {"n": {"in": {' + row + b'"b": 1}}}}') == "too_large"


def test_what_would_be_too_long_as_it_is_kept_is_refused() -> None:
    text = b'"' + b"x" * 190_000 + b'",'
    numbers = b"1e20," * 200_000
    assert code_of(b'{"schema": "flow.v1", "name": "x", "ui": {"x": [' + text * 25 + numbers + b"1]}}") == "too_large"
    fields = ", ".join(f"f{place:02}: list" for place in range(99))
    wide = ", ".join(f"g{place}: record{{{fields}}}" for place in range(3))
    assert refused(flow({}, interface={"inputs": {"i": {"type": f"record{{{wide}}}"}}}))[0] == "bad_type"


def test_the_readers_own_limits_are_never_met() -> None:
    content = as_bytes(flow({"n": node("acme.x", {"deep": json.loads("[" * 60 + "]" * 60)})}))
    assert sys.getrecursionlimit() > bounds.MAX_DEPTH * 4
    assert read(content).document is not None


def test_hostile_json_keeps_within_the_number_of_problems() -> None:
    reading = load(flow({f"n{place}": {"v": 1} for place in range(1_000)}))
    assert len(reading.problems) == bounds.MAX_PROBLEMS
