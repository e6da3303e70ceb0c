"""What is made up for a warm-up sample."""

import tracemalloc
from pathlib import Path

import pytest

from polyforge.kernel.tensors import ITEM_BYTES, unpack_strings
from polyforge.serving.triton.config import ModelConfig, WarmUp, WarmUpInput
from polyforge.serving.triton.layout import TritonModel
from polyforge.serving.triton.warm_up import sample_request

COUNT = 1_000_000


def made_up(data_type: str, count: int = COUNT) -> bytes:
    given = WarmUpInput(data_type=f"TYPE_{data_type}", dims=(count,), random_data=True)
    sample = WarmUp("w", 1, {"x": given}, 1)
    model = TritonModel("m", Path("m"), {}, ModelConfig("m"), (1,), {})
    return bytes(sample_request(model, sample).inputs["x"].data)


@pytest.mark.parametrize("data_type", ["INT8", "INT64", "FP32", "BOOL", "STRING"])
def test_a_large_sample_takes_little_more_than_its_own_memory(data_type: str) -> None:
    tracemalloc.start()
    try:
        content = made_up(data_type)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 3 * len(content) + (8 << 20)


@pytest.mark.parametrize("count", [0, 1, 7, 4096, 4097, 10_000])
def test_it_has_its_size_and_what_a_model_may_take(count: int) -> None:
    assert set(made_up("BOOL", count)) <= {0, 1}
    for data_type in ("INT16", "FP16", "FP64"):
        assert len(made_up(data_type, count)) == count * ITEM_BYTES[data_type]  # pyright: ignore[reportArgumentType]
    assert unpack_strings(made_up("STRING", count), count) == [b""] * count
    if count > 1:
        assert len(set(made_up("FP32", count))) > 1
