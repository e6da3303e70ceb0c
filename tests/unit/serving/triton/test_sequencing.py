"""`sequence_batching`: what is followed, what is refused by name, and what a model is told of its sequences."""

from typing import Any

import pytest

from polyforge.dialects import triton_config
from polyforge.kernel.errors import Invalid
from polyforge.kernel.tensors import Parameter, Tensor, pack_strings
from polyforge.ports.model_backend import ModelRequest
from polyforge.serving.triton import config as configs
from polyforge.serving.triton.config import ModelConfig
from polyforge.serving.triton.sequencing import Controls

DIRECT = """
name: "m" backend: "python" max_batch_size: 4
sequence_batching {
  direct { max_queue_delay_microseconds: 5 }
  max_sequence_idle_microseconds: 2500000
  control_input [
    { name: "START" control [ { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } ] },
    { name: "END" control [ { kind: CONTROL_SEQUENCE_END int32_false_true: [ -1, 7 ] } ] },
    { name: "READY" control [ { kind: CONTROL_SEQUENCE_READY bool_false_true: [ false, true ] } ] },
    { name: "CORRID" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } ] }
  ]
}
"""


def read(text: str) -> ModelConfig:
    return configs.read(triton_config.read_text(text))


def told(config: ModelConfig, **parameters: Parameter) -> dict[str, Any]:
    assert config.sequence_batching is not None
    controls = Controls("m", config.sequence_batching, batched=config.batched)
    x = Tensor("x", "FP32", (2, 1), bytes(8))
    inputs = controls.told(ModelRequest({"x": x}, parameters)).inputs
    return {name: (tensor.datatype, tensor.shape, bytes(tensor.data)) for name, tensor in inputs.items() if name != "x"}


def test_the_direct_strategy_is_read() -> None:
    batching = read(DIRECT).sequence_batching
    assert batching is not None
    assert (batching.idle_seconds, batching.per_instance) == (2.5, None)
    assert batching.names == {"START", "END", "READY", "CORRID"}
    (note,) = configs.notes(triton_config.read_text(DIRECT))
    assert note.startswith("sequence_batching: requests of sequences run one by one")


def test_without_a_name_an_instance_has_one_sequence_and_triton_s_second_to_be_silent() -> None:
    batching = read('name: "m" backend: "python" sequence_batching { }').sequence_batching
    assert batching is not None
    assert (batching.idle_seconds, batching.per_instance) == (1.0, 1)


def test_each_row_is_told_of_its_sequence() -> None:
    config = read(DIRECT)
    first = told(config, sequence_id=2**63, sequence_start=True)
    assert first == {
        "START": ("FP32", (2, 1), b"\x00\x00\x80\x3f" * 2),
        "END": ("INT32", (2, 1), b"\xff\xff\xff\xff" * 2),
        "READY": ("BOOL", (2, 1), b"\x01\x01"),
        "CORRID": ("UINT64", (2, 1), (b"\0" * 7 + b"\x80") * 2),
    }
    last = told(config, sequence_id=1, sequence_end=True)
    assert (last["START"][2][:4], last["END"][2][:4]) == (bytes(4), b"\x07\0\0\0")


def test_a_sequence_may_be_named_by_a_string_where_the_model_takes_one() -> None:
    config = read(DIRECT.replace("TYPE_UINT64", "TYPE_STRING").replace("max_batch_size: 4", ""))
    assert told(config, sequence_id="a b")["CORRID"] == ("BYTES", (1,), pack_strings([b"a b"]))


@pytest.mark.parametrize(
    ("name", "complaint"), [("a", "must be a number"), (-1, "does not fit into UINT64"), (2**64, "does not fit")]
)
def test_a_name_of_another_type_is_the_callers_mistake(name: int | str, complaint: str) -> None:
    with pytest.raises(Invalid, match=complaint) as caught:
        told(read(DIRECT), sequence_id=name)
    assert caught.value.param == "parameters.sequence_id"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        (('backend: "python"', 'backend: "onnxruntime"'), "sequence_batching"),
        (("direct { max_queue_delay_microseconds: 5 }", "oldest { }"), "sequence_batching.oldest"),
        (("direct {", 'state [ { input_name: "s" } ] direct {'), "sequence_batching.state"),
        (("direct {", "iterative_sequence: true direct {"), "sequence_batching.iterative_sequence"),
        (("max_batch_size", "response_cache { enable: true } max_batch_size"), "response_cache"),
        (('name: "START"', 'name: "END"'), "sequence_batching.control_input"),
        (('name: "START"', ""), "sequence_batching.control_input"),
        (("fp32_false_true: [ 0, 1 ]", ""), "sequence_batching.control_input"),
        (("fp32_false_true: [ 0, 1 ]", "fp32_false_true: [ 0 ]"), "sequence_batching.control_input"),
        (("TYPE_UINT64", "TYPE_FP32"), "sequence_batching.control_input"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(change: tuple[str, str], param: str) -> None:
    assert change[0] in DIRECT
    with pytest.raises(Invalid) as caught:
        read(DIRECT.replace(*change))
    assert caught.value.param == param
