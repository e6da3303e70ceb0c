"""What an ONNX file says of itself: found in every corner of it, and damage is told from content."""

import numpy as np
import onnx
import pytest
from onnx import helper

from polyforge.dialects.onnx import ExternalData, read_facts
from polyforge.kernel.errors import Invalid
from tests.conformance import onnx_graphs as graphs


def test_operators_are_counted_with_their_domain() -> None:
    assert read_facts(graphs.dynamic_int8().SerializeToString()).operators == {
        "DynamicQuantizeLinear": 1,
        "MatMulInteger": 1,
        "Cast": 1,
        "Mul": 1,
    }
    facts = read_facts(graphs.weight_only_int8().SerializeToString())
    assert facts.operators == {"com.microsoft.MatMulNBits": 1}
    assert facts.operator_sets == {"": 17, "com.microsoft": 1}


def test_what_branches_and_functions_do_is_found_too() -> None:
    quantize = helper.make_node("DynamicQuantizeLinear", ["x"], ["a", "b", "c"])
    model = graphs.add_one()
    branch = helper.make_graph([quantize], "branch", [], [])
    model.graph.node.append(helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch))
    function = helper.make_function("own", "Twice", ["x"], ["a"], [quantize], [helper.make_opsetid("", 17)])
    model.functions.append(function)
    assert read_facts(model.SerializeToString()).operators["DynamicQuantizeLinear"] == 3


def test_training_is_told_from_inference() -> None:
    model = graphs.add_one()
    for mode in (0, 1):
        model.graph.node.append(helper.make_node("BatchNormalization", ["x"], ["y"], training_mode=mode))
    operators = read_facts(model.SerializeToString()).operators
    assert operators["BatchNormalization"] == operators["BatchNormalization (training)"] == 1


def test_weights_in_other_files_are_listed_with_their_place() -> None:
    model = graphs.add_one()
    constant = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT16, dims=[2, 3])
    constant.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "a/b.bin"), ("offset", "4096")):
        constant.external_data.add(key=key, value=value)
    model.graph.node.append(helper.make_node("Constant", [], ["v"], value=constant))
    assert read_facts(model.SerializeToString()).external == (ExternalData("w", "a/b.bin", 4096, 12),)


@pytest.mark.parametrize("value", ["-1", "1e3", "9" * 40, "٣"])
def test_a_place_that_is_no_number_is_refused(value: str) -> None:
    model = graphs.add_one()
    weight = model.graph.initializer[0]
    weight.external_data.add(key="location", value="w.bin")
    weight.external_data.add(key="offset", value=value)
    with pytest.raises(Invalid, match="offset is no number"):
        read_facts(model.SerializeToString())


def test_a_tensor_of_more_dimensions_than_any_engine_takes_is_refused_before_they_are_multiplied() -> None:
    model = graphs.add_one()
    model.graph.initializer.append(onnx.TensorProto(name="w" * 1000, data_type=1, dims=[1 << 62] * 200_000))
    with pytest.raises(Invalid, match=r"has 200000 dimensions; more than 64 are refused") as refusal:
        read_facts(model.SerializeToString())
    assert len(refusal.value.message) < 200


def test_weights_that_are_listed_one_by_one_are_fine() -> None:
    model = graphs.add_one()
    listed = helper.make_tensor("w", onnx.TensorProto.INT64, [3], [0, 1, 1 << 60])
    texts = onnx.TensorProto(name="t", data_type=onnx.TensorProto.STRING, dims=[2], string_data=[b"", b"a"])
    halves = helper.make_tensor("h", onnx.TensorProto.FLOAT16, [2], [0.0, 1.0])
    empty = helper.make_tensor("e", onnx.TensorProto.FLOAT, [0], [])
    model.graph.initializer.extend([listed, texts, halves, empty])
    assert read_facts(model.SerializeToString()).external == ()


def test_every_type_of_weight_that_the_library_writes_is_taken() -> None:
    model = graphs.add_one()
    arrays = [np.zeros((3, 5), dtype) for dtype in ("bool", "u1", "i2", "f2", "f4", "f8", "c8", "c16", "i4", "u8")]
    for place, array in enumerate(arrays):
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, f"w{place}"))
    for kind in (
        onnx.TensorProto.INT4,
        onnx.TensorProto.UINT4,
        onnx.TensorProto.BFLOAT16,
        onnx.TensorProto.FLOAT8E4M3FN,
    ):
        model.graph.initializer.append(helper.make_tensor(f"k{kind}", kind, [3, 5], [1] * 15))
    assert read_facts(model.SerializeToString()).external == ()


@pytest.mark.parametrize(
    "content", [b"", b"\x00", b"\xff" * 30, b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"PK\x03\x04"]
)
def test_what_is_no_model_is_refused(content: bytes) -> None:
    with pytest.raises(Invalid):
        read_facts(content)
