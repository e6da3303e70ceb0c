"""Every model backend against the suite of its port."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from polyforge.adapters.model_backends.cross_encoder import CrossEncoder
from polyforge.adapters.model_backends.cross_encoder import Settings as CrossEncoderSettings
from polyforge.adapters.model_backends.onnx import Onnx
from polyforge.adapters.model_backends.onnx import Settings as OnnxSettings
from polyforge.adapters.model_backends.static_embedding import Settings, StaticEmbedding
from polyforge.adapters.model_backends.text_classifier import Settings as ClassifierSettings
from polyforge.adapters.model_backends.text_classifier import TextClassifier
from polyforge.adapters.model_backends.text_encoder import Settings as EncoderSettings
from polyforge.adapters.model_backends.text_encoder import TextEncoder
from polyforge.adapters.model_backends.token_classifier import Settings as TokenClassifierSettings
from polyforge.adapters.model_backends.token_classifier import TokenClassifier
from polyforge.kernel.errors import PolyforgeError
from polyforge.kernel.tensors import Parameter, Tensor, pack_strings
from polyforge.ports.model_backend import ModelBackend, ModelRequest
from polyforge.serving.hints import EngineHints
from polyforge.serving.sources import BUILT_IN_FOLDER
from polyforge.wiring.engines import engine_for
from tests.conformance import onnx_graphs
from tests.conformance.encoder_files import WORDS, write_encoder
from tests.conformance.model_backends import ModelBackendSuite
from tests.support.python_models import python_model, write_model

MODELS = Path(os.environ.get("POLYFORGE_TEST_MODELS", "."))
"""A folder with models that are too large for the repository; the suite does without."""


def texts_request(*texts: str, **parameters: Parameter) -> ModelRequest:
    data = pack_strings(text.encode() for text in texts)
    return ModelRequest({"text": Tensor("text", "BYTES", (len(texts),), data)}, parameters)


class TestStaticEmbedding(ModelBackendSuite):
    """The model in the package."""

    @pytest.fixture
    def make(self) -> Callable[[], ModelBackend]:
        return lambda: StaticEmbedding(Settings(folder=BUILT_IN_FOLDER))

    @pytest.fixture
    def requests(self) -> list[ModelRequest]:
        return [
            texts_request("hello world"),
            texts_request("a somewhat longer text about nothing in particular", "", "short"),
            texts_request("word " * 900, dimensions=64),
            texts_request("नमस्ते", "naïve café"),
            texts_request(*(f"text number {number}" for number in range(70))),
        ]

    @pytest.fixture
    def wrong(self) -> ModelRequest:
        return texts_request("hello", dimensions=0)


def numbers_request(**arrays: np.ndarray) -> ModelRequest:
    return ModelRequest({n: Tensor(n, "FP32", array.shape, array.tobytes()) for n, array in arrays.items()}, {})


class TestOnnx(ModelBackendSuite):
    """A graph whose rows are independent: numbers, texts and rows of different lengths."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[], ModelBackend]:
        folder = onnx_graphs.write(tmp_path, onnx_graphs.table())
        return lambda: Onnx(OnnxSettings(folder=folder))

    @pytest.fixture
    def requests(self) -> list[ModelRequest]:
        return [table_request([[1, 2]]), table_request([[3, 4], [5, 6], [7, 8]]), table_request([[9, 9, 9]])] + [
            table_request([[number, 0]] * number) for number in range(1, 10)
        ]

    @pytest.fixture
    def wrong(self) -> ModelRequest:
        return table_request([[1, 99]])


