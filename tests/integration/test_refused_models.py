"""What never becomes a version: the reason is told where the model was added."""

import json
import struct
import tarfile
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tests.conformance import onnx_graphs
from tests.conformance.encoder_files import tokenizer_json
from tests.conftest import Serve
from tests.support.server import Key, Polyforge
from tests.support.settings import solo
from tests.support.small_encoders import encoder
from tests.support.waiting import eventually

CHECK_SECONDS = 60.0
PICKLE = b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix."
SECRET = "hidden beside the model"
Make = Callable[[Path], Path]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that anybody may add models from."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def site(serve: Serve, models: Path) -> Polyforge:
    lab = {"use": "openai", "base_url": "http://127.0.0.1:9/v1"}
    sources = {"file": {"use": "file", "folders": [str(models)]}}
    return serve({"providers": {"lab": lab}, "models": solo("first"), "model_sources": sources})


@pytest.fixture(scope="module")
def key(site: Polyforge) -> Key:
    return site.create_key(scopes=["models:read", "models:write"])


def add(site: Polyforge, key: Key, name: str, source: Path, **more: Any) -> dict[str, Any]:
    """The import once it is over."""
    body = {"name": name, "source": source.as_uri(), **more}
    wanted = site.call("/api/v1/models", key=key.key, json=body)
    assert wanted.status == 202, wanted.body
    path = f"/api/v1/models/{name}/imports/{wanted.json['id']}"

    def look() -> dict[str, Any] | None:
        found = site.call(path, method="GET", key=key.key).json
        return found if found["finished_at"] else None

    found = eventually(look, f"the import of {name} is over", CHECK_SECONDS)
    assert found is not None
    return found


