"""Text classifiers on ONNX Runtime: sentiment, topics, languages, or whether one text follows from another.

Labels and the function that makes probabilities are those of config.json, as in transformers' text classification
pipeline: softmax for classes that exclude each other, the sigmoid for those that do not, or when there is one.
"""

from collections.abc import Sequence
from typing import cast

import numpy as np
from pydantic import Field

from polyforge.adapters.model_backends.engine.activations import Activation, activate
from polyforge.adapters.model_backends.engine.arrays import Array, tensor_of, texts_of
from polyforge.adapters.model_backends.engine.text_graph import TextSettings
from polyforge.adapters.model_backends.engine.text_model import WARM_UP_TEXT, TextModel, counted
from polyforge.adapters.model_backends.engine.tokens import ModelConfig, Row, labels_of
from polyforge.kernel.errors import Invalid
from polyforge.kernel.tensors import TensorSpec
from polyforge.ports.model_backend import ModelRequest, Outputs, Signature

TEXT = "text"
PAIR = "pair"
SCORES = "scores"
LABEL = "label"


class Settings(TextSettings):
    """Where a classifier lies and how it is run."""

    activation: Activation | None = Field(
        default=None, description="What the graph's scores go through; by default what config.json says."
    )
    pairs: bool = Field(default=False, description="Classify pairs of texts: a premise and a hypothesis, say.")


class TextClassifier(TextModel[Settings]):
    """One classifier: BYTES `text` [n] to FP32 `scores` [n, k], BYTES `label` [n], the likeliest, and INT32 `tokens`.

    For pairs there is a second input, BYTES `pair` [n]. The signature's `labels` names the k classes.
    """

    dimensions = 2

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._labels: tuple[str, ...] = ()

    @property
    def signature(self) -> Signature:
        """What the model takes and gives; only after `load`."""
        given = TensorSpec(SCORES, "FP32", (-1, len(self._labels))), TensorSpec(LABEL, "BYTES", (-1,))
        return self._signed(self._texts, given, {SCORES: self._labels})

    def _begin(self) -> None:
        (scores,) = self._compute(self._made_up())
        self._labels = labels_of(self._text.config, len(scores))
        self._activation()

    @property
    def _texts(self) -> tuple[str, ...]:
        return (TEXT, PAIR) if self._settings.pairs else (TEXT,)

    def _made_up(self) -> list[Row]:
        return self._rows([(WARM_UP_TEXT,) * len(self._texts)])

    def _rows(self, texts: Sequence[tuple[str, ...]]) -> list[Row]:
        if self._settings.pairs:
            return self._text.vocabulary.pairs(cast(Sequence[tuple[str, str]], texts))
        return self._text.vocabulary.rows([text for (text,) in texts])

    def _read(self, request: ModelRequest) -> list[Row]:
        return self._rows(list(zip(*(texts_of(request.inputs[name]) for name in self._texts), strict=True)))

    def _write(self, request: ModelRequest, rows: Sequence[Row], results: list[Array]) -> Outputs:
        del request
        logits = np.array(results, np.float32).reshape(len(rows), len(self._labels))
        scores = activate(self._activation(), logits)
        best = np.array([self._labels[place] for place in logits.argmax(axis=1)], object)
        return tensor_of(SCORES, "FP32", scores), tensor_of(LABEL, "BYTES", best), counted(rows)

    def _head(self, logits: Array, mask: Array) -> Array:
        del mask
        if logits.ndim != 2 or not logits.shape[1]:  # noqa: PLR2004  texts and their classes
            raise Invalid(
                f"the graph gives an array of shape {list(logits.shape)}; a classifier gives scores for each text"
            )
        return logits.astype(np.float32, copy=False)

    def _activation(self) -> Activation:
        return self._settings.activation or _said(self._text.config) or _usual(self._text.config, len(self._labels))


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
