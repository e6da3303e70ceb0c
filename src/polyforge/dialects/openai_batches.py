"""OpenAI's batches: what they look like, how they are asked for, and the lines of their files.

Source: https://platform.openai.com/docs/api-reference/batch
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from polyforge.dialects.bodies import decode_body
from polyforge.dialects.openai_errors import encode_error, explain_validation, status_of
from polyforge.dialects.openai_files import checked_expiry, ulid_of
from polyforge.kernel.errors import Invalid, PolyforgeError, UpstreamFailed

BATCH_PREFIX: Final = "batch_"
URLS: Final = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
WINDOW_SECONDS: Final = 86_400
LONGEST_ID: Final = 512
_MOST_METADATA: Final = 16
_LONGEST_NAME: Final = 64
_LONGEST_VALUE: Final = 512
Status = Literal["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"]


class BatchProblem(msgspec.Struct, frozen=True):
    """What is wrong with an input file."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class Problems(msgspec.Struct, frozen=True):
    """All of it, as far as it is told."""

    data: list[BatchProblem]
    object: Literal["list"] = "list"


class Counts(msgspec.Struct, frozen=True):
    """How many lines there are, and what became of them."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class InputDetails(msgspec.Struct, frozen=True):
    """Of the input tokens."""

    cached_tokens: int = 0


class OutputDetails(msgspec.Struct, frozen=True):
    """Of the output tokens."""

    reasoning_tokens: int = 0


class BatchUsage(msgspec.Struct, frozen=True):
    """What the lines used together."""

    input_tokens: int = 0
    input_tokens_details: InputDetails = InputDetails()
    output_tokens: int = 0
    output_tokens_details: OutputDetails = OutputDetails()
    total_tokens: int = 0


class BatchObject(msgspec.Struct, frozen=True, kw_only=True):
    """A batch as OpenAI's clients read it."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    errors: Problems | None = None
    input_file_id: str
    completion_window: str = "24h"
    status: Status
    output_file_id: str | None = None
    error_file_id: str | None = None
    created_at: int
    in_progress_at: int | None = None
    expires_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: Counts
    usage: BatchUsage | None = None
    metadata: dict[str, str] | None = None


class _Expiry(msgspec.Struct, frozen=True):
    anchor: Literal["file_created_at", "created_at"]
    seconds: int


class BatchRequest(msgspec.Struct, frozen=True):
    """What a batch is asked for with."""

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None = None
    output_expires_after: _Expiry | None = None


class Line(msgspec.Struct, frozen=True, gc=False):
    """One line of an input file. Its number counts from 1."""

    number: int
    custom_id: str
    body: bytes


class _Line(msgspec.Struct, gc=False):
    custom_id: Annotated[str, Meta(min_length=1, max_length=LONGEST_ID)]
    method: Literal["POST"]
    url: str
    body: msgspec.Raw


class _Response(msgspec.Struct, frozen=True, gc=False):
    status_code: int
    request_id: str
    body: msgspec.Raw


class _LineError(msgspec.Struct, frozen=True, gc=False):
    code: str
    message: str


class _Answer(msgspec.Struct, frozen=True, gc=False):
    id: str
    custom_id: str
    response: _Response | None
    error: _LineError | None


class _Details(msgspec.Struct, gc=False):
    cached_tokens: int = 0
    reasoning_tokens: int = 0


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


class _Used(msgspec.Struct, gc=False):
    usage: _Usage | None = None


_request: Final = msgspec.json.Decoder(BatchRequest)
_line: Final = msgspec.json.Decoder(_Line)
_used: Final = msgspec.json.Decoder(_Used)
_encode: Final = msgspec.json.Encoder().encode


def batch_id(ulid: str) -> str:
    """An id as callers see it."""
    return BATCH_PREFIX + ulid


def batch_ulid(id_: str) -> str:
    """An id as it is kept; NotFound for what cannot be one."""
    return ulid_of(id_, BATCH_PREFIX, "batch")


def encode_batch(batch: BatchObject) -> bytes:
    """One batch."""
    return _encode(batch)


