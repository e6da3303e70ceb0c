"""Embeddings of Amazon Titan and of Cohere, as Bedrock's InvokeModel takes them.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html and
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed.html.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from polyforge.kernel.errors import Invalid, Unsupported, UpstreamFailed

TOKENS_HEADER: Final = "x-amzn-bedrock-input-token-count"
_TITAN: Final = "amazon.titan-embed-"
_COHERE: Final = "cohere.embed-"
_COHERE_TEXTS: Final = 96
_MOST_CALLS: Final = 128
_encode: Final = msgspec.json.Encoder().encode


class _ByType(msgspec.Struct):
    float: list[list[float]]


class _Reply(msgspec.Struct):
    embedding: list[float] | None = None
    embeddings: list[list[float]] | _ByType | None = None


_reply: Final = msgspec.json.Decoder(_Reply)


def write_embeddings(texts: Sequence[str], *, model: str, dimensions: int | None) -> list[bytes]:
    """The bodies to post one after the other: Titan takes one text at a time, Cohere some.

    Unsupported for a model of another maker, Invalid for more texts than can be done in one request.
    """
    if _TITAN not in model and _COHERE not in model:
        raise Unsupported(
            "of this provider's models for embeddings, Titan's and Cohere's are known here", param="model"
        )
    at_once = 1 if _TITAN in model else _COHERE_TEXTS
    if len(texts) > _MOST_CALLS * at_once:
        raise Invalid(f"input: this model takes at most {_MOST_CALLS * at_once} texts", param="input")
    parts = [texts[start : start + at_once] for start in range(0, len(texts), at_once)]
    write = _write_titan if _TITAN in model else _write_cohere
    return [_encode(write(part, dimensions)) for part in parts]


def read_vectors(body: bytes) -> list[list[float]]:
    """The vectors in one answer; UpstreamFailed when it is none."""
    try:
        wire = _reply.decode(body)
    except (ValueError, RecursionError) as error:
        raise UpstreamFailed("the upstream's answer is not what was asked for") from error
    if wire.embedding is not None:
        return [wire.embedding]
    if isinstance(wire.embeddings, _ByType):
        return wire.embeddings.float
    return wire.embeddings or []


def _write_titan(texts: Sequence[str], dimensions: int | None) -> dict[str, Any]:
    body = {"inputText": texts[0]}
    return body if dimensions is None else {**body, "dimensions": dimensions}


def _write_cohere(texts: Sequence[str], dimensions: int | None) -> dict[str, Any]:
    body = {"texts": texts, "input_type": "search_document", "embedding_types": ["float"]}
    return body if dimensions is None else {**body, "output_dimension": dimensions}
