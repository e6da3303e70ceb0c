"""Cross-encoders on ONNX Runtime: how well a text answers a query, both read together.

Scores go through the function that the model's config.json names, as in sentence-transformers' `CrossEncoder`: the
sigmoid unless it says otherwise.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from polyforge.adapters.model_backends.engine.activations import activate
from polyforge.adapters.model_backends.engine.arrays import Array, tensor_of, texts_of
from polyforge.adapters.model_backends.engine.text_graph import TextSettings
from polyforge.adapters.model_backends.engine.text_model import WARM_UP_TEXT, TextModel, counted
from polyforge.adapters.model_backends.engine.tokens import ModelConfig, Row
from polyforge.kernel.errors import Invalid
from polyforge.kernel.tensors import TensorSpec
from polyforge.ports.model_backend import ModelRequest, Outputs, Signature

QUERY = "query"
TEXT = "text"
SCORE = "score"
WARM_UP_QUERY = "what is warmed up?"
_FUNCTIONS: dict[str, Literal["sigmoid", "none"]] = {"Sigmoid": "sigmoid", "Identity": "none"}


class Settings(TextSettings):
    """Where a cross-encoder lies and how it is run."""

    activation: Literal["sigmoid", "none"] | None = Field(
        default=None, description="What the graph's score goes through; by default what config.json says, else sigmoid."
    )


class CrossEncoder(TextModel[Settings]):
    """One cross-encoder: BYTES `query` [n] and `text` [n] to FP32 `score` [n] and INT32 `tokens` [n].

    Of a pair that is too long the longer text is cut. `tokens` counts what was computed for a pair.
    """

    dimensions = 2

    @property
    def signature(self) -> Signature:
        """What the model takes and gives; only after `load`."""
        return self._signed((QUERY, TEXT), (TensorSpec(SCORE, "FP32", (-1,)),))

    def _begin(self) -> None:
        self._activation()
        self.warm_up()

    def _made_up(self) -> list[Row]:
        return self._text.vocabulary.pairs([(WARM_UP_QUERY, WARM_UP_TEXT)])

    def _read(self, request: ModelRequest) -> list[Row]:
        pairs = zip(texts_of(request.inputs[QUERY]), texts_of(request.inputs[TEXT]), strict=True)
        return self._text.vocabulary.pairs(list(pairs))

    def _write(self, request: ModelRequest, rows: Sequence[Row], results: list[Array]) -> Outputs:
        del request
        scores = activate(self._activation(), np.array(results, np.float32).reshape(-1))
        return tensor_of(SCORE, "FP32", scores), counted(rows)

    def _head(self, logits: Array, mask: Array) -> Array:
        del mask
        scores = logits.reshape(len(logits), -1)
        if scores.shape[1] != 1:
            raise Invalid(f"the graph gives {scores.shape[1]} numbers for a pair of texts; a cross-encoder gives one")
        return scores.astype(np.float32, copy=False)

    def _activation(self) -> Literal["sigmoid", "none"]:
        return self._settings.activation or _named_function(self._text.config) or "sigmoid"


def _named_function(config: ModelConfig) -> Literal["sigmoid", "none"] | None:
    named = (config.sentence_transformers or {}).get("activation_fn") or config.sbert_ce_default_activation_function
    if named is None:
        return None
    function = _FUNCTIONS.get(str(named).rpartition(".")[2])
    if function is None:
        raise Invalid(f"config.json: the activation {named!r} is not supported; choose one with `activation`")
    return function


ADAPTER = CrossEncoder