class TestOnnxDynamicInt8(ModelBackendSuite):
    """A graph that takes one scale for all that is computed together."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[], ModelBackend]:
        folder = onnx_graphs.write(tmp_path, onnx_graphs.dynamic_int8())
        return lambda: Onnx(OnnxSettings(folder=folder))

    @pytest.fixture
    def requests(self) -> list[ModelRequest]:
        rows = np.random.default_rng(3).standard_normal((6, 8)).astype(np.float32)
        return [numbers_request(x=row[None] * np.float32(4**place)) for place, row in enumerate(rows)]

    @pytest.fixture
    def wrong(self) -> ModelRequest:
        return ModelRequest({"x": Tensor("x", "FP32", (1, 8), bytes(3))}, {})


def table_request(ids: list[list[int]]) -> ModelRequest:
    array = np.array(ids)
    rows = len(ids)
    return ModelRequest(
        {
            "ids": Tensor("ids", "INT64", array.shape, array.tobytes()),
            "scale": Tensor("scale", "FP32", (rows,), np.arange(1, rows + 1, dtype=np.float32).tobytes()),
            "name": Tensor("name", "BYTES", (rows,), pack_strings(f"näme {row}".encode() for row in range(rows))),
        },
        {},
    )


WORD_SCORES = onnx_graphs.word_table(len(WORDS), 3)
TEXTS = ("red", "green blue", "red " * 5, "blue green red " * 4, "", "unknown words")


class TestTextEncoder(ModelBackendSuite):
    """An encoder whose texts are computed together."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[], ModelBackend]:
        folder = write_encoder(tmp_path)
        return lambda: TextEncoder(EncoderSettings(folder=folder))

    @pytest.fixture
    def requests(self) -> list[ModelRequest]:
        return [*(texts_request(text) for text in TEXTS), texts_request(*TEXTS), texts_request(*TEXTS, dimensions=4)]

    @pytest.fixture
    def wrong(self) -> ModelRequest:
        return texts_request("red", dimensions=5)


class TestTextEncoderDynamicInt8(TestTextEncoder):
    """An encoder that takes one scale for all that is computed together."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[], ModelBackend]:
        table = onnx_graphs.word_table(len(WORDS))
        folder = write_encoder(tmp_path, graph=onnx_graphs.word_vectors(table, quantized=True))
        return lambda: TextEncoder(EncoderSettings(folder=folder))


def broken(request: ModelRequest) -> ModelRequest:
    """The request with a text that is not UTF-8."""
    name, tensor = next(iter(request.inputs.items()))
    data = pack_strings([b"\xff"] * tensor.count)
    return ModelRequest({**request.inputs, name: Tensor(name, "BYTES", tensor.shape, data)}, {})


class TestTextClassifier(ModelBackendSuite):
    """A classifier of three classes."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[], ModelBackend]:
        folder = write_encoder(tmp_path, graph=onnx_graphs.word_vectors(WORD_SCORES, pooled=True, output="logits"))
        return lambda: TextClassifier(ClassifierSettings(folder=folder))

    @pytest.fixture
    def requests(self) -> list[ModelRequest]:
        return [*(texts_request(text) for text in TEXTS), texts_request(*TEXTS)]

    @pytest.fixture
    def wrong(self) -> ModelRequest:
        return broken(texts_request("red"))


class TestTokenClassifier(TestTextClassifier):
    """A classifier of each token."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[], ModelBackend]:
        folder = write_encoder(tmp_path, graph=onnx_graphs.word_vectors(WORD_SCORES, output="logits"))
        return lambda: TokenClassifier(TokenClassifierSettings(folder=folder))


class TestCrossEncoder(ModelBackendSuite):
    """A cross-encoder that tells its two texts apart."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[], ModelBackend]:
        graph = onnx_graphs.word_vectors(WORD_SCORES[:, :1], pooled=True, output="logits", types=True)
        folder = write_encoder(tmp_path, graph=graph)
        return lambda: CrossEncoder(CrossEncoderSettings(folder=folder))

    @pytest.fixture
    def requests(self) -> list[ModelRequest]:
        return [pairs_request("red", text) for text in TEXTS] + [pairs_request("blue red", *TEXTS)]

    @pytest.fixture
    def wrong(self) -> ModelRequest:
        return broken(pairs_request("red", "green"))


def pairs_request(query: str, *texts: str) -> ModelRequest:
    queries, given = texts_request(*[query] * len(texts)).inputs["text"], texts_request(*texts).inputs["text"]
    return ModelRequest({"query": Tensor("query", "BYTES", queries.shape, queries.data), "text": given}, {})


