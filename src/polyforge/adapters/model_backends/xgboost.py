"""Boosters of XGBoost in its own formats, JSON and Universal Binary JSON (`booster.save_model("model.ubj")`).

The file is read by us before the library sees it, which follows its indices unchecked. The library lets go of the GIL
while it computes; each run has one thread, since several runs share the cores.
"""

import os
from collections.abc import Sequence
from threading import Lock
from typing import Any, cast

# Its threads would fight those of the runs beside it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import xgboost  # pyright: ignore[reportMissingTypeStubs]  # it has none

from polyforge.adapters.model_backends.engine.arrays import Array
from polyforge.adapters.model_backends.engine.files import read_model
from polyforge.adapters.model_backends.engine.table import (
    FEATURES,
    LABEL,
    PREDICTION,
    PROBABILITIES,
    LabelledSettings,
    answer_tables,
    brief_bytes,
    class_names,
    columns_note,
    likeliest,
)
from polyforge.dialects.xgboost_model import BoosterFacts, check_booster, looks_right
from polyforge.kernel.errors import Invalid, PolyforgeError
from polyforge.kernel.tensors import TensorSpec
from polyforge.ports.model_backend import ModelRequest, Outputs, Signature

PLATFORM = "xgboost"
MAX_BYTES = 1 << 28
_SOFTMAX = "multi:softmax"
_SOFTPROB = "multi:softprob"

Settings = LabelledSettings
_xgboost = cast(Any, xgboost)


class XgBoost:
    """One booster: FP32 `features` [n, columns], NaN where a value is missing.

    Of classes it gives FP32 `probabilities` [n, k] and BYTES `label` [n], the likeliest, which the signature's `labels`
    names: by the settings, else by number. Other objectives give FP32 `prediction` [n], or [n, t] for several targets.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._booster: Any = None
        self._facts = BoosterFacts(0, 1, "", "")
        self._names: tuple[str, ...] = ()
        self._brief_bytes = 0
        self._dart = Lock()

    @property
    def signature(self) -> Signature:
        """What the model takes and gives; only after `load`."""
        return Signature(
            platform=PLATFORM,
            inputs=(self._given,),
            outputs=self._outputs,
            batch_rows=self._settings.batch_rows,
            brief_bytes=self._brief_bytes,
            labels={PROBABILITIES: self._names} if self._names else {},
            notes=columns_note(self._facts.names),
        )

    def load(self) -> None:
        """Check the file and read it; Invalid says what is wrong with it."""
        name, content = read_model(
            self._settings.folder, self._settings.file, (".ubj", ".json"), looks_right, MAX_BYTES
        )
        try:
            self._facts = check_booster(content)
        except Invalid as error:
            raise Invalid(f"{name}: {error.message}") from error
        try:
            booster = _xgboost.Booster({"nthread": 1, "verbosity": 0}, model_file=bytearray(content))
            booster.set_param({"nthread": 1, "device": "cpu"})
            if self._facts.objective == _SOFTMAX:
                # The same numbers before they are thrown away.
                booster.set_param({"objective": _SOFTPROB})
        except _xgboost.core.XGBoostError as error:
            raise Invalid(f"{name}: {_reason(error)}") from error
        self._names = self._class_names()
        self._booster = booster
        self._brief_bytes = brief_bytes(self._compute, self._made_up)

    def warm_up(self) -> None:
        """Run once on made-up input."""
        self._compute(self._made_up)

    def run(self, batch: Sequence[ModelRequest]) -> list[Outputs | PolyforgeError]:
        """What the booster says to every request, or what is wrong with it."""
        return answer_tables(batch, self._given, self._outputs, self._compute)

    def close(self) -> None:
        """Let go of the booster."""
        self._booster = None

    @property
    def _given(self) -> TensorSpec:
        return TensorSpec(FEATURES, "FP32", (-1, self._facts.columns))

    @property
    def _outputs(self) -> tuple[TensorSpec, ...]:
        if self._names:
            shape = (-1, len(self._names))
            return TensorSpec(PROBABILITIES, "FP32", shape), TensorSpec(LABEL, "BYTES", (-1,))
        groups = self._facts.groups
        return (TensorSpec(PREDICTION, "FP32", (-1,) if groups == 1 else (-1, groups)),)

    @property
    def _made_up(self) -> Array:
        return np.zeros((1, self._facts.columns), np.float32)

    def _class_names(self) -> tuple[str, ...]:
        match self._facts.objective:
            case "binary:logistic" if self._facts.groups == 1:
                return class_names(self._settings.labels, 2)
            case "multi:softmax" | "multi:softprob":
                return class_names(self._settings.labels, self._facts.groups)
            case objective:
                if self._settings.labels:
                    raise Invalid(f"labels: the objective {objective} has no classes", param="labels")
                return ()

    def _compute(self, table: Array) -> tuple[Array, ...]:
        found = np.asarray(self._predicted(table), np.float32).reshape(len(table), -1)
        if not self._names:
            return (found[:, 0] if self._facts.groups == 1 else found,)
        probabilities = found if found.shape[1] > 1 else np.concatenate((1 - found, found), axis=1)
        return probabilities, likeliest(self._names, probabilities)

    def _predicted(self, table: Array) -> Array:
        if self._booster is None:
            raise RuntimeError("the model is not loaded")
        try:
            if self._facts.booster == "gbtree":
                return self._booster.inplace_predict(table)
            # Only trees without dropout may be asked from several threads at once, and without a matrix of its own.
            with self._dart:
                return self._booster.predict(_xgboost.DMatrix(table, nthread=1), validate_features=False)
        except (_xgboost.core.XGBoostError, ValueError) as error:
            raise Invalid(f"the model cannot compute these inputs: {_reason(error)}", param=FEATURES) from error


def _reason(error: Exception) -> str:
    """What the library says, without its stack and its source files."""
    line = str(error).partition("\nStack trace")[0].strip()
    return line.rpartition("] ")[2][:300] or type(error).__name__


ADAPTER = XgBoost
