"""The largest elements of an output, in Triton's words."""

import struct

import pytest

from polyforge.dialects import oip
from polyforge.dialects.oip_classification import classified
from polyforge.kernel.errors import Invalid
from polyforge.kernel.tensors import Datatype, Tensor, unpack_strings


def scores(code: str, datatype: Datatype, shape: tuple[int, ...], *values: float) -> Tensor:
    return Tensor("y", datatype, shape, struct.pack(f"<{len(values)}{code}", *values))


def texts(tensor: Tensor) -> list[str]:
    return [text.decode() for text in unpack_strings(tensor.data, tensor.count)]


def test_each_row_has_its_largest_with_labels() -> None:
    given = scores("f", "FP32", (2, 3), 0.5, 2, 1, 9, 8, 7)
    answer = classified(given, 2, ("cat", "dog"), has_rows=True)
    assert (answer.name, answer.datatype, answer.shape) == ("y", "BYTES", (2, 2))
    assert texts(answer) == ["2.000000:1:dog", "1.000000:2", "9.000000:0:cat", "8.000000:1:dog"]


def test_without_rows_the_whole_tensor_is_one() -> None:
    answer = classified(scores("i", "INT32", (2, 2), 1, 5, 10, 4), 9, (), has_rows=False)
    assert answer.shape == (4,)
    assert texts(answer) == ["10:2", "5:1", "4:3", "1:0"]


def test_equal_ones_keep_their_order_and_no_numbers_come_last() -> None:
    answer = classified(scores("e", "FP16", (1, 4), float("nan"), 1, 3, 3), 4, (), has_rows=True)
    assert [text.partition(":")[2] for text in texts(answer)] == ["2", "3", "1", "0"]


def test_no_rows_have_no_classes() -> None:
    assert classified(scores("f", "FP32", (0, 3)), 2, (), has_rows=True).shape == (0, 0)


@pytest.mark.parametrize("datatype", ["BYTES", "BOOL", "BF16"])
def test_what_has_no_order_is_refused(datatype: Datatype) -> None:
    with pytest.raises(Invalid, match=f"unsupported type '{datatype}'"):
        classified(Tensor("y", datatype, (1, 1), b""), 1, (), has_rows=True)


def test_a_request_says_of_which_outputs_classes_are_wanted() -> None:
    request = oip.decode_request(
        b'{"inputs": [], "outputs": [{"name": "a", "parameters": {"classification": 3}},'
        b'{"name": "b", "parameters": {"classification": 0}}, {"name": "c"}]}'
    )
    assert request.classes == {"a": 3}
    assert list(request.outputs) == ["a", "b", "c"]