def decode_request(body: bytes) -> BatchRequest:
    """What somebody asks for; Invalid names the field that is wrong."""
    asked = decode_body(_request, body)
    if asked.endpoint not in URLS:
        raise Invalid(f"endpoint must be one of {', '.join(URLS)}", param="endpoint")
    if asked.completion_window != "24h":
        raise Invalid("completion_window must be 24h", param="completion_window")
    metadata = asked.metadata or {}
    long = any(len(name) > _LONGEST_NAME or len(value) > _LONGEST_VALUE for name, value in metadata.items())
    if len(metadata) > _MOST_METADATA or long:
        most = f"{_MOST_METADATA} pairs of up to {_LONGEST_NAME} and {_LONGEST_VALUE} characters"
        raise Invalid(f"metadata may have {most}", param="metadata")
    if asked.output_expires_after is not None:
        checked_expiry(asked.output_expires_after.seconds, "output_expires_after.seconds")
    return asked


def read_line(raw: bytes, number: int, url: str) -> Line | BatchProblem:
    """One line of an input file, or what is wrong with it."""
    try:
        line = _line.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        explained = explain_validation(error)
        code = "invalid_request" if isinstance(error, msgspec.ValidationError) else "invalid_json_line"
        return BatchProblem(code, explained.message.replace("the body", "the line"), number, explained.param)
    if line.url != url:
        return BatchProblem("mismatched_url", f"the url must be {url}, as the batch's endpoint", number, "url")
    body = bytes(line.body).strip()
    if not body.startswith(b"{"):
        return BatchProblem("invalid_request", "body: it must be a JSON object", number, "body")
    return Line(number, line.custom_id, body)


def write_answer(id_: str, custom_id: str, status: int, request_id: str, body: bytes) -> bytes:
    """The line of an output or error file for a call that was answered, with its end; `body` is JSON in one line."""
    response = _Response(status, request_id, msgspec.Raw(body))
    return _encode(_Answer(id_, custom_id, response, None)) + b"\n"


def in_one_line(body: bytes) -> bytes:
    """JSON without line breaks, which some providers put into theirs; UpstreamFailed for what is none."""
    try:
        if b"\n" in body or b"\r" in body:
            return msgspec.json.format(body, indent=-1)
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UpstreamFailed("the provider's answer is no JSON") from error
    return body


def write_refusal(id_: str, custom_id: str, request_id: str, error: PolyforgeError) -> bytes:
    """The line of an error file for a call that was refused."""
    return write_answer(id_, custom_id, status_of(error), request_id, encode_error(error))


def write_undone(id_: str, custom_id: str, code: str, message: str) -> bytes:
    """The line of an error file for a call that was never made."""
    return _encode(_Answer(id_, custom_id, None, _LineError(code, message))) + b"\n"


def usage_in(body: bytes) -> BatchUsage:
    """What an answer says that it used; nothing where it does not say."""
    try:
        said = _used.decode(body).usage
    except (msgspec.DecodeError, RecursionError):
        said = None
    if said is None:
        return BatchUsage()
    asked, answered = said.prompt_tokens or said.input_tokens, said.completion_tokens or said.output_tokens
    read = said.prompt_tokens_details or said.input_tokens_details or _Details()
    wrote = said.completion_tokens_details or said.output_tokens_details or _Details()
    return BatchUsage(
        asked, InputDetails(read.cached_tokens), answered, OutputDetails(wrote.reasoning_tokens), asked + answered
    )


def sum_of(one: BatchUsage, other: BatchUsage) -> BatchUsage:
    """What both used together."""
    return BatchUsage(
        one.input_tokens + other.input_tokens,
        InputDetails(one.input_tokens_details.cached_tokens + other.input_tokens_details.cached_tokens),
        one.output_tokens + other.output_tokens,
        OutputDetails(one.output_tokens_details.reasoning_tokens + other.output_tokens_details.reasoning_tokens),
        one.total_tokens + other.total_tokens,
    )


def as_json(value: Any) -> Any:
    """A structure as plain JSON, for where it is kept."""
    return msgspec.to_builtins(value)
