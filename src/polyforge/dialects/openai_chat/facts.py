"""OpenAI's chat completions and legacy completions, in both directions.

Source: https://platform.openai.com/docs/api-reference/chat. Only what routing, limits and metering need is decoded; the
rest stays the bytes it came as, so fields that are unknown here reach the upstream untouched.
"""

import re
from typing import Any, Final, TypeVar

import msgspec

from polyforge.dialects.bodies import decode_body, read_fields
from polyforge.dialects.end_users import read_end_user
from polyforge.dialects.openai_chat.usage import WireUsage, read_usage
from polyforge.dialects.openai_inputs import read_inputs
from polyforge.dialects.raw import ABSENT, is_given
from polyforge.dialects.rewriting import stands_once
from polyforge.kernel.errors import Invalid
from polyforge.kernel.tasks import InferenceRequest
from polyforge.kernel.usage import Usage

MOST_CHOICES: Final = 128
MOST_OUTPUT: Final = 100_000_000
_MODEL_NAME = re.compile(r"[^\x00-\x20\x7f]{1,256}")
_T = TypeVar("_T")


class _Part(msgspec.Struct, gc=False):
    type: str


class _Message(msgspec.Struct, gc=False):
    role: str
    content: str | list[_Part] | None = None
    tool_calls: list[msgspec.Raw] | None = None


class _StreamOptions(msgspec.Struct, gc=False):
    include_usage: bool | None = None


class _ResponseFormat(msgspec.Struct, gc=False):
    type: str | None = None


class _Sampling(msgspec.Struct, kw_only=True, gc=False):
    model: str
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: int | None = None
    user: str | None = None
    safety_identifier: str | None = None


class _ChatRequest(_Sampling, kw_only=True, gc=False):
    messages: list[_Message]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    tools: list[msgspec.Raw] | None = None
    functions: list[msgspec.Raw] | None = None
    response_format: _ResponseFormat | None = None


class _CompletionRequest(_Sampling, kw_only=True, gc=False):
    prompt: str | list[Any]
    max_tokens: int | None = None
    best_of: int | None = None


class _ReplyChoice(msgspec.Struct, gc=False):
    finish_reason: str | None = None


class _Reply(msgspec.Struct, gc=False):
    choices: list[_ReplyChoice] | None = None
    usage: WireUsage | None = None
    error: msgspec.Raw = ABSENT


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: msgspec.Raw = ABSENT
    function_call: msgspec.Raw = ABSENT
    audio: msgspec.Raw = ABSENT


class _ChunkChoice(msgspec.Struct, gc=False):
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_ChunkChoice] | None = None
    usage: WireUsage | None = None
    error: msgspec.Raw = ABSENT


class ReplyFacts(msgspec.Struct, gc=False):
    """What a whole answer says about itself."""

    usage: Usage | None
    finish: str | None
    error: bool


class ChunkFacts(msgspec.Struct, gc=False):
    """What one chunk of a stream says. `size` counts bytes of generated text."""

    usage: Usage | None
    finish: str | None
    content: bool
    choices: int
    size: int
    error: bytes | None


_chat = msgspec.json.Decoder(_ChatRequest)
_completion = msgspec.json.Decoder(_CompletionRequest)
_reply = msgspec.json.Decoder(_Reply)
_chunk = msgspec.json.Decoder(_Chunk)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


def decode_chat(body: bytes) -> InferenceRequest:
    """The request in POST /v1/chat/completions; Invalid names the field that is wrong."""
    wire = decode_body(_chat, body)
    if not wire.messages:
        raise Invalid("messages must not be empty", param="messages")
    parts = len(wire.messages) + len(wire.tools or ()) + len(wire.functions or ())
    images = 0
    for message in wire.messages:
        if message.tool_calls:
            parts += len(message.tool_calls)
        if type(message.content) is list:
            parts += len(message.content)
            images += sum(part.type in ("image_url", "input_image", "file") for part in message.content)
    limit = wire.max_completion_tokens if wire.max_completion_tokens is not None else wire.max_tokens
    name = "max_completion_tokens" if wire.max_completion_tokens is not None else "max_tokens"
    request = _request(wire, "chat", body, limit, name, parts, images)
    request.tools = bool(wire.tools or wire.functions)
    request.structured = wire.response_format is not None and wire.response_format.type == "json_schema"
    return request


def decode_completion(body: bytes) -> InferenceRequest:
    """The request in POST /v1/completions; Invalid names the field that is wrong."""
    wire = decode_body(_completion, body)
    prompts = len(read_inputs(wire.prompt, "prompt"))
    request = _request(wire, "completion", body, wire.max_tokens, "max_tokens", prompts, 0)
    request.choices = prompts * max(request.choices, wire.best_of or 1)
    return request


