"""Token classifiers on ONNX Runtime: names of people, places and things in texts, and where they stand.

Neighbouring tokens are joined as by the strategies of transformers' token classification pipeline: `simple` joins
tokens with the same label, `first` gives a word the label of its first token, so that no word is ever split. Labels
begin with B- where something begins and with I- where it goes on; O is nothing.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec
import numpy as np
from pydantic import Field

from polyforge.adapters.model_backends.engine.activations import activate
from polyforge.adapters.model_backends.engine.arrays import Array, tensor_of, texts_of
from polyforge.adapters.model_backends.engine.text_graph import TextSettings
from polyforge.adapters.model_backends.engine.text_model import WARM_UP_TEXT, TextModel, counted
from polyforge.adapters.model_backends.engine.tokens import Row, labels_of
from polyforge.kernel.errors import Invalid
from polyforge.kernel.tensors import TensorSpec
from polyforge.ports.model_backend import ModelRequest, Outputs, Signature

TEXT = "text"
ENTITIES = "entities"
NOTHING = "O"
TOKEN_DIMENSIONS = 3


class Settings(TextSettings):
    """Where a token classifier lies and how it is run."""

    aggregation: Literal["simple", "first"] = Field(
        default="first", description="How tokens are joined: whole words by their first token, or token by token."
    )


class Entity(msgspec.Struct, frozen=True):
    """Something found in a text; `start` and `end` count its characters."""

    label: str
    score: float
    start: int
    end: int
    text: str


class _Piece(msgspec.Struct, frozen=True):
    label: str
    score: float
    start: int
    end: int


class TokenClassifier(TextModel[Settings]):
    """One token classifier: BYTES `text` [n] to BYTES `entities` [n], each a JSON list, and INT32 `tokens` [n].

    An entity is an object with `label`, `score`, `start`, `end` (characters of the text) and `text`.
    """

    dimensions = TOKEN_DIMENSIONS

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._labels: tuple[str, ...] = ()

    @property
    def signature(self) -> Signature:
        """What the model takes and gives; only after `load`."""
        return self._signed((TEXT,), (TensorSpec(ENTITIES, "BYTES", (-1,)),))

    def _begin(self) -> None:
        (logits,) = self._compute(self._made_up())
        self._labels = labels_of(self._text.config, logits.shape[-1])

    def _made_up(self) -> list[Row]:
        return self._text.vocabulary.rows([WARM_UP_TEXT])

    def _read(self, request: ModelRequest) -> list[Row]:
        return self._text.vocabulary.located(texts_of(request.inputs[TEXT]))

    def _write(self, request: ModelRequest, rows: Sequence[Row], results: list[Array]) -> Outputs:
        texts = texts_of(request.inputs[TEXT])
        found = [
            msgspec.json.encode(self._entities(text, row, logits)).decode()
            for text, row, logits in zip(texts, rows, results, strict=True)
        ]
        return tensor_of(ENTITIES, "BYTES", np.array(found, object)), counted(rows)

    def _head(self, logits: Array, mask: Array) -> Array:
        if logits.ndim != TOKEN_DIMENSIONS or logits.shape[:2] != mask.shape:
            raise Invalid(
                f"the graph gives an array of shape {list(logits.shape)}; there must be scores for each token"
            )
        return logits.astype(np.float32, copy=False)

    def _entities(self, text: str, row: Row, logits: Array) -> list[Entity]:
        pieces = list(self._pieces(row, activate("softmax", logits[: len(row.ids)])))
        return [
            Entity(
                label=group[0].label.removeprefix("B-").removeprefix("I-"),
                score=round(sum(piece.score for piece in group) / len(group), 6),
                start=group[0].start,
                end=group[-1].end,
                text=text[group[0].start : group[-1].end],
            )
            for group in _joined(pieces)
        ]

    def _pieces(self, row: Row, scores: Array) -> Iterator[_Piece]:
        """Tokens, or whole words, with their likeliest label."""
        encoding = row.encoding
        if encoding is None:
            raise RuntimeError("the tokens do not know their places")
        best = [int(place) for place in scores.argmax(axis=1)]
        last: tuple[int | None, _Piece] | None = None
        for place, ((start, end), word, special) in enumerate(
            zip(encoding.offsets, encoding.word_ids, encoding.special_tokens_mask, strict=True)
        ):
            if special:
                continue
            if last and self._settings.aggregation == "first" and word is not None and word == last[0]:
                last = word, msgspec.structs.replace(last[1], end=end)
                continue
            if last:
                yield last[1]
            last = word, _Piece(self._labels[best[place]], float(scores[place, best[place]]), start, end)
        if last:
            yield last[1]


def _joined(pieces: Sequence[_Piece]) -> list[list[_Piece]]:
    """Neighbours of one kind; a B- always begins another, and so does what stands between them."""
    groups: list[list[_Piece]] = []
    before = NOTHING
    for piece in pieces:
        kind = piece.label.removeprefix("B-").removeprefix("I-")
        if kind != NOTHING and kind == before and not piece.label.startswith("B-"):
            groups[-1].append(piece)
        elif kind != NOTHING:
            groups.append([piece])
        before = kind
    return groups


ADAPTER = TokenClassifier
