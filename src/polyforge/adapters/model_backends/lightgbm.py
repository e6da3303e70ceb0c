"""Boosters of LightGBM in its text format (`booster.save_model("model.txt")`).

The library follows a file's indices unchecked and ends the process over a word that is no number, so the file is read
here first and the library is given what was checked, written anew. It lets go of the GIL
while it computes; each run has one thread, since several runs share the cores.
"""

import os
from typing import Any, cast

# Its threads would fight those of the runs beside it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import lightgbm  # pyright: ignore[reportMissingTypeStubs]  # it has none

from polyforge.adapters.model_backends.engine.arrays import Array
from polyforge.adapters.model_backends.engine.booster import BoosterModel, Shape
from polyforge.adapters.model_backends.engine.files import read_model
from polyforge.adapters.model_backends.engine.table import FEATURES, LabelledSettings
from polyforge.dialects.lightgbm_text import START, BoosterFacts, read_booster
from polyforge.kernel.errors import Invalid
from polyforge.telemetry.logs import get_logger

MAX_BYTES = 1 << 29
_MULTICLASS = ("multiclass", "multiclassova")

Settings = LabelledSettings
_lightgbm = cast(Any, lightgbm)
_log = get_logger(__name__)


class LightGbm(BoosterModel):
    """One booster: FP64 `features` [n, columns], NaN where a value is missing.

    Of classes it gives FP64 `probabilities` [n, k] and BYTES `label` [n], the likeliest, which the signature's `labels`
    names: by the settings, else by number. Other objectives give FP64 `prediction` [n], or [n, t] for several targets.
    """

    platform = "lightgbm"
    datatype = "FP64"

    def _open(self) -> Shape:
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
        return Shape(facts.columns, facts.groups, _classes(facts), facts.objective, facts.names)

    def _predicted(self, table: Array) -> Array:
        try:
            return self._booster.predict(table, num_threads=1)
        except _lightgbm.basic.LightGBMError as error:
            raise Invalid(f"the model cannot compute these inputs: {error}", param=FEATURES) from error


def _classes(facts: BoosterFacts) -> int:
    if facts.objective == "binary":
        return 2
    return facts.groups if facts.objective in _MULTICLASS else 0


class _Quiet:
    """What the library would print goes into the log."""

    def info(self, message: str) -> None:
        _log.debug("lightgbm", said=message.strip())

    def warning(self, message: str) -> None:
        _log.debug("lightgbm", said=message.strip())


ADAPTER = LightGbm
