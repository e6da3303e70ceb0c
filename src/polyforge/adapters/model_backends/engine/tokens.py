"""Texts as the tokens that a graph takes: tokenizer.json through the tokenizers library, cut at the model's length."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from polyforge.adapters.model_backends.engine.files import decode_json, read_bytes, read_json
from polyforge.kernel.errors import Invalid

MAX_MODEL_TOKENS = 1 << 20
"""A length beyond this stands for no limit in the files of many models."""
USUAL_TOKENS = 512
CHARACTERS_PER_TOKEN = 16
"""A text is cut at so many before it is tokenised, and taken whole if that was too few."""
TOKENIZE_ROWS = 32
"""Texts tokenised at once: their encodings take some 100 bytes per token."""
_OFFSET_POSITIONS = frozenset({"camembert", "longformer", "mpnet", "roberta", "xlm-roberta"})
"""Kinds of model that number positions from the padding's id on, so that some of them are never used."""

_Integers = NDArray[np.int64]


class ModelConfig(msgspec.Struct):
    """What config.json says that matters here."""

    model_type: str = ""
    max_position_embeddings: int | None = None
    pad_token_id: int | None = None
    id2label: dict[str, str] | None = None
    problem_type: str | None = None
    function_to_apply: str | None = None
    is_matryoshka: bool = False
    matryoshka_dimensions: list[int] | None = None
    sbert_ce_default_activation_function: str | None = None
    sentence_transformers: dict[str, Any] | None = None


class _TokenizerConfig(msgspec.Struct):
    model_max_length: float | None = None


class _SentenceConfig(msgspec.Struct):
    max_seq_length: int | None = None
    do_lower_case: bool = False


class _Truncation(msgspec.Struct):
    max_length: int | None = None


class _Padding(msgspec.Struct):
    pad_id: int = 0


class _TokenizerFile(msgspec.Struct):
    truncation: _Truncation | None = None
    padding: _Padding | None = None


class Row(msgspec.Struct, frozen=True):
    """One text, or pair of texts, as tokens: its ids, to which of the texts each belongs, and where it came from."""

    ids: _Integers
    types: _Integers
    encoding: Encoding | None = None


class Vocabulary:
    """A tokenizer that pads nothing and cuts at `max_tokens`. May be used from several threads."""

    def __init__(self, tokenizer: Tokenizer, *, max_tokens: int, padding: int, lower: bool) -> None:
        self._tokenizer = tokenizer
        self._lower = lower
        self.max_tokens = max_tokens
        self.padding = padding
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)  # pyright: ignore[reportUnknownMemberType]  # its stub is partial

    def rows(self, texts: Sequence[str]) -> list[Row]:
        """Each text as tokens."""
        return self._rows([(text,) for text in texts])

    def pairs(self, pairs: Sequence[tuple[str, str]]) -> list[Row]:
        """Each pair of texts as the tokens of one row; of a pair that is too long the longer text is cut."""
        return self._rows(pairs)

    def located(self, texts: Sequence[str]) -> list[Row]:
        """Each text as tokens that know their place in it."""
        return self._rows([(text,) for text in texts], located=True)

    def _rows(self, inputs: Sequence[tuple[str, ...]], *, located: bool = False) -> list[Row]:
        rows: list[Row] = []
        for start in range(0, len(inputs), TOKENIZE_ROWS):
            chunk = [tuple(map(self._prepared, texts)) for texts in inputs[start : start + TOKENIZE_ROWS]]
            cut = [tuple(text[: self._characters] for text in texts) for texts in chunk]
            for texts, encoding in zip(chunk, self._encoded(cut, located=located), strict=True):
                enough = encoding.overflowing or all(len(text) <= self._characters for text in texts)
                whole = encoding if enough else self._encoded([texts], located=located)[0]
                rows.append(_row(whole, located=located))
        return rows

    @property
    def _characters(self) -> int:
        return self.max_tokens * CHARACTERS_PER_TOKEN

    def _prepared(self, text: str) -> str:
        return text.lower() if self._lower else text

    def _encoded(self, inputs: list[tuple[str, ...]], *, located: bool) -> list[Encoding]:
        # A text alone is given as a text, a pair as a tuple of two.
        given = cast(Any, [texts[0] if len(texts) == 1 else texts for texts in inputs])
        try:
            return self._tokenizer.encode_batch(given) if located else self._tokenizer.encode_batch_fast(given)
        except BaseException as error:
            raise Invalid(f"the model's tokenizer cannot read this: {_why(error)}", param="text") from error


