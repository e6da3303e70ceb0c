"""Every backend for models of tables against the suite of its port."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from polyforge.adapters.model_backends.isolated import Isolated
from polyforge.adapters.model_backends.lightgbm import LightGbm
from polyforge.adapters.model_backends.lightgbm import Settings as LightGbmSettings
from polyforge.adapters.model_backends.skops import Settings as SkopsSettings
from polyforge.adapters.model_backends.skops import Skops
from polyforge.adapters.model_backends.xgboost import Settings as XgBoostSettings
from polyforge.adapters.model_backends.xgboost import XgBoost
from polyforge.kernel.tensors import Datatype, Tensor
from polyforge.ports.model_backend import ModelBackend, ModelRequest
from polyforge.serving.hints import EngineHints
from polyforge.wiring.engines import engine_for
from tests.conformance import table_models
from tests.conformance.model_backends import ModelBackendSuite, outputs_of
from tests.conformance.test_model_backends import broken, texts_request


def features_request(rows: np.ndarray, datatype: Datatype) -> ModelRequest:
    array = np.ascontiguousarray(rows, "<f4" if datatype == "FP32" else "<f8")
    return ModelRequest({"features": Tensor("features", datatype, array.shape, array.tobytes())}, {})


class TableSuite(ModelBackendSuite):
    """Requests of one row, of many and of none."""

    datatype: Datatype = "FP64"

    @pytest.fixture
    def requests(self) -> list[ModelRequest]:
        sizes = (1, 3, 1, 70, 2, 0, 1)
        return [features_request(table_models.table(size, seed), self.datatype) for seed, size in enumerate(sizes)]

    @pytest.fixture
    def wrong(self) -> ModelRequest:
        return features_request(np.zeros((2, table_models.COLUMNS + 1)), self.datatype)


class TestLightGbm(TableSuite):
    """A booster for two classes."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[], ModelBackend]:
        folder = table_models.write_lightgbm(tmp_path)
        return lambda: LightGbm(LightGbmSettings(folder=folder))


class TestLightGbmClasses(TableSuite):
    """A booster for four classes."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[], ModelBackend]:
        folder = table_models.write_lightgbm(tmp_path, objective="multiclass", num_class=4)
        return lambda: LightGbm(LightGbmSettings(folder=folder, labels=("a", "b", "c", "d")))


class TestLightGbmLinear(TableSuite):
    """A booster for a number, with linear leaves."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[], ModelBackend]:
        folder = table_models.write_lightgbm(tmp_path, objective="regression", linear_tree=True)
        return lambda: LightGbm(LightGbmSettings(folder=folder))


class TestXgBoost(TableSuite):
    """A booster for two classes."""

    datatype = "FP32"

    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[], ModelBackend]:
        folder = table_models.write_xgboost(tmp_path)
        return lambda: XgBoost(XgBoostSettings(folder=folder))


class TestXgBoostClasses(TestXgBoost):
    """A booster that would only name the class."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[], ModelBackend]:
        folder = table_models.write_xgboost(tmp_path, "booster.json", objective="multi:softmax", num_class=4)
        return lambda: XgBoost(XgBoostSettings(folder=folder, labels=("a", "b", "c", "d")))


class TestXgBoostDropout(TestXgBoost):
    """A booster of trees with dropout, which may not be asked from several threads."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[], ModelBackend]:
        folder = table_models.write_xgboost(tmp_path, booster="dart", rate_drop=0.5, objective="reg:squarederror")
        return lambda: XgBoost(XgBoostSettings(folder=folder))


class TestXgBoostLinear(TestXgBoost):
    """A booster of weights."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[], ModelBackend]:
        folder = table_models.write_xgboost(
            tmp_path, "linear.json", booster="gblinear", objective="multi:softprob", num_class=3
        )
        return lambda: XgBoost(XgBoostSettings(folder=folder))


class TestSkops(TableSuite):
    """A pipeline for three classes."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[], ModelBackend]:
        folder = table_models.write_skops(tmp_path, table_models.sklearn_classifier())
        return lambda: Skops(SkopsSettings(folder=folder, trusted=("numpy.dtype",)))


def test_the_host_runs_skops_in_a_process_of_its_own_though_nobody_asked(tmp_path: Path) -> None:
    folder = table_models.write_skops(tmp_path, table_models.sklearn_classifier())
    backend = engine_for(folder, EngineHints(settings={"trusted": ["numpy.dtype"]}))
    assert isinstance(backend, Isolated)
    backend.load()
    try:
        assert backend.signature.labels == {"probabilities": ("blue", "green", "red")}
        (answer,) = backend.run([features_request(table_models.table(3), "FP64")])
        assert outputs_of(answer)["label"].shape == (3,)
    finally:
        backend.close()


class TestSkopsForest(TableSuite):
    """A forest for numbers, whose trees are declared."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[], ModelBackend]:
        folder = table_models.write_skops(tmp_path, table_models.sklearn_forest())
        return lambda: Skops(SkopsSettings(folder=folder, trusted=("sklearn.tree._tree.Tree",)))


class TestSkopsTexts(ModelBackendSuite):
    """A pipeline that begins with words."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[], ModelBackend]:
        folder = table_models.write_skops(tmp_path, table_models.sklearn_texts())
        return lambda: Skops(SkopsSettings(folder=folder))

    @pytest.fixture
    def requests(self) -> list[ModelRequest]:
        return [texts_request("a red thing"), texts_request("green", "", "red green " * 90), texts_request("x")]

    @pytest.fixture
    def wrong(self) -> ModelRequest:
        return broken(texts_request("red"))