def check_model_name(name: str) -> None:
    """Invalid unless `name` could be a model's: printable, without blanks, at most 256 characters."""
    if not _MODEL_NAME.fullmatch(name):
        raise Invalid("model must be 1 to 256 characters without blanks or control characters", param="model")


def _request(
    wire: _Sampling, task: Any, body: bytes, limit: int | None, limit_name: str, parts: int, images: int
) -> InferenceRequest:
    check_model_name(wire.model)
    if limit is not None and not 1 <= limit <= MOST_OUTPUT:
        raise Invalid(f"{limit_name} must be between 1 and {MOST_OUTPUT}", param=limit_name)
    if wire.n is not None and not 1 <= wire.n <= MOST_CHOICES:
        raise Invalid(f"n must be between 1 and {MOST_CHOICES}", param="n")
    if wire.stream_options is not None and not wire.stream:
        raise Invalid("stream_options is only allowed when stream is true", param="stream_options")
    return InferenceRequest(
        task=task,
        dialect="openai",
        model=wire.model,
        body=body,
        stream=bool(wire.stream),
        wants_usage=bool(wire.stream_options and wire.stream_options.include_usage),
        output_limit=limit,
        choices=wire.n or 1,
        parts=parts,
        images=images,
        end_user=read_end_user(wire.user, wire.safety_identifier),
    )


def rewrite(body: bytes, *, model: str, include_usage: bool = False, limit: tuple[str, int] | None = None) -> bytes:
    """The body with the upstream's model name, the usage chunk asked for, or an output limit set.

    Every other value stays byte for byte, and so does the whole body when nothing is to be changed. But a field that
    stands twice is sent once, as we read it, so that the upstream cannot understand another request than the one that
    was admitted.
    """
    fields = read_fields(body)
    name = msgspec.Raw(_encode(model))
    if fields["model"] == name and not include_usage and limit is None and stands_once(fields, body):
        return body
    fields["model"] = name
    if include_usage:
        options = fields.get("stream_options")
        merged = read_fields(options) if options is not None and is_given(options) else {}
        merged["include_usage"] = msgspec.Raw(b"true")
        fields["stream_options"] = msgspec.Raw(_encode(merged))
    if limit is not None:
        fields[limit[0]] = msgspec.Raw(b"%d" % limit[1])
    return _encode(fields)


def read_reply(body: Any) -> ReplyFacts:
    """Usage, finish and whether it is an error, out of a whole answer; ValueError when it is no answer at all."""
    wire = _reply.decode(body)
    finish = wire.choices[0].finish_reason if wire.choices else None
    return ReplyFacts(read_usage(wire.usage), finish, wire.choices is None or is_given(wire.error))


def read_chunk(data: bytes) -> ChunkFacts:
    """What a stream's chunk says; ValueError when it is not a chunk."""
    wire = _chunk.decode(data)
    finish = None
    size = 0
    content = False
    choices = wire.choices or ()
    for choice in choices:
        finish = choice.finish_reason or finish
        text, more = _seen(choice)
        size += text
        content = content or more or text > 0
    error = bytes(wire.error) if is_given(wire.error) else None
    return ChunkFacts(read_usage(wire.usage), finish, content, len(choices), size, error)


def read_later_chunk(data: bytes, envelope: int) -> ChunkFacts:
    """The same once there has been content, at half the cost: the text is not decoded, only its length estimated.

    `envelope` is how many bytes of a chunk are not text. ValueError when it is not a chunk.
    """
    wire = _reply.decode(data)
    finish = None
    choices = wire.choices or ()
    for choice in choices:
        finish = choice.finish_reason or finish
    usage = read_usage(wire.usage) if wire.usage is not None else None
    error = bytes(wire.error) if is_given(wire.error) else None
    return ChunkFacts(usage, finish, True, len(choices), max(0, len(data) - envelope), error)


def _seen(choice: _ChunkChoice) -> tuple[int, bool]:
    """Characters of text in a choice, and whether it holds anything else that a reader would see."""
    text = len(choice.text) if choice.text else 0
    delta = choice.delta
    if delta is None:
        return text, False
    if delta.content:
        text += len(delta.content)
    if delta.reasoning_content:
        text += len(delta.reasoning_content)
    if delta.refusal:
        text += len(delta.refusal)
    other = False
    for raw in (delta.tool_calls, delta.function_call, delta.audio):
        if is_given(raw):
            text += len(bytes(raw))
            other = True
    return text, other
