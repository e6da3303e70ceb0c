"""Static embeddings in model2vec's format: a table of token vectors, averaged per text. numpy and tokenizers only.

Follows model2vec's own inference (https://github.com/MinishLab/model2vec, `StaticModel.encode`) to the letter, its
truncation and its treatment of unknown tokens included. An int8 table has no scale: it cancels out in the
normalisation, and a model that does not normalise answers in the table's units, as model2vec does.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from tokenizers import Tokenizer

from polyforge.adapters.model_backends.engine.arrays import texts_of
from polyforge.adapters.model_backends.engine.files import decode_json
from polyforge.adapters.model_backends.engine.safetensors import Safetensors
from polyforge.kernel.errors import Invalid, PolyforgeError
from polyforge.kernel.tensors import Parameter, Tensor, TensorSpec
from polyforge.ports.model_backend import ModelRequest, Outputs, Signature

INPUT = "text"
OUTPUT = "embedding"
TOKENS = "tokens"
PLATFORM = "polyforge_static_embedding"
BATCH_ROWS = 64
BRIEF_BYTES = 512
"""Some 100 words: up to 0.3 ms."""
TOKENIZE_ROWS = 32
"""Texts tokenised at once: a text's encoding takes some 100 bytes per token until its ids are out."""
TINY = np.float32(1e-32)
WARM_UP_TEXT = "a first text to warm up with"

_Array = NDArray[Any]
_Vectors = NDArray[np.float32]


class Settings(BaseModel):
    """Where the model lies."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path = Field(description="Folder with config.json, model.safetensors and tokenizer.json.")


class _Config(msgspec.Struct):
    model_type: str
    normalize: bool = False
    max_length: int | None = 512
    apply_pca: int | float | str | None = None


class _TokenizerModel(msgspec.Struct):
    type: str = ""
    unk_token: str | None = None
    unk_id: int | None = None


class _TokenizerFile(msgspec.Struct):
    model: _TokenizerModel


class _Vocabulary(msgspec.Struct, frozen=True):
    """The tokenizer, without padding and cut at the model's length. `max_characters` bounds what it is given."""

    tokenizer: Tokenizer
    size: int
    unknown: int | None
    max_characters: int | None


class _Table(msgspec.Struct, frozen=True):
    """The loaded artifact. `weights` has one factor per token, `mapping` the row of each token; both are optional."""

    rows: _Array
    weights: _Array | None
    mapping: _Array | None
    vocabulary: _Vocabulary
    normalize: bool
    shortens: bool


class StaticEmbedding:
    """One static embedding model: BYTES `text` [n] to FP32 `embedding` [n, d] and INT32 `tokens` [n].

    The parameter `dimensions` asks for the first so many dimensions, renormalised: what a model reduced by PCA allows.
    A text without a single known token, the empty one too, has the zero vector. `tokens` counts what the tokenizer
    made of a text within the model's length, unknown tokens included.
    """

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.folder
        self._loaded: _Table | None = None

    @property
    def signature(self) -> Signature:
        """What the model takes and gives; only after `load`."""
        width = int(self._table().rows.shape[1])
        return Signature(
            platform=PLATFORM,
            inputs=(TensorSpec(INPUT, "BYTES", (-1,)),),
            outputs=(
                TensorSpec(OUTPUT, "FP32", (-1, width)),
                TensorSpec(TOKENS, "INT32", (-1,)),
            ),
            batch_rows=BATCH_ROWS,
            brief_bytes=BRIEF_BYTES,
        )

    def load(self) -> None:
        """Map the table and read the tokenizer; Invalid says which file is wrong."""
        # One request must not spread over all cores: the threads that call `run` share them.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        config = _read_config(self._folder)
        self._loaded = _read_table(self._folder, config, _read_vocabulary(self._folder, config.max_length))

    def warm_up(self) -> None:
        """Run once on made-up input."""
        self._encode([WARM_UP_TEXT])

    def run(self, batch: Sequence[ModelRequest]) -> list[Outputs | PolyforgeError]:
        """Vectors and token counts of every request, or what is wrong with it."""
        answers: list[Outputs | PolyforgeError] = []
        for request in batch:
            try:
                answers.append(self._answer(request))
            except PolyforgeError as error:
                answers.append(error)
        return answers

    def close(self) -> None:
        """Let go of the table; the mapped file is closed with the last array on it."""
        self._loaded = None

    def _table(self) -> _Table:
        if self._loaded is None:
            raise RuntimeError("the model is not loaded")
        return self._loaded

    def _answer(self, request: ModelRequest) -> Outputs:
        table = self._table()
        width = _dimensions(request.parameters.get("dimensions"), table)
        texts = texts_of(request.inputs[INPUT])
        vectors, counts = self._encode(texts)
        if width < vectors.shape[1]:
            vectors = vectors[:, :width]
        if table.normalize:
            vectors = _normalized(vectors)
        return (
            Tensor(OUTPUT, "FP32", (len(texts), width), _little_endian(vectors, "<f4")),
            Tensor(TOKENS, "INT32", (len(texts),), _little_endian(counts, "<i4")),
        )

    def _encode(self, texts: list[str]) -> tuple[_Vectors, NDArray[np.int32]]:
        """The mean token vector of each text, not normalised, and how many tokens it has."""
        table = self._table()
        vocabulary = table.vocabulary
        vectors = np.zeros((len(texts), table.rows.shape[1]), np.float32)
        counts = np.zeros(len(texts), np.int32)
        for start in range(0, len(texts), TOKENIZE_ROWS):
            chunk = [text[: vocabulary.max_characters] for text in texts[start : start + TOKENIZE_ROWS]]
            encodings = vocabulary.tokenizer.encode_batch_fast(chunk, add_special_tokens=False)
            for row, encoding in enumerate(encodings, start):
                ids = encoding.ids
                counts[row] = len(ids)
                known = [token for token in ids if token != vocabulary.unknown]
                if known:
                    _mean(table, known, vectors[row])
        return vectors, counts


