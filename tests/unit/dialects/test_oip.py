"""The Open Inference Protocol: what is written is read back, and whatever is wrong is refused by name."""

import json
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyforge.dialects import oip
from polyforge.kernel.errors import Invalid, Unavailable
from polyforge.kernel.tensors import ITEM_BYTES, Datatype, Tensor, TensorSpec, pack_strings, unpack_strings

TEXT = TensorSpec("text", "BYTES", (-1,))
EMBEDDING = TensorSpec("embedding", "FP32", (-1, 2))


def message(tail: bytes = b"", **fields: Any) -> tuple[bytes, int]:
    head = json.dumps(fields).encode()
    return head + tail, len(head)


def described(**fields: Any) -> dict[str, Any]:
    return {"name": "x", "shape": [2], "datatype": "FP32", **fields}


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    datatype: Datatype = draw(st.sampled_from([*ITEM_BYTES, "BYTES"]))
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=3)))
    count = math.prod(shape)
    if datatype == "BYTES":
        data = pack_strings(draw(st.lists(st.binary(max_size=20), min_size=count, max_size=count)))
    else:
        size = count * ITEM_BYTES[datatype]
        data = draw(st.binary(min_size=size, max_size=size))
    return Tensor(draw(st.text(min_size=1, max_size=8)), datatype, shape, data)


@given(st.lists(tensors(), max_size=4, unique_by=lambda tensor: tensor.name), st.text(max_size=10))
def test_a_binary_request_is_read_back_as_it_was(given_tensors: list[Tensor], request_id: str) -> None:
    sent = oip.encode_request(given_tensors, request_id=request_id, parameters={"dimensions": 8})
    read = oip.decode_request(sent.join(), sent.header_length)
    assert read.id == request_id
    assert read.parameters == {"dimensions": 8, "binary_data_output": True}
    assert [(t.name, t.datatype, t.shape, bytes(t.data)) for t in read.inputs.values()] == [
        (t.name, t.datatype, t.shape, bytes(t.data)) for t in given_tensors
    ]


@given(st.lists(tensors(), max_size=4, unique_by=lambda tensor: tensor.name))
def test_a_binary_response_is_read_back_as_it_was(outputs: list[Tensor]) -> None:
    request = oip.InferRequest(inputs={}, id="seven", binary=True)
    sent = oip.encode_response("m", "1", request, outputs)
    read = oip.decode_response(sent.join(), sent.header_length)
    assert (read.model_name, read.model_version, read.id) == ("m", "1", "seven")
    assert {name: (t.datatype, t.shape, bytes(t.data)) for name, t in read.outputs.items()} == {
        t.name: (t.datatype, t.shape, bytes(t.data)) for t in outputs
    }


@given(st.binary(max_size=200), st.none() | st.integers(0, 200))
def test_noise_is_refused_and_nothing_worse(body: bytes, header_length: int | None) -> None:
    with pytest.raises(Invalid):
        oip.decode_request(body, header_length)
    with pytest.raises(Invalid):
        oip.decode_response(body, header_length)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.sampled_from([*ITEM_BYTES, "BYTES"]), JSON_VALUES, JSON_VALUES, JSON_VALUES)
def test_odd_json_is_read_or_refused_and_nothing_worse(
    datatype: Datatype, shape: Any, data: Any, parameters: Any
) -> None:
    body, _ = message(
        inputs=[{"name": "x", "datatype": datatype, "shape": shape, "data": data, "parameters": parameters}]
    )
    try:
        read = oip.decode_request(body)
    except Invalid:
        return
    if datatype == "BYTES":
        unpack_strings(read.inputs["x"].data, read.inputs["x"].count)
    else:
        assert memoryview(read.inputs["x"].data).nbytes == read.inputs["x"].count * ITEM_BYTES[datatype]


