"""Boosters of LightGBM and XGBoost: what they answer, and which files are refused before the library sees them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost

from polyforge.adapters.model_backends.lightgbm import LightGbm
from polyforge.adapters.model_backends.lightgbm import Settings as LightGbmSettings
from polyforge.adapters.model_backends.xgboost import Settings as XgBoostSettings
from polyforge.adapters.model_backends.xgboost import XgBoost
from polyforge.dialects import ubjson
from polyforge.kernel.errors import Invalid, PolyforgeError
from polyforge.kernel.tensors import Tensor, TensorSpec, unpack_strings
from polyforge.ports.model_backend import ModelBackend, ModelRequest
from tests.conformance import table_models
from tests.conformance.table_models import COLUMNS, table

CATEGORIES = 9


def answers(backend: ModelBackend, rows: np.ndarray) -> dict[str, Any]:
    spec = backend.signature.inputs[0]
    array = np.ascontiguousarray(rows, "<f4" if spec.datatype == "FP32" else "<f8")
    (answer,) = backend.run([ModelRequest({spec.name: Tensor(spec.name, spec.datatype, array.shape, array.data)}, {})])
    assert not isinstance(answer, PolyforgeError), answer.message
    return {tensor.name: values(tensor) for tensor in answer}


def values(tensor: Tensor) -> Any:
    if tensor.datatype == "BYTES":
        return [value.decode() for value in unpack_strings(tensor.data, tensor.count)]
    return np.frombuffer(memoryview(tensor.data), "<f4" if tensor.datatype == "FP32" else "<f8").reshape(tensor.shape)


def loaded_lightgbm(folder: Path, **settings: Any) -> LightGbm:
    backend = LightGbm(LightGbmSettings(folder=folder, **settings))
    backend.load()
    return backend


def loaded_xgboost(folder: Path, **settings: Any) -> XgBoost:
    backend = XgBoost(XgBoostSettings(folder=folder, **settings))
    backend.load()
    return backend


def with_categories(rows: np.ndarray) -> np.ndarray:
    changed = rows.copy()
    changed[:, 1] = np.random.default_rng(1).integers(0, CATEGORIES, len(rows))
    return changed


# What they answer


@pytest.mark.parametrize(
    "parameters",
    [
        {"objective": "regression"},
        {"objective": "regression", "linear_tree": True},
        {"objective": "regression", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
        {"objective": "regression", "min_data_in_leaf": 1000},
    ],
)
def test_lightgbm_predicts_what_the_library_predicts(tmp_path: Path, parameters: dict[str, Any]) -> None:
    table_models.write_lightgbm(tmp_path, **parameters)
    own = np.asarray(lightgbm.Booster(model_file=tmp_path / "model.txt").predict(table(50, 3)))
    found = answers(loaded_lightgbm(tmp_path), table(50, 3))
    assert found.keys() == {"prediction"}
    np.testing.assert_allclose(found["prediction"], own, rtol=1e-12)


def test_an_objective_of_ones_own_gives_all_its_numbers(tmp_path: Path) -> None:
    def squares(found: np.ndarray, data: lightgbm.Dataset) -> tuple[np.ndarray, np.ndarray]:
        return found - np.asarray(data.get_label()).reshape(-1, 1), np.ones_like(found)

    table_models.write_lightgbm(tmp_path, objective=squares, num_class=3)
    own = np.asarray(lightgbm.Booster(model_file=tmp_path / "model.txt").predict(table(50, 3)))
    backend = loaded_lightgbm(tmp_path)
    assert backend.signature.outputs == (TensorSpec("prediction", "FP64", (-1, 3)),)
    np.testing.assert_allclose(answers(backend, table(50, 3))["prediction"], own, rtol=1e-12)


def test_lightgbm_splits_by_category(tmp_path: Path) -> None:
    rows = with_categories(table(400))
    data = lightgbm.Dataset(rows, rows[:, 1] % 4 > 1, categorical_feature=[1])
    booster = lightgbm.train({"objective": "binary", "verbose": -1, "min_data_in_leaf": 5}, data, 5)
    booster.save_model(tmp_path / "model.txt")
    backend = loaded_lightgbm(tmp_path, labels=("odd", "even"))
    found = answers(backend, rows)
    own = np.asarray(booster.predict(rows))
    np.testing.assert_allclose(found["probabilities"], np.stack((1 - own, own), axis=1), rtol=1e-12)
    assert found["label"] == ["even" if probability > 0.5 else "odd" for probability in own]
    assert backend.signature.labels == {"probabilities": ("odd", "even")}


def test_classes_without_names_are_numbers(tmp_path: Path) -> None:
    table_models.write_lightgbm(tmp_path, objective="multiclass", num_class=3)
    own = np.asarray(lightgbm.Booster(model_file=tmp_path / "model.txt").predict(table(20, 3)))
    found = answers(loaded_lightgbm(tmp_path), table(20, 3))
    np.testing.assert_allclose(found["probabilities"], own, rtol=1e-12)
    assert found["label"] == [str(place) for place in own.argmax(axis=1)]


@pytest.mark.parametrize("name", ["model.json", "model.ubj"])
@pytest.mark.parametrize("objective", ["reg:squarederror", "binary:logistic", "multi:softprob", "multi:softmax"])
def test_xgboost_predicts_what_the_library_predicts(tmp_path: Path, name: str, objective: str) -> None:
    classes = {"num_class": 3} if objective.startswith("multi") else {}
    table_models.write_xgboost(tmp_path, name, objective=objective, **classes)
    own = xgboost.Booster({"nthread": 1}, model_file=tmp_path / name)
    own.set_param({"objective": objective.replace("softmax", "softprob")})
    expected = own.predict(xgboost.DMatrix(table(50, 3)))
    found = answers(loaded_xgboost(tmp_path), table(50, 3))
    given = found["prediction"] if "prediction" in found else found["probabilities"]
    wanted = np.stack((1 - expected, expected), axis=1) if objective.startswith("binary") else expected
    np.testing.assert_allclose(given, wanted, rtol=1e-5, atol=1e-6)


def test_xgboost_splits_by_category(tmp_path: Path) -> None:
    rows = with_categories(table(400))
    types = ["q", "c", "q", "q", "q"]
    data = xgboost.DMatrix(rows, rows[:, 1] % 4 > 1, feature_types=types, enable_categorical=True)
    booster = xgboost.train({"objective": "binary:logistic", "tree_method": "hist", "nthread": 1}, data, 5)
    booster.save_model(tmp_path / "model.ubj")
    found = answers(loaded_xgboost(tmp_path), rows)
    np.testing.assert_allclose(found["probabilities"][:, 1], booster.predict(data), rtol=1e-5)


def test_labels_must_be_as_many_as_classes(tmp_path: Path) -> None:
    table_models.write_xgboost(tmp_path)
    with pytest.raises(Invalid, match="tells 2 classes apart"):
        loaded_xgboost(tmp_path, labels=("a", "b", "c"))


def test_numbers_have_no_labels(tmp_path: Path) -> None:
    table_models.write_lightgbm(tmp_path, objective="regression")
    with pytest.raises(Invalid, match="regression has no classes"):
        loaded_lightgbm(tmp_path, labels=("a", "b"))


def test_the_order_of_the_columns_is_told_where_they_have_names(tmp_path: Path) -> None:
    names = ["age", "income", "a", "b", "c"]
    rows = table(200)
    lightgbm.train(
        {"objective": "regression", "verbose": -1}, lightgbm.Dataset(rows, rows[:, 2] > 0, feature_name=names), 2
    ).save_model(tmp_path / "model.txt")
    data = xgboost.DMatrix(rows, np.nan_to_num(rows[:, 2]), feature_names=names)
    for booster in ("gbtree", "dart"):
        xgboost.train({"booster": booster, "nthread": 1}, data, 2).save_model(tmp_path / f"{booster}.json")
    backends = [
        loaded_lightgbm(tmp_path),
        loaded_xgboost(tmp_path, file="gbtree.json"),
        loaded_xgboost(tmp_path, file="dart.json"),
    ]
    for backend in backends:
        assert backend.signature.notes == ("columns: age, income, a, b, c",)
        assert len(answers(backend, rows)["prediction"]) == len(rows)
    table_models.write_lightgbm(tmp_path)
    assert loaded_lightgbm(tmp_path).signature.notes == ()


# Which file is taken


def test_other_files_beside_the_model_do_not_matter(tmp_path: Path) -> None:
    table_models.write_lightgbm(tmp_path, "booster.txt")
    (tmp_path / "README.txt").write_text("a tree grows here")
    (tmp_path / "config.json").write_text("{}")
    assert loaded_lightgbm(tmp_path).signature.inputs[0].shape == (-1, COLUMNS)
    with pytest.raises(Invalid, match=r"no \.ubj or \.json is a model"):
        loaded_xgboost(tmp_path)


def test_of_several_models_one_is_chosen(tmp_path: Path) -> None:
    table_models.write_xgboost(tmp_path, "a.ubj")
    table_models.write_xgboost(tmp_path, "b.json")
    with pytest.raises(Invalid, match=r"choose one: a\.ubj, b\.json"):
        loaded_xgboost(tmp_path)
    assert loaded_xgboost(tmp_path, file="b.json").signature.platform == "xgboost"


def test_a_path_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    table_models.write_lightgbm(tmp_path)
    (tmp_path / "inner").mkdir()
    with pytest.raises(Invalid, match="leads out"):
        loaded_lightgbm(tmp_path / "inner", file="../model.txt")


# What is refused


def spoil(pattern: str, replacement: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        changed = re.sub(pattern, replacement, text, count=1)
        assert changed != text
        return resized(changed)

    return change


def resized(text: str) -> str:
    """The text with tree_sizes as they are now, so that it is refused for something else."""
    body = text[text.index("Tree=0") : text.index("end of trees")]
    sizes = " ".join(str(len(tree)) for tree in re.split(r"(?=Tree=\d)", body) if tree)
    return re.sub(r"tree_sizes=.*", f"tree_sizes={sizes}", text)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text[: len(text) // 2], "is cut off"),
        (lambda text: text[:200], "its head has no end"),
        (lambda text: re.sub(r"tree_sizes=\d+", "tree_sizes=999999999", text), "is cut off"),
        (spoil(r"max_feature_idx=\d+", "max_feature_idx=99999999999"), "max_feature_idx must be"),
        (spoil(r"max_feature_idx=\d+", "max_feature_idx=0"), "names a column that is not there"),
        (spoil(r"num_tree_per_iteration=1", "num_tree_per_iteration=7"), "does not fit"),
        (spoil(r"num_leaves=\d+", "num_leaves=9999999"), "leaf_value has"),
        (spoil(r"num_leaves=\d+", "num_leaves=-1"), "num_leaves must be"),
        (spoil(r"left_child=-?\d+", "left_child=99"), "a child is a node that is not there"),
        (spoil(r"left_child=-?\d+", "left_child=-99"), "a child is a node that is not there"),
        (spoil(r"left_child=-?\d+", "left_child=0"), "one before its parent"),
        (spoil(r"leaf_value=-?[0-9.]+", "leaf_value=0x12"), "no number that belongs there"),
        (spoil(r"split_feature=\d+", "split_feature=-3"), "names a column that is not there"),
        (spoil(r"decision_type=\d+", "decision_type=1"), "a set of categories that is not there"),
        (spoil(r"objective=binary.*", "objective=multiclass num_class:900"), "does not fit"),
        (spoil(r"objective=binary.*", "objective=../../x"), "none that the library writes"),
        (spoil(r"num_cat=0", "num_cat=0\nnum_cat=5"), "is there twice"),
    ],
)
def test_broken_files_of_lightgbm_are_refused(tmp_path: Path, change: Callable[[str], str], reason: str) -> None:
    table_models.write_lightgbm(tmp_path)
    path = tmp_path / "model.txt"
    path.write_text(change(path.read_text()))
    with pytest.raises(Invalid, match=reason) as refused:
        loaded_lightgbm(tmp_path)
    assert refused.value.message.startswith("model.txt: ")
    assert str(tmp_path) not in refused.value.message


def tree_of(model: dict[str, Any]) -> dict[str, Any]:
    return model["learner"]["gradient_booster"]["model"]["trees"][0]


def param_of(model: dict[str, Any]) -> dict[str, Any]:
    return model["learner"]["learner_model_param"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda model: tree_of(model)["tree_param"].update(num_nodes="2000000000"), "base_weights has"),
        (lambda model: tree_of(model)["tree_param"].update(num_nodes="99999999999999"), "must be a whole number"),
        (lambda model: tree_of(model)["tree_param"].update(size_leaf_vector="1000000"), "leaves that hold several"),
        (lambda model: tree_of(model)["left_children"].__setitem__(0, 10**6), "a child that is not there"),
        (lambda model: tree_of(model)["left_children"].__setitem__(0, -5), "a child that is not there"),
        (lambda model: tree_of(model)["right_children"].__setitem__(2, 1), "has another parent"),
        (lambda model: tree_of(model)["split_indices"].__setitem__(0, 99), "a column that is not there"),
        (lambda model: tree_of(model)["parents"].__setitem__(0, 1), "its root has a parent"),
        (lambda model: tree_of(model)["split_type"].__setitem__(0, 1), "does not fit split_type"),
        (lambda model: tree_of(model).pop("parents"), "missing required field"),
        (lambda model: param_of(model).update(num_feature="4000000000"), "num_feature must be"),
        (lambda model: param_of(model).update(num_class="5", base_score="0"), "has 3 classes, the learner 5"),
        (lambda model: param_of(model).update(base_score="[1,2]"), "base_score"),
        (lambda model: model["learner"]["gradient_booster"].update(name="gbother"), "is not supported"),
        (lambda model: model["learner"]["gradient_booster"]["model"]["tree_info"].__setitem__(0, 9), "tree_info"),
    ],
)
def test_broken_files_of_xgboost_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    table_models.write_xgboost(tmp_path, "model.json", objective="multi:softprob", num_class=3)
    path = tmp_path / "model.json"
    model = json.loads(path.read_text())
    change(model)
    path.write_text(json.dumps(model))
    with pytest.raises(Invalid, match=reason) as refused:
        loaded_xgboost(tmp_path)
    assert refused.value.message.startswith("model.json: ")


@pytest.mark.parametrize("name", ["model.json", "model.ubj"])
def test_a_file_of_xgboost_that_is_cut_off_is_refused(tmp_path: Path, name: str) -> None:
    table_models.write_xgboost(tmp_path, name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(Invalid, match=name.replace(".", r"\.")):
        loaded_xgboost(tmp_path)


def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    table_models.write_xgboost(tmp_path, "model.json")
    path = tmp_path / "model.json"
    path.write_text(path.read_text().replace('"left_children":', '"left_children":[],"left_children":', 1))
    with pytest.raises(Invalid, match="is there twice"):
        loaded_xgboost(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cut off"),
        (b"{L" + bytes(7) + b"\x01aS", "cut off"),
        (b"[$d#L" + b"\x7f" * 8, "cannot be"),
        (b"[$d#l\xff\xff\xff\xff", "cannot be"),
        (b"[$T#i\x01", "is not supported"),
        (b"[$di\x01", "a type and no count"),
        (b"[" * 100, "deep"),
        (b"[#i\x02TF?", "follow the end"),
        (b"?", "no value that begins"),
        (b"Si\x01\xff", "not UTF-8"),
        (b"{i\x01aTi\x01aF}", "is there twice"),
    ],
)
def test_binary_json_that_is_none_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        ubjson.decode(content)


def test_binary_json_is_read() -> None:
    content = b"{i\x01a[i\x01Zd?\x80\x00\x00]i\x01b[$l#i\x02\x00\x00\x00\x01\xff\xff\xff\xffi\x01cSi\x02hi}"
    assert ubjson.decode(content) == {"a": [1, None, 1.0], "b": [1, -1], "c": "hi"}
