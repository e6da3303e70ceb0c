"""Static embeddings: the numbers are model2vec's, and a broken artifact is refused with its reason."""

import base64
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from polyforge.adapters.model_backends.static_embedding import Settings, StaticEmbedding
from polyforge.kernel.errors import Invalid, PolyforgeError
from polyforge.kernel.tensors import Parameter, Tensor, pack_strings
from polyforge.ports.model_backend import ModelRequest
from polyforge.serving.sources import BUILT_IN_FOLDER
from tests.conformance.encoder_files import safetensors

EXPECTED = Path(__file__).parents[2] / "conformance" / "expected" / "static_minilm.json"
VOCABULARY = {"[UNK]": 0, "red": 1, "green": 2, "blue": 3}
VECTORS = np.array([[9, 9, 9], [3, 0, 0], [0, 4, 0], [0, 0, 5]], np.float32)


def embed(backend: StaticEmbedding, *texts: str, **parameters: Parameter) -> tuple[np.ndarray, list[int]]:
    tensor = Tensor("text", "BYTES", (len(texts),), pack_strings(text.encode() for text in texts))
    (answer,) = backend.run([ModelRequest({"text": tensor}, parameters)])
    if isinstance(answer, PolyforgeError):
        raise answer
    vectors, tokens = answer
    return np.frombuffer(bytes(vectors.data), "<f4").reshape(vectors.shape), np.frombuffer(
        bytes(tokens.data), "<i4"
    ).tolist()


def tokenizer_json() -> str:
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer.to_str()


def write_model(folder: Path, *, config: dict[str, Any] | None = None, **arrays: np.ndarray) -> Path:
    settings = {"model_type": "model2vec", "normalize": False, "max_length": 4, **(config or {})}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "tokenizer.json").write_text(tokenizer_json())
    (folder / "model.safetensors").write_bytes(safetensors(**(arrays or {"embeddings": VECTORS})))
    return folder


def load(folder: Path) -> StaticEmbedding:
    backend = StaticEmbedding(Settings(folder=folder))
    backend.load()
    return backend


@pytest.fixture(scope="module")
def packaged() -> StaticEmbedding:
    return load(BUILT_IN_FOLDER)


@pytest.mark.parametrize("row", json.loads(EXPECTED.read_text())["rows"], ids=lambda row: ascii(row["text"][:20]))
def test_vectors_are_model2vecs(packaged: StaticEmbedding, row: dict[str, Any]) -> None:
    wanted = np.frombuffer(base64.b64decode(row["embedding"]), "<f4")
    (got,), _ = embed(packaged, row["text"] * row.get("times", 1))
    assert np.allclose(got, wanted, atol=1e-6)


def test_fewer_dimensions_are_the_first_ones_normalised_again(packaged: StaticEmbedding) -> None:
    (whole,), _ = embed(packaged, "the quick brown fox")
    (short,), _ = embed(packaged, "the quick brown fox", dimensions=32)
    assert short.shape == (32,)
    assert np.allclose(short, whole[:32] / np.linalg.norm(whole[:32]), atol=1e-6)
    (same,), _ = embed(packaged, "the quick brown fox", dimensions=256)
    assert np.array_equal(same, whole)


@pytest.mark.parametrize("asked", [0, -1, 257, True, 1.5, "64"])
def test_impossible_dimensions_are_refused_by_name(packaged: StaticEmbedding, asked: Parameter) -> None:
    with pytest.raises(Invalid) as refusal:
        embed(packaged, "text", dimensions=asked)
    assert refusal.value.param == "dimensions"


def test_a_text_that_is_not_utf8_is_refused_by_name(packaged: StaticEmbedding) -> None:
    tensor = Tensor("text", "BYTES", (1,), pack_strings((b"\xff\xfe",)))
    (answer,) = packaged.run([ModelRequest({"text": tensor}, {})])
    assert isinstance(answer, Invalid)
    assert answer.param == "text"


