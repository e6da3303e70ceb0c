"""What is remembered of models through a restart."""

from pathlib import Path

import msgspec
import pytest

from polyforge.kernel.tensors import TensorSpec
from polyforge.ports.model_backend import Signature
from polyforge.serving.hints import EngineHints
from polyforge.serving.lifecycle.known import KnownSignatures
from polyforge.serving.sources import ModelSource

SIGNATURE = Signature(
    "some_platform",
    (TensorSpec("text", "BYTES", (-1,)),),
    (TensorSpec("scores", "FP32", (-1, 2)),),
    batch_rows=8,
    labels={"scores": ("good", "bad")},
    notes=("runs alone",),
)


@pytest.fixture
def source(tmp_path: Path) -> ModelSource:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.onnx").write_text("one")
    return ModelSource("team/m", tmp_path / "m")


def test_a_signature_is_what_it_was_until_the_model_is_another(tmp_path: Path, source: ModelSource) -> None:
    known = KnownSignatures(tmp_path / "known")
    assert known.find(source) is None
    known.keep(source, SIGNATURE)
    assert KnownSignatures(tmp_path / "known").find(source) == SIGNATURE
    assert known.find(msgspec.structs.replace(source, version="2")) is None
    assert known.find(msgspec.structs.replace(source, hints=EngineHints(backend="onnx"))) is None
    assert known.find(msgspec.structs.replace(source, keep_warm=True)) == SIGNATURE
    (tmp_path / "m" / "model.onnx").write_text("another")
    assert known.find(source) is None
    changed = msgspec.structs.replace(SIGNATURE, batch_rows=1)
    known.keep(source, changed)
    assert known.find(source) == changed
    known.forget(source)
    assert known.find(source) is None


def test_a_damaged_file_and_one_that_cannot_be_written_cost_no_more_than_the_knowledge(
    tmp_path: Path, source: ModelSource
) -> None:
    known = KnownSignatures(tmp_path / "known")
    known.keep(source, SIGNATURE)
    (path,) = (tmp_path / "known").iterdir()
    path.write_bytes(b"{")
    assert known.find(source) is None
    in_the_way = tmp_path / "in the way"
    in_the_way.write_text("")
    KnownSignatures(in_the_way).keep(source, SIGNATURE)
    assert KnownSignatures(in_the_way).find(source) is None
