"""Triton repositories are read as they are, and what cannot be served says why."""

from pathlib import Path

import pytest

from polyforge.kernel.errors import Invalid, ModelNotFound
from polyforge.serving.triton.layout import TritonModel, TritonRepository
from tests.unit.serving.triton.engines import BACKENDS, write_model

IO = """
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 4 ] } ]
"""


def read(repository: Path, name: str = "m") -> TritonModel:
    return TritonRepository(repository, BACKENDS).read(name)


def test_a_model_without_configuration_is_known_by_its_file(tmp_path: Path) -> None:
    write_model(tmp_path, "m", versions=(1, 3))
    (tmp_path / "m" / "03").mkdir()
    (tmp_path / "m" / "notes").mkdir()
    model = read(tmp_path)
    assert (model.config.backend, model.config.platform_name) == ("onnxruntime", "onnxruntime_onnx")
    assert model.versions == (3,)
    assert model.file(3) == tmp_path / "m" / "3" / "model.onnx"


@pytest.mark.parametrize(
    "config",
    ['platform: "onnxruntime_onnx"', 'backend: "onnxruntime"', 'name: "m"', 'default_model_filename: "model.onnx"'],
)
def test_the_engine_is_named_in_any_way(tmp_path: Path, config: str) -> None:
    write_model(tmp_path, "m", config)
    assert read(tmp_path).config.backend == "onnxruntime"


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        ("", (7,)),
        ("version_policy { latest { num_versions: 2 } }", (2, 7)),
        ("version_policy: { all {} }", (1, 2, 7)),
        ("version_policy { specific { versions: [1, 7, 9] } }", (1, 7)),
    ],
)
def test_versions_are_chosen_by_policy(tmp_path: Path, policy: str, versions: tuple[int, ...]) -> None:
    write_model(tmp_path, "m", policy, versions=(1, 2, 7))
    assert read(tmp_path).versions == versions


def test_labels_are_read_by_output(tmp_path: Path) -> None:
    config = 'output [ { name: "y" data_type: TYPE_FP32 dims: [ 3 ] label_filename: "labels.txt" } ]'
    (write_model(tmp_path, "m", config) / "labels.txt").write_text("cat\r\ndog\n\n")
    assert read(tmp_path).labels == {"y": ("cat", "dog", "")}


def test_an_ensemble_needs_no_file(tmp_path: Path) -> None:
    config = """
        platform: "ensemble" max_batch_size: 4
        input [ { name: "a" data_type: TYPE_FP32 dims: [ 4 ] } ]
        output [ { name: "b" data_type: TYPE_FP32 dims: [ 4 ] } ]
        ensemble_scheduling { step [ { model_name: "m" model_version: -1
            input_map { key: "x" value: "a" } output_map { key: "y" value: "b" } } ] }
    """
    write_model(tmp_path, "e", config, versions=())
    model = read(tmp_path, "e")
    assert model.is_ensemble
    assert model.versions == (1,)
    assert model.config.ensemble_scheduling is not None
    (step,) = model.config.ensemble_scheduling.step
    assert (step.model_name, step.version, step.input_map) == ("m", None, {"x": "a"})


