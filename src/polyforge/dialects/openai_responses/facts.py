"""What routing, limits and metering need of a request for a response."""

from typing import Final

import msgspec

from polyforge.dialects.bodies import decode_body
from polyforge.dialects.end_users import read_end_user
from polyforge.dialects.openai_chat.facts import MOST_OUTPUT, check_model_name
from polyforge.kernel.errors import Invalid
from polyforge.kernel.tasks import InferenceRequest

_PICTURES: Final = frozenset({"input_image", "input_file"})
_REFERENCE: Final = "item_reference"


class _Part(msgspec.Struct, gc=False):
    type: str = ""


class _Item(msgspec.Struct, gc=False):
    type: str | None = "message"
    id: str | None = None
    content: str | list[_Part] | None = None
    output: str | list[_Part] | dict[str, msgspec.Raw] | None = None


class _StreamOptions(msgspec.Struct, gc=False):
    include_obfuscation: bool | None = None


class _Format(msgspec.Struct, gc=False):
    type: str | None = None


class _TextOptions(msgspec.Struct, gc=False):
    format: _Format | None = None


class _Request(msgspec.Struct, kw_only=True, gc=False):
    model: str
    input: str | list[_Item] | None = None
    max_output_tokens: int | None = None
    tools: list[msgspec.Raw] | None = None
    text: _TextOptions | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    store: bool | None = None
    user: str | None = None
    safety_identifier: str | None = None
    previous_response_id: str | None = None


_request: Final = msgspec.json.Decoder(_Request)


def decode_response(body: bytes) -> InferenceRequest:
    """The request in POST /v1/responses; Invalid names the field that is wrong."""
    wire = decode_body(_request, body)
    check_model_name(wire.model)
    if wire.max_output_tokens is not None and not 1 <= wire.max_output_tokens <= MOST_OUTPUT:
        raise Invalid(f"max_output_tokens must be between 1 and {MOST_OUTPUT}", param="max_output_tokens")
    if wire.stream_options is not None and not wire.stream:
        raise Invalid("stream_options is only allowed when stream is true", param="stream_options")
    if not wire.input and wire.previous_response_id is None:
        raise Invalid("input must not be empty", param="input")
    items = wire.input if isinstance(wire.input, list) else []
    parts, images = _count(items)
    return InferenceRequest(
        task="chat",
        dialect="openai_responses",
        model=wire.model,
        body=body,
        stream=bool(wire.stream),
        wants_usage=True,
        output_limit=wire.max_output_tokens,
        parts=1 + parts + len(wire.tools or ()),
        images=images,
        tools=bool(wire.tools),
        structured=wire.text is not None and wire.text.format is not None and wire.text.format.type == "json_schema",
        recalls=wire.previous_response_id is not None or any(item.type == _REFERENCE for item in items),
        keeps=wire.store is not False,
        end_user=read_end_user(wire.user, wire.safety_identifier),
    )


def _count(items: list[_Item]) -> tuple[int, int]:
    """Items with their parts, and how many of the parts are pictures or files."""
    parts, images = len(items), 0
    for item in items:
        for held in (item.content, item.output):
            if isinstance(held, list):
                parts += len(held)
                images += sum(part.type in _PICTURES for part in held)
    return parts, images
