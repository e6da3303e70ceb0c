"""Boosters of LightGBM in its text format (`booster.save_model("model.txt")`).

The library follows a file's indices unchecked and ends the process over a word that is no number, so the file is read
here first and the library is given what was checked, written anew. It lets go of the GIL
while it computes; each run has one thread, since several runs share the cores.
"""

import os
from collections.abc import Sequence
from typing import Any, cast

# Its threads would fight those of the runs beside it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import lightgbm  # pyright: ignore[reportMissingTypeStubs]  # it has none
import numpy as np

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
from polyforge.dialects.lightgbm_text import START, read_booster
from polyforge.kernel.errors import Invalid, PolyforgeError
from polyforge.kernel.tensors import TensorSpec
from polyforge.ports.model_backend import ModelRequest, Outputs, Signature
from polyforge.telemetry.logs import get_logger

PLATFORM = "lightgbm"
MAX_BYTES = 1 << 29
_MULTICLASS = ("multiclass", "multiclassova")

Settings = LabelledSettings
_lightgbm = cast(Any, lightgbm)
_log = get_logger(__name__)


class LightGbm:
    """One booster: FP64 `features` [n, columns], NaN where a value is missing.

    Of classes it gives FP64 `probabilities` [n, k] and BYTES `label` [n], the likeliest, which the signature's `labels`
    names: by the settings, else by number. Other objectives give FP64 `prediction` [n].
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._booster: Any = None
        self._given = TensorSpec(FEATURES, "FP64", (-1, 0))
        self._names: tuple[str, ...] = ()
        self._brief_bytes = 0
        self._notes: tuple[str, ...] = ()

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
            notes=self._notes,
        )

    def load(self) -> None:
        """Check the file and read it; Invalid says what is wrong with it."""
        name, content = read_model(
            self._settings.folder, self._settings.file, (".txt",), lambda head: head.startswith(START), MAX_BYTES
        )
        try:
            facts, text = read_booster(content)
        except Invalid as error:
            raise Invalid(f"{name}: {error.message}") from error
        _lightgbm.register_logger(_Quiet())
        try:
            self._booster = _lightgbm.Booster(model_str=text)
        except (_lightgbm.basic.LightGBMError, ValueError) as error:
            raise Invalid(f"{name}: {error}") from error
        self._given = TensorSpec(FEATURES, "FP64", (-1, facts.columns))
        self._notes = columns_note(facts.names)
        if facts.objective == "binary":
            self._names = class_names(self._settings.labels, 2)
        elif facts.objective in _MULTICLASS:
            self._names = class_names(self._settings.labels, facts.groups)
        elif self._settings.labels:
            raise Invalid(f"labels: the objective {facts.objective or 'of this model'} has no classes", param="labels")
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
    def _outputs(self) -> tuple[TensorSpec, ...]:
        if self._names:
            shape = (-1, len(self._names))
            return TensorSpec(PROBABILITIES, "FP64", shape), TensorSpec(LABEL, "BYTES", (-1,))
        return (TensorSpec(PREDICTION, "FP64", (-1,)),)

    @property
    def _made_up(self) -> Array:
        return np.zeros((1, self._given.shape[1]))

    def _compute(self, table: Array) -> tuple[Array, ...]:
        if self._booster is None:
            raise RuntimeError("the model is not loaded")
        try:
            found = np.asarray(self._booster.predict(table, num_threads=1), np.float64)
        except _lightgbm.basic.LightGBMError as error:
            raise Invalid(f"the model cannot compute these inputs: {error}", param=FEATURES) from error
        if not self._names:
            return (found,)
        probabilities = found if found.ndim > 1 else np.stack((1 - found, found), axis=1)
        return probabilities, likeliest(self._names, probabilities)


class _Quiet:
    """What the library would print goes into the log."""

    def info(self, message: str) -> None:
        _log.debug("lightgbm", said=message.strip())

    def warning(self, message: str) -> None:
        _log.debug("lightgbm", said=message.strip())


ADAPTER = LightGbm
