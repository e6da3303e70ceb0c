"""Schemas of flows say what their types say, and read back as those."""

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyforge.flows.document import Declared, Interface, Promised
from polyforge.flows.keeping.records import FlowVersion
from polyforge.flows.porttypes import BOOL, JSON, NUMBER, TEXT, PortType, list_of, literal_fits, parse_type, record_of
from polyforge.flows.publishing.json_schemas import inputs_schema, outputs_schema, schema_of_type
from polyforge.flows.publishing.openapi import openapi_of
from polyforge.flows.schema_types import type_of_schema
from tests.support.flows import answering, loaded

plain = st.sampled_from([TEXT, NUMBER, BOOL, JSON])
fields = st.dictionaries(st.from_regex(r"\A[a-z]{1,5}\Z"), plain, min_size=1, max_size=3)
types = st.recursive(plain, lambda inner: inner.map(list_of) | st.builds(record_of, fields), max_leaves=4)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcde"), inner, max_size=3),
    max_leaves=6,
)


@given(types)
@settings(max_examples=100, deadline=None)
def test_a_type_reads_back_from_its_schema(kind: PortType) -> None:
    assert type_of_schema(schema_of_type(kind)) == kind


@given(types, json_values)
@settings(max_examples=300, deadline=None)
def test_a_schema_takes_what_its_type_takes(kind: PortType, value: Any) -> None:
    assert jsonschema_rs.is_valid(schema_of_type(kind), value) == literal_fits(value, kind)


INTERFACE = Interface(
    {
        "must": Declared("text", title="Say it"),
        "may": Declared("number", required=False),
        "usual": Declared("list<text>", default=["a"]),
    },
    {"out": Promised("record{a: text, b?: number}", description="What came of it")},
)


def test_what_must_be_given_must_be_there() -> None:
    schema = inputs_schema(INTERFACE)
    assert schema["required"] == ["must"]
    assert schema["properties"]["usual"]["default"] == ["a"]
    assert jsonschema_rs.is_valid(schema, {"must": "x"})
    assert not jsonschema_rs.is_valid(schema, {"must": "x", "other": 1})
    assert not jsonschema_rs.is_valid(schema, {"may": 1})


def test_outputs_may_be_left_out() -> None:
    schema = outputs_schema(INTERFACE)
    assert jsonschema_rs.is_valid(schema, {})
    assert not jsonschema_rs.is_valid(schema, {"out": {"b": 1}})


@pytest.mark.parametrize(
    "written", ["document", "image", "audio", "table", "chunks", "embedding", "messages", "model", "any"]
)
def test_every_schema_is_one(written: str) -> None:
    jsonschema_rs.meta.validate(schema_of_type(parse_type(written)))


def test_the_openapi_document_names_its_path_and_only_itself() -> None:
    version = FlowVersion(
        flow_id="flow_1",
        flow_name="ask",
        version="a" * 64,
        number=1,
        title="Ask",
        document=loaded(answering()),
        alias="prod",
    )
    document = openapi_of(version, "ask@prod", "https://ai.example.org", 60, 600)
    assert document["openapi"] == "3.1.0"
    assert list(document["paths"]) == ["/api/v1/flows/ask@prod/run"]
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate({**schema, "components": {}})
    assert document["components"]["schemas"]["Inputs"]["required"] == ["question"]
    used = {part.split('"')[0] for part in str(document).replace("'", '"').split("#/components/schemas/")[1:]}
    assert used <= set(document["components"]["schemas"])
