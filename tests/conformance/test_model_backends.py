"""Every model backend against the suite of its port."""

from collections.abc import Callable

import pytest

from polyforge.adapters.model_backends.static_embedding import Settings, StaticEmbedding
from polyforge.kernel.tensors import Parameter, Tensor, pack_strings
from polyforge.ports.model_backend import ModelBackend, ModelRequest
from polyforge.serving.sources import BUILT_IN_FOLDER
from tests.conformance.model_backends import ModelBackendSuite


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
