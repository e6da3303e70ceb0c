"""Tiny models of CTranslate2 with random weights, and their tokenizers."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
from ctranslate2.specs import TransformerDecoderModelSpec, TransformerEncoderModelSpec, TransformerSpec
from ctranslate2.specs.model_spec import visit_spec
from ctranslate2.specs.transformer_spec import TransformerEncoderSpec
from tokenizers import Tokenizer, models, pre_tokenizers

WIDTH, HEADS, INNER, POSITIONS = 8, 2, 16, 64
SENTENCES = ["red green blue", "blue green", "red red rose", "a green leaf", "blue sky", "green red", "yellow sun"] * 20
SPECIAL = ["<unk>", "<s>", "</s>"]
WORDS = [*SPECIAL, "red", "green", "blue", "a", "first", "text", "another", "longer"]


def _fill(spec: Any, tokens: int) -> None:
    """Give every weight that is needed and not there yet random numbers of the right shape."""
    generator = np.random.default_rng(0)

    def shape_of(name: str) -> tuple[int, ...]:
        if "embeddings" in name or "projection" in name:
            return tokens, WIDTH
        if "ffn" in name:
            return (INNER, WIDTH) if "linear_0" in name else (WIDTH, INNER)
        if "self_attention/linear_0" in name:
            return 3 * WIDTH, WIDTH
        return (2 * WIDTH if "/attention/linear_1" in name else WIDTH), WIDTH

    def fill(layer: Any, name: str, value: Any) -> None:
        if value is not None:
            return
        kind = name.rpartition("/")[2]
        if kind in ("gamma", "beta"):
            weights = np.full(WIDTH, kind == "gamma")
        elif name.endswith("position_encodings/encodings"):
            weights = generator.standard_normal((POSITIONS, WIDTH))
        else:
            shape = shape_of(name)
            weights = generator.standard_normal(shape) if kind == "weight" else np.zeros(shape[:1])
        setattr(layer, kind, weights.astype(np.float32))

    visit_spec(spec, fill)
    spec.validate()


def _sentencepiece() -> tuple[bytes, list[str]]:
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_writer=written, vocab_size=40, minloglevel=3, hard_vocab_limit=False
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    return written.getvalue(), [processor.id_to_piece(place) for place in range(processor.get_piece_size())]


def _save(spec: Any, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))
    return folder


def _write_words(folder: Path) -> Path:
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    (folder / "tokenizer.json").write_text(tokenizer.to_str())
    return folder


def write_translator(folder: Path, *, quantization: str | None = None) -> Path:
    """From texts to texts, with SentencePiece."""
    model, pieces = _sentencepiece()
    tokens = [*pieces, "__de__"]
    spec: Any = TransformerSpec.from_config(1, HEADS)
    spec.register_source_vocabulary(tokens)
    spec.register_target_vocabulary(tokens)
    spec.config.decoder_start_token = "<s>"
    _fill(spec, len(tokens))
    spec.optimize(quantization)
    _save(spec, folder)
    (folder / "sentencepiece.model").write_bytes(model)
    return folder


def write_generator(folder: Path) -> Path:
    """What goes on with a text, with tokenizer.json."""
    spec = TransformerDecoderModelSpec.from_config(1, HEADS)
    spec.register_vocabulary(WORDS)
    _fill(spec, len(WORDS))
    return _write_words(_save(spec, folder))


def write_encoder(folder: Path) -> Path:
    """From texts to vectors, with tokenizer.json."""
    spec = TransformerEncoderModelSpec(TransformerEncoderSpec(1, HEADS))
    spec.register_vocabulary(WORDS)
    _fill(spec, len(WORDS))
    return _write_words(_save(spec, folder))


def vocabulary(folder: Path, name: str) -> list[str]:
    """The tokens of a model."""
    return json.loads((folder / name).read_text())
