"""Models of scikit-learn in skops' format: what they answer, and what is refused."""

import io
import json
import pickle
import warnings
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import LinearSVC

from polyforge.adapters.model_backends.engine.sklearn_trees import check_trees
from polyforge.adapters.model_backends.skops import Settings, Skops
from polyforge.kernel.errors import Invalid
from polyforge.kernel.tensors import TensorSpec
from tests.conformance import table_models
from tests.conformance.table_models import classes
from tests.unit.adapters.test_boosters import answers

TREE = "sklearn.tree._tree.Tree"
PREDICTOR = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
ROWS = np.nan_to_num(table_models.table(120))
CLASSES = classes(ROWS, 3)


def loaded(folder: Path, **settings: Any) -> Skops:
    backend = Skops(Settings(folder=folder, **settings))
    backend.load()
    return backend


def written(folder: Path, model: Any) -> Path:
    return table_models.write_skops(folder, model)


# What they answer


def test_classes_have_probabilities_and_names(tmp_path: Path) -> None:
    model = table_models.sklearn_classifier()
    backend = loaded(written(tmp_path, model), trusted=("numpy.dtype",))
    found = answers(backend, ROWS)
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(ROWS), rtol=1e-12)
    assert found["label"] == model.predict(ROWS).tolist()
    assert backend.signature.labels == {"probabilities": ("blue", "green", "red")}
    assert backend.signature.batch_rows > 1


def test_forests_are_computed_when_their_trees_are_declared(tmp_path: Path) -> None:
    model = table_models.sklearn_forest()
    written(tmp_path, model)
    with pytest.raises(Invalid, match=rf"not trusted: {TREE}") as refused:
        loaded(tmp_path)
    assert refused.value.param == "trusted"
    found = answers(loaded(tmp_path, trusted=(TREE,)), ROWS)
    np.testing.assert_allclose(found["prediction"], model.predict(ROWS), rtol=1e-12)


def test_boosted_trees_are_computed_when_they_are_declared(tmp_path: Path) -> None:
    model = HistGradientBoostingClassifier(max_iter=5).fit(ROWS, CLASSES)
    found = answers(loaded(written(tmp_path, model), trusted=(PREDICTOR,)), ROWS)
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(ROWS), rtol=1e-12)


def test_classifiers_without_probabilities_give_labels(tmp_path: Path) -> None:
    model = LinearSVC().fit(ROWS, CLASSES)
    assert answers(loaded(written(tmp_path, model)), ROWS) == {"label": [str(name) for name in model.predict(ROWS)]}


def test_several_numbers_per_row(tmp_path: Path) -> None:
    model = LinearRegression().fit(ROWS, ROWS[:, :2])
    backend = loaded(written(tmp_path, model))
    assert backend.signature.outputs == (TensorSpec("prediction", "FP64", (-1, 2)),)
    np.testing.assert_allclose(answers(backend, ROWS)["prediction"], model.predict(ROWS), rtol=1e-9)


def test_clusters_are_whole_numbers(tmp_path: Path) -> None:
    model = KMeans(3, random_state=0).fit(ROWS)
    assert loaded(written(tmp_path, model)).signature.outputs == (TensorSpec("prediction", "INT64", (-1,)),)


def test_what_only_transforms_gives_vectors(tmp_path: Path) -> None:
    model = PCA(2).fit(ROWS)
    found = answers(loaded(written(tmp_path, model)), ROWS)
    np.testing.assert_allclose(found["vector"], model.transform(ROWS), rtol=1e-9, atol=1e-12)


# What is refused


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return print, ("gotcha",)


def test_a_pickle_by_another_name_is_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.skops").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(Invalid, match="a pickle by another name"):
        loaded(tmp_path)
    assert "gotcha" not in capsys.readouterr().out


def test_types_outside_scikit_learn_cannot_be_declared(tmp_path: Path) -> None:
    model = make_pipeline(FunctionTransformer(np.save), LinearRegression().fit(ROWS, ROWS[:, 0]))
    written(tmp_path, model)
    with pytest.raises(Invalid, match=r"not trusted: numpy\.save"):
        loaded(tmp_path)
    for name in ("numpy.save", "os.system", "builtins.eval", "sklearnish.X", "sklearn"):
        with pytest.raises(Invalid, match=r"no class of scikit-learn|there is no class"):
            loaded(tmp_path, trusted=(name,))


def test_functions_of_scikit_learn_cannot_be_declared(tmp_path: Path) -> None:
    written(tmp_path, table_models.sklearn_classifier())
    with pytest.raises(Invalid, match="there is no class"):
        loaded(tmp_path, trusted=("sklearn.datasets._base.load_files",))


def test_a_schema_that_names_a_function_to_call_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, table_models.sklearn_classifier()) / "model.skops"
    node = {
        "__class__": "partial",
        "__module__": "functools",
        "__loader__": "PartialNode",
        "content": {
            "func": {"__class__": "system", "__module__": "posix", "__loader__": "FunctionNode"},
            "args": {"__class__": "tuple", "__module__": "builtins", "__loader__": "TupleNode", "content": []},
            "kwds": {"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode", "content": "{}"},
            "namespace": {"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode", "content": "null"},
        },
    }
    with ZipFile(path) as archive:
        schema = json.loads(archive.read("schema.json"))
    with ZipFile(path, "w") as archive:
        archive.writestr("schema.json", json.dumps({**schema, **node}))
    with pytest.raises(Invalid, match=r"not trusted: .*posix\.system"):
        loaded(tmp_path)


def test_files_that_are_cut_off_or_empty_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, table_models.sklearn_classifier()) / "model.skops"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(Invalid, match="no whole zip file"):
        loaded(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(Invalid, match="no skops file"):
        loaded(tmp_path)


def test_zip_bombs_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with ZipFile(packed, "w", ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", b"{}")
    content = bytearray(packed.getvalue())
    # The size in the central directory: 2 GiB and a bit.
    at = content.index(b"PK\x01\x02") + 24
    content[at : at + 4] = (0x80000001).to_bytes(4, "little")
    (tmp_path / "model.skops").write_bytes(bytes(content))
    with pytest.raises(Invalid, match="unpacks to more than"):
        loaded(tmp_path)


def test_what_is_no_estimator_is_refused(tmp_path: Path) -> None:
    written(tmp_path, {"not": "a model"})
    with pytest.raises(Invalid, match="no whole estimator"):
        loaded(tmp_path)


def test_a_model_that_does_not_know_its_columns_needs_to_be_told(tmp_path: Path) -> None:
    model = FunctionTransformer()
    written(tmp_path, model)
    with pytest.raises(Invalid, match="set `columns`"):
        loaded(tmp_path)
    assert loaded(tmp_path, columns=4).signature.inputs == (TensorSpec("features", "FP64", (-1, 4)),)


def test_trees_that_lead_nowhere_are_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        forest = RandomForestClassifier(3, max_depth=3, random_state=0).fit(ROWS, CLASSES)
    check_trees(forest)
    forest.n_features_in_ = 1
    with pytest.raises(Invalid, match="a column that is not there"):
        check_trees(forest)
    boosted = HistGradientBoostingClassifier(max_iter=2).fit(ROWS, CLASSES)
    check_trees(boosted)
    nodes = boosted._predictors[0][0].nodes
    nodes["left"][0] = 10**6
    with pytest.raises(Invalid, match="a child that is not there"):
        check_trees({"a": [boosted]})
