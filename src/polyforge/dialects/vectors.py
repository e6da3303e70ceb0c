"""Embeddings where the provider has a format of its own: texts in, vectors out."""

from array import array
from collections.abc import Sequence
from typing import Final

from polyforge.kernel.errors import Invalid, Unsupported, UpstreamFailed
from polyforge.kernel.tasks import EmbeddingResult, InferenceRequest
from polyforge.kernel.usage import Usage, told

_BYTES_PER_TOKEN: Final = 4


def texts_of(request: InferenceRequest) -> list[str]:
    """The texts to embed; Unsupported for token ids, which nobody but OpenAI takes."""
    inputs = request.inputs or []
    texts = [text for text in inputs if isinstance(text, str)]
    if len(texts) != len(inputs):
        raise Unsupported("input: this model takes texts, not token ids", param="input")
    if not texts:
        raise Invalid("input: must not be empty", param="input")
    return texts


def vectors_result(vectors: Sequence[list[float]], texts: Sequence[str], tokens: int | None) -> EmbeddingResult:
    """One vector of the same size for each text, and the tokens that were counted; UpstreamFailed without them."""
    width = len(vectors[0]) if vectors else 0
    if len(vectors) != len(texts) or width == 0 or any(len(vector) != width for vector in vectors):
        raise UpstreamFailed(f"the upstream answered without {len(texts)} vectors of one size")
    data = array("f")
    for vector in vectors:
        data.extend(vector)
    return EmbeddingResult(data.tobytes(), len(vectors), width, _usage(texts, tokens))


def _usage(texts: Sequence[str], tokens: int | None) -> Usage:
    """What the server counted; where it counted nothing, an estimate from the length of the texts."""
    counted = None if tokens is None else told(Usage(input=tokens))
    if counted is not None:
        return counted
    size = sum(len(text.encode("utf-8", "replace")) for text in texts)
    return Usage(input=-(-size // _BYTES_PER_TOKEN), exact=False)