def write(folder: Path, **files: bytes | str) -> Path:
    folder.mkdir()
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def zipped(folder: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def zip_slip(folder: Path) -> Path:
    return zipped(folder, ("model.onnx", b"x"), ("../../escaped", b"x"))


def link_in_zip(folder: Path) -> Path:
    link = zipfile.ZipInfo("model.onnx")
    link.external_attr = 0o120777 << 16
    return zipped(folder, (link, b"/etc/passwd"))


def link_in_tar(folder: Path) -> Path:
    path = folder.with_suffix(".tar")
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("model.onnx")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return path


def cut_archive(folder: Path) -> Path:
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(encoder(folder, 64), "m")
    path = folder.with_suffix(".tar.gz")
    path.write_bytes(packed.getvalue()[:-200])
    return path


def link_in_folder(folder: Path) -> Path:
    write(folder, README="x")
    (folder / "model.onnx").symlink_to("/etc/passwd")
    return folder


def cut_graph(folder: Path) -> Path:
    path = encoder(folder, 64) / "model.onnx"
    path.write_bytes(path.read_bytes()[:-100])
    return folder


def outside(location: str) -> ModelProto:
    """A graph whose weights are in another file."""
    made = onnx_graphs.add_one()
    weight = made.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    return made


def data_outside(folder: Path) -> Path:
    (folder.parent / "outside.bin").write_bytes(SECRET.encode())
    return write(folder, model__onnx=outside("../outside.bin").SerializeToString())


def absolute_data(folder: Path) -> Path:
    return write(folder, model__onnx=outside("/etc/passwd").SerializeToString())


def absurd_input(folder: Path) -> Path:
    """An input of 2^40 numbers."""
    shape: onnx_graphs.Shape = [2**20, 2**20]
    made = onnx_graphs.graph(
        {"x": (onnx_graphs.FLOAT, shape)}, {"y": (onnx_graphs.FLOAT, shape)}, [onnx_graphs.node("Abs", ["x"], "y")]
    )
    return onnx_graphs.write(folder, made)


def absurd_constant(folder: Path) -> Path:
    """A graph of a few bytes that makes a tensor of a terabyte while it runs."""
    shape = numpy_helper.from_array(np.array([2**20, 2**18], np.int64), "shape")
    made = onnx_graphs.graph(
        {"x": (onnx_graphs.FLOAT, ["n"])},
        {"y": (onnx_graphs.FLOAT, ["n"])},
        [
            onnx_graphs.node("ConstantOfShape", ["shape"], "zeros"),
            onnx_graphs.node("ReduceSum", ["zeros"], "none", keepdims=0),
            onnx_graphs.node("Add", ["x", "none"], "y"),
        ],
    )
    made.graph.initializer.append(shape)
    return onnx_graphs.write(folder, made)


def unknown_operator(folder: Path) -> Path:
    made = onnx_graphs.add_one()
    made.graph.node.append(helper.make_node("Detonate", ["y"], ["z"], domain="example.org"))
    made.opset_import.append(helper.make_opsetid("example.org", 1))
    return onnx_graphs.write(folder, made)


def lying_weights(folder: Path) -> Path:
    """Weights whose header promises more than the file has."""
    head = {"embeddings": {"dtype": "F32", "shape": [2**31, 2**31], "data_offsets": [0, 2**62 * 4]}}
    text = json.dumps(head).encode()
    weights = struct.pack("<Q", len(text)) + text + b"\0" * 16
    config = '{"model_type": "model2vec"}'
    return write(folder, config__json=config, model__safetensors=weights, tokenizer__json=tokenizer_json())


def python_model(folder: Path) -> Path:
    code = f"open({str(folder.parent / 'was run')!r}, 'w').close()\nclass Model: pass\n"
    return write(folder, model__py=code)


CASES: dict[str, tuple[Make, str]] = {
    "pickle": (lambda folder: write(folder, model__pkl=PICKLE), "run code when they are read"),
    "pickle-in-disguise": (lambda folder: write(folder, model__onnx=PICKLE), "is a pickle"),
    "zip-slip": (zip_slip, "leads out of it"),
    "link-in-zip": (link_in_zip, "is a link or a device"),
    "link-in-tar": (link_in_tar, "is a link or a device"),
    "cut-archive": (cut_archive, "the archive"),
    "link-in-folder": (link_in_folder, "is a link or a device"),
    "corrupt": (lambda folder: write(folder, model__onnx=b"\x08\x08 nothing of the kind"), "model.onnx"),
    "truncated": (cut_graph, "model.onnx"),
    "data-outside": (data_outside, "outside"),
    "absolute-data": (absolute_data, "model.onnx"),
    "absurd-input": (absurd_input, "the model cannot be run"),
    "absurd-constant": (absurd_constant, "the model cannot be run"),
    "unknown-operator": (unknown_operator, "the model cannot be run"),
    "lying-weights": (lying_weights, "model.safetensors"),
    "nothing-known": (lambda folder: write(folder, README="words"), "nothing here tells how to compute it"),
    "python": (python_model, "runs code on this machine"),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_with_the_reason(site: Polyforge, key: Key, models: Path, name: str) -> None:
    make, reason = CASES[name]
    found = add(site, key, name, make(models / name))
    assert (found["state"], found["version"]) == ("failed", None)
    assert reason in found["error"], found["error"]
    assert SECRET not in found["error"]
    assert str(site.data) not in found["error"]
    assert site.call(f"/api/v1/models/{name}/versions", method="GET", key=key.key).json["data"] == []
    assert not (models / "was run").exists()
    assert not list(models.parent.rglob("escaped"))


def test_an_engine_that_reads_other_things_is_not_for_everybody(site: Polyforge, key: Key, models: Path) -> None:
    found = add(site, key, "remote", encoder(models / "remote", 4), configuration={"backend": "remote_oip"})
    assert "none of those that read only the model's files" in found["error"]


@pytest.mark.parametrize(
    "configuration",
    [
        {"options": {"folder": "/etc"}},
        {"unknown": 1},
        {"backend": "../x"},
        {"task": "flying"},
        {"task": "chat"},
        {"instances": 0},
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused_at_once(
    site: Polyforge, key: Key, models: Path, configuration: dict[str, Any]
) -> None:
    body = {"name": "m", "source": models.as_uri(), "configuration": configuration}
    assert site.call("/api/v1/models", key=key.key, json=body).status in (400, 422)


def test_a_model_that_is_good_passes_the_same_check(site: Polyforge, key: Key, models: Path) -> None:
    found = add(site, key, "good", encoder(models / "good", 4))
    assert (found["state"], found["version"], found["error"]) == ("done", 1, "")
