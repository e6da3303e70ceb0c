"""Our messages are those of Triton's own client, and mean what the same requests mean over HTTP."""

import struct
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from polyforge.adapters.listeners.oip import messages
from polyforge.adapters.listeners.oip.messages import MESSAGES
from polyforge.dialects import oip, triton_config
from polyforge.kernel.errors import Invalid
from polyforge.kernel.tensors import Tensor, pack_strings

service_pb2 = pytest.importorskip(
    "tritonclient.grpc.service_pb2", reason="needs tritonclient, which `make test` installs"
)
METHODS = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
NOT_SPOKEN = {"SystemSharedMemoryRegister", "CudaSharedMemoryRegister", "TraceSetting", "LogSettings"}


def same(ours: Descriptor | None, theirs: Descriptor, seen: set[str]) -> None:
    assert ours is not None
    if theirs.full_name in seen:
        return
    seen.add(theirs.full_name)
    assert {field.name: shape(field) for field in ours.fields} == {field.name: shape(field) for field in theirs.fields}
    for field in theirs.fields:
        if field.message_type is not None:
            same(ours.fields_by_name[field.name].message_type, field.message_type, seen)


def shape(field: FieldDescriptor) -> tuple[Any, ...]:
    values = [(value.name, value.number) for value in field.enum_type.values] if field.enum_type else None
    choice = field.containing_oneof.name if field.containing_oneof else None
    is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
    return field.number, field.type, field.is_repeated, choice, values, is_map


@pytest.mark.parametrize(
    "method", [method for method in METHODS if method.name not in NOT_SPOKEN], ids=lambda m: m.name
)
def test_every_message_is_the_protocols(method: Any) -> None:
    seen: set[str] = set()
    for theirs in (method.input_type, method.output_type):
        same(MESSAGES[theirs.name].DESCRIPTOR, theirs, seen)


def request(**fields: Any) -> Any:
    return MESSAGES["ModelInferRequest"](model_name="m", **fields)


def test_raw_and_typed_contents_are_the_same_request() -> None:
    described = {"name": "x", "datatype": "INT16", "shape": [2]}
    raw = request(inputs=[described], raw_input_contents=[struct.pack("<2h", 1, -2)])
    typed = request(inputs=[{**described, "contents": {"int_contents": [1, -2]}}])
    texts = request(inputs=[{"name": "x", "datatype": "BYTES", "shape": [1], "contents": {"bytes_contents": [b"a"]}}])
    assert messages.decode_request(raw) == messages.decode_request(typed)
    assert messages.decode_request(texts).inputs["x"].data == pack_strings([b"a"])


def test_parameters_outputs_and_classes_are_read() -> None:
    given = request(
        id="7",
        parameters={"a": {"int64_param": 3}, "b": {"double_param": 0.5}, "c": {"bool_param": False}},
        outputs=[{"name": "y", "parameters": {"classification": {"int64_param": 2}}}, {"name": "z"}],
    )
    read = messages.decode_request(given)
    assert (read.id, read.parameters) == ("7", {"a": 3, "b": 0.5, "c": False})
    assert (list(read.outputs), read.classes) == (["y", "z"], {"y": 2})


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"inputs": [{"name": "x", "datatype": "FP99", "shape": [1]}]}, "invalid datatype 'FP99'"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1]}]}, "negative dimension"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1]}]}, "unexpected total byte size 0"),
        ({"inputs": [{"name": "x", "datatype": "FP16", "shape": [1]}]}, "travels as raw contents only"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1]}] * 2, "raw_input_contents": [b"1234"]}, "got 1"),
        (
            {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1]}] * 2, "raw_input_contents": [b"1234"] * 2},
            "given twice",
        ),
        (
            {
                "inputs": [{"name": "x", "datatype": "BYTES", "shape": [2]}],
                "raw_input_contents": [pack_strings([b"a"])],
            },
            "unexpected number of string elements 1",
        ),
        (
            {"inputs": [{"name": "x", "datatype": "INT8", "shape": [1], "contents": {"int_contents": [300]}}]},
            "a value does not fit INT8",
        ),
        (
            {
                "inputs": [{"name": "x", "datatype": "INT8", "shape": [1], "contents": {"int_contents": [3]}}],
                "raw_input_contents": [b"1"],
            },
            "both contents and raw contents",
        ),
        ({"parameters": {"a": {}}}, "parameter 'a' has no value"),
    ],
)
def test_what_is_wrong_is_told(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(Invalid) as caught:
        messages.decode_request(request(**fields))
    assert complaint in caught.value.message


def test_a_request_is_the_same_over_http() -> None:
    given = request(
        id="7",
        parameters={"a": {"int64_param": 3}},
        inputs=[{"name": "x", "datatype": "INT16", "shape": [2], "contents": {"int_contents": [1, -2]}}],
        outputs=[{"name": "y", "parameters": {"classification": {"int64_param": 2}}}, {"name": "z"}],
    )
    read = messages.decode_request(given)
    sent = messages.http_request(read)
    over_http = oip.decode_request(sent.join(), sent.header_length)
    assert (over_http.id, over_http.outputs, over_http.classes) == (read.id, read.outputs, read.classes)
    assert over_http.parameters == {"a": 3, "binary_data_output": True}
    assert bytes(over_http.inputs["x"].data) == struct.pack("<2h", 1, -2)


def test_answers_are_raw() -> None:
    given = oip.InferResponse("m", "3", "7", {"y": Tensor("y", "INT8", (2,), memoryview(b"\1\2"))})
    answer = messages.infer_response(given)
    assert (answer.model_name, answer.model_version, answer.id) == ("m", "3", "7")
    assert (answer.outputs[0].datatype, list(answer.outputs[0].shape)) == ("INT8", [2])
    assert list(answer.raw_output_contents) == [b"\1\2"]


def test_a_whole_configuration_travels() -> None:
    values = triton_config.read_text(
        'name: "m" parameters { key: "a" value { string_value: "b" } } dynamic_batching {}'
    )
    sent = messages.response_of("ModelConfigResponse", {"config": triton_config.completed(values)})
    theirs = service_pb2.ModelConfigResponse.FromString(sent.SerializeToString()).config
    assert (theirs.name, theirs.parameters["a"].string_value) == ("m", "b")
    assert theirs.HasField("dynamic_batching")


def test_an_index_travels() -> None:
    sent = messages.response_of(
        "RepositoryIndexResponse", {"models": [{"name": "m", "version": "1", "state": "READY"}]}
    )
    (entry,) = service_pb2.RepositoryIndexResponse.FromString(sent.SerializeToString()).models
    assert (entry.name, entry.version, entry.state) == ("m", "1", "READY")
