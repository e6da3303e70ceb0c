"""How servers want a request and give an answer: made and read here, so that servers differ only in what they are."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.serving.engine import Vectors
from benchmarks.serving.workloads import WIDTH, Form

Item = str | Sequence[float]
"""A text, or a row."""
JSON_HEADERS: Mapping[str, str] = {"content-type": "application/json"}
BINARY_HEADERS: Mapping[str, str] = {"content-type": "application/octet-stream"}
ROW_BYTES = 4 * WIDTH


class Shape(ABC):
    """One item to the body of a request, and the body of its answer to a vector."""

    headers: Mapping[str, str] = JSON_HEADERS

    @abstractmethod
    def body(self, item: Item) -> bytes:
        """The body of a request."""

    @abstractmethod
    def read(self, answer: bytes) -> Vectors:
        """The vector in an answer; ValueError, KeyError, IndexError or TypeError when it is none."""


class Field(Shape):
    """`{"text": "..."}` gives `{"embedding": [...]}`, `{"x": [...]}` gives `{"y": [...]}`."""

    def __init__(self, given: str, made: str) -> None:
        self._given = given
        self._made = made

    def body(self, item: Item) -> bytes:
        """An object with one field."""
        return json.dumps({self._given: item}).encode()

    def read(self, answer: bytes) -> Vectors:
        """The list in the field."""
        return np.array(json.loads(answer)[self._made], np.float32)


class Listed(Shape):
    """`{"texts": ["..."]}` gives `[[...]]`, as BentoML batches."""

    def __init__(self, given: str) -> None:
        self._given = given

    def body(self, item: Item) -> bytes:
        """A list of one."""
        return json.dumps({self._given: [item]}).encode()

    def read(self, answer: bytes) -> Vectors:
        """The only list in the list."""
        (vector,) = json.loads(answer)
        return np.array(vector, np.float32)


class Oip(Shape):
    """The Open Inference Protocol in JSON."""

    def __init__(self, name: str, output: str) -> None:
        self._name = name
        self._output = output

    def body(self, item: Item) -> bytes:
        """One input of one row."""
        if isinstance(item, str):
            given: dict[str, Any] = {"name": self._name, "shape": [1], "datatype": "BYTES", "data": [item]}
        else:
            given = {"name": self._name, "shape": [1, len(item)], "datatype": "FP32", "data": item}
        return json.dumps({"inputs": [given], "outputs": [{"name": self._output}]}).encode()

    def read(self, answer: bytes) -> Vectors:
        """The only output."""
        (made,) = json.loads(answer)["outputs"]
        return np.array(made["data"], np.float32)


class OipBinary(Shape):
    """The Open Inference Protocol with its binary tensors, both ways, as Triton's clients send them."""

    def __init__(self, name: str, output: str) -> None:
        given = {"name": name, "shape": [1, WIDTH], "datatype": "FP32", "parameters": {"binary_data_size": ROW_BYTES}}
        wanted = {"name": output, "parameters": {"binary_data": True}}
        self._head = json.dumps({"inputs": [given], "outputs": [wanted]}).encode()
        self.headers = {
            "content-type": "application/octet-stream",
            "inference-header-content-length": str(len(self._head)),
        }

    def body(self, item: Item) -> bytes:
        """What describes the row, and the row's bytes."""
        return self._head + np.array(item, np.float32).tobytes()

    def read(self, answer: bytes) -> Vectors:
        """The bytes behind what describes them."""
        return np.frombuffer(answer[-ROW_BYTES:], np.float32)


class Raw(Shape):
    """The row's bytes give the answer's bytes."""

    headers = BINARY_HEADERS

    def body(self, item: Item) -> bytes:
        """The row's bytes."""
        return np.array(item, np.float32).tobytes()

    def read(self, answer: bytes) -> Vectors:
        """Its bytes as a row."""
        return np.frombuffer(answer, np.float32)


class OpenAI(Shape):
    """OpenAI's embeddings."""

    def __init__(self, model: str) -> None:
        self._model = model

    def body(self, item: Item) -> bytes:
        """One text."""
        return json.dumps({"model": self._model, "input": item, "encoding_format": "float"}).encode()

    def read(self, answer: bytes) -> Vectors:
        """The only embedding."""
        (made,) = json.loads(answer)["data"]
        return np.array(made["embedding"], np.float32)


PLAIN: dict[Form, Shape] = {"text": Field("text", "embedding"), "json": Field("x", "y"), "binary": Raw()}
OIP: dict[Form, Shape] = {"text": Oip("text", "embedding"), "json": Oip("x", "y"), "binary": OipBinary("x", "y")}
