"""Any ONNX graph: what may be computed together is, what may not is not, and what cannot be trusted is refused."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from polyforge.adapters.model_backends.onnx import Onnx, Settings
from polyforge.kernel.errors import Invalid, PolyforgeError, Unavailable
from polyforge.kernel.tensors import Datatype, Tensor
from polyforge.ports.model_backend import ModelRequest
from tests.conformance import onnx_graphs as graphs


def opened(folder: Path, model: ModelProto, **settings: object) -> Onnx:
    backend = Onnx(Settings.model_validate({"folder": graphs.write(folder, model), **settings}))
    backend.load()
    return backend


def request_of(datatype: Datatype = "FP32", **arrays: np.ndarray) -> ModelRequest:
    return ModelRequest({n: Tensor(n, datatype, a.shape, a.tobytes()) for n, a in arrays.items()}, {})


def answer(backend: Onnx, request: ModelRequest) -> list[np.ndarray]:
    (outputs,) = backend.run([request])
    if isinstance(outputs, PolyforgeError):
        raise outputs
    return [np.frombuffer(bytes(each.data), "<f4").reshape(each.shape) for each in outputs]


def refusal(folder: Path, **settings: object) -> str:
    with pytest.raises(Invalid) as caught:
        Onnx(Settings.model_validate({"folder": folder, **settings})).load()
    assert str(folder) not in caught.value.message
    return caught.value.message


def test_the_signature_is_the_graphs(tmp_path: Path) -> None:
    signature = opened(tmp_path, graphs.table()).signature
    assert signature.platform == "onnxruntime_onnx"
    assert [(each.name, each.datatype, each.shape) for each in signature.inputs] == [
        ("ids", "INT64", (-1, -1)),
        ("scale", "FP32", (-1,)),
        ("name", "BYTES", (-1,)),
    ]
    assert [(each.name, each.datatype, each.shape) for each in signature.outputs] == [
        ("mean", "FP32", (-1, 4)),
        ("same", "BYTES", (-1,)),
    ]
    assert signature.batch_rows == 8
    assert signature.notes == ()


def test_requests_that_fit_together_are_computed_together_and_come_back_apart(tmp_path: Path) -> None:
    backend = opened(tmp_path, graphs.add_one(), batch_rows=4)
    batch = [np.full((rows, 3), rows, np.float32) for rows in (1, 2, 3, 6, 1)]
    answers = backend.run([request_of(x=array) for array in batch])
    for sent, got in zip(batch, answers, strict=True):
        assert not isinstance(got, PolyforgeError)
        assert got[0].shape == sent.shape
        assert np.array_equal(np.frombuffer(bytes(got[0].data), "<f4").reshape(sent.shape), sent + 1)


@pytest.mark.parametrize("rows", [0, 1])
def test_few_rows_are_no_special_case(tmp_path: Path, rows: int) -> None:
    assert answer(opened(tmp_path, graphs.add_one()), request_of(x=np.ones((rows, 3), np.float32)))[0].shape == (
        rows,
        3,
    )


def test_one_scale_for_the_whole_batch_means_no_batch(tmp_path: Path) -> None:
    signature = opened(tmp_path, graphs.dynamic_int8()).signature
    assert signature.batch_rows == 1
    (note,) = signature.notes
    assert "DynamicQuantizeLinear" in note
    assert "MatMulNBits" in note


def test_the_remedy_that_is_named_works(tmp_path: Path) -> None:
    backend = opened(tmp_path, graphs.weight_only_int8())
    assert backend.signature.batch_rows == 8
    rows = [(np.arange(32, dtype=np.float32)[None] - 9) * np.float32(10**size) for size in (-3, 0, 3)]
    together = backend.run([request_of(x=row) for row in rows])
    for row, got in zip(rows, together, strict=True):
        assert not isinstance(got, PolyforgeError)
        assert np.allclose(np.frombuffer(bytes(got[0].data), "<f4"), answer(backend, request_of(x=row))[0], rtol=1e-5)


@pytest.mark.parametrize(("axis", "batch_rows"), [(0, 1), (1, 8)])
def test_rows_that_look_at_each_other_are_found_out(tmp_path: Path, axis: int, batch_rows: int) -> None:
    signature = opened(tmp_path, graphs.centred(axis)).signature
    assert signature.batch_rows == batch_rows
    assert bool(signature.notes) == (axis == 0)


def test_a_batch_dependent_graph_answers_as_if_alone(tmp_path: Path) -> None:
    backend = opened(tmp_path, graphs.dynamic_int8())
    small, large = (np.full((1, 8), size, np.float32) * np.arange(8, dtype=np.float32) for size in (0.01, 100))
    (alone,) = answer(backend, request_of(x=small))
    together = backend.run([request_of(x=small), request_of(x=large)])[0]
    assert not isinstance(together, PolyforgeError)
    assert bytes(together[0].data) == alone.tobytes()


def test_rows_that_are_lost_are_not_given_to_somebody_else(tmp_path: Path) -> None:
    """A trial sees no zeros, and so every row; later the graph drops some."""
    model = graphs.graph(
        {"x": (graphs.FLOAT, ["n"])},
        {"y": (graphs.FLOAT, ["m"])},
        [graphs.node("Cast", ["x"], "chosen", to=graphs.BOOL), graphs.node("Compress", ["x", "chosen"], "y", axis=0)],
    )
    backend = opened(tmp_path, model)
    answers = backend.run([request_of(x=np.array(row, np.float32)) for row in ([1, 0, 2], [0], [3, 4])])
    got = [
        np.frombuffer(bytes(each[0].data), "<f4").tolist() for each in answers if not isinstance(each, PolyforgeError)
    ]
    assert got == [[1, 2], [], [3, 4]]


def test_a_graph_with_fixed_rows_runs_request_by_request(tmp_path: Path) -> None:
    model = graphs.graph({"x": (graphs.FLOAT, [1, 2])}, {"y": (graphs.FLOAT, [1, 2])}, [graphs.node("Neg", ["x"], "y")])
    backend = opened(tmp_path, model)
    assert backend.signature.batch_rows == 1
    one, two = backend.run([request_of(x=np.full((1, 2), k, np.float32)) for k in (1, 2)])
    assert not isinstance(one, PolyforgeError)
    assert not isinstance(two, PolyforgeError)
    assert np.frombuffer(bytes(two[0].data), "<f4").tolist() == [-2, -2]


def test_inputs_of_different_lengths_are_no_rows(tmp_path: Path) -> None:
    model = graphs.graph(
        {"a": (graphs.FLOAT, ["n"]), "b": (graphs.FLOAT, ["m"])},
        {"y": (graphs.FLOAT, None)},
        [graphs.node("Concat", ["a", "b"], "y", axis=0)],
    )
    backend = opened(tmp_path, model)
    assert backend.signature.batch_rows == 0
    assert backend.signature.outputs[0].shape == (-1,)
    assert answer(backend, request_of(a=np.ones(2, np.float32), b=np.zeros(3, np.float32)))[0].tolist() == [
        1,
        1,
        0,
        0,
        0,
    ]


def test_a_signal_is_no_column_of_rows(tmp_path: Path) -> None:
    model = graphs.graph(
        {"x": (graphs.FLOAT, ["n"])},
        {"y": (graphs.FLOAT, ["n"])},
        [graphs.node("CumSum", ["x", "axis"], "y")],
        {"axis": np.array(0)},
    )
    assert opened(tmp_path, model).signature.batch_rows == 0


def test_what_no_graph_can_compute_is_the_callers_error(tmp_path: Path) -> None:
    model = graphs.graph(
        {"x": (graphs.FLOAT, ["n", "k"])},
        {"y": (graphs.FLOAT, ["n", 3])},
        [graphs.node("Add", ["x", "three"], "y")],
        {"three": np.ones((2, 3), np.float32)},
    )
    with pytest.raises(Invalid, match="cannot compute") as caught:
        answer(opened(tmp_path, model), request_of(x=np.ones((5, 7), np.float32)))
    assert caught.value.param == "x"
    assert "onnxruntime_src" not in caught.value.message


def test_inputs_that_need_more_memory_than_there_is_break_nothing_else(tmp_path: Path) -> None:
    model = graphs.graph(
        {"size": (graphs.INT64, ["n", 1])},
        {"y": (graphs.FLOAT, ["n"])},
        [
            graphs.node("Reshape", ["size", "flat"], "shape"),
            graphs.node("ConstantOfShape", ["shape"], "zeros"),
            graphs.node("ReduceSum", ["zeros"], "sum", keepdims=0),
            graphs.node("Reshape", ["sum", "flat"], "y"),
        ],
        {"flat": np.array([-1])},
    )
    backend = opened(tmp_path, model)
    requests = [request_of("INT64", size=np.array([[size]])) for size in (2, 1 << 44)]
    fine, broken = backend.run(requests)
    assert not isinstance(fine, PolyforgeError)
    assert isinstance(broken, Unavailable)
    assert "more memory" in broken.message


def test_half_precision_and_booleans_travel(tmp_path: Path) -> None:
    model = graphs.graph(
        {"x": (onnx.TensorProto.FLOAT16, ["n"])},
        {"y": (graphs.BOOL, ["n"])},
        [graphs.node("Cast", ["x"], "y", to=graphs.BOOL)],
    )
    (outputs,) = opened(tmp_path, model).run([request_of("FP16", x=np.array([0, 2, 0], np.float16))])
    assert not isinstance(outputs, PolyforgeError)
    assert (outputs[0].datatype, bytes(outputs[0].data)) == ("BOOL", b"\0\1\0")


# Which file


def test_several_graphs_need_a_choice(tmp_path: Path) -> None:
    graphs.write(tmp_path / "onnx", graphs.add_one(), "small.onnx")
    graphs.write(tmp_path, graphs.add_one(), "large.onnx")
    assert refusal(tmp_path) == "there are several graphs, choose one: large.onnx, onnx/small.onnx"
    Onnx(Settings(folder=tmp_path, file="onnx/small.onnx")).load()


@pytest.mark.parametrize(
    "file", ["../model.onnx", "/etc/passwd", "a/../../model.onnx", "nothing.onnx", "C:\\model.onnx"]
)
def test_a_file_outside_the_folder_is_refused(tmp_path: Path, file: str) -> None:
    graphs.write(tmp_path, graphs.add_one())
    folder = graphs.write(tmp_path / "inner", graphs.add_one())
    assert file.replace("\\", "\\\\") in refusal(folder, file=file)


def test_a_folder_without_a_graph(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "there is no .onnx file"


# What is refused


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"not an onnx file at all, just text\n", "it is"),
        (b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00.", "it is"),
        (b"\x08\x08", "there is no graph"),
    ],
)
def test_what_is_no_graph_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    assert reason in refusal(tmp_path)


def test_every_cut_of_a_file_is_refused_or_harmless(tmp_path: Path) -> None:
    whole = graphs.table().SerializeToString()
    for end in range(1, len(whole), 7):
        (tmp_path / "model.onnx").write_bytes(whole[:end])
        refusal(tmp_path)


def external(location: str, *, offset: int = 0, length: int = 12) -> ModelProto:
    model = graphs.add_one()
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.dims[:] = [3]
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        entry = weight.external_data.add()
        entry.key, entry.value = key, str(value)
    return model


def test_weights_beside_the_graph_are_read(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(np.array([0, 1, 2, 3], np.float32).tobytes())
    backend = opened(tmp_path, external("weights.bin", offset=4))
    assert answer(backend, request_of(x=np.zeros((1, 3), np.float32)))[0].tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("../secret.bin", "leads out of the artifact's folder"),
        ("/etc/hostname", "leads out of the artifact's folder"),
        ("link.bin", "leads out of the artifact's folder"),
        ("w" * 300, "is longer than a path can be"),
        ("w/" * 3000 + "w", "is longer than a path can be"),
        ("missing.bin", "is not there"),
        ("short.bin", "ends beyond the end"),
        ("", "none is named"),
    ],
)
def test_weights_elsewhere_are_refused(tmp_path: Path, location: str, reason: str) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(12))
    folder = graphs.write(tmp_path / "model", external(location))
    os.symlink(tmp_path / "secret.bin", folder / "link.bin")
    (folder / "short.bin").write_bytes(bytes(11))
    assert reason in refusal(folder)


def test_a_tensor_larger_than_its_data_is_refused(tmp_path: Path) -> None:
    model = graphs.add_one()
    model.graph.initializer[0].dims[:] = [1 << 20, 1 << 18]
    graphs.write(tmp_path, model)
    assert "needs 1099511627776 bytes for its shape, and has 4" in refusal(tmp_path)


@pytest.mark.parametrize("shape", [[1 << 40, 1 << 40], [-1]])
def test_absurd_weights_are_refused(tmp_path: Path, shape: list[int]) -> None:
    model = graphs.add_one()
    model.graph.initializer[0].dims[:] = shape
    graphs.write(tmp_path, model)
    assert "has shape" in refusal(tmp_path)


def test_absurd_inputs_are_refused(tmp_path: Path) -> None:
    graphs.write(
        tmp_path,
        graphs.graph(
            {"x": (graphs.FLOAT, [1 << 20, 1 << 20])},
            {"y": (graphs.FLOAT, [1 << 20, 1 << 20])},
            [graphs.node("Neg", ["x"], "y")],
        ),
    )
    assert "input 'x' has shape [1048576, 1048576]" in refusal(tmp_path)


def test_a_constant_that_would_fill_the_memory_is_found_out(tmp_path: Path) -> None:
    model = graphs.graph(
        {"x": (graphs.FLOAT, ["n", 1])},
        {"y": (graphs.FLOAT, ["n", 1])},
        [
            graphs.node("ConstantOfShape", ["shape"], "huge"),
            graphs.node("ReduceMax", ["huge"], "largest"),
            graphs.node("Add", ["x", "largest"], "y"),
        ],
        {"shape": np.array([1 << 44])},
    )
    graphs.write(tmp_path, model)
    assert "more memory" in refusal(tmp_path)


def field(number: int, content: bytes) -> bytes:
    """A field of bytes in protobuf's wire format."""
    size, length = len(content), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def test_graphs_within_graphs_have_an_end(tmp_path: Path) -> None:
    inner = b""
    for _ in range(40):
        inner = field(1, field(5, field(6, inner)))  # a graph's node's attribute's graph
    (tmp_path / "model.onnx").write_bytes(field(7, inner))
    assert "more than 32 deep" in refusal(tmp_path)


