"""The folder of a tiny text model: a vocabulary of three words, and a graph that looks their vectors up."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tests.conformance import onnx_graphs

WORDS = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "red": 4, "green": 5, "blue": 6}
SHORT = {"model_type": "bert", "max_position_embeddings": 16}


def tokenizer_json() -> str:
    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return tokenizer.to_str()


def safetensors(**arrays: np.ndarray) -> bytes:
    """A safetensors file."""
    names = {"int8": "I8", "float16": "F16", "float32": "F32", "float64": "F64", "int32": "I32", "int64": "I64"}
    header: dict[str, Any] = {"__metadata__": {"format": "np"}}
    data = b""
    for name, array in arrays.items():
        header[name] = {
            "dtype": names[array.dtype.name],
            "shape": array.shape,
            "data_offsets": [len(data), len(data) + array.nbytes],
        }
        data += array.tobytes()
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def token_vectors(text: str) -> np.ndarray:
    """What the graph makes of each token of a text, the special ones included."""
    ids = [2, *(WORDS.get(word, 1) for word in text.split()), 3]
    return onnx_graphs.word_table(len(WORDS))[ids]


def write_encoder(
    folder: Path,
    *,
    graph: ModelProto | None = None,
    pooling: dict[str, Any] | None = None,
    normalize: bool = False,
    modules: list[str] | None = None,
    files: dict[str, Any] | None = None,
) -> Path:
    """Write it; `files` are JSON files beside the graph, `pooling` and `modules` those of sentence-transformers."""
    onnx_graphs.write(folder, graph or onnx_graphs.word_vectors(onnx_graphs.word_table(len(WORDS))))
    (folder / "tokenizer.json").write_text(tokenizer_json())
    written = {"config.json": SHORT, **(files or {})}
    if pooling is not None:
        names = ["Transformer", "Pooling", *(modules or []), *(["Normalize"] if normalize else [])]
        written["modules.json"] = [
            {"type": f"sentence_transformers.models.{name}", "path": f"{place}_{name}"}
            for place, name in enumerate(names)
        ]
        written["1_Pooling/config.json"] = pooling
    for name, content in written.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    return folder
