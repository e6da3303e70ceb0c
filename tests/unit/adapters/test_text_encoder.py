"""Text encoders: pooled as the model's own files say, cut at its length, and never by what is computed beside them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from polyforge.adapters.model_backends.engine.text_graph import length_groups
from polyforge.adapters.model_backends.text_encoder import Settings, TextEncoder, pool
from polyforge.kernel.errors import Invalid, PolyforgeError
from polyforge.kernel.tensors import Parameter, Tensor, pack_strings
from polyforge.ports.model_backend import ModelRequest
from tests.conformance import onnx_graphs as graphs
from tests.conformance.encoder_files import WORDS, safetensors, token_vectors, write_encoder

TABLE = graphs.word_table(len(WORDS))


def opened(folder: Path, **settings: object) -> TextEncoder:
    backend = TextEncoder(Settings.model_validate({"folder": folder, **settings}))
    backend.load()
    return backend


def refusal(folder: Path, **settings: object) -> Invalid:
    with pytest.raises(Invalid) as caught:
        opened(folder, **settings)
    assert str(folder) not in caught.value.message
    return caught.value


def embed(backend: TextEncoder, *texts: str, **parameters: Parameter) -> tuple[np.ndarray, list[int]]:
    tensor = Tensor("text", "BYTES", (len(texts),), pack_strings(text.encode() for text in texts))
    (answer,) = backend.run([ModelRequest({"text": tensor}, parameters)])
    if isinstance(answer, PolyforgeError):
        raise answer
    vectors, tokens = answer
    counts = np.frombuffer(bytes(tokens.data), "<i4").tolist()
    return np.frombuffer(bytes(vectors.data), "<f4").reshape(vectors.shape), counts


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def test_without_a_word_on_pooling_it_is_the_mean_and_the_card_says_so(tmp_path: Path) -> None:
    backend = opened(write_encoder(tmp_path))
    (vector,), counts = embed(backend, "red green")
    assert counts == [4]
    assert np.allclose(vector, unit(token_vectors("red green").mean(axis=0)), atol=1e-6)
    assert backend.signature.notes == ("no file says how to pool: the mean, normalised",)


EXPECTED = {
    "cls_token": lambda tokens: tokens[0],
    "mean_tokens": lambda tokens: tokens.mean(axis=0),
    "max_tokens": lambda tokens: tokens.max(axis=0),
    "mean_sqrt_len_tokens": lambda tokens: tokens.sum(axis=0) / np.sqrt(len(tokens)),
    "weightedmean_tokens": lambda tokens: np.average(tokens, axis=0, weights=np.arange(1, len(tokens) + 1)),
    "lasttoken": lambda tokens: tokens[-1],
}


@pytest.mark.parametrize("mode", EXPECTED)
def test_pooling_is_the_models_own_whatever_it_is_padded_with(tmp_path: Path, mode: str) -> None:
    backend = opened(write_encoder(tmp_path, pooling={f"pooling_mode_{mode}": True}))
    texts = ["red", "red green blue red", "blue blue"]
    vectors, _ = embed(backend, *texts)
    for text, vector in zip(texts, vectors, strict=True):
        assert np.allclose(vector, EXPECTED[mode](token_vectors(text)), atol=1e-5)
    assert backend.signature.notes == ()


def test_several_poolings_are_joined(tmp_path: Path) -> None:
    flags = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
    (vector,), _ = embed(opened(write_encoder(tmp_path, pooling=flags)), "red")
    tokens = token_vectors("red")
    assert np.allclose(vector, np.concatenate([tokens[0], tokens.mean(axis=0)]), atol=1e-5)


def test_the_newer_name_of_the_pooling_is_read_too(tmp_path: Path) -> None:
    (vector,), _ = embed(opened(write_encoder(tmp_path, pooling={"pooling_mode": "lasttoken"})), "red")
    assert np.allclose(vector, token_vectors("red")[-1], atol=1e-5)


def test_normalize_is_a_module_of_its_own(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path, pooling={"pooling_mode_mean_tokens": True}, normalize=True)
    (vector,), _ = embed(opened(folder), "red green")
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
    (long,), _ = embed(opened(folder, normalize=False, pooling="cls"), "red green")
    assert np.allclose(long, token_vectors("red green")[0], atol=1e-6)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"pooling_mode": "attention"}, "asks for attention"),
        ({}, "asks for no pooling"),
        ({"pooling_mode_cls_token": True, "include_prompt": False}, "include_prompt"),
    ],
)
def test_a_pooling_that_nobody_has_is_refused(tmp_path: Path, config: dict[str, Any], reason: str) -> None:
    assert reason in refusal(write_encoder(tmp_path, pooling=config)).message


def test_a_module_that_nobody_has_is_refused_unless_it_is_in_the_graph(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path, pooling={"pooling_mode_mean_tokens": True}, modules=["LSTM"])
    assert refusal(folder).message.startswith("modules.json: LSTM is not supported")
    write_encoder(tmp_path, graph=graphs.word_vectors(TABLE, pooled=True))
    (vector,), _ = embed(opened(folder), "red")
    assert np.allclose(vector, token_vectors("red").mean(axis=0), atol=1e-5)


def dense_layer(folder: Path, activation: str = "torch.nn.modules.activation.Tanh", inputs: int = 4) -> Path:
    """An encoder with a layer of 4 to 2 numbers behind its pooling."""
    write_encoder(folder, pooling={"pooling_mode_mean_tokens": True}, modules=["Dense"])
    weight = np.arange(2 * inputs, dtype=np.float32).reshape(2, inputs) / 8
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense/config.json").write_text(json.dumps({"activation_function": activation}))
    content = safetensors(**{"linear.weight": weight, "linear.bias": np.array([1, -1], np.float32)})
    (folder / "2_Dense/model.safetensors").write_bytes(content)
    return folder


def test_a_layer_behind_the_pooling_is_computed(tmp_path: Path) -> None:
    (vector,), _ = embed(opened(dense_layer(tmp_path)), "red green")
    weight = np.arange(8, dtype=np.float32).reshape(2, 4) / 8
    assert np.allclose(vector, np.tanh(weight @ token_vectors("red green").mean(axis=0) + [1, -1]), atol=1e-6)


def test_a_layer_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    assert "Dense takes 3 numbers, and is given 4" in refusal(dense_layer(tmp_path / "a", inputs=3)).message
    assert "GELU is not supported" in refusal(dense_layer(tmp_path / "b", activation="torch.nn.GELU")).message
    folder = dense_layer(tmp_path / "c")
    (folder / "2_Dense/model.safetensors").rename(folder / "2_Dense/pytorch_model.bin")
    assert refusal(folder).message == "cannot read 2_Dense/model.safetensors: No such file or directory"


@pytest.mark.parametrize("path", ["../elsewhere", "/etc"])
def test_modules_stay_in_the_folder(tmp_path: Path, path: str) -> None:
    folder = write_encoder(tmp_path / "model", pooling={"pooling_mode_mean_tokens": True})
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = path
    (folder / "modules.json").write_text(json.dumps(modules))
    assert "leads out of the artifact's folder" in refusal(folder).message


# Length


@pytest.mark.parametrize(
    ("files", "longest"),
    [
        ({"sentence_bert_config.json": {"max_seq_length": 5}, "tokenizer_config.json": {"model_max_length": 9}}, 5),
        ({"tokenizer_config.json": {"model_max_length": 9}}, 9),
        ({"tokenizer_config.json": {"model_max_length": 1e30}}, 16),
        ({"sentence_bert_config.json": {"max_seq_length": 99}}, 16),
        ({"config.json": {"model_type": "roberta", "max_position_embeddings": 12, "pad_token_id": 1}}, 10),
        ({"config.json": {}}, 512),
    ],
)
def test_texts_are_cut_where_the_files_say(tmp_path: Path, files: dict[str, Any], longest: int) -> None:
    _, counts = embed(opened(write_encoder(tmp_path, files=files)), "red " * 600, "red")
    assert counts == [longest, 3]


def test_a_length_may_be_asked_for_within_the_models(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path)
    assert embed(opened(folder, max_tokens=4), "red green blue")[1] == [4]
    assert refusal(folder, max_tokens=17).param == "max_tokens"


def test_a_very_long_text_is_cut_before_it_is_tokenised_and_nothing_changes(tmp_path: Path) -> None:
    backend = opened(write_encoder(tmp_path))
    short, _ = embed(backend, "green " * 16)
    assert np.allclose(embed(backend, "green " * 100_000)[0], short, atol=1e-6)
    spaced = "red" + " " * 10_000 + "green"
    assert embed(backend, spaced)[1] == [4]
    assert np.allclose(embed(backend, spaced)[0], embed(backend, "red green")[0], atol=1e-6)


def test_upper_case_is_lowered_when_the_files_say_so(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path, files={"sentence_bert_config.json": {"do_lower_case": True}})
    backend = opened(folder)
    assert np.allclose(embed(backend, "RED")[0], embed(backend, "red")[0])


# Requests


def test_prompts_go_before_the_text(tmp_path: Path) -> None:
    prompts = {"prompts": {"query": "green ", "plain": ""}, "default_prompt_name": "plain"}
    backend = opened(write_encoder(tmp_path, files={"config_sentence_transformers.json": prompts}))
    assert np.allclose(embed(backend, "red", prompt_name="query")[0], embed(backend, "green red")[0], atol=1e-6)
    assert embed(backend, "red")[1] == [3]
    with pytest.raises(Invalid, match="it has query, plain") as caught:
        embed(backend, "red", prompt_name="passage")
    assert caught.value.param == "prompt_name"


def test_vectors_are_shortened_only_if_the_model_was_trained_for_it(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path)
    (whole,), _ = embed(opened(folder), "red blue")
    with pytest.raises(Invalid, match="cannot be shortened") as caught:
        embed(opened(folder), "red blue", dimensions=2)
    assert caught.value.param == "dimensions"
    write_encoder(tmp_path, files={"config.json": {"matryoshka_dimensions": [2, 4]}})
    (short,), _ = embed(opened(folder), "red blue", dimensions=2)
    assert np.allclose(short, unit(whole[:2]), atol=1e-6)


def test_no_texts_have_no_vectors(tmp_path: Path) -> None:
    vectors, counts = embed(opened(write_encoder(tmp_path)))
    assert vectors.shape == (0, 4)
    assert counts == []


@pytest.mark.parametrize("mode", EXPECTED)
def test_a_text_without_tokens_has_the_zero_vector(tmp_path: Path, mode: str) -> None:
    folder = write_encoder(tmp_path, pooling={f"pooling_mode_{mode}": True}, normalize=True)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**tokenizer, "post_processor": None}))
    vectors, counts = embed(opened(folder), "", "red", " ")
    assert counts == [0, 1, 0]
    assert not vectors[[0, 2]].any()
    assert np.allclose(vectors[1], unit(TABLE[WORDS["red"]]), atol=1e-6)


# Together or alone


def test_one_scale_for_all_texts_means_that_each_runs_alone(tmp_path: Path) -> None:
    backend = opened(write_encoder(tmp_path, graph=graphs.word_vectors(TABLE, quantized=True)))
    assert backend.signature.batch_rows == 1
    assert "DynamicQuantizeLinear" in backend.signature.notes[0]
    together, _ = embed(backend, "red", "blue blue blue", "green")
    for text, vector in zip(("red", "blue blue blue", "green"), together, strict=True):
        assert np.array_equal(embed(backend, text)[0][0], vector)


def test_a_graph_that_reads_its_padding_is_found_out(tmp_path: Path) -> None:
    backend = opened(write_encoder(tmp_path, graph=graphs.word_vectors(TABLE, pooled=True, masked=False)))
    assert backend.signature.batch_rows == 1
    assert "texts beside it" in backend.signature.notes[0]


def test_a_graph_of_fixed_length_and_one_row(tmp_path: Path) -> None:
    backend = opened(write_encoder(tmp_path, graph=graphs.word_vectors(TABLE, shape=[1, 6])))
    assert backend.signature.batch_rows == 1
    vectors, counts = embed(backend, "red", "red green blue red green blue")
    assert counts == [3, 6]
    assert np.allclose(vectors[0], unit(token_vectors("red").mean(axis=0)), atol=1e-6)


def test_integers_of_32_bits_are_given_to_graphs_that_want_them(tmp_path: Path) -> None:
    backend = opened(write_encoder(tmp_path, graph=graphs.word_vectors(TABLE, integers=graphs.INT32)))
    assert np.allclose(embed(backend, "red")[0][0], unit(token_vectors("red").mean(axis=0)), atol=1e-6)


@pytest.mark.parametrize(
    ("graph", "reason"),
    [(graphs.add_one(), "takes input_ids"), (graphs.word_vectors(TABLE, extra="task_id"), "'task_id'")],
)
def test_a_graph_for_something_else_is_refused(tmp_path: Path, graph: ModelProto, reason: str) -> None:
    assert reason in refusal(write_encoder(tmp_path, graph=graph)).message


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("tokenizer.json", "{}", "tokenizer.json: "),
        ("tokenizer.json", "[" * 5000, "tokenizer.json: "),
        ("config.json", "{", "config.json: "),
        ("modules.json", "{}", "modules.json: "),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, content: str, reason: str) -> None:
    folder = write_encoder(tmp_path)
    (folder / name).write_text(content)
    assert refusal(folder).message.startswith(reason)


def test_a_tokenizer_that_breaks_on_texts_is_refused(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] = {f"word{number}": number for number in range(7)}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert "Missing [UNK] token" in refusal(folder).message
    tokenizer["post_processor"]["special_tokens"] = {}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    refusal(folder)


def test_a_model_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path)
    (folder / "tokenizer.json").unlink()
    assert refusal(folder).message == "there is no tokenizer.json"


def test_texts_are_grouped_by_length_within_rows_and_tokens() -> None:
    lengths = [100, 3, 101, 5, 4, 102, 400]
    assert length_groups(lengths, 2, 1000) == [[1, 4], [3], [0, 2], [5], [6]]
    assert length_groups(lengths, 8, 1000) == [[1, 4, 3], [0, 2, 5], [6]]
    assert length_groups(lengths, 8, 250) == [[1, 4, 3], [0, 2], [5], [6]]
    assert length_groups([], 8, 250) == []


def test_a_token_that_does_not_count_may_hold_anything() -> None:
    hidden = np.array([[[1.0, 2.0], [np.nan, np.inf]]], np.float32)
    assert pool("mean", hidden, np.array([[1, 0]])).tolist() == [[1, 2]]


def guarded(model: ModelProto) -> ModelProto:
    """The same with a softmax over each vector, and behind it the guard of exporters against what was masked."""
    last = model.graph.node.pop()
    model.graph.node.extend(
        [
            graphs.node("Softmax", list(last.input), "weights", axis=-1),
            graphs.node("IsNaN", ["weights"], "nothing"),
            graphs.node("Where", ["nothing", "none", "weights"], last.output[0]),
        ]
    )
    return model


@pytest.mark.parametrize(
    ("graph", "settings", "left_out"),
    [
        ({"quantized": True}, {}, True),
        ({}, {"batch_rows": 1}, True),
        ({}, {}, False),
        ({"shape": ["n", 6]}, {"batch_rows": 1}, False),
    ],
)
def test_a_guard_against_masks_is_left_out_where_no_text_is_ever_padded(
    tmp_path: Path, graph: dict[str, Any], settings: dict[str, Any], left_out: bool
) -> None:
    write_encoder(tmp_path, graph=guarded(graphs.word_vectors(TABLE, **graph)))
    backend = opened(tmp_path, **settings)
    assert backend._text._graph.trimmed is left_out
    vectors, _ = embed(backend, "red green", "blue")
    if not graph:
        tokens = np.exp(token_vectors("red green"))
        assert np.allclose(vectors[0], unit((tokens / tokens.sum(axis=1, keepdims=True)).mean(axis=0)), atol=1e-6)


def test_a_guard_stays_where_a_text_may_have_no_token(tmp_path: Path) -> None:
    write_encoder(tmp_path, graph=guarded(graphs.word_vectors(TABLE)))
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps({**tokenizer, "post_processor": None}))
    assert not opened(tmp_path, batch_rows=1)._text._graph.trimmed