@pytest.mark.parametrize(
    ("datatype", "values", "code"),
    [
        ("BOOL", [True, False], "?"),
        ("UINT8", [0, 255], "B"),
        ("INT16", [-32768, 32767], "h"),
        ("UINT64", [0, 2**64 - 1], "Q"),
        ("INT64", [-(2**63), 2**63 - 1], "q"),
        ("FP32", [1.5, 2], "f"),
        ("FP64", [1e300, -0.1], "d"),
    ],
)
def test_json_elements_become_little_endian_and_come_back(datatype: Datatype, values: list[Any], code: str) -> None:
    body, _ = message(inputs=[described(datatype=datatype, data=values)])
    tensor = oip.decode_request(body).inputs["x"]
    assert bytes(tensor.data) == struct.pack(f"<2{code}", *values)
    answer = json.loads(oip.encode_response("m", "1", oip.InferRequest({}), [tensor]).join())
    assert answer["outputs"][0] == {"name": "x", "shape": [2], "datatype": datatype, "data": values}


def test_json_data_may_be_nested_like_its_shape() -> None:
    for data in ([1, 2, 3, 4, 5, 6], [[1, 2, 3], [4, 5, 6]], [[[1], [2], [3]], [[4], [5], [6]]]):
        body, _ = message(inputs=[described(shape=[2, 3, 1], data=data)])
        assert bytes(oip.decode_request(body).inputs["x"].data) == struct.pack("<6f", *range(1, 7))


def test_json_strings_become_utf8() -> None:
    body, _ = message(inputs=[described(datatype="BYTES", data=["नमस्ते", ""])])
    assert unpack_strings(oip.decode_request(body).inputs["x"].data, 2) == ["नमस्ते".encode(), b""]


def test_outputs_come_as_asked_and_in_the_form_asked() -> None:
    body, _ = message(
        inputs=[],
        parameters={"binary_data_output": True},
        outputs=[{"name": "a"}, {"name": "b", "parameters": {"binary_data": False}}],
    )
    request = oip.decode_request(body)
    outputs = [Tensor(name, "UINT8", (1,), b"\7") for name in "abc"]
    sent = oip.encode_response("m", "1", request, outputs)
    assert sent.header_length is not None
    assert sent.content_type == "application/octet-stream"
    head = json.loads(sent.join()[: sent.header_length])
    assert head["outputs"] == [
        {"name": "a", "shape": [1], "datatype": "UINT8", "parameters": {"binary_data_size": 1}},
        {"name": "b", "shape": [1], "datatype": "UINT8", "data": [7]},
    ]
    assert sent.join()[sent.header_length :] == b"\7"


def test_a_plain_response_is_plain_json() -> None:
    sent = oip.encode_response("m", "1", oip.InferRequest({}), [Tensor("a", "BYTES", (1,), pack_strings([b"hi"]))])
    assert (sent.header_length, sent.content_type) == (None, "application/json")
    assert json.loads(sent.join()) == {
        "model_name": "m",
        "model_version": "1",
        "outputs": [{"name": "a", "shape": [1], "datatype": "BYTES", "data": ["hi"]}],
    }


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_halves_only_travel_in_binary(datatype: Datatype) -> None:
    body, _ = message(inputs=[described(datatype=datatype, data=[1, 2])])
    with pytest.raises(Invalid, match="binary"):
        oip.decode_request(body)
    with pytest.raises(Invalid, match="binary"):
        oip.encode_response("m", "1", oip.InferRequest({}), [Tensor("x", datatype, (1,), b"12")])


def test_output_bytes_that_are_no_text_only_travel_in_binary() -> None:
    output = Tensor("x", "BYTES", (1,), pack_strings([b"\xff"]))
    with pytest.raises(Invalid, match="binary"):
        oip.encode_response("m", "1", oip.InferRequest({}), [output])


