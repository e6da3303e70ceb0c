"""OpenAI's images, made and edited; bodies pass through. Source: https://platform.openai.com/docs/api-reference/images."""

from typing import Final, TypeVar

import msgspec

from polyforge.dialects.bodies import decode_body
from polyforge.dialects.end_users import read_end_user
from polyforge.dialects.multipart import Form, is_form, read_form
from polyforge.dialects.openai_chat.facts import check_model_name
from polyforge.dialects.openai_media_usage import WireUsage, read_usage
from polyforge.kernel.errors import Invalid
from polyforge.kernel.tasks import InferenceRequest
from polyforge.kernel.usage import Usage

_MOST_IMAGES: Final = 10
_T = TypeVar("_T")
_IMAGE_TOKENS: Final = 16_384
"""More than any image costs that a model makes and counts in tokens."""


class _Generation(msgspec.Struct, gc=False):
    model: str
    prompt: str
    n: int | None = None
    stream: bool | None = None
    user: str | None = None


class _Edit(_Generation, gc=False):
    images: list[msgspec.Raw] = []


class _Reply(msgspec.Struct, gc=False):
    data: list[msgspec.Raw]
    usage: WireUsage | None = None


_generation: Final = msgspec.json.Decoder(_Generation)
_edit: Final = msgspec.json.Decoder(_Edit)
_reply: Final = msgspec.json.Decoder(_Reply)


def decode_generation(body: bytes) -> InferenceRequest:
    """The request in POST /v1/images/generations; Invalid names the field that is wrong."""
    return _request(body, decode_body(_generation, body))


def decode_edit(body: bytes) -> InferenceRequest:
    """The request in POST /v1/images/edits, a form or JSON; Invalid names the field that is wrong."""
    if is_form(body):
        form = read_form(body)
        files = form.files("image", "image[]", "mask")
        request = _request(body, _read_form(form))
        request.images = len(files)
        request.binary = sum(file.end - file.start for file in files)
    else:
        wire = decode_body(_edit, body)
        request = _request(body, wire)
        request.images = len(wire.images)
    if not request.images:
        raise Invalid("image is missing: give the file to edit", param="image")
    request.variant = "edit"
    return request


def read_reply(body: bytes) -> Usage:
    """Images and tokens of an answer; ValueError when it is none."""
    wire = _reply.decode(body)
    return msgspec.structs.replace(read_usage(wire.usage) or Usage(), images=len(wire.data))


def _read_form(form: Form) -> _Generation:
    model, prompt, number = form.text("model"), form.text("prompt"), form.text("n")
    if not model:
        raise Invalid("model is missing", param="model")
    if prompt is None:
        raise Invalid("prompt is missing", param="prompt")
    if number is not None and not (number.isascii() and number.isdigit() and len(number) <= 2):  # noqa: PLR2004
        raise Invalid(f"n must be between 1 and {_MOST_IMAGES}", param="n")
    return _Generation(model, prompt, int(number) if number else None, form.text("stream") == "true", form.text("user"))


def _request(body: bytes, wire: _Generation) -> InferenceRequest:
    check_model_name(wire.model)
    number = 1 if wire.n is None else wire.n
    if not 1 <= number <= _MOST_IMAGES:
        raise Invalid(f"n must be between 1 and {_MOST_IMAGES}", param="n")
    return InferenceRequest(
        task="image_generation",
        dialect="openai",
        model=wire.model,
        body=body,
        stream=bool(wire.stream),
        output_limit=_IMAGE_TOKENS,
        choices=number,
        parts=1,
        units=Usage(images=number),
        end_user=read_end_user(wire.user, None),
    )
