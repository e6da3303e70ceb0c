"""Models that score texts: what each text is scored by, and what becomes of the scores, subclasses know."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Final, Generic, TypeVar

import numpy as np

from polyforge.adapters.model_backends.engine.answering import answer_each
from polyforge.adapters.model_backends.engine.arrays import Array, tensor_of
from polyforge.adapters.model_backends.engine.graph import PLATFORM, Port
from polyforge.adapters.model_backends.engine.text_graph import TextGraph, TextSettings, only_scores
from polyforge.adapters.model_backends.engine.tokens import Row
from polyforge.kernel.errors import PolyforgeError
from polyforge.kernel.tensors import Tensor, TensorSpec
from polyforge.ports.model_backend import ModelRequest, Outputs, Signature

TOKENS: Final = "tokens"
WARM_UP_TEXT: Final = "a first text to warm up with"
_S = TypeVar("_S", bound=TextSettings)
_NO_LABELS: Final[Mapping[str, tuple[str, ...]]] = {}


class TextModel(ABC, Generic[_S]):
    """One model: texts [n] to what it says of each, and INT32 `tokens` [n]."""

    dimensions: ClassVar[int]
    """Of the graph's scores."""

    def __init__(self, settings: _S) -> None:
        self._settings = settings
        self._text = TextGraph(settings)

    @property
    @abstractmethod
    def signature(self) -> Signature:
        """What the model takes and gives; only after `load`."""

    @abstractmethod
    def _begin(self) -> None:
        """Once the graph is open: run it once; Invalid when it is not what config.json or the settings say."""

    @abstractmethod
    def _head(self, logits: Array, mask: Array) -> Array:
        """What the graph gives for several texts as FP32, one part for each; Invalid when it has another shape."""

    @abstractmethod
    def _made_up(self) -> list[Row]:
        """What the model is warmed up with."""

    @abstractmethod
    def _read(self, request: ModelRequest) -> list[Row]:
        """The texts of a request as tokens."""

    @abstractmethod
    def _write(self, request: ModelRequest, rows: Sequence[Row], results: list[Array]) -> Outputs:
        """The answer to a request."""

    def load(self) -> None:
        """Read the model's files and open the graph; Invalid says which file is wrong."""
        self._text.load(self._choose, self._head)
        self._begin()

    def warm_up(self) -> None:
        """Run once on made-up input."""
        self._compute(self._made_up())

    def run(self, batch: Sequence[ModelRequest]) -> list[Outputs | PolyforgeError]:
        """The answer to every request, or what is wrong with it."""
        return answer_each(batch, self._read, self._compute, self._write)

    def spread(self, threads: int, alone: Callable[[], bool]) -> None:
        """From now on compute a run with so many threads if `alone` says, as it begins, that no other is under way."""
        self._text.spread(threads, alone)

    def close(self) -> None:
        """Let go of the sessions."""
        self._text.close()

    def _choose(self, outputs: Sequence[Port]) -> str:
        return only_scores(outputs, dimensions=self.dimensions)

    def _compute(self, rows: Sequence[Row]) -> list[Array]:
        return self._text.compute(rows, self._head)

    def _signed(
        self, texts: Sequence[str], given: Sequence[TensorSpec], labels: Mapping[str, tuple[str, ...]] = _NO_LABELS
    ) -> Signature:
        """The signature of a model that reads `texts` and gives this beside the count of tokens."""
        return Signature(
            platform=PLATFORM,
            inputs=tuple(TensorSpec(name, "BYTES", (-1,)) for name in texts),
            outputs=(*given, TensorSpec(TOKENS, "INT32", (-1,))),
            batch_rows=self._text.batch_rows,
            independent_rows=True,
            spreads=self._text.spreads,
            labels=labels,
            notes=self._text.notes,
        )


def counted(rows: Sequence[Row]) -> Tensor:
    """How many tokens were computed for each text."""
    return tensor_of(TOKENS, "INT32", np.array([len(row.ids) for row in rows], np.int32))
