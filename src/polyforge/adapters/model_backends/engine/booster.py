"""Boosters, whose libraries follow a file's indices unchecked: the file is read by us first, and then by the library.

One input with a row per case, numbers of one datatype; classes by their probabilities, or a prediction.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import msgspec
import numpy as np

from polyforge.adapters.model_backends.engine.arrays import DTYPES, Array
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
from polyforge.kernel.errors import Invalid, PolyforgeError
from polyforge.kernel.tensors import TensorSpec
from polyforge.ports.model_backend import ModelRequest, Outputs, Signature


class Shape(msgspec.Struct, frozen=True):
    """Columns that a row has, numbers that come out of it, and how many classes those tell apart; 0: none."""

    columns: int
    groups: int
    classes: int
    objective: str
    names: tuple[str, ...] = ()
    """What the columns are called."""


class BoosterModel(ABC):
    """One booster. How its files are read and what it says to a table, subclasses know."""

    platform: ClassVar[str]
    datatype: ClassVar[Literal["FP32", "FP64"]]

    def __init__(self, settings: LabelledSettings) -> None:
        self._settings = settings
        self._booster: Any = None
        """The library's."""
        self._shape = Shape(0, 1, 0, "")
        self._names: tuple[str, ...] = ()
        self._brief_bytes = 0

    @abstractmethod
    def _open(self) -> Shape:
        """Check the file and have the library read it as `_booster`; Invalid says what is wrong with it."""

    @abstractmethod
    def _predicted(self, table: Array) -> Array:
        """The numbers of each row, of classes their probabilities: of two, that of the second may stand alone."""

    @property
    def signature(self) -> Signature:
        """What the model takes and gives; only after `load`."""
        return Signature(
            platform=self.platform,
            inputs=(self._given,),
            outputs=self._outputs,
            batch_rows=self._settings.batch_rows,
            brief_bytes=self._brief_bytes,
            labels={PROBABILITIES: self._names} if self._names else {},
            notes=columns_note(self._shape.names),
        )

    def load(self) -> None:
        """Check the file and read it; Invalid says what is wrong with it, or with the names of its classes."""
        self._shape = self._open()
        self._names = self._class_names()
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
        return TensorSpec(FEATURES, self.datatype, (-1, self._shape.columns))

    @property
    def _outputs(self) -> tuple[TensorSpec, ...]:
        if self._names:
            shape = (-1, len(self._names))
            return TensorSpec(PROBABILITIES, self.datatype, shape), TensorSpec(LABEL, "BYTES", (-1,))
        groups = self._shape.groups
        return (TensorSpec(PREDICTION, self.datatype, (-1,) if groups == 1 else (-1, groups)),)

    @property
    def _made_up(self) -> Array:
        return np.zeros((1, self._shape.columns), DTYPES[self.datatype])

    def _class_names(self) -> tuple[str, ...]:
        labels, shape = self._settings.labels, self._shape
        if shape.classes:
            return class_names(labels, shape.classes)
        if labels:
            raise Invalid(f"labels: the objective {shape.objective or 'of this model'} has no classes", param="labels")
        return ()

    def _compute(self, table: Array) -> tuple[Array, ...]:
        if self._booster is None:
            raise RuntimeError("the model is not loaded")
        found = np.asarray(self._predicted(table), DTYPES[self.datatype]).reshape(len(table), -1)
        if not self._names:
            return (found[:, 0] if self._shape.groups == 1 else found,)
        probabilities = found if found.shape[1] > 1 else np.concatenate((1 - found, found), axis=1)
        return probabilities, likeliest(self._names, probabilities)
