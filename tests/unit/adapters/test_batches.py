"""Whatever is computed together: every answer is the one that the request gets alone, and nobody gets another's."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyforge.adapters.model_backends import onnx, text_encoder
from polyforge.kernel.errors import PolyforgeError
from polyforge.kernel.tensors import Tensor, pack_strings
from polyforge.ports.model_backend import ModelBackend, ModelRequest, Outputs
from tests.conformance import onnx_graphs as graphs
from tests.conformance.encoder_files import WORDS, write_encoder

texts = st.lists(st.sampled_from(["red", "green", "blue", "??"]), max_size=20).map(" ".join)
text_requests = st.lists(st.lists(texts, max_size=5), max_size=12)
tables = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 12)), max_size=12)
"""Of each request its rows, the ids in each, and the first id; 10 and more are beyond the table."""


@pytest.fixture(scope="module", params=[False, True], ids=["independent", "one scale for all"])
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelBackend:
    graph = graphs.word_vectors(graphs.word_table(len(WORDS)), quantized=request.param)
    folder = write_encoder(tmp_path_factory.mktemp("encoder"), graph=graph)
    backend = text_encoder.TextEncoder(text_encoder.Settings(folder=folder, batch_rows=4, batch_tokens=40))
    backend.load()
    assert backend.signature.batch_rows == (1 if request.param else 4)
    return backend


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> ModelBackend:
    folder: Path = graphs.write(tmp_path_factory.mktemp("table"), graphs.table())
    backend = onnx.Onnx(onnx.Settings(folder=folder, batch_rows=5))
    backend.load()
    return backend


def alike(together: Sequence[Outputs | PolyforgeError], backend: ModelBackend, batch: list[ModelRequest]) -> bool:
    alone = [backend.run([request])[0] for request in batch]
    return len(together) == len(batch) and all(map(same, together, alone))


def same(left: Outputs | PolyforgeError, right: Outputs | PolyforgeError) -> bool:
    if isinstance(left, PolyforgeError) or isinstance(right, PolyforgeError):
        return type(left) is type(right) and str(left) == str(right)
    return all(close(a, b) for a, b in zip(left, right, strict=True))


def close(left: Tensor, right: Tensor) -> bool:
    if left.datatype != "FP32":
        return (left.shape, bytes(left.data)) == (right.shape, bytes(right.data))
    a, b = (np.frombuffer(bytes(each.data), "<f4") for each in (left, right))
    return left.shape == right.shape and np.allclose(a, b, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(batch=text_requests)
def test_texts_never_depend_on_their_neighbours(encoder: ModelBackend, batch: list[list[str]]) -> None:
    requests = [
        ModelRequest({"text": Tensor("text", "BYTES", (len(row),), pack_strings(each.encode() for each in row))}, {})
        for row in batch
    ]
    assert alike(encoder.run(requests), encoder, requests)


@settings(max_examples=40, deadline=None)
@given(batch=tables)
def test_rows_never_depend_on_their_neighbours(table: ModelBackend, batch: list[tuple[int, int, int]]) -> None:
    requests: list[ModelRequest] = []
    for place, (rows, width, first) in enumerate(batch):
        ids = np.arange(first, first + rows * width).reshape(rows, width) % 13
        inputs = {
            "ids": Tensor("ids", "INT64", ids.shape, ids.tobytes()),
            "scale": Tensor("scale", "FP32", (rows,), np.full(rows, place, np.float32).tobytes()),
            "name": Tensor("name", "BYTES", (rows,), pack_strings([b"%d" % place] * rows)),
        }
        requests.append(ModelRequest(inputs, {}))
    assert alike(table.run(requests), table, requests)
