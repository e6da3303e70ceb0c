"""What fits where, and by which conversion."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyforge.flows.coercions import COERCIONS, coercion_applies, coercion_for, lattice
from polyforge.flows.porttypes import (
    ANY,
    JSON,
    KINDS,
    MAX_NESTED,
    TEXT,
    PortType,
    assignable,
    is_json,
    list_of,
    literal_fits,
    parse_type,
    record_of,
)  # fmt: skip
from polyforge.flows.schema_types import type_of_schema

plain = st.sampled_from([PortType(name) for name in KINDS if name not in ("list", "record")])
fields = st.sampled_from(["a", "b", "c"])
types = st.recursive(
    plain,
    lambda inner: (
        st.builds(list_of, inner)
        | st.builds(
            lambda there, optional: record_of(
                there, {name: kind for name, kind in optional.items() if name not in there}
            ),
            st.dictionaries(fields, inner, max_size=2),
            st.dictionaries(fields, inner, max_size=2),
        )
    ),
    max_leaves=4,
)


@given(types)
def test_types_are_read_as_they_are_written(kind: PortType) -> None:
    assert parse_type(str(kind)) == kind


@given(types)
def test_every_type_fits_itself_and_any(kind: PortType) -> None:
    assert assignable(kind, kind)
    assert assignable(kind, ANY)
    assert assignable(kind, JSON) == is_json(kind)


@given(types, types, types)
@settings(max_examples=500, deadline=None)
def test_fitting_is_transitive(one: PortType, two: PortType, three: PortType) -> None:
    if assignable(one, two) and assignable(two, three):
        assert assignable(one, three)


@given(types, types)
@settings(max_examples=500, deadline=None)
def test_a_conversion_is_named_only_where_one_is_needed(source: PortType, target: PortType) -> None:
    way = coercion_for(source, target)
    if assignable(source, target):
        assert not any(coercion_applies(name, source, target) for name in COERCIONS)
    elif way is not None:
        assert coercion_applies(way, source, target)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("text", "text", True),
        ("text", "json", True),
        ("list<record{a: text}>", "json", True),
        ("json", "text", "json_to_text"),
        ("json", "number", "check"),
        ("any", "image", "check"),
        ("image", "json", None),
        ("number", "text", "number_to_text"),
        ("bool", "text", "bool_to_text"),
        ("list<text>", "text", "json_to_text"),
        ("text", "list<text>", "to_list"),
        ("text", "messages", "text_to_messages"),
        ("chunks", "text", "chunks_to_text"),
        ("chunks", "json", "to_json"),
        ("text", "number", None),
        ("text", "image", None),
        ("record{a: text, b: number}", "record{a: text}", True),
        ("record{a: text, b: image}", "record{a: text}", "check"),
        ("record{a: text}", "record{a: text, b: text}", "check"),
        ("record{a?: text}", "record{a: text}", "check"),
        ("record{a: text}", "record{a?: text}", True),
        ("list<number>", "list<json>", True),
        ("list<json>", "list<number>", "check"),
    ],
)
def test_what_fits(source: str, target: str, expected: bool | str | None) -> None:
    given, wanted = parse_type(source), parse_type(target)
    assert assignable(given, wanted) is (expected is True)
    if expected is not True:
        assert coercion_for(given, wanted) == expected


@pytest.mark.parametrize(
    "written",
    ["", "string", "list<", "list<text", "list<text>>", "record{a text}", "record{a: text, a: text}", "record{:text}",
     "text number", "list<text>;", "record{a: text,}", "<>",
     "list<" * (MAX_NESTED + 2) + "text" + ">" * (MAX_NESTED + 2),
     "list<" * 1_000, "record{" + ", ".join(f"f{place}: text" for place in range(200)) + "}", "x" * 10_000],
)  # fmt: skip
def test_what_is_no_type(written: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_type(written)


@pytest.mark.parametrize(
    ("value", "kind", "fits"),
    [
        ("a", "text", True), (1, "text", False), (1, "number", True), (True, "number", False), (None, "text", False),
        (None, "json", True), (True, "bool", True), (1, "bool", False), (["a"], "list<text>", True),
        (["a", 1], "list<text>", False), ({"a": "x"}, "record{a: text}", True), ({}, "record{a: text}", False),
        ({"a": 1}, "record{a?: text}", False), ([{"role": "user", "content": "hi"}], "messages", True),
        (["hi"], "messages", False), ([0.5, 1], "embedding", True), (["x"], "embedding", False),
        ({"$ref": "model:m"}, "model", True), ({"$ref": "object:m"}, "model", False),
        ({"$ref": "object:o1"}, "image", True),
        ("http://x/y.png", "image", False), ([{"text": "a"}], "chunks", True), ("a", "chunks", False),
    ],
)  # fmt: skip
def test_values_that_are_written_down(value: object, kind: str, fits: bool) -> None:
    assert literal_fits(value, parse_type(kind)) is fits


def test_the_lattice_is_data() -> None:
    table = lattice()
    assert set(table["kinds"]) == set(KINDS)
    assert [each["name"] for each in table["coercions"]] == list(COERCIONS)
    by_pair = {(each["from"], each["to"]): each for each in table["examples"]}
    assert by_pair["number", "text"] == {"from": "number", "to": "text", "fits": False, "coercion": "number_to_text"}
    assert by_pair["text", "json"]["fits"]


def test_the_type_of_a_schema() -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "size": {"type": ["number", "null"]},
        },
        "required": ["name"],
    }
    assert str(type_of_schema(schema)) == "record{name: text, size?: json, tags?: list<text>}"
    assert type_of_schema({"$ref": "#/$defs/x"}) == JSON
    assert type_of_schema({"type": "object", "properties": {"a b": {}}}) == JSON
    deep: dict[str, object] = {"type": "string"}
    for _ in range(100):
        deep = {"type": "array", "items": deep}
    assert parse_type(str(type_of_schema(deep)))
    assert type_of_schema({"type": "string"}) == TEXT