def test_vectors_are_means_of_known_tokens_and_unknown_ones_count_as_tokens(tmp_path: Path) -> None:
    backend = load(write_model(tmp_path))
    vectors, tokens = embed(backend, "red green", "blue", "red nothing", "nothing", "")
    assert vectors.tolist() == [[1.5, 2, 0], [0, 0, 5], [3, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert tokens == [2, 1, 2, 1, 0]


def test_a_text_is_cut_at_the_models_length(tmp_path: Path) -> None:
    backend = load(write_model(tmp_path))
    vectors, tokens = embed(backend, "red red red red blue blue blue")
    assert vectors.tolist() == [[3, 0, 0]]
    assert tokens == [4]


@pytest.mark.parametrize("dtype", ["int8", "float16", "float32", "float64"])
def test_every_table_type_gives_the_same_vectors(tmp_path: Path, dtype: str) -> None:
    backend = load(write_model(tmp_path, config={"normalize": True}, embeddings=VECTORS.astype(dtype)))
    vectors, _ = embed(backend, "red green")
    assert np.allclose(vectors, [[0.6, 0.8, 0]])


def test_a_quantised_vocabulary_goes_through_its_mapping_and_weights(tmp_path: Path) -> None:
    backend = load(
        write_model(
            tmp_path,
            embeddings=np.array([[1, 0], [0, 1]], np.float32),
            mapping=np.array([0, 0, 1, 1], np.int64),
            weights=np.array([1, 2, 4, 8], np.float32),
        )
    )
    vectors, _ = embed(backend, "red green", "green blue")
    assert vectors.tolist() == [[1, 2], [0, 6]]


def test_vectors_without_an_order_are_not_shortened(tmp_path: Path) -> None:
    plain = load(write_model(tmp_path))
    with pytest.raises(Invalid, match="cannot be shortened"):
        embed(plain, "red", dimensions=2)
    ordered = load(write_model(tmp_path, config={"apply_pca": 3}))
    assert embed(ordered, "red", dimensions=2)[0].tolist() == [[3, 0]]


GOOD = safetensors(embeddings=VECTORS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", None),
        ("config.json", b"{"),
        ("config.json", b"[]"),
        ("config.json", b'{"model_type": "bert"}'),
        ("config.json", b'{"model_type": "model2vec", "max_length": 0}'),
        ("config.json", b"[" * 100_000),
        ("tokenizer.json", None),
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", b'{"model": {"type": "WordLevel"}}'),
        ("tokenizer.json", b'\xff{"model": {}}'),
        ("model.safetensors", None),
        ("model.safetensors", b""),
        ("model.safetensors", b"\x80\x02}q\x00."),
        ("model.safetensors", struct.pack("<Q", 2**60) + b"{}"),
        ("model.safetensors", struct.pack("<Q", 2) + b"{}"),
        ("model.safetensors", struct.pack("<Q", 4) + b"nope"),
        ("model.safetensors", GOOD[:-1]),
        ("model.safetensors", safetensors(embeddings=VECTORS[:-1])),
        ("model.safetensors", safetensors(embeddings=VECTORS[:0])),
        ("model.safetensors", safetensors(embeddings=VECTORS.ravel())),
        ("model.safetensors", safetensors(embeddings=VECTORS.astype(np.int64))),
        ("model.safetensors", safetensors(embeddings=VECTORS, weights=np.ones(3, np.float32))),
        ("model.safetensors", safetensors(embeddings=VECTORS, mapping=np.array([0, 1, 2, 4], np.int64))),
        ("model.safetensors", safetensors(embeddings=VECTORS, mapping=np.array([0, 1, 2, -1], np.int64))),
        ("model.safetensors", GOOD.replace(b"[0, 48]", b"[8, 56]")),
        ("model.safetensors", GOOD.replace(b"[0, 48]", b"[-8,40]")),
        ("model.safetensors", GOOD.replace(b"[4, 3]", b"[-4,3]")),
    ],
)
def test_a_broken_artifact_is_refused_with_the_file_that_is_wrong(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    path = write_model(tmp_path) / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Invalid) as refusal:
        load(tmp_path)
    assert name in refusal.value.message
    assert str(tmp_path) not in refusal.value.message
