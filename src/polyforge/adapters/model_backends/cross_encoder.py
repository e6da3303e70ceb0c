"""Cross-encoders on ONNX Runtime: how well a text answers a query, both read together.

Scores go through the function that the model's config.json names, as in sentence-transformers' `CrossEncoder`: the
sigmoid unless it says otherwise.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from polyforge.adapters.model_backends.engine.activations import activate
from polyforge.adapters.model_backends.engine.answering import answer_each
from polyforge.adapters.model_backends.engine.arrays import Array, tensor_of, texts_of
from polyforge.adapters.model_backends.engine.graph import PLATFORM, Port
from polyforge.adapters.model_backends.engine.text_graph import TextGraph, TextSettings, only_scores
from polyforge.adapters.model_backends.engine.tokens import ModelConfig, Row
from polyforge.kernel.errors import Invalid, PolyforgeError
from polyforge.kernel.tensors import TensorSpec
from polyforge.ports.model_backend import ModelRequest, Outputs, Signature

QUERY = "query"
TEXT = "text"
SCORE = "score"
TOKENS = "tokens"
WARM_UP_PAIR = ("what is warmed up?", "a first text to warm up with")
_FUNCTIONS: dict[str, Literal["sigmoid", "none"]] = {"Sigmoid": "sigmoid", "Identity": "none"}


class Settings(TextSettings):
    """Where a cross-encoder lies and how it is run."""

    activation: Literal["sigmoid", "none"] | None = Field(
        default=None, description="What the graph's score goes through; by default what config.json says, else sigmoid."
    )


class CrossEncoder:
    """One cross-encoder: BYTES `query` [n] and `text` [n] to FP32 `score` [n] and INT32 `tokens` [n].

    Of a pair that is too long the longer text is cut. `tokens` counts what was computed for a pair.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._text = TextGraph(settings)

    @property
    def signature(self) -> Signature:
        """What the model takes and gives; only after `load`."""
        return Signature(
            platform=PLATFORM,
            inputs=(TensorSpec(QUERY, "BYTES", (-1,)), TensorSpec(TEXT, "BYTES", (-1,))),
            outputs=(TensorSpec(SCORE, "FP32", (-1,)), TensorSpec(TOKENS, "INT32", (-1,))),
            batch_rows=self._text.batch_rows,
            independent_rows=True,
            notes=self._text.notes,
        )

    def load(self) -> None:
        """Read the model's files and open the graph; Invalid says which file is wrong."""
        self._text.load(_choose, _head)
        self._activation()
        self.warm_up()

    def warm_up(self) -> None:
        """Run once on made-up input."""
        self._text.compute(self._text.vocabulary.pairs([WARM_UP_PAIR]), _head)

    def run(self, batch: Sequence[ModelRequest]) -> list[Outputs | PolyforgeError]:
        """Scores and token counts of every request, or what is wrong with it."""
        return answer_each(batch, self._read, lambda rows: self._text.compute(rows, _head), self._write)

    def close(self) -> None:
        """Let go of the session."""
        self._text.close()

    def _read(self, request: ModelRequest) -> list[Row]:
        pairs = zip(texts_of(request.inputs[QUERY]), texts_of(request.inputs[TEXT]), strict=True)
        return self._text.vocabulary.pairs(list(pairs))

    def _write(self, request: ModelRequest, rows: Sequence[Row], results: list[Array]) -> Outputs:
        del request
        scores = activate(self._activation(), np.array(results, np.float32).reshape(-1))
        counts = np.array([len(row.ids) for row in rows], np.int32)
        return tensor_of(SCORE, "FP32", scores), tensor_of(TOKENS, "INT32", counts)

    def _activation(self) -> Literal["sigmoid", "none"]:
        return self._settings.activation or _named_function(self._text.config) or "sigmoid"


def _choose(outputs: Sequence[Port]) -> str:
    return only_scores(outputs, dimensions=2)


def _head(logits: Array, mask: Array) -> Array:
    del mask
    scores = logits.reshape(len(logits), -1)
    if scores.shape[1] != 1:
        raise Invalid(f"the graph gives {scores.shape[1]} numbers for a pair of texts; a cross-encoder gives one")
    return scores.astype(np.float32, copy=False)


def _named_function(config: ModelConfig) -> Literal["sigmoid", "none"] | None:
    named = (config.sentence_transformers or {}).get("activation_fn") or config.sbert_ce_default_activation_function
    if named is None:
        return None
    function = _FUNCTIONS.get(str(named).rpartition(".")[2])
    if function is None:
        raise Invalid(f"config.json: the activation {named!r} is not supported; choose one with `activation`")
    return function


ADAPTER = CrossEncoder
