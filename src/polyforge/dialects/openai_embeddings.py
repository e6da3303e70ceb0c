"""OpenAI's embeddings, in both directions. Source: https://platform.openai.com/docs/api-reference/embeddings."""

import base64
from array import array
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from polyforge.dialects.bodies import decode_body
from polyforge.dialects.end_users import read_end_user
from polyforge.dialects.openai_chat.facts import check_model_name
from polyforge.dialects.openai_inputs import read_inputs
from polyforge.kernel.errors import Invalid
from polyforge.kernel.tasks import EmbeddingResult, InferenceRequest
from polyforge.kernel.usage import NO_USAGE, Usage, told

_FLOAT_BYTES: Final = 4


class EmbeddingRequest(msgspec.Struct, gc=False):
    """Texts to be embedded, in OpenAI's form."""

    model: str
    input: Annotated[str | list[Any], Meta(description="A text, texts, or lists of token ids.")]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    user: str | None = None


class EmbeddingItem(msgspec.Struct, gc=False):
    """The vector of one text: numbers, or base64 of little-endian float32 where `encoding_format` says so."""

    index: int
    embedding: list[float] | str
    object: str = "embedding"


class EmbeddingTokens(msgspec.Struct, gc=False):
    """What was used."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingReply(msgspec.Struct, gc=False):
    """The vectors, in the order of the texts."""

    data: list[EmbeddingItem]
    model: str
    usage: EmbeddingTokens
    object: str = "list"


class _Vector(msgspec.Struct, gc=False):
    embedding: list[float]
    index: int = 0


class _Vectors(msgspec.Struct, gc=False):
    data: list[_Vector]


class _ReplyUsage(msgspec.Struct, gc=False):
    usage: EmbeddingTokens | None = None
    data: list[msgspec.Raw] | None = None


_request = msgspec.json.Decoder(EmbeddingRequest)
_reply = msgspec.json.Decoder(_ReplyUsage)
_vectors = msgspec.json.Decoder(_Vectors)
_encode = msgspec.json.Encoder().encode


def decode_embeddings(body: bytes) -> InferenceRequest:
    """The request in POST /v1/embeddings; Invalid names the field that is wrong."""
    wire = decode_body(_request, body)
    check_model_name(wire.model)
    if wire.dimensions is not None and wire.dimensions < 1:
        raise Invalid("dimensions must be at least 1", param="dimensions")
    inputs = read_inputs(wire.input, "input")
    return InferenceRequest(
        task="embedding",
        dialect="openai",
        model=wire.model,
        body=body,
        parts=len(inputs),
        inputs=inputs,
        dimensions=wire.dimensions,
        encoding=wire.encoding_format or "float",
        output_limit=0,
        end_user=read_end_user(wire.user, None),
    )


def encode_embeddings(result: EmbeddingResult, model: str, encoding: Literal["float", "base64"]) -> bytes:
    """The answer with every vector as numbers, or as base64 of its little-endian float32."""
    tokens = result.usage.input_total
    return encode_shared(result, model, encoding, [result.rows], [tokens])[0]


def encode_shared(
    result: EmbeddingResult,
    model: str,
    encoding: Literal["float", "base64"],
    sizes: Sequence[int],
    tokens: Sequence[int],
) -> list[bytes]:
    """The answer as several: for each so many of the vectors, in order, and so many of the tokens."""
    data = memoryview(result.data).cast("B")
    width = result.dimensions * _FLOAT_BYTES
    found: list[bytes] = []
    row = 0
    for size, used in zip(sizes, tokens, strict=True):
        items = [
            EmbeddingItem(index, _written(data[each * width : (each + 1) * width], encoding))
            for index, each in enumerate(range(row, row + size))
        ]
        found.append(_encode(EmbeddingReply(items, model, EmbeddingTokens(used, used))))
        row += size
    return found


def _written(vector: memoryview, encoding: Literal["float", "base64"]) -> list[float] | str:
    return base64.b64encode(vector).decode() if encoding == "base64" else array("f", bytes(vector)).tolist()


def read_vectors(body: bytes) -> EmbeddingResult:
    """The vectors of an answer, in the order of the texts; ValueError when it holds none, or of several lengths."""
    items = sorted(_vectors.decode(body).data, key=lambda item: item.index)
    widths = {len(item.embedding) for item in items}
    if len(widths) != 1:
        raise ValueError("the answer holds no vectors of one length")
    data = array("f", [number for item in items for number in item.embedding]).tobytes()
    return EmbeddingResult(data, len(items), widths.pop(), NO_USAGE)


def read_usage(body: bytes) -> Usage | None:
    """Tokens of a provider's answer; ValueError when it is no answer."""
    wire = _reply.decode(body)
    if wire.data is None:
        raise ValueError("the answer holds no data")
    return told(Usage(input=wire.usage.prompt_tokens)) if wire.usage else None