def _why(error: BaseException) -> str:
    """What the library says, which raises a bare Exception whatever is wrong, or panics; anything else goes on."""
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        raise error
    return str(error)


def _row(encoding: Encoding, *, located: bool) -> Row:
    ids, types = np.array(encoding.ids, np.int64), np.array(encoding.type_ids, np.int64)
    return Row(ids, types, encoding if located else None)


def read_config(folder: Path) -> ModelConfig:
    """config.json, or what stands for one that is not there."""
    return read_json(folder, "config.json", ModelConfig) or ModelConfig()


def labels_of(config: ModelConfig, count: int) -> tuple[str, ...]:
    """The names of `count` classes in their order; Invalid when config.json names others. Unnamed: LABEL_0 and on."""
    if config.id2label is None:
        return tuple(f"LABEL_{place}" for place in range(count))
    if config.id2label.keys() != {str(place) for place in range(count)}:
        raise Invalid(f"config.json: id2label must name the classes 0 to {count - 1}, which the graph tells apart")
    return tuple(config.id2label[str(place)] for place in range(count))


def read_vocabulary(folder: Path, config: ModelConfig, *, asked: int | None, most: int | None) -> Vocabulary:
    """The tokenizer of an artifact, cut at `asked` tokens or at what its files say, never beyond `most`.

    The length is sentence_bert_config.json's, else tokenizer_config.json's, else that of the positions in config.json,
    else tokenizer.json's own, as sentence-transformers and transformers take it. Invalid when there is no tokenizer.
    """
    # One request must not spread over all cores: the threads that compute share them.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    content = read_bytes(folder, "tokenizer.json")
    if content is None:
        raise Invalid("there is no tokenizer.json")
    written = decode_json(content, _TokenizerFile, "tokenizer.json")
    sentence = read_json(folder, "sentence_bert_config.json", _SentenceConfig) or _SentenceConfig()
    positions = _positions(config)
    bounds = [bound for bound in (positions, most) if bound is not None]
    said = asked or sentence.max_seq_length or _usual_length(folder) or positions
    said = said or (written.truncation.max_length if written.truncation else None) or USUAL_TOKENS
    if asked is not None and bounds and asked > min(bounds):
        raise Invalid(f"max_tokens: the model takes at most {min(bounds)} tokens, not {asked}", param="max_tokens")
    try:
        tokenizer = Tokenizer.from_buffer(content)
    except BaseException as error:
        raise Invalid(f"tokenizer.json: {_why(error)}") from error
    padding = written.padding.pad_id if written.padding else config.pad_token_id or 0
    return Vocabulary(tokenizer, max_tokens=min(said, *bounds, said), padding=padding, lower=sentence.do_lower_case)


def _usual_length(folder: Path) -> int | None:
    config = read_json(folder, "tokenizer_config.json", _TokenizerConfig)
    if config is None or config.model_max_length is None or not 0 < config.model_max_length <= MAX_MODEL_TOKENS:
        return None
    return int(config.model_max_length)


def _positions(config: ModelConfig) -> int | None:
    positions = config.max_position_embeddings
    if positions is None or positions < 1:
        return None
    if config.model_type in _OFFSET_POSITIONS:
        positions -= (config.pad_token_id if config.pad_token_id is not None else 1) + 1
    return max(1, positions)
