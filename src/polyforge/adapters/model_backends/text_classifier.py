"""Text classifiers on ONNX Runtime: sentiment, topics, languages, or whether one text follows from another.

Labels and the function that makes probabilities are those of config.json, as in transformers' text classification
pipeline: softmax for classes that exclude each other, the sigmoid for those that do not, or when there is one.
"""

from collections.abc import Sequence
from typing import cast

import numpy as np
from pydantic import Field

from polyforge.adapters.model_backends.engine.activations import Activation, activate
from polyforge.adapters.model_backends.engine.answering import answer_each
from polyforge.adapters.model_backends.engine.arrays import Array, tensor_of, texts_of
from polyforge.adapters.model_backends.engine.graph import PLATFORM, Port
from polyforge.adapters.model_backends.engine.text_graph import TextGraph, TextSettings, only_scores
from polyforge.adapters.model_backends.engine.tokens import ModelConfig, Row, labels_of
from polyforge.kernel.errors import Invalid, PolyforgeError
from polyforge.kernel.tensors import TensorSpec
from polyforge.ports.model_backend import ModelRequest, Outputs, Signature

TEXT = "text"
PAIR = "pair"
SCORES = "scores"
LABEL = "label"
TOKENS = "tokens"
WARM_UP_TEXT = "a first text to warm up with"


class Settings(TextSettings):
    """Where a classifier lies and how it is run."""

    activation: Activation | None = Field(
        default=None, description="What the graph's scores go through; by default what config.json says."
    )
    pairs: bool = Field(default=False, description="Classify pairs of texts: a premise and a hypothesis, say.")


class TextClassifier:
    """One classifier: BYTES `text` [n] to FP32 `scores` [n, k], BYTES `label` [n], the likeliest, and INT32 `tokens`.

    For pairs there is a second input, BYTES `pair` [n]. The signature's `labels` names the k classes.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._text = TextGraph(settings)
        self._labels: tuple[str, ...] = ()

    @property
    def signature(self) -> Signature:
        """What the model takes and gives; only after `load`."""
        texts = (TEXT, PAIR) if self._settings.pairs else (TEXT,)
        return Signature(
            platform=PLATFORM,
            inputs=tuple(TensorSpec(name, "BYTES", (-1,)) for name in texts),
            outputs=(
                TensorSpec(SCORES, "FP32", (-1, len(self._labels))),
                TensorSpec(LABEL, "BYTES", (-1,)),
                TensorSpec(TOKENS, "INT32", (-1,)),
            ),
            batch_rows=self._text.batch_rows,
            independent_rows=True,
            labels={SCORES: self._labels},
            notes=self._text.notes,
        )

    def load(self) -> None:
        """Read the model's files and open the graph; Invalid says which file is wrong."""
        self._text.load(_choose, _head)
        (scores,) = self._compute(self._rows([(WARM_UP_TEXT,) * (2 if self._settings.pairs else 1)]))
        self._labels = labels_of(self._text.config, len(scores))
        self._activation()

    def warm_up(self) -> None:
        """Run once on made-up input."""
        self._compute(self._text.vocabulary.rows([WARM_UP_TEXT]))

    def run(self, batch: Sequence[ModelRequest]) -> list[Outputs | PolyforgeError]:
        """Scores, labels and token counts of every request, or what is wrong with it."""
        return answer_each(batch, self._read, self._compute, self._write)

    def close(self) -> None:
        """Let go of the session."""
        self._text.close()

    def _compute(self, rows: Sequence[Row]) -> list[Array]:
        return self._text.compute(rows, _head)

    def _rows(self, texts: Sequence[tuple[str, ...]]) -> list[Row]:
        if self._settings.pairs:
            return self._text.vocabulary.pairs(cast(Sequence[tuple[str, str]], texts))
        return self._text.vocabulary.rows([text for (text,) in texts])

    def _read(self, request: ModelRequest) -> list[Row]:
        names = (TEXT, PAIR) if self._settings.pairs else (TEXT,)
        return self._rows(list(zip(*(texts_of(request.inputs[name]) for name in names), strict=True)))

    def _write(self, request: ModelRequest, rows: Sequence[Row], results: list[Array]) -> Outputs:
        del request
        logits = np.array(results, np.float32).reshape(len(rows), len(self._labels))
        scores = activate(self._activation(), logits)
        best = np.array([self._labels[place] for place in logits.argmax(axis=1)], object)
        counts = np.array([len(row.ids) for row in rows], np.int32)
        return tensor_of(SCORES, "FP32", scores), tensor_of(LABEL, "BYTES", best), tensor_of(TOKENS, "INT32", counts)

    def _activation(self) -> Activation:
        return self._settings.activation or _said(self._text.config) or _usual(self._text.config, len(self._labels))


def _choose(outputs: Sequence[Port]) -> str:
    return only_scores(outputs, dimensions=2)


def _head(logits: Array, mask: Array) -> Array:
    del mask
    if logits.ndim != 2 or not logits.shape[1]:  # noqa: PLR2004  texts and their classes
        raise Invalid(
            f"the graph gives an array of shape {list(logits.shape)}; a classifier gives scores for each text"
        )
    return logits.astype(np.float32, copy=False)


def _said(config: ModelConfig) -> Activation | None:
    match config.function_to_apply:
        case None:
            return None
        case "softmax" | "sigmoid" | "none" as said:
            return said
        case other:
            raise Invalid(f"config.json: function_to_apply {other!r} is not supported; choose one with `activation`")


def _usual(config: ModelConfig, labels: int) -> Activation:
    if config.problem_type == "regression":
        return "none"
    return "sigmoid" if config.problem_type == "multi_label_classification" or labels == 1 else "softmax"


ADAPTER = TextClassifier