def test_operators_that_read_files_are_refused(tmp_path: Path) -> None:
    model = graphs.add_one()
    model.graph.node.append(
        helper.make_node("EPContext", ["x"], ["z"], domain="com.microsoft", ep_cache_context="/etc/passwd")
    )
    graphs.write(tmp_path, model)
    assert "EPContext loads other files" in refusal(tmp_path)


def test_an_operator_that_nobody_has_is_named(tmp_path: Path) -> None:
    model = graphs.add_one()
    model.graph.node.append(helper.make_node("Frobnicate", ["x"], ["z"], domain="example"))
    model.opset_import.append(helper.make_opsetid("example", 1))
    graphs.write(tmp_path, model)
    assert "Frobnicate" in refusal(tmp_path)


def test_a_device_that_is_not_installed_says_what_to_install(tmp_path: Path) -> None:
    graphs.write(tmp_path, graphs.add_one())
    assert "onnxruntime-openvino" in refusal(tmp_path, device="openvino")


def test_a_file_that_was_changed_since_it_was_checked_is_not_opened_again(tmp_path: Path) -> None:
    folder = graphs.write(tmp_path, graphs.add_one())
    backend = Onnx(Settings(folder=folder))
    backend.load()
    backend.spread(2, lambda: True)
    (folder / "model.onnx").write_bytes(graphs.table().SerializeToString())
    with pytest.raises(Invalid, match="has changed since it was loaded"):
        backend.spread(2, lambda: True)
    os.unlink(folder / "model.onnx")
    with pytest.raises(Invalid):
        backend.spread(2, lambda: True)
