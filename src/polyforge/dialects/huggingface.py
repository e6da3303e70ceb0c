"""What is Hugging Face's own beside OpenAI's dialect: feature extraction, and its errors.

Source: https://huggingface.co/docs/inference-providers/tasks/feature-extraction.
"""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from polyforge.dialects import openai_errors
from polyforge.dialects.upstream_error import UpstreamError
from polyforge.dialects.vectors import vectors_result
from polyforge.kernel.errors import Invalid, UpstreamFailed
from polyforge.kernel.tasks import EmbeddingResult

_NAME: Final = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]*/)?[A-Za-z0-9][A-Za-z0-9._-]*")
_CREDIT_SPENT: Final = "included credits"
_LONGEST_SECONDS: Final = 600.0


class _Loading(msgspec.Struct):
    estimated_time: float | None = None


_vectors: Final = msgspec.json.Decoder(list[list[float]])
_loading: Final = msgspec.json.Decoder(_Loading)
_encode: Final = msgspec.json.Encoder().encode


def check_model_name(model: str) -> str:
    """A name as it stands in an address, `name` or `owner/name`; Invalid for another."""
    if not _NAME.fullmatch(model):
        raise Invalid("model: Hugging Face's models are called `owner/name`", param="model")
    return model


def write_features(texts: Sequence[str]) -> bytes:
    """The body of a feature extraction."""
    return _encode({"inputs": texts})


def read_features(body: bytes, texts: Sequence[str]) -> EmbeddingResult:
    """A vector for each text; UpstreamFailed without them, as from models that answer with one for each token."""
    try:
        vectors = _vectors.decode(body)
    except (ValueError, RecursionError) as error:
        raise UpstreamFailed("the upstream answered without a vector for each text") from error
    return vectors_result(vectors, texts, None)


def decode_error(body: bytes) -> UpstreamError:
    """The error in an upstream's body: OpenAI's, or a text, with how long it takes until the model is loaded."""
    said = openai_errors.decode_error(body)
    if _CREDIT_SPENT in said.message:
        said.cause = "quota"
    try:
        wait = _loading.decode(body).estimated_time
    except (ValueError, RecursionError):
        wait = None
    if wait is not None and 0 <= wait <= _LONGEST_SECONDS:
        said.cause, said.retry_after = "overloaded", wait
    return said
