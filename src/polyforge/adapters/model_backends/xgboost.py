"""Boosters of XGBoost in its own formats, JSON and Universal Binary JSON (`booster.save_model("model.ubj")`).

The file is read by us before the library sees it, which follows its indices unchecked. The library lets go of the GIL
while it computes; each run has one thread, since several runs share the cores.
"""

import os
from threading import Lock
from typing import Any, cast

# Its threads would fight those of the runs beside it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import xgboost  # pyright: ignore[reportMissingTypeStubs]  # it has none

from polyforge.adapters.model_backends.engine.arrays import Array
from polyforge.adapters.model_backends.engine.booster import BoosterModel, Shape
from polyforge.adapters.model_backends.engine.files import read_model
from polyforge.adapters.model_backends.engine.table import FEATURES, LabelledSettings
from polyforge.dialects.xgboost_model import BoosterFacts, check_booster, looks_right
from polyforge.kernel.errors import Invalid

MAX_BYTES = 1 << 28
_SOFTMAX = "multi:softmax"
_SOFTPROB = "multi:softprob"

Settings = LabelledSettings
_xgboost = cast(Any, xgboost)


class XgBoost(BoosterModel):
    """One booster: FP32 `features` [n, columns], NaN where a value is missing.

    Of classes it gives FP32 `probabilities` [n, k] and BYTES `label` [n], the likeliest, which the signature's `labels`
    names: by the settings, else by number. Other objectives give FP32 `prediction` [n], or [n, t] for several targets.
    """

    platform = "xgboost"
    datatype = "FP32"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._kind = ""
        self._dart = Lock()

    def _open(self) -> Shape:
        name, content = read_model(
            self._settings.folder, self._settings.file, (".ubj", ".json"), looks_right, MAX_BYTES
        )
        try:
            facts = check_booster(content)
        except Invalid as error:
            raise Invalid(f"{name}: {error.message}") from error
        try:
            booster = _xgboost.Booster({"nthread": 1, "verbosity": 0}, model_file=bytearray(content))
            booster.set_param({"nthread": 1, "device": "cpu"})
            if facts.objective == _SOFTMAX:
                # The same numbers before they are thrown away.
                booster.set_param({"objective": _SOFTPROB})
        except _xgboost.core.XGBoostError as error:
            raise Invalid(f"{name}: {_reason(error)}") from error
        self._booster, self._kind = booster, facts.booster
        return Shape(facts.columns, facts.groups, _classes(facts), facts.objective, facts.names)

    def _predicted(self, table: Array) -> Array:
        try:
            if self._kind == "gbtree":
                return self._booster.inplace_predict(table)
            # Only trees without dropout may be asked from several threads at once, and without a matrix of its own.
            with self._dart:
                return self._booster.predict(_xgboost.DMatrix(table, nthread=1), validate_features=False)
        except (_xgboost.core.XGBoostError, ValueError) as error:
            raise Invalid(f"the model cannot compute these inputs: {_reason(error)}", param=FEATURES) from error


def _classes(facts: BoosterFacts) -> int:
    if facts.objective == "binary:logistic" and facts.groups == 1:
        return 2
    return facts.groups if facts.objective in (_SOFTMAX, _SOFTPROB) else 0


def _reason(error: Exception) -> str:
    """What the library says, without its stack and its source files."""
    line = str(error).partition("\nStack trace")[0].strip()
    return line.rpartition("] ")[2][:300] or type(error).__name__


ADAPTER = XgBoost
