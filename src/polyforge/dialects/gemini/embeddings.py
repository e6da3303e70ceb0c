"""Embeddings: batchEmbedContents of the Gemini API, and predict of Vertex AI's embedding models.

Source: https://ai.google.dev/api/embeddings and
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from polyforge.dialects.vectors import vectors_result
from polyforge.kernel.errors import UpstreamFailed
from polyforge.kernel.tasks import EmbeddingResult


class _Vector(msgspec.Struct):
    values: list[float]


class _Usage(msgspec.Struct, rename="camel"):
    prompt_token_count: int | None = None


class _Batch(msgspec.Struct, rename="camel"):
    embeddings: list[_Vector]
    usage_metadata: _Usage | None = None


class _Statistics(msgspec.Struct):
    token_count: float | None = None


class _Embedding(msgspec.Struct):
    values: list[float]
    statistics: _Statistics | None = None


class _Prediction(msgspec.Struct):
    embeddings: _Embedding


class _Predictions(msgspec.Struct):
    predictions: list[_Prediction]


_batch: Final = msgspec.json.Decoder(_Batch)
_predictions: Final = msgspec.json.Decoder(_Predictions)
_encode: Final = msgspec.json.Encoder().encode


def write_batch(texts: Sequence[str], *, model: str, dimensions: int | None) -> bytes:
    """The body of a batchEmbedContents; `model` with its `models/`."""
    requests = [
        {"model": model, "content": {"parts": [{"text": text}]}} | _given("outputDimensionality", dimensions)
        for text in texts
    ]
    return _encode({"requests": requests})


def read_batch(body: bytes, texts: Sequence[str]) -> EmbeddingResult:
    """One vector for each text; UpstreamFailed when the answer is another."""
    try:
        wire = _batch.decode(body)
    except (ValueError, RecursionError) as error:
        raise UpstreamFailed("the upstream's answer is not what was asked for") from error
    tokens = wire.usage_metadata.prompt_token_count if wire.usage_metadata else None
    return vectors_result([vector.values for vector in wire.embeddings], texts, tokens)


def write_predict(texts: Sequence[str], *, dimensions: int | None) -> bytes:
    """The body of a predict."""
    instances = [{"content": text} for text in texts]
    return _encode({"instances": instances, "parameters": _given("outputDimensionality", dimensions)})


def read_predict(body: bytes, texts: Sequence[str]) -> EmbeddingResult:
    """One vector for each text; UpstreamFailed when the answer is another."""
    try:
        wire = _predictions.decode(body)
    except (ValueError, RecursionError) as error:
        raise UpstreamFailed("the upstream's answer is not what was asked for") from error
    found = [prediction.embeddings for prediction in wire.predictions]
    counts = [one.statistics.token_count for one in found if one.statistics and one.statistics.token_count is not None]
    tokens = int(sum(counts)) if len(counts) == len(found) else None
    return vectors_result([one.values for one in found], texts, tokens)


def _given(name: str, value: int | None) -> dict[str, int]:
    return {} if value is None else {name: value}
