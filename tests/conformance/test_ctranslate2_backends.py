"""Models of CTranslate2 against the suite of their port."""

from collections.abc import Callable
from pathlib import Path

import pytest

from polyforge.adapters.model_backends.ctranslate2 import Ctranslate2, Settings
from polyforge.kernel.tensors import Parameter, Tensor, pack_strings
from polyforge.ports.model_backend import ModelBackend, ModelRequest
from tests.conformance import ctranslate2_models
from tests.conformance.model_backends import ModelBackendSuite
from tests.conformance.test_model_backends import broken, texts_request

TEXTS = ("red", "green blue red", "", "a blue sky and words that nobody knows", "red " * 20)


class TestTranslator(ModelBackendSuite):
    """Texts to texts, several requests together."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[], ModelBackend]:
        folder = ctranslate2_models.write_translator(tmp_path)
        return lambda: Ctranslate2(Settings(folder=folder, batch_rows=8, language="__{}__"))

    @pytest.fixture
    def requests(self) -> list[ModelRequest]:
        alone = [texts_request(text) for text in TEXTS]
        return [*alone, texts_request(*TEXTS), texts_request("red", target_language="de", max_tokens=3)]

    @pytest.fixture
    def wrong(self) -> ModelRequest:
        return broken(texts_request("red"))


class TestQuantisedTranslator(TestTranslator):
    """The same in int8, whose scales are those of each row."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[], ModelBackend]:
        folder = ctranslate2_models.write_translator(tmp_path, quantization="int8")
        return lambda: Ctranslate2(Settings(folder=folder, batch_rows=8, language="__{}__", instances=2))


def prompts_request(*texts: str, **parameters: Parameter) -> ModelRequest:
    data = pack_strings(text.encode() for text in texts)
    return ModelRequest({"text_input": Tensor("text_input", "BYTES", (len(texts),), data)}, parameters)


class TestGenerator(ModelBackendSuite):
    """What goes on with a text."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[], ModelBackend]:
        folder = ctranslate2_models.write_generator(tmp_path)
        return lambda: Ctranslate2(Settings(folder=folder, max_new_tokens=12, batch_rows=4))

    @pytest.fixture
    def requests(self) -> list[ModelRequest]:
        return [
            prompts_request("red"),
            prompts_request("green blue red", "blue", "a first text"),
            prompts_request("red " * 9, max_tokens=4),
        ]

    @pytest.fixture
    def wrong(self) -> ModelRequest:
        return prompts_request("red", max_tokens=13)


class TestEncoder(ModelBackendSuite):
    """Texts to vectors."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[], ModelBackend]:
        folder = ctranslate2_models.write_encoder(tmp_path)
        return lambda: Ctranslate2(Settings(folder=folder))

    @pytest.fixture
    def requests(self) -> list[ModelRequest]:
        return [texts_request("red"), texts_request("green blue red", "a"), texts_request("red " * 30), texts_request()]

    @pytest.fixture
    def wrong(self) -> ModelRequest:
        return texts_request("")