@pytest.mark.parametrize(
    ("fields", "tail", "field"),
    [
        ({}, b"", "inputs"),
        ({"inputs": {}}, b"", "inputs"),
        ({"inputs": [{"shape": [1], "datatype": "FP32", "data": [1]}]}, b"", "name"),
        ({"inputs": [described(shape=[-1], data=[1])]}, b"", "inputs[0].shape[0]"),
        ({"inputs": [described(shape=["2"], data=[1])]}, b"", "inputs[0].shape[0]"),
        ({"inputs": [described(shape=[1.5], data=[1])]}, b"", "inputs[0].shape[0]"),
        ({"inputs": [described(datatype="FP8", data=[1])]}, b"", "inputs[0].datatype"),
        ({"inputs": [described()]}, b"", "inputs[0].data"),
        ({"inputs": [described(data=[1])]}, b"", "inputs[0].data"),
        ({"inputs": [described(data=[1, 2, 3])]}, b"", "inputs[0].data"),
        ({"inputs": [described(data=["1", "2"])]}, b"", "inputs[0].data"),
        ({"inputs": [described(data={"a": 1})]}, b"", "inputs[0].data"),
        ({"inputs": [described(data=[[1], [2]])]}, b"", "inputs[0].data"),
        ({"inputs": [described(datatype="UINT8", data=[1, 256])]}, b"", "inputs[0].data"),
        ({"inputs": [described(datatype="UINT8", data=[1, -1])]}, b"", "inputs[0].data"),
        ({"inputs": [described(datatype="INT64", data=[1, 2**80])]}, b"", "inputs[0].data"),
        ({"inputs": [described(datatype="BOOL", data=[0, 1])]}, b"", "inputs[0].data"),
        ({"inputs": [described(datatype="FP32", data=[1, 1e39])]}, b"", "inputs[0].data"),
        ({"inputs": [described(parameters={"binary_data_size": 8}, data=[1, 2])]}, b"12345678", "inputs[0].data"),
        ({"inputs": [described(parameters={"binary_data_size": -8})]}, b"", "binary_data_size"),
        ({"inputs": [described(parameters={"binary_data_size": True})]}, b"1", "binary_data_size"),
        ({"inputs": [described(parameters={"binary_data_size": 8})]}, b"1234567", "binary_data_size"),
        ({"inputs": [described(parameters={"binary_data_size": 7})]}, b"1234567", "inputs[0]"),
        ({"inputs": [described(parameters={"binary_data_size": [8]})]}, b"12345678", "inputs[0].parameters"),
        ({"inputs": [described(shape=[2**62, 2**62], parameters={"binary_data_size": 8})]}, b"12345678", "inputs[0]"),
        ({"inputs": [described(datatype="BYTES", parameters={"binary_data_size": 5})]}, b"\1\0\0\0a", "inputs[0]"),
        ({"inputs": [described(datatype="BYTES", parameters={"binary_data_size": 5})]}, b"\2\0\0\0a", "inputs[0]"),
        ({"inputs": [described(datatype="BYTES", parameters={"binary_data_size": 3})]}, b"\2\0\0", "inputs[0]"),
        ({"inputs": [described(parameters={"shared_memory_region": "r"})]}, b"", "inputs[0].parameters"),
        ({"inputs": [described(data=[1, 2]), described(data=[1, 2])]}, b"", "inputs[1]"),
        ({"inputs": [], "id": 7}, b"", "id"),
        ({"inputs": [], "parameters": {"a": {}}}, b"", "parameters"),
        ({"inputs": [], "parameters": {"binary_data_output": 1}}, b"", "parameters.binary_data_output"),
        ({"inputs": [], "outputs": [{"name": "a", "parameters": {"binary_data": "yes"}}]}, b"", "outputs[0]"),
        ({"inputs": [], "outputs": [{"name": "a", "parameters": {"classification": "2"}}]}, b"", "outputs[0]"),
        ({"inputs": [], "outputs": [{"name": "a", "parameters": {"shared_memory_region": "r"}}]}, b"", "outputs[0]"),
    ],
)
def test_a_wrong_field_is_refused_by_name(fields: dict[str, Any], tail: bytes, field: str) -> None:
    body, length = message(tail, **fields)
    with pytest.raises(Invalid) as refusal:
        oip.decode_request(body, length if tail else None)
    assert field in f"{refusal.value.param} {refusal.value.message}"


def test_more_bytes_than_the_tensors_have_are_refused() -> None:
    body, length = message(b"12345678+", inputs=[described(parameters={"binary_data_size": 8})])
    with pytest.raises(Invalid, match="additional"):
        oip.decode_request(body, length)


