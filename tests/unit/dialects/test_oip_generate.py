"""A generate request is an inference of one row."""

import json
import struct
from typing import Any

import pytest

from polyforge.dialects import oip_generate
from polyforge.kernel.errors import Invalid, Unavailable
from polyforge.kernel.tensors import Tensor, TensorSpec, pack_strings

TEXT = TensorSpec("text_input", "BYTES", (-1, 1))
NUMBERS = TensorSpec("numbers", "INT32", (-1, 2, -1))


def body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_inputs_are_tensors_and_the_rest_are_parameters() -> None:
    given = body(id="7", text_input="hello", numbers=[1, 2, 3, 4], stream=False, parameters={"temperature": 0.5})
    request = oip_generate.decode_generate(given, (TEXT, NUMBERS), has_rows=True)
    assert request.id == "7"
    assert request.parameters == {"temperature": 0.5, "stream": False}
    text, numbers = request.inputs["text_input"], request.inputs["numbers"]
    assert (text.shape, bytes(text.data)) == ((1, 1), pack_strings([b"hello"]))
    assert (numbers.shape, bytes(numbers.data)) == ((1, 2, 2), struct.pack("<4i", 1, 2, 3, 4))


@pytest.mark.parametrize(
    ("spec", "value", "shape"),
    [((-1,), "a", (1,)), ((1,), "a", (1,)), ((-1,), ["a", "b"], (2,)), ((-1, -1), ["a", "b"], (2, 1))],
)
def test_shapes_without_rows(spec: tuple[int, ...], value: Any, shape: tuple[int, ...]) -> None:
    request = oip_generate.decode_generate(body(x=value), (TensorSpec("x", "BYTES", spec),), has_rows=False)
    assert request.inputs["x"].shape == shape


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (b"", "failed to parse"),
        (b"[]", "failed to parse"),
        (body(text_input=[["a"]]), "one element or a flat list"),
        (body(text_input=3), "Expected `str`, got `int`"),
        (body(text_input=["a", "b"]), "unexpected number of elements 2"),
        (body(other=[1]), "other: no input of the model"),
        (body(parameters=3), "parameters: must be an object"),
    ],
)
def test_what_is_wrong_is_told(given: bytes, complaint: str) -> None:
    with pytest.raises(Invalid, match=complaint):
        oip_generate.decode_generate(given, (TEXT,), has_rows=True)


def test_answers_are_flat() -> None:
    outputs = (
        Tensor("text_output", "BYTES", (1, 1), pack_strings([b"hi"])),
        Tensor("scores", "FP32", (1, 2), struct.pack("<2f", 1, 2)),
    )
    answer = oip_generate.encode_generated("m", "3", "7", outputs)
    expected = {"id": "7", "model_name": "m", "model_version": "3", "text_output": "hi", "scores": [1.0, 2.0]}
    assert json.loads(answer) == expected
    assert oip_generate.event(b"{}") == b"data: {}\n\n"
    assert oip_generate.error_event(Unavailable("busy")) == b'data: {"error":"busy"}\n\n'
