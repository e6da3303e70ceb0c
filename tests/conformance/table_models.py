"""Tiny models of tables, trained where they are needed."""

from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import skops.io
import xgboost
from sklearn.ensemble import RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

COLUMNS = 5


def table(rows: int, seed: int = 0) -> np.ndarray:
    """Numbers, some of them missing."""
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((rows, COLUMNS))
    values[generator.random(values.shape) < 0.05] = np.nan
    return values


def classes(rows: np.ndarray, count: int) -> np.ndarray:
    """A class of each row that can be learnt."""
    return (np.nan_to_num(rows[:, 0]) * 2 + np.nan_to_num(rows[:, 1]) ** 2).astype(int) % count


def lightgbm_booster(**parameters: Any) -> lightgbm.Booster:
    """A booster for two classes, or for what the parameters say."""
    rows = table(300)
    count = parameters.get("num_class", 2)
    target = classes(rows, count) if "regression" not in str(parameters.get("objective")) else rows[:, 2:3].sum(axis=1)
    wanted = {"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_in_leaf": 5, **parameters}
    data = lightgbm.Dataset(rows, np.nan_to_num(target))
    return lightgbm.train(wanted, data, 8)


def write_lightgbm(folder: Path, name: str = "model.txt", **parameters: Any) -> Path:
    """A booster in LightGBM's text format."""
    lightgbm_booster(**parameters).save_model(folder / name)
    return folder


def xgboost_booster(**parameters: Any) -> xgboost.Booster:
    """A booster for two classes, or for what the parameters say."""
    rows = table(300)
    count = parameters.get("num_class", 2)
    target = classes(rows, count) if "reg:" not in str(parameters.get("objective")) else np.nan_to_num(rows[:, 2])
    wanted = {"objective": "binary:logistic", "nthread": 1, "max_depth": 4, **parameters}
    return xgboost.train(wanted, xgboost.DMatrix(rows, target), 6)


def write_xgboost(folder: Path, name: str = "model.ubj", **parameters: Any) -> Path:
    """A booster in the format that the name's ending says."""
    xgboost_booster(**parameters).save_model(folder / name)
    return folder


def sklearn_classifier(**parameters: Any) -> Any:
    """A pipeline for three classes."""
    rows = table(200)
    steps = SimpleImputer(), StandardScaler(), LogisticRegression(**parameters)
    return make_pipeline(*steps).fit(rows, np.array(["red", "green", "blue"])[classes(rows, 3)])


def sklearn_forest() -> Any:
    """A forest for numbers."""
    rows = table(200)
    return RandomForestRegressor(8, max_depth=5, n_jobs=-1, random_state=0).fit(rows, np.nan_to_num(rows[:, 2]))


def sklearn_texts() -> Any:
    """A pipeline for texts of two classes."""
    texts = ["red apple", "green grass", "red rose", "green leaf", "red", "green"]
    return make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [1, 0] * 3)


def write_skops(folder: Path, model: Any, name: str = "model.skops") -> Path:
    """A model in skops' format."""
    skops.io.dump(model, folder / name)
    return folder