@pytest.mark.parametrize(
    "where", ['{"inputs": %s}', '{"inputs": [{"name":"x","shape":[1],"datatype":"FP32","data":%s}]}']
)
def test_deep_nesting_is_refused(where: str) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    with pytest.raises(Invalid):
        oip.decode_request((where % deep).encode())


@pytest.mark.parametrize("value", ["", "-1", "1.5", "0x10", "11", "9" * 5000, "١"])
def test_an_impossible_header_length_is_refused(value: str) -> None:
    with pytest.raises(Invalid):
        oip.header_length_of(value.encode("utf-8"), 10)


def test_a_header_length_may_be_the_whole_body_or_absent() -> None:
    assert oip.header_length_of(b"10", 10) == 10
    assert oip.header_length_of(None, 10) is None


def test_a_raw_body_is_one_row_of_the_only_input() -> None:
    request = oip.decode_raw_request(b"hello", [TEXT])
    assert unpack_strings(request.inputs["text"].data, 1) == [b"hello"]
    assert request.wants_binary("anything")
    numbers = oip.decode_raw_request(b"12345678" * 3, [TensorSpec("n", "INT32", (-1, 2))])
    assert numbers.inputs["n"].shape == (3, 2)


@pytest.mark.parametrize(
    ("specs", "reason"),
    [
        ([TEXT, TEXT], "must only have 1 input"),
        ([TensorSpec("t", "BYTES", (-1, 2))], r"must have input shape \[1\]"),
        ([TensorSpec("n", "INT32", (-1, -1))], "more than one variable-sized dimension"),
        ([TensorSpec("n", "INT32", (-1, 2))], "unexpected total byte size"),
        ([TensorSpec("n", "INT32", (2,))], "unexpected total byte size"),
    ],
)
def test_a_raw_body_that_fits_no_shape_is_refused(specs: list[TensorSpec], reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        oip.decode_raw_request(b"hello", specs)


def test_inputs_are_checked_against_the_model() -> None:
    text = Tensor("text", "BYTES", (3,), pack_strings([b""] * 3))
    assert oip.check_inputs(oip.InferRequest({"text": text}), [TEXT], [EMBEDDING], "m") == 3
    cases: list[tuple[oip.InferRequest, str]] = [
        (
            oip.InferRequest({}),
            r"expected 1 inputs but got 0 inputs for model 'm'.*missing required input\(s\) \['text'\]",
        ),
        (oip.InferRequest({"text": text, "more": text}), "unexpected inference input 'more' for model 'm'"),
        (oip.InferRequest({"text": Tensor("text", "FP32", (1,), b"1234")}), "data-type is 'FP32'"),
        (oip.InferRequest({"text": Tensor("text", "BYTES", (1, 1), b"\0\0\0\0")}), r"Expected \[-1\], got \[1, 1\]"),
        (oip.InferRequest({"text": text}, outputs={"tokens": True}), "unexpected inference output 'tokens'"),
    ]
    for request, reason in cases:
        with pytest.raises(Invalid, match=reason):
            oip.check_inputs(request, [TEXT], [EMBEDDING], "m")


def test_inputs_must_agree_on_the_number_of_rows() -> None:
    specs = [TensorSpec("a", "UINT8", (-1,)), TensorSpec("b", "UINT8", (-1,))]
    inputs = {"a": Tensor("a", "UINT8", (2,), b"12"), "b": Tensor("b", "UINT8", (3,), b"123")}
    with pytest.raises(Invalid, match="'b' has 3 rows"):
        oip.check_inputs(oip.InferRequest(inputs), specs, [], "m")
    assert oip.check_inputs(oip.InferRequest(inputs), specs, [], "m", has_rows=False) == 1


def test_errors_are_an_object_with_a_text() -> None:
    body = oip.encode_error(Unavailable("later"))
    assert json.loads(body) == {"error": "later"}
    assert oip.decode_error(body) == "later"
    assert oip.decode_error(b"<html>") == "<html>"
    assert oip.decode_error(b"") == "no reason given"
    assert oip.decode_error(b'{"error": "\xff"}')


def test_a_models_name_is_quoted_in_its_path() -> None:
    assert oip.model_path("team/m x?", "infer") == "/v2/models/team%2Fm%20x%3F/infer"
