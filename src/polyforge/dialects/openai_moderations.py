"""OpenAI's moderations; bodies pass through. Source: https://platform.openai.com/docs/api-reference/moderations."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from polyforge.dialects.bodies import decode_body
from polyforge.dialects.openai_chat.facts import check_model_name
from polyforge.kernel.errors import Invalid
from polyforge.kernel.tasks import InferenceRequest, Moderation

DEFAULT_MODEL: Final = "omni-moderation-latest"
"""What OpenAI takes where a request names no model."""


class _Part(msgspec.Struct, gc=False):
    type: str


class _Request(msgspec.Struct, gc=False):
    input: str | list[str | _Part]
    model: str | None = None


class _Reply(msgspec.Struct, gc=False):
    results: list[dict[str, Any]]


class _Result(msgspec.Struct, gc=False):
    categories: dict[str, bool | None]
    """None where OpenAI cannot judge this kind of input."""
    category_scores: dict[str, float | None] = {}


class _Results(msgspec.Struct, gc=False):
    results: list[_Result]


_results: Final = msgspec.json.Decoder(_Results)
_encode: Final = msgspec.json.Encoder().encode
_request: Final = msgspec.json.Decoder(_Request)
_reply: Final = msgspec.json.Decoder(_Reply)


def decode_moderation(body: bytes) -> InferenceRequest:
    """The request in POST /v1/moderations; Invalid names the field that is wrong."""
    wire = decode_body(_request, body)
    model = wire.model or DEFAULT_MODEL
    check_model_name(model)
    if not wire.input:
        raise Invalid("input must not be empty", param="input")
    parts = [wire.input] if isinstance(wire.input, str) else wire.input
    return InferenceRequest(
        task="moderation",
        dialect="openai",
        model=model,
        body=body,
        output_limit=0,
        parts=len(parts),
        images=sum(isinstance(part, _Part) and part.type == "image_url" for part in parts),
    )


def check_reply(body: bytes) -> None:
    """ValueError for an answer that holds no results."""
    _reply.decode(body)


def write_request(model: str, texts: Sequence[str]) -> bytes:
    """A request for a judgement of each text by itself."""
    return _encode({"model": model, "input": texts})


def read_results(body: bytes) -> list[Moderation]:
    """What the model makes of each text; ValueError for an answer that holds no results."""
    return [
        Moderation(
            {name: flagged for name, flagged in result.categories.items() if flagged is not None},
            {name: score for name, score in result.category_scores.items() if score is not None},
        )
        for result in _results.decode(body).results
    ]