class InProcesses(ModelBackendSuite):
    """An engine whose processes have to be let go."""

    @pytest.fixture
    def backends(self) -> Iterator[list[ModelBackend]]:
        made: list[ModelBackend] = []
        yield made
        for backend in made:
            backend.close()


class TestIsolatedOnnx(InProcesses, TestOnnx):
    """The same graph in two processes of its own."""

    @pytest.fixture
    def make(self, tmp_path: Path, backends: list[ModelBackend]) -> Callable[[], ModelBackend]:
        folder = onnx_graphs.write(tmp_path, onnx_graphs.table())

        def new() -> ModelBackend:
            backends.append(engine_for(folder, EngineHints(backend="onnx", isolated=True, instances=2)))
            return backends[-1]

        return new


ROWS_APART = """
    import numpy as np

    class Refused(ValueError):
        param = "ids"

    class Model:
        inputs = {"ids": ("INT64", [-1, -1]), "scale": ("FP32", [-1]), "name": ("BYTES", [-1])}
        outputs = {"sum": ("FP32", [-1]), "same": ("BYTES", [-1]), "flags": ("BOOL", [-1, 2])}
        batch_rows = 16

        def predict(self, inputs):
            if inputs["ids"].max(initial=0) > 50:
                raise Refused("ids must be at most 50")
            flags = np.stack([inputs["scale"] > 2, inputs["scale"] > 4], axis=1)
            return {"sum": inputs["ids"].sum(axis=1) * inputs["scale"], "same": inputs["name"], "flags": flags}
"""
TOGETHER = """
        def batch(self, requests):
            assert len(requests) > 1
            return [self.predict(request) for request in requests]
"""


@pytest.mark.parametrize("source", [ROWS_APART, ROWS_APART + TOGETHER], ids=["predict", "batch"])
class TestPython(InProcesses):
    """A model in Python, whose requests are answered one by one or several at once."""

    @pytest.fixture
    def make(self, tmp_path: Path, source: str, backends: list[ModelBackend]) -> Callable[[], ModelBackend]:
        folder = write_model(tmp_path / "model", source)

        def new() -> ModelBackend:
            backends.append(python_model(folder, instances=2))
            return backends[-1]

        return new

    @pytest.fixture
    def requests(self) -> list[ModelRequest]:
        return [table_request([[1, 2]]), table_request([[3, 4], [5, 6], [7, 8]]), table_request([[9, 9, 9]])] + [
            table_request([[number, 0]] * number) for number in range(1, 10)
        ]

    @pytest.fixture
    def wrong(self) -> ModelRequest:
        return table_request([[1, 99]])


@pytest.mark.skipif(
    not (MODELS / "minilm-onnx-int8").is_dir(), reason="POLYFORGE_TEST_MODELS names no folder with minilm-onnx-int8"
)
class TestMiniLm(TestTextEncoder):
    """A real encoder, quantised dynamically."""

    @pytest.fixture
    def make(self) -> Callable[[], ModelBackend]:
        return lambda: TextEncoder(EncoderSettings(folder=MODELS / "minilm-onnx-int8", max_tokens=256))

    @pytest.fixture
    def requests(self) -> list[ModelRequest]:
        return [texts_request("a few words"), texts_request("many words " * 30, "other ones"), texts_request("x")]

    @pytest.fixture
    def wrong(self) -> ModelRequest:
        return texts_request("red", dimensions=5)

    def test_it_knows_what_means_the_same(self, make: Callable[[], ModelBackend]) -> None:
        backend = make()
        backend.load()
        (answer,) = backend.run([texts_request("a man eats food", "someone is eating", "the stock market fell")])
        assert not isinstance(answer, PolyforgeError)
        vectors = np.frombuffer(bytes(answer[0].data), "<f4").reshape(answer[0].shape)
        assert vectors[0] @ vectors[1] > 0.6
        assert vectors[0] @ vectors[2] < 0.2