def _mean(table: _Table, ids: list[int], out: _Vectors) -> None:
    places: _Array | list[int] = ids if table.mapping is None else table.mapping.take(ids)
    # Only the rows of this text become float32: the whole table would take four times its file.
    rows = table.rows.take(places, axis=0).astype(np.float32)
    if table.weights is not None:
        rows *= table.weights.take(ids).astype(np.float32)[:, None]
    np.add.reduce(rows, axis=0, out=out)
    out /= len(ids)


def _normalized(vectors: _Vectors) -> _Vectors:
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return vectors / (norms[:, None] + TINY)


def _little_endian(array: _Array, dtype: str) -> bytes:
    return array.astype(dtype, copy=False).tobytes()


def _dimensions(asked: Parameter | None, table: _Table) -> int:
    width = int(table.rows.shape[1])
    if asked is None:
        return width
    if isinstance(asked, bool) or not isinstance(asked, int) or not 1 <= asked <= width:
        raise Invalid(
            f"dimensions: must be a whole number from 1 to {width}, not {asked!r}",
            param="dimensions",
        )
    if asked < width and not table.shortens:
        raise Invalid(
            f"dimensions: this model's vectors cannot be shortened; leave it out or ask for {width}",
            param="dimensions",
        )
    return asked


# Reading the artifact: config.json, tokenizer.json, model.safetensors


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Invalid(f"cannot read {path.name}: {error.strerror}") from error


def _read_config(folder: Path) -> _Config:
    config = decode_json(_read(folder / "config.json"), _Config, "config.json")
    if config.model_type != "model2vec":
        raise Invalid(f"config.json: model_type is {config.model_type!r}; only 'model2vec' is supported")
    if config.max_length is not None and config.max_length < 1:
        raise Invalid(f"config.json: max_length is {config.max_length}, it must be at least 1")
    return config


def _read_vocabulary(folder: Path, max_tokens: int | None) -> _Vocabulary:
    content = _read(folder / "tokenizer.json")
    model = decode_json(content, _TokenizerFile, "tokenizer.json").model
    try:
        tokenizer = Tokenizer.from_buffer(content)
    except Exception as error:  # the library raises a bare Exception, whatever is wrong
        raise Invalid(f"tokenizer.json: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    size = tokenizer.get_vocab_size()
    # One by one, because the vocabulary as a dict takes some 5 MB for good.
    tokens = map(tokenizer.id_to_token, range(size))
    lengths = sorted(-1 if token is None else len(token) for token in tokens)
    if not lengths or lengths[0] < 0:
        raise Invalid("tokenizer.json: the vocabulary is empty, or its ids do not run from 0 without a gap")
    if max_tokens is not None:
        tokenizer.enable_truncation(max_tokens)  # pyright: ignore[reportUnknownMemberType]  # its stub is partial
    return _Vocabulary(
        tokenizer=tokenizer,
        size=size,
        unknown=tokenizer.token_to_id(model.unk_token) if model.unk_token is not None else model.unk_id,
        max_characters=None if max_tokens is None else max_tokens * _median(lengths),
    )


def _median(lengths: Sequence[int]) -> int:
    return (lengths[(len(lengths) - 1) // 2] + lengths[len(lengths) // 2]) // 2


def _read_table(folder: Path, config: _Config, vocabulary: _Vocabulary) -> _Table:
    tensors = Safetensors(folder / "model.safetensors", "model.safetensors")
    rows = tensors.get("embeddings", 2, ("I8", "F16", "F32", "F64"))
    if rows is None or not rows.size:
        raise Invalid("model.safetensors: has no tensor 'embeddings', or an empty one")
    weights = tensors.get("weights", 1, ("F16", "F32", "F64"))
    mapping = tensors.get("mapping", 1, ("I32", "I64"))
    if mapping is None:
        _check_size("embeddings", rows, vocabulary)
    else:
        _check_size("mapping", mapping, vocabulary)
        if int(mapping.min()) < 0 or int(mapping.max()) >= len(rows):
            raise Invalid("model.safetensors: 'mapping' points outside 'embeddings'")
    if weights is not None:
        _check_size("weights", weights, vocabulary)
    return _Table(rows, weights, mapping, vocabulary, config.normalize, bool(config.apply_pca))


def _check_size(name: str, array: _Array, vocabulary: _Vocabulary) -> None:
    if len(array) != vocabulary.size:
        raise Invalid(f"model.safetensors: {name!r} has {len(array)} rows, tokenizer.json has {vocabulary.size} tokens")


ADAPTER = StaticEmbedding
