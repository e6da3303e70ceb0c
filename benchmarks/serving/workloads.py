"""What is sent to every server: texts for the encoder, rows for y = x + 1."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import onnx

from benchmarks.serving.engine import Vectors

Model = Literal["minilm", "tiny"]
Form = Literal["text", "json", "binary"]
"""A text to the encoder in JSON; a row to the tiny model in JSON, or as the server's own binary form."""

TEXTS = 2_000
LEAST_WORDS, MOST_WORDS = 5, 200
ROWS = 256
WIDTH = 16
"""Floats in a row of the tiny model."""
_WORDS = """
the of and a to in is was he for it with as his on be at by had not are but from or have an they which one you
were her all she there would their we him been has when who will more no if out so said what up its about into
than them can only other new some could time these two may then do first any my now such like our over man me
even most made after also did many before must through back years where much your way well down should because
each just those people how too little state good very make world still own see men work long get here between
both life being under never day same another know while last might us great old year off come since against go
came right used take three harbour lamp quiet lighthouse counting vessels northward invoice quarterly
temperature antibiotic laboratory microprocessor bandwidth throughput unbelievable photosynthesis
constitutional misunderstanding circumference electromagnetic 1984 3.14 42 2026-11-21
"""
WORDS = _WORDS.split()


@dataclass(frozen=True)
class Scenario:
    """One kind of load."""

    name: str
    title: str
    model: Model
    form: Form
    callers: int


SCENARIOS = (
    *(
        Scenario(f"text-{callers}", f"MiniLM, one text per request, {callers} callers", "minilm", "text", callers)
        for callers in (1, 16, 64)
    ),
    *(
        Scenario(f"json-{callers}", f"y = x + 1, JSON, {callers} callers", "tiny", "json", callers)
        for callers in (1, 32)
    ),
    *(
        Scenario(f"binary-{callers}", f"y = x + 1, binary, {callers} callers", "tiny", "binary", callers)
        for callers in (1, 32)
    ),
)
"""In the order of the tables; those with the same model and form are next to each other."""


def texts(count: int = TEXTS) -> list[str]:
    """Texts of 5 to 200 words, evenly spread, in no order; the same in every run."""
    generator = random.Random(2026)
    lengths = [LEAST_WORDS + place * (MOST_WORDS - LEAST_WORDS) // max(1, count - 1) for place in range(count)]
    generator.shuffle(lengths)
    return [" ".join(generator.choices(WORDS, k=length)) for length in lengths]


def rows(count: int = ROWS) -> Vectors:
    """Rows for the tiny model, each another; the same in every run."""
    return np.random.default_rng(2026).standard_normal((count, WIDTH)).astype(np.float32).round(3)


def write_tiny(path: Path) -> None:
    """The graph y = x + 1 for any number of rows."""
    floats = onnx.TensorProto.FLOAT
    given, made = (onnx.helper.make_tensor_value_info(name, floats, ["rows", WIDTH]) for name in ("x", "y"))
    one = onnx.helper.make_tensor("one", floats, [1], [1.0])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Add", ["x", "one"], ["y"])], "add", [given], [made], [one])
    opsets = [onnx.helper.make_opsetid("", 17)]
    content = cast(Any, onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)).SerializeToString()
    path.write_bytes(content)
