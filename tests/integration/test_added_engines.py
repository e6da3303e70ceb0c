"""Boosters, estimators and translators of the engines' own formats, added to a project: checked, served, or refused."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conformance import ctranslate2_models, table_models
from tests.conftest import Serve
from tests.integration.test_refused_models import add, write
from tests.support.server import Key, Polyforge
from tests.support.settings import solo
from tests.support.waiting import eventually

READY_SECONDS = 60.0
FOREST = {"options": {"trusted": ["sklearn.tree._tree.Tree"]}}


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
    return site.create_key(scopes=["models:read", "models:write", "inference"])


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def forest(folder: Path) -> Path:
    return table_models.write_skops(made(folder), table_models.sklearn_forest())


def infer(site: Polyforge, key: Key, model: str, tensor: dict[str, Any]) -> dict[str, list[Any]]:
    """The outputs by name, once the model answers."""

    def ask() -> dict[str, list[Any]] | None:
        answer = site.call(f"/v2/models/{model}/infer", key=key.key, json={"inputs": [tensor]})
        return {each["name"]: each["data"] for each in answer.json["outputs"]} if answer.status == 200 else None

    found = eventually(ask, f"{model} answers", READY_SECONDS)
    assert found is not None
    return found


def test_a_booster_answers_under_its_name(site: Polyforge, key: Key, models: Path) -> None:
    folder = table_models.write_lightgbm(made(models / "churn"), "booster.txt")
    added = add(site, key, "churn", folder, configuration={"options": {"labels": ["stays", "goes"]}})
    assert (added["state"], added["error"]) == ("done", "")
    version = site.call("/api/v1/models/churn/versions", method="GET", key=key.key).json["data"][0]
    assert (version["card"]["backend"], version["card"]["task"]) == ("lightgbm", "tabular_prediction")
    row = np.nan_to_num(table_models.table(1))
    data = {"name": "features", "datatype": "FP64", "shape": list(row.shape), "data": row.reshape(-1).tolist()}
    found = infer(site, key, "churn", data)
    own = float(np.asarray(table_models.lightgbm_booster().predict(row))[0])
    np.testing.assert_allclose(found["probabilities"], [1 - own, own], rtol=1e-9)
    assert found["label"] == ["goes" if own > 0.5 else "stays"]


def test_a_translator_answers_under_its_name(site: Polyforge, key: Key, models: Path) -> None:
    added = add(site, key, "translate", ctranslate2_models.write_translator(models / "translate"))
    assert (added["state"], added["error"]) == ("done", "")
    found = infer(site, key, "translate", {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["red green"]})
    assert found.keys() == {"translation", "tokens", "generated_tokens"}


def test_a_forest_is_added_when_its_trees_are_declared(site: Polyforge, key: Key, models: Path) -> None:
    folder = forest(models / "forest")
    refused = add(site, key, "forest", folder)
    assert refused["state"] == "failed"
    assert "not trusted: sklearn.tree._tree.Tree" in refused["error"]
    added = add(site, key, "forest", folder, configuration=FOREST)
    assert (added["state"], added["error"]) == ("done", "")


def cut_booster(folder: Path) -> Path:
    path = table_models.write_lightgbm(made(folder)) / "model.txt"
    path.write_bytes(path.read_bytes()[:-3000])
    return folder


def absurd_booster(folder: Path) -> Path:
    path = table_models.write_xgboost(made(folder), "model.json") / "model.json"
    model = json.loads(path.read_text())
    model["learner"]["learner_model_param"]["num_feature"] = str(2**40)
    path.write_text(json.dumps(model))
    return folder


def astray_booster(folder: Path) -> Path:
    """A tree that leads far out of its arrays."""
    path = table_models.write_xgboost(made(folder), "model.json") / "model.json"
    model = json.loads(path.read_text())
    model["learner"]["gradient_booster"]["model"]["trees"][0]["left_children"][0] = 2**30
    path.write_text(json.dumps(model))
    return folder


def cut_translator(folder: Path) -> Path:
    path = ctranslate2_models.write_translator(folder) / "model.bin"
    path.write_bytes(path.read_bytes()[:-1])
    return folder


CASES: dict[str, tuple[Callable[[Path], Path], dict[str, Any], str]] = {
    "pickle": (lambda folder: write(folder, model__skops=pickle.dumps({"a": 1})), {}, "pickle"),
    "cut-booster": (cut_booster, {}, "model.txt: "),
    "absurd-booster": (absurd_booster, {}, "num_feature must be"),
    "astray-booster": (astray_booster, {}, "a child that is not there"),
    "cut-translator": (cut_translator, {}, "model.bin: "),
    "declared-code": (forest, {"options": {"trusted": ["os.system"]}}, "no class of scikit-learn"),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_with_the_reason(site: Polyforge, key: Key, models: Path, name: str) -> None:
    make, configuration, reason = CASES[name]
    found = add(site, key, name, make(models / name), configuration=configuration)
    assert (found["state"], found["version"]) == ("failed", None)
    assert reason in found["error"], found["error"]
    assert str(models) not in found["error"]