def test_what_is_left_out_is_noted(tmp_path: Path) -> None:
    config = """
        instance_group [ { count: 2 kind: KIND_GPU gpus: [ 0 ] } ]
        optimization { execution_accelerators { gpu_execution_accelerator: [ { name: "tensorrt" } ] } }
        dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100 } max_batch_size: 8
        parameters { key: "intra_op_thread_count" value: { string_value: "2" } }
        response_cache { enable: true }
    """
    write_model(tmp_path, "m", config + IO)
    model = read(tmp_path)
    assert [note.partition(":")[0] for note in model.notes] == ["optimization", "instance_group", "dynamic_batching"]
    assert model.config.instances == 2
    assert model.config.settings == {"intra_op_thread_count": "2"}
    assert model.config.response_cache.enable


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ('name: "other"', "directory name must equal model name"),
        ("max_batch_size: x", "failed to read text proto from m/config.pbtxt: line 1, column 1"),
        ('platform: "tensorrt_plan"', "there is no backend 'tensorrt' here; there are ensemble, onnxruntime"),
        ('platform: "caffe2_netdef"', "unexpected platform type 'caffe2_netdef' for m"),
        ('platform: "onnxruntime_onnx" backend: "pytorch"', "unexpected 'platform' and 'backend' pair"),
        ('platform: "ensemble"', "ensemble scheduling must be set"),
        ("version_policy { specific { versions: 4 } }", "at least one version must be available"),
        ('default_model_filename: "other.onnx" backend: "onnxruntime"', "unable to find 'other.onnx'"),
        ('default_model_filename: "../1/model.onnx" backend: "onnxruntime"', "is no name of a file"),
        ("max_batch_size: -1", "must be non-negative"),
        ('input [ { data_type: TYPE_FP32 dims: 1 } ]', "must specify 'name'"),
        ('input [ { name: "x" dims: 1 } ]', "must specify 'data_type'"),
        ('input [ { name: "x" data_type: TYPE_FP32 } ]', "must specify 'dims'"),
        ('input [ { name: "x" data_type: TYPE_FP32 dims: 0 } ]', "dimension must be integer >= 1"),
        ('input [ { name: "x" data_type: TYPE_FP32 dims: 1 optional: true } ]', "'optional' of model input 'x'"),
        ('input [ { name: "x" data_type: TYPE_FP32 dims: 1 allow_ragged_batch: true } ]', "'allow_ragged_batch'"),
        ('input [ { name: "x" data_type: TYPE_FP32 dims: [4] reshape { shape: [2, 3] } } ]', "has different size"),
        ('input [ { name: "x" data_type: TYPE_FP32 dims: [-1, 4] reshape { shape: [4, -1] } } ]', "has different size"),
        ("sequence_batching { direct {} }", "'sequence_batching' is not supported for model 'm': only"),
        ("batch_input { kind: BATCH_ELEMENT_COUNT }", "'batch_input' is not supported"),
        ('model_operations { op_library_filename: "x.so" }', "'model_operations' is not supported"),
        ("model_transaction_policy { decoupled: true }", "'model_transaction_policy' is not supported"),
        ("model_repository_agents { agents { } }", "'model_repository_agents' is not supported"),
        ('output [ { name: "y" data_type: TYPE_FP32 dims: 3 label_filename: "../../secret" } ]', "lies outside"),
        ('output [ { name: "y" data_type: TYPE_FP32 dims: 3 label_filename: "none" } ]', "cannot read none"),
        ('model_warmup { name: "w" count: 2000 inputs { key: "x" value { } } }', "count must be at most 1000"),
        ('model_warmup { name: "w" }', "has no inputs"),
        ("max_batch_size: 2 dynamic_batching { preferred_batch_size: 4 }" + IO, "preferred size must be positive"),
        ("dynamic_batching { priority_levels: 2 }", "default priority level must be in range [1, 2]"),
    ],
)  # fmt: skip
def test_what_cannot_be_served_says_why(tmp_path: Path, config: str, complaint: str) -> None:
    write_model(tmp_path, "m", config)
    with pytest.raises(Invalid) as caught:
        read(tmp_path)
    assert complaint in caught.value.message


def test_a_folder_without_anything_to_serve(tmp_path: Path) -> None:
    write_model(tmp_path, "m", versions=())
    write_model(tmp_path, "text", file="readme.txt")
    for name in ("m", "text"):
        with pytest.raises(Invalid, match="Could not determine backend"):
            read(tmp_path, name)
    with pytest.raises(ModelNotFound, match="failed to poll from model repository"):
        read(tmp_path, "none")


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b"])
def test_names_are_no_paths(tmp_path: Path, name: str) -> None:
    with pytest.raises(Invalid):
        read(tmp_path, name)


def test_a_repository_lists_its_folders(tmp_path: Path) -> None:
    for name in ("b", "a", ".git"):
        write_model(tmp_path, name)
    (tmp_path / "README").write_text("")
    assert TritonRepository(tmp_path, BACKENDS).names() == ["a", "b"]
    with pytest.raises(Invalid, match="failed to poll"):
        TritonRepository(tmp_path / "none", BACKENDS).names()
