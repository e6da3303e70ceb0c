"""The two models of the benchmark as plain code: the same in the bare loop, in the reference and in every peer.

Peers import this file from environments that have numpy, onnxruntime and tokenizers and nothing of Polyforge.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime  # pyright: ignore[reportMissingTypeStubs]  # it has none
from numpy.typing import NDArray
from tokenizers import Tokenizer

MAX_TOKENS = 256
Vectors = NDArray[np.float32]
_ort = cast(Any, onnxruntime)


def open_session(path: Path, threads: int) -> Any:
    """A session whose runs use so many threads, which sleep when there is nothing to do; 0: the library's defaults."""
    options = _ort.SessionOptions()
    if threads:
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return _ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class Encoder:
    """Texts to the mean of their token vectors with length 1, cut at 256 tokens. May be called from several threads."""

    def __init__(self, folder: Path, threads: int = 0) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(MAX_TOKENS)  # pyright: ignore[reportUnknownMemberType]  # its stub is partial
        self._tokenizer.enable_padding()  # pyright: ignore[reportUnknownMemberType]
        self._session = open_session(folder / "model.onnx", threads)

    def tokenize(self, texts: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """What the graph takes for some texts, padded to the longest."""
        encodings = self._tokenizer.encode_batch(list(texts))
        return {
            "input_ids": np.array([each.ids for each in encodings], np.int64),
            "attention_mask": np.array([each.attention_mask for each in encodings], np.int64),
            "token_type_ids": np.array([each.type_ids for each in encodings], np.int64),
        }

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """One vector for each text, computed together."""
        feeds = self.tokenize(texts)
        hidden = cast(Vectors, self._session.run(None, feeds)[0])
        mask = feeds["attention_mask"][:, :, None].astype(np.float32)
        vectors = (hidden * mask).sum(axis=1) / mask.sum(axis=1)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class AddOne:
    """y = x + 1, for rows of floats."""

    def __init__(self, path: Path, threads: int = 0) -> None:
        self._session = open_session(path, threads)

    def __call__(self, rows: Vectors) -> Vectors:
        """One row for each row."""
        return cast(Vectors, self._session.run(None, {"x": rows})[0])


def encoder() -> Encoder:
    """The encoder that the environment names, with the threads that it asks for."""
    return Encoder(Path(os.environ["BENCH_ENCODER"]), int(os.environ["BENCH_THREADS"]))


def add_one() -> AddOne:
    """The tiny model that the environment names."""
    return AddOne(Path(os.environ["BENCH_TINY"]), int(os.environ["BENCH_THREADS"]))


def serves_texts() -> bool:
    """Whether the environment asks for the encoder, not for the tiny model."""
    return os.environ["BENCH_MODEL"] == "minilm"


def port() -> int:
    """Where to listen on 127.0.0.1."""
    return int(os.environ["BENCH_PORT"])


def batch_rows() -> int:
    """Most requests in one run; 1: batching is off."""
    return int(os.environ["BENCH_BATCH"])


def workers() -> int:
    """How many processes compute."""
    return int(os.environ["BENCH_WORKERS"])


BATCH_SECONDS = 0.005
"""How long a peer that waits for company waits, where it has no default of its own."""
