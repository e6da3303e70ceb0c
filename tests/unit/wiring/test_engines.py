"""Which engine a folder gets: by its files, its task, or by name."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from polyforge.adapters.model_backends.isolated import Isolated
from polyforge.adapters.model_backends.onnx import Onnx
from polyforge.adapters.model_backends.static_embedding import StaticEmbedding
from polyforge.adapters.model_backends.text_encoder import TextEncoder
from polyforge.kernel.errors import Invalid
from polyforge.kernel.tasks import Task
from polyforge.serving.hints import EngineHints
from polyforge.serving.sources import BUILT_IN_FOLDER
from polyforge.wiring.adapters import load
from polyforge.wiring.engines import detect, engine_for
from tests.conformance import onnx_graphs
from tests.conformance.encoder_files import SHORT, write_encoder

LABELS = {"0": "good", "1": "bad"}
TEXT = ("tokenizer.json", "model.onnx")


def lay(folder: Path, *names: str, config: dict[str, Any] | None = None, content: bytes = b"") -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("name", "content", "engine"),
    [
        ("model.txt", b"tree\nversion=v4\n", "lightgbm"),
        ("model.json", b'{"learner":{"attributes":{}', "xgboost"),
        ("model.ubj", b"{L", "xgboost"),
    ],
)
def test_boosters_are_told_by_how_their_files_begin(tmp_path: Path, name: str, content: bytes, engine: str) -> None:
    lay(tmp_path, "README.txt", "metadata.json", content=b"a tree")
    assert detect(lay(tmp_path, name, content=content), None) == engine


def test_models_of_estimators_are_apart_though_nobody_asked(tmp_path: Path) -> None:
    assert isinstance(engine_for(lay(tmp_path, "model.skops"), EngineHints()), Isolated)


@pytest.mark.parametrize(
    ("names", "config", "task", "engine"),
    [
        (TEXT, {"architectures": ["BertModel"]}, None, "text_encoder"),
        (("tokenizer.json", "onnx/model.onnx"), {}, "embedding", "text_encoder"),
        (TEXT, {"architectures": ["BertForTokenClassification"], "id2label": LABELS}, None, "token_classifier"),
        (TEXT, {"architectures": ["BertForTokenClassification"]}, "classification", "token_classifier"),
        (TEXT, {"architectures": ["BertForSequenceClassification"], "id2label": LABELS}, None, "text_classifier"),
        (TEXT, {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "x"}}, None, "cross_encoder"),
        (TEXT, {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}, None, "cross_encoder"),
        (TEXT, {"architectures": ["BertForSequenceClassification"], "id2label": LABELS}, "rerank", "cross_encoder"),
        (TEXT, {}, "moderation", "text_classifier"),
        (TEXT, {}, "tabular_prediction", "onnx"),
        (("net.onnx",), None, None, "onnx"),
        (("tokenizer.json", "model.safetensors"), {"model_type": "model2vec"}, "embedding", "static_embedding"),
        (("model.py", "net.onnx"), None, None, "python"),
        (("model.bin",), {}, "translation", "ctranslate2"),
        (("model.skops",), None, None, "skops"),
        (("model.ubj",), None, None, "xgboost"),
    ],
)
def test_files_and_task_tell(
    tmp_path: Path, names: tuple[str, ...], config: dict[str, Any] | None, task: Task | None, engine: str
) -> None:
    assert detect(lay(tmp_path, *names, config=config), task) == engine


def test_boosters_are_told_by_how_they_begin(tmp_path: Path) -> None:
    assert detect(lay(tmp_path / "a", "model.txt", content=b"tree\nversion=v4\n"), None) == "lightgbm"
    assert detect(lay(tmp_path / "b", "model.json", content=b'{"learner":{'), None) == "xgboost"
    with pytest.raises(Invalid, match=r"Looked for: model\.py .* Found: notes\.txt\. Name a `backend`"):
        detect(lay(tmp_path / "c", "notes.txt", content=b"a tree\n"), None)


def test_the_engine_is_that_of_the_folder_with_its_settings(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "encoder", files={"config.json": SHORT})
    encoder = engine_for(folder, EngineHints(task="embedding", threads=1, batch_rows=1))
    encoder.load()
    assert isinstance(encoder, TextEncoder)
    assert encoder.signature.batch_rows == 1
    plain = engine_for(onnx_graphs.write(tmp_path / "plain", onnx_graphs.add_one()), EngineHints())
    assert isinstance(plain, Onnx)
    # Threads mean nothing to a table of vectors, and do no harm.
    assert isinstance(engine_for(BUILT_IN_FOLDER, EngineHints(threads=4)), StaticEmbedding)


@pytest.mark.parametrize(
    ("hints", "reason"),
    [
        (EngineHints(backend="nothing"), "^backend: there is no 'nothing'; there are cross_encoder, "),
        (EngineHints(backend="onnx", settings={"fil": "x"}), r"^settings\.fil: there is no such setting"),
        (EngineHints(backend="onnx", threads=0), r"^settings\.threads: "),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, hints: EngineHints, reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        engine_for(tmp_path, hints)


def test_a_folder_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be read: No such file"):
        engine_for(tmp_path / "missing", EngineHints())
    with pytest.raises(Invalid, match=r"^config\.json: "):
        detect(lay(tmp_path, "config.json", content=b"{"), None)


def test_a_missing_library_of_the_system_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def loading(name: str) -> Any:
        if name.endswith(".lightgbm"):
            raise OSError("libgomp.so.1: cannot open shared object file")
        return import_module(name)

    monkeypatch.setattr("polyforge.wiring.adapters.import_module", loading)
    monkeypatch.setattr("polyforge.wiring.engines._adapter", lambda name: load("model_backends", "backend", name))
    lay(tmp_path, "model.txt", content=b"tree\n")
    with pytest.raises(Invalid, match=r"backend: lightgbm needs a library of the system: libgomp\.so\.1"):
        engine_for(tmp_path, EngineHints())
