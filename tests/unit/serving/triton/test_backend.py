"""What callers see of a model is what its configuration says; what it leaves out comes from the graph."""

import struct
from pathlib import Path

import pytest

from polyforge.kernel.errors import Invalid
from polyforge.kernel.tensors import Tensor, TensorSpec
from polyforge.ports.model_backend import ModelRequest
from polyforge.serving.triton.backend import ConfiguredBackend
from polyforge.serving.triton.layout import TritonRepository
from tests.unit.serving.triton.engines import BACKENDS, Engine, floats, write_model


def configured(repository: Path, config: str, engine: Engine) -> ConfiguredBackend:
    write_model(repository, "m", config)
    return ConfiguredBackend(TritonRepository(repository, BACKENDS).read("m"), engine)


def answer(backend: ConfiguredBackend, tensor: Tensor) -> Tensor:
    (outputs,) = backend.run([ModelRequest({"x": tensor}, {})])
    assert isinstance(outputs, tuple)
    return outputs[0]


def test_an_empty_configuration_is_completed_from_the_graph(tmp_path: Path) -> None:
    backend = configured(tmp_path, "", Engine())
    backend.load()
    config = backend.model.config
    assert config.max_batch_size == 4
    assert config.dynamic_batching is not None
    assert backend.model.values["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [4]}]
    assert backend.signature.inputs == (TensorSpec("x", "FP32", (-1, 4)),)
    assert (backend.signature.max_rows, backend.signature.batch_rows) == (4, 4)


def test_a_graph_without_a_free_first_dimension_has_no_batch(tmp_path: Path) -> None:
    backend = configured(tmp_path, "", Engine((1, 4), (1, 4), batch_rows=1))
    backend.load()
    assert backend.model.config.max_batch_size == 0
    assert backend.signature.inputs == (TensorSpec("x", "FP32", (1, 4)),)
    assert (backend.signature.max_rows, backend.signature.batch_rows) == (None, 0)


def test_rows_of_nothing_are_reshaped_to_rows_of_one(tmp_path: Path) -> None:
    backend = configured(tmp_path, "max_batch_size: 8", Engine((-1,), (-1,)))
    backend.load()
    assert backend.signature.inputs == (TensorSpec("x", "FP32", (-1, 1)),)
    assert answer(backend, floats("x", 3, 1)).shape == (3, 1)


def test_reshape_is_followed_both_ways(tmp_path: Path) -> None:
    engine = Engine((-1, -1, 2, 2), (-1, 1, -1), compute=lambda x: Tensor("y", "FP32", (x.shape[0], 1, 4), x.data))
    config = """
        max_batch_size: 8
        input { name: "x" data_type: TYPE_FP32 dims: [ -1, 4 ] reshape { shape: [ -1, 2, 2 ] } }
        output { name: "y" data_type: TYPE_FP32 dims: [ -1 ] reshape { shape: [ 1, -1 ] } }
    """
    backend = configured(tmp_path, config, engine)
    backend.load()
    given = floats("x", 2, 1, 4)
    assert answer(backend, given).shape == (2, 4)
    assert engine.requests[-1].inputs["x"].shape == (2, 1, 2, 2)
    assert bytes(engine.requests[-1].inputs["x"].data) == bytes(given.data)


def test_requests_are_put_together_only_when_the_configuration_says_so(tmp_path: Path) -> None:
    io = """
        input { name: "x" data_type: TYPE_FP32 dims: 4 } output { name: "y" data_type: TYPE_FP32 dims: 4 }
        max_batch_size: 16
    """
    alone = configured(tmp_path / "1", io, Engine())
    alone.load()
    together = configured(tmp_path / "2", io + "dynamic_batching {}", Engine())
    together.load()
    assert (alone.signature.batch_rows, together.signature.batch_rows) == (1, 8)
    assert alone.signature.max_rows == 16


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ('input { name: "x" data_type: TYPE_INT32 dims: 4 }', "expects datatype TYPE_INT32 for input 'x'"),
        ('input { name: "z" data_type: TYPE_FP32 dims: 4 }', "unexpected inference input 'z', allowed inputs are: x"),
        ('input { name: "x" data_type: TYPE_FP32 dims: 5 }', "the model expects shape [-1, 4]"),
        ('input { name: "x" data_type: TYPE_FP32 dims: [4, 4] }', "configuration says [-1, 4, 4]"),
        (
            'input { name: "x" data_type: TYPE_FP32 dims: 4 } input { name: "w" data_type: TYPE_FP32 dims: 4 }',
            "configuration expects 2 inputs, model provides 1: x",
        ),
    ],
)
def test_a_configuration_that_does_not_fit_the_graph_is_refused(tmp_path: Path, config: str, complaint: str) -> None:
    with pytest.raises(Invalid) as caught:
        configured(tmp_path, config, Engine()).load()
    assert complaint in caught.value.message


def test_a_batch_size_for_a_graph_without_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="autofill failed for model 'm': model does not support batching"):
        configured(tmp_path, "max_batch_size: 8", Engine((1, 4), (1, 4))).load()


def test_warm_up_samples_are_run_as_they_are_declared(tmp_path: Path) -> None:
    engine = Engine()
    config = """
        max_batch_size: 4
        model_warmup [
          { name: "zeros" batch_size: 2 count: 3
            inputs { key: "x" value: { data_type: TYPE_FP32 dims: 4 zero_data: true } } },
          { name: "noise" batch_size: 1
            inputs { key: "x" value: { data_type: TYPE_FP32 dims: 4 random_data: true } } },
          { name: "file" batch_size: 2
            inputs { key: "x" value: { data_type: TYPE_FP32 dims: 4 input_data_file: "rows" } } }
        ]
    """
    backend = configured(tmp_path, config, engine)
    (tmp_path / "m" / "warmup").mkdir()
    row = struct.pack("<4f", 1, 2, 3, 4)
    (tmp_path / "m" / "warmup" / "rows").write_bytes(row)
    backend.load()
    backend.warm_up()
    given = [request.inputs["x"] for request in engine.requests]
    assert [tensor.shape for tensor in given] == [(2, 4)] * 3 + [(1, 4), (2, 4)]
    assert bytes(given[0].data) == bytes(32)
    assert all(0 <= value <= 1 for value in struct.unpack("<4f", bytes(given[3].data)))
    assert bytes(given[4].data) == row * 2


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ('input_data_file: "rows"', "rows of input 'x' has 3 bytes, expecting 16"),
        ('input_data_file: "../../../etc/passwd"', "lies outside the folder of the model"),
        ('input_data_file: "none"', "cannot read none"),
    ],
)
def test_warm_up_files_that_do_not_fit_fail_the_load(tmp_path: Path, given: str, complaint: str) -> None:
    config = f'model_warmup {{ name: "w" inputs {{ key: "x" value {{ data_type: TYPE_FP32 dims: 4 {given} }} }} }}'
    backend = configured(tmp_path, config, Engine())
    (tmp_path / "m" / "warmup").mkdir()
    (tmp_path / "m" / "warmup" / "rows").write_bytes(b"abc")
    backend.load()
    with pytest.raises(Invalid) as caught:
        backend.warm_up()
    assert complaint in caught.value.message
