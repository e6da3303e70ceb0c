"""The inference paths: for each, how its bodies are read, its answers written, and its errors shown."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import msgspec

from polyforge.dialects import anthropic_errors, openai_audio, openai_embeddings, openai_images, openai_moderations
from polyforge.dialects.anthropic_messages import facts as anthropic_facts
from polyforge.dialects.anthropic_messages import reading as anthropic_reading
from polyforge.dialects.anthropic_messages import replies as anthropic_replies
from polyforge.dialects.anthropic_messages.streams import EventWriter
from polyforge.dialects.openai_chat import completions, facts, replies, requests, streams
from polyforge.dialects.openai_responses import facts as response_facts
from polyforge.dialects.openai_responses import replies as response_replies
from polyforge.dialects.openai_responses import requests as response_requests
from polyforge.dialects.openai_responses import streams as response_streams
from polyforge.dialects.platform import replies as platform_replies
from polyforge.dialects.platform import requests as platform_requests
from polyforge.dialects.platform_code.operations import OPERATIONS, Operation
from polyforge.dialects.writing import Answering, StreamWriter
from polyforge.gateway.job import Examine
from polyforge.gateway.lineup import Lineup
from polyforge.kernel.chat import ChatRequest, ChatResult
from polyforge.kernel.errors import PolyforgeError
from polyforge.kernel.sse import event_of
from polyforge.kernel.tasks import InferenceRequest, Task
from polyforge.registry.catalog import Model
from polyforge.server.counting import estimate_count
from polyforge.server.errors import ANTHROPIC_PATHS, Rendered, render_anthropic, render_openai, render_problem
from polyforge.server.http import HeaderMap, bearer_token
from polyforge.tenancy.callers import Caller


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One inference path."""

    path: str
    decode: Callable[[bytes], InferenceRequest]
    """Reads what routing, limits and metering need; Invalid names the field that is wrong."""
    read_chat: Callable[[bytes], ChatRequest] | None = None
    """Reads all of it into canonical form."""
    write: Callable[[ChatResult, Answering], bytes] | None = None
    """Writes a canonical answer."""
    open_stream: Callable[[Answering], StreamWriter] | None = None
    """Begins a streamed one."""
    examine: Examine | None = None
    """Says what is wrong with a canonical answer, where not every one will do."""
    render: Callable[[PolyforgeError, str], Rendered] = render_openai
    """An error as an answer of its own."""
    late_error: Callable[[bytes], bytes] = event_of
    """From the body of an error to the event that ends a stream which has begun."""
    credential: Callable[[HeaderMap], bytes | None] = bearer_token
    """The key, as clients of this dialect send it."""
    people: bool = False
    """Whether people who signed in may call it without a key, as they may the rest of the platform's own paths."""
    id_headers: tuple[bytes, ...] = (b"x-request-id",)
    """In which its clients look for the request's id."""
    forwarded: tuple[bytes, ...] = ()
    """Headers of the caller that go on to the provider."""
    model_task: Task | None = None
    """What its models are declared to do, where that is not the task of the request."""
    estimate: Callable[[bytes], bytes] | None = None
    """Answers from the body alone, where none of the model's providers can."""
    choose: Callable[[Lineup, Caller, InferenceRequest], Awaitable[Model]] | None = None
    """Finds the model, where not every one of the catalog will do."""
    max_bytes: int | None = None
    """The largest body, where that is not what the gateway's settings say."""
    stream_type: bytes = b""
    """What its streamed answers are, where they are no server-sent events."""
    once: bool = True
    """Whether an `Idempotency-Key` is looked at."""


_anthropic: Final = partial(
    Endpoint, render=render_anthropic, id_headers=(b"request-id", b"x-request-id"), forwarded=(b"anthropic-beta",)
)
_platform: Final = partial(Endpoint, render=render_problem, people=True)
_told: Final = partial(_platform, open_stream=platform_replies.EventWriter, late_error=platform_replies.late_error)


def _code_endpoint(operation: Operation[Any]) -> Endpoint:
    return _platform(
        path=operation.path,
        decode=operation.decode,
        read_chat=operation.read_chat,
        write=operation.write,
        examine=operation.examine,
    )


ENDPOINTS: Final = (
    Endpoint(
        path="/v1/chat/completions",
        decode=facts.decode_chat,
        read_chat=requests.read_chat,
        write=replies.write_reply,
        open_stream=streams.ChunkWriter,
    ),
    Endpoint(
        path="/v1/completions",
        decode=facts.decode_completion,
        read_chat=completions.read_completion,
        write=completions.write_completion,
        open_stream=completions.CompletionWriter,
    ),
    Endpoint(
        path="/v1/responses",
        decode=response_facts.decode_response,
        read_chat=response_requests.read_chat,
        write=response_replies.write_reply,
        open_stream=response_streams.EventWriter,
    ),
    Endpoint(path="/v1/embeddings", decode=openai_embeddings.decode_embeddings),
    Endpoint(path="/v1/images/generations", decode=openai_images.decode_generation),
    Endpoint(path="/v1/images/edits", decode=openai_images.decode_edit),
    Endpoint(path="/v1/audio/transcriptions", decode=openai_audio.decode_transcription),
    Endpoint(path="/v1/audio/translations", decode=openai_audio.decode_translation),
    Endpoint(path="/v1/audio/speech", decode=openai_audio.decode_speech),
    Endpoint(path="/v1/moderations", decode=openai_moderations.decode_moderation),
    _anthropic(
        path=ANTHROPIC_PATHS[0],
        decode=anthropic_facts.decode_messages,
        read_chat=anthropic_reading.read_chat,
        write=anthropic_replies.write_reply,
        open_stream=EventWriter,
        late_error=anthropic_errors.late_error,
    ),
    _anthropic(
        path=ANTHROPIC_PATHS[1],
        decode=anthropic_facts.decode_count,
        model_task="chat",
        estimate=estimate_count,
    ),
    _told(
        path="/api/v1/chat",
        decode=platform_requests.decode_chat,
        read_chat=platform_requests.read_chat,
        write=platform_replies.write_chat,
    ),
    _told(
        path="/api/v1/completion",
        decode=platform_requests.decode_completion,
        read_chat=platform_requests.read_completion,
        write=platform_replies.write_completion,
    ),
    _platform(path="/api/v1/embeddings", decode=openai_embeddings.decode_embeddings),
    *map(_code_endpoint, OPERATIONS),
)
