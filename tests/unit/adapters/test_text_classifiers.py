"""Cross-encoders, text and token classifiers: their numbers, labels and places are what the model's files make them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from polyforge.adapters.model_backends import cross_encoder, text_classifier, token_classifier
from polyforge.adapters.model_backends.engine.activations import activate
from polyforge.kernel.errors import Invalid, PolyforgeError
from polyforge.kernel.tensors import Tensor, pack_strings, unpack_strings
from polyforge.ports.model_backend import ModelBackend, ModelRequest
from tests.conformance import onnx_graphs as graphs
from tests.conformance.encoder_files import WORDS, write_encoder

SCORES = np.array([[0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0], [4, 0, 0], [0, 4, 0], [0, 0, 4]], np.float32)
"""Of each word for the classes red, green and blue."""
COLOURS = {"id2label": {"0": "red", "1": "green", "2": "blue"}}


def loaded(backend: ModelBackend) -> ModelBackend:
    backend.load()
    return backend


def request_of(**texts: list[str]) -> ModelRequest:
    return ModelRequest(
        {n: Tensor(n, "BYTES", (len(t),), pack_strings(each.encode() for each in t)) for n, t in texts.items()}, {}
    )


def answer(backend: ModelBackend, **texts: list[str]) -> dict[str, Any]:
    (outputs,) = backend.run([request_of(**texts)])
    if isinstance(outputs, PolyforgeError):
        raise outputs
    return {tensor.name: values(tensor) for tensor in outputs}


def values(tensor: Tensor) -> Any:
    if tensor.datatype == "BYTES":
        return [value.decode() for value in unpack_strings(tensor.data, tensor.count)]
    return np.frombuffer(bytes(tensor.data), "<f4" if tensor.datatype == "FP32" else "<i4").reshape(tensor.shape)


# Text classifiers


def classifier(folder: Path, config: dict[str, Any], **settings: object) -> ModelBackend:
    write_encoder(
        folder, graph=graphs.word_vectors(SCORES, pooled=True, output="logits"), files={"config.json": config}
    )
    given = text_classifier.Settings.model_validate({"folder": folder, **settings})
    return loaded(text_classifier.TextClassifier(given))


def test_classes_that_exclude_each_other_share_one(tmp_path: Path) -> None:
    backend = classifier(tmp_path, COLOURS)
    assert backend.signature.labels == {"scores": ("red", "green", "blue")}
    got = answer(backend, text=["green green", "blue"])
    assert got["label"] == ["green", "blue"]
    assert got["tokens"].tolist() == [4, 3]
    powers = np.exp([0, 2, 0])
    assert np.allclose(got["scores"][0], powers / powers.sum(), atol=1e-6)


@pytest.mark.parametrize(
    ("config", "activation"),
    [
        ({"problem_type": "multi_label_classification"}, "sigmoid"),
        ({"problem_type": "regression"}, "none"),
        ({"function_to_apply": "none"}, "none"),
        ({"problem_type": "single_label_classification"}, "softmax"),
    ],
)
def test_the_function_is_the_models(tmp_path: Path, config: dict[str, Any], activation: Any) -> None:
    got = answer(classifier(tmp_path, {**COLOURS, **config}), text=["green green"])
    assert np.allclose(got["scores"][0], activate(activation, np.array([0.0, 2.0, 0.0])), atol=1e-6)


def test_the_function_may_be_chosen(tmp_path: Path) -> None:
    assert answer(classifier(tmp_path, COLOURS, activation="none"), text=["red red"])["scores"][0].tolist() == [2, 0, 0]


def test_classes_without_names_are_numbered(tmp_path: Path) -> None:
    assert answer(classifier(tmp_path, {}), text=["blue"])["label"] == ["LABEL_2"]


@pytest.mark.parametrize("names", [{"0": "a"}, {"0": "a", "1": "b", "3": "c"}, {"a": "0", "b": "1", "c": "2"}])
def test_names_of_other_classes_are_refused(tmp_path: Path, names: dict[str, str]) -> None:
    with pytest.raises(Invalid, match="id2label must name the classes 0 to 2"):
        classifier(tmp_path, {"id2label": names})


def test_pairs_are_read_together(tmp_path: Path) -> None:
    backend = classifier(tmp_path, COLOURS, pairs=True)
    assert [spec.name for spec in backend.signature.inputs] == ["text", "pair"]
    got = answer(backend, text=["red", "red red"], pair=["green green green", "green"])
    assert got["label"] == ["green", "red"]
    assert got["tokens"].tolist() == [7, 6]


def test_large_scores_do_not_overflow() -> None:
    huge = np.array([[1000.0, -1000.0]], np.float32)
    assert activate("sigmoid", huge).tolist() == [[1, 0]]
    assert activate("softmax", huge).tolist() == [[1, 0]]


# Cross-encoders


def reranker(folder: Path, config: dict[str, Any] | None = None, **settings: object) -> ModelBackend:
    graph = graphs.word_vectors(SCORES[:, :1], pooled=True, output="logits", types=True)
    write_encoder(folder, graph=graph, files={"config.json": config or {}})
    return loaded(cross_encoder.CrossEncoder(cross_encoder.Settings.model_validate({"folder": folder, **settings})))


@pytest.mark.parametrize(
    ("config", "activation"),
    [
        ({}, "sigmoid"),
        ({"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}, "none"),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}}, "sigmoid"),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}, "none"),
    ],
)
def test_a_score_is_of_the_pair(tmp_path: Path, config: dict[str, Any], activation: Any) -> None:
    got = answer(reranker(tmp_path, config), query=["red", "green"], text=["green", "red red"])
    # [CLS] query [SEP] text [SEP]; what belongs to the text counts double
    assert np.allclose(got["score"], activate(activation, np.array([4 / 5, 16 / 6])), atol=1e-6)
    assert got["tokens"].tolist() == [5, 6]


def test_of_a_pair_that_is_too_long_the_longer_text_is_cut(tmp_path: Path) -> None:
    backend = reranker(tmp_path, max_tokens=8, activation="none")
    got = answer(backend, query=["red green"], text=["red " * 5000])
    assert got["tokens"].tolist() == [8]
    assert np.allclose(got["score"], [(4 + 3 * 8) / 8], atol=1e-6)


def test_an_activation_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    config = {"sbert_ce_default_activation_function": "torch.nn.Tanh"}
    with pytest.raises(Invalid, match="Tanh"):
        reranker(tmp_path, config)
    reranker(tmp_path, config, activation="none")


def test_several_classes_make_no_cross_encoder(tmp_path: Path) -> None:
    write_encoder(tmp_path, graph=graphs.word_vectors(SCORES, pooled=True, output="logits"))
    with pytest.raises(Invalid, match="3 numbers for a pair"):
        cross_encoder.CrossEncoder(cross_encoder.Settings(folder=tmp_path)).load()


# Token classifiers

PLACES = np.zeros((len(WORDS), 5), np.float32)
PLACES[4, 1] = PLACES[5, 2] = PLACES[6, 3] = 9
PLACES[:4, 0] = PLACES[4:, 4] = 1
TAGS = {"id2label": dict(enumerate(("O", "B-PER", "I-PER", "I-LOC", "I-ORG")))}
"""red begins a person, green goes on with one, blue is a place, everything else is nothing."""


def tagger(folder: Path, table: np.ndarray = PLACES, **settings: object) -> ModelBackend:
    graph = graphs.word_vectors(table, output="logits")
    write_encoder(folder, graph=graph, files={"config.json": TAGS})
    given = token_classifier.Settings.model_validate({"folder": folder, **settings})
    return loaded(token_classifier.TokenClassifier(given))


def found(backend: ModelBackend, *texts: str) -> list[list[tuple[str, str]]]:
    entities = [json.loads(each) for each in answer(backend, text=list(texts))["entities"]]
    for text, each in zip(texts, entities, strict=True):
        assert all(text[entity["start"] : entity["end"]] == entity["text"] for entity in each)
        assert all(0.9 < entity["score"] <= 1 for entity in each)
    return [[(entity["label"], entity["text"]) for entity in each] for each in entities]


@pytest.mark.parametrize("aggregation", ["simple", "first"])
def test_neighbours_of_one_kind_are_joined(tmp_path: Path, aggregation: str) -> None:
    assert found(
        tagger(tmp_path, aggregation=aggregation),
        "red green and  blue blue",
        "red red green blue",
        "nothing",
        "",
        "gré blue, green",
    ) == [
        [("PER", "red green"), ("LOC", "blue blue")],
        [("PER", "red"), ("PER", "red green"), ("LOC", "blue")],
        [],
        [],
        [("LOC", "blue"), ("PER", "green")],
    ]


@pytest.mark.parametrize(
    ("aggregation", "entities"),
    [("simple", [("LOC", "blue"), ("PER", "green"), ("LOC", "blue")]), ("first", [("LOC", "bluegreen blue")])],
)
def test_a_word_of_several_tokens_is_split_or_not(
    tmp_path: Path, aggregation: str, entities: list[tuple[str, str]]
) -> None:
    vocabulary = {("##green" if word == "green" else word): number for word, number in WORDS.items()}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tagger(tmp_path)
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_str())
    given = token_classifier.Settings.model_validate({"folder": tmp_path, "aggregation": aggregation})
    assert found(loaded(token_classifier.TokenClassifier(given)), "bluegreen blue") == [entities]


def test_a_graph_without_scores_for_each_token_is_refused(tmp_path: Path) -> None:
    write_encoder(tmp_path, graph=graphs.word_vectors(SCORES, pooled=True, output="logits"))
    with pytest.raises(Invalid, match="scores for each token"):
        token_classifier.TokenClassifier(token_classifier.Settings(folder=tmp_path)).load()
