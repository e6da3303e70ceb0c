"""config.pbtxt is read as Triton reads it, and what is wrong is told with its place."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyforge.dialects import triton_config
from polyforge.dialects.protobuf_text import parse
from polyforge.kernel.errors import Invalid

DENSENET = """
# The classic example.
name: "densenet_onnx"
platform: "onnxruntime_onnx"
max_batch_size : 0
input [
  {
    name: "data_0"
    data_type: TYPE_FP32
    format: FORMAT_NCHW
    dims: [ 3, 224, 224 ]
    reshape { shape: [ 1, 3, 224, 224 ] }
  }
]
output [
  {
    name: "fc6_1"
    data_type: TYPE_FP32
    dims: [ 1000 ]
    reshape { shape: [ 1, 1000, 1, 1 ] }
    label_filename: "densenet_labels.txt"
  }
]
"""


def test_a_classic_configuration() -> None:
    assert triton_config.read_text(DENSENET) == {
        "name": "densenet_onnx",
        "platform": "onnxruntime_onnx",
        "max_batch_size": 0,
        "input": [
            {
                "name": "data_0",
                "data_type": "TYPE_FP32",
                "format": "FORMAT_NCHW",
                "dims": [3, 224, 224],
                "reshape": {"shape": [1, 3, 224, 224]},
            }
        ],
        "output": [
            {
                "name": "fc6_1",
                "data_type": "TYPE_FP32",
                "dims": [1000],
                "reshape": {"shape": [1, 1000, 1, 1]},
                "label_filename": "densenet_labels.txt",
            }
        ],
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("max_batch_size: 0x10", {"max_batch_size": 16}),
        ("max_batch_size: -010", {"max_batch_size": -8}),
        ("name: 'a' \"b\"\n'\\x41\\101\\n\\u00e4'", {"name": "abAA\nä"}),
        ("name: 'two'; platform: 'words',", {"name": "two", "platform": "words"}),
        ("dynamic_batching { }", {"dynamic_batching": {}}),
        ("dynamic_batching: < preserve_ordering: t >", {"dynamic_batching": {"preserve_ordering": True}}),
        (
            "instance_group { count: 2 } instance_group { kind: 2 }",
            {"instance_group": [{"count": 2}, {"kind": "KIND_CPU"}]},
        ),
        ("input { dims: 1 dims: [2, 3] dims: [] }", {"input": [{"dims": [1, 2, 3]}]}),
        ("response_cache { enable: 1 }", {"response_cache": {"enable": True}}),
        (
            "sequence_batching { direct { minimum_slot_utilization: .5f } }",
            {"sequence_batching": {"direct": {"minimum_slot_utilization": 0.5}}},
        ),
        (
            'parameters { key: "a" value: { string_value: "1" } } parameters: [{ value { string_value: "2" } key:"b"}]',
            {"parameters": {"a": {"string_value": "1"}, "b": {"string_value": "2"}}},
        ),
        ('metric_tags { key: "a" }', {"metric_tags": {"a": ""}}),
    ],
)
def test_every_form_that_the_format_allows(text: str, expected: dict[str, Any]) -> None:
    assert triton_config.read_text(text) == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("\n  colour: 3", "line 2, column 3: ModelConfig has no field 'colour'"),
        ("input { shape: 3 }", "line 1, column 9: ModelInput has no field 'shape'"),
        ("name: model", "a string stands in quotes"),
        ("name: 'a' name: 'b'", "ModelConfig.name is given twice"),
        ("max_batch_size: 'four'", "max_batch_size: must be a whole number"),
        ("max_batch_size: 4294967296", "must be a whole number from -2147483648 to 2147483647"),
        ("max_batch_size: 1.5", "1.5 is no whole number"),
        ("max_batch_size: 09", "09 is no octal number"),
        ("max_batch_size 4", "expected ':' after max_batch_size"),
        ("input { data_type: TYPE_FLOAT }", "data_type: must be one of TYPE_INVALID, TYPE_BOOL"),
        ("version_policy { latest { } all { } }", "both 'latest' and 'all'"),
        ("input {", "expected the name of a field, not the end"),
        ("input [ { } { } ]", "expected ',' or ']'"),
        ("name: 'open", 'unexpected "\'"'),
        ("name: '\\q'", "an unknown escape"),
        ("name: '\\xff'", "is not UTF-8"),
        ("}", "expected the name of a field, not }"),
        ("[type.googleapis.com/x] { }", "expected the name of a field, not ["),
        ("name: ['a']", "name is no list"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, complaint: str) -> None:
    with pytest.raises(Invalid) as caught:
        triton_config.read_text(text)
    assert caught.value.message.startswith("line ")
    assert complaint in caught.value.message


def test_endless_nesting_and_endless_texts_are_refused() -> None:
    with pytest.raises(Invalid, match="at most"):
        parse(" " * (1024 * 1024 + 1), triton_config.SCHEMA, triton_config.ROOT)


@given(st.text(alphabet="{}<>[]:,;-\"'\\#\n a1.x", max_size=60) | st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        values = triton_config.read_text(text)
    except Invalid as error:
        complaint = error.message
    else:
        assert triton_config.completed(values)
        return
    assert complaint.startswith("line ")


def test_json_takes_both_kinds_of_names_and_numbers() -> None:
    text = json.dumps({
        "maxBatchSize": "4",
        "input": [{"name": "x", "data_type": 11, "dims": ["-1"]}],
        "versionPolicy": {"specific": {"versions": [1, 2]}},
        "parameters": {"a": {"string_value": "b"}},
        "platform": None,
    })  # fmt: skip
    assert triton_config.read_json(text) == {
        "max_batch_size": 4,
        "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1]}],
        "version_policy": {"specific": {"versions": [1, 2]}},
        "parameters": {"a": {"string_value": "b"}},
    }


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"input": {}}', '{"nope": 1}', '{"input": [3]}', '{"metric_tags": []}']
)
def test_json_that_is_no_configuration_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        triton_config.read_json(text)


def test_a_shown_configuration_is_complete_and_read_back_as_it_was() -> None:
    values = triton_config.read_text(DENSENET)
    shown = triton_config.completed(values)
    assert shown["backend"] == ""
    assert shown["model_warmup"] == []
    assert shown["parameters"] == {}
    assert "dynamic_batching" not in shown
    assert "version_policy" not in shown
    assert shown["input"][0]["optional"] is False
    assert triton_config.completed(triton_config.read_json(json.dumps(shown))) == shown
