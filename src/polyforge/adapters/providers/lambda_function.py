"""AWS Lambda: functions that take a request in OpenAI's dialect and give back its answer."""

from contextlib import aclosing
from typing import ClassVar, Final
from urllib.parse import quote

import msgspec
from pydantic import Field
from typing_extensions import AsyncGenerator

from polyforge.dialects.lambda_responses import read_response
from polyforge.dialects.openai_chat import requests
from polyforge.dialects.openai_errors import decode_error
from polyforge.egress.deadlines import Deadline
from polyforge.egress.http import Answer
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import PolyforgeError, Unsupported, UpstreamFailed
from polyforge.ports.provider import Call, Capabilities, Provider, Reply, StreamEvent
from polyforge.ports.secret_source import SecretSource
from polyforge.upstreams.aws import AwsAccount, AwsSettings, reads_error
from polyforge.upstreams.aws_streams import StreamInEvents
from polyforge.upstreams.calls import NO_ANSWER, StreamReader, read_stream, read_whole
from polyforge.upstreams.openai_wire import OpenAIWire, reader_of, reply_of
from polyforge.upstreams.refusals import refusal

_ERROR_HEADER: Final = "x-amz-function-error"
_PART: Final = "PayloadChunk"
_ANY_TYPE: Final = ""
_OK: Final = 200
_LONGEST_OBJECT: Final = 64 * 1024
_NO_STREAM: Final = "the function did not stream its answer as server-sent events"


class Settings(AwsSettings):
    """One account in one region. The model of a deployment is a function's name, `name:alias`, or an ARN."""

    served_model: str | None = Field(
        default=None, description="What the body calls the model; default: the function's name."
    )


class LambdaFunction(Provider):
    """Invokes functions: bodies in OpenAI's dialect pass through, others are written in it.

    A stream comes of functions that stream their response, as server-sent events.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        tasks=frozenset({"chat", "completion", "embedding"}),
        dialects=frozenset({"openai"}),
        parameters=requests.PARAMETERS | {"top_k"},
    )

    def __init__(self, settings: Settings, connect_timeout: float, clock: Clock | None = None) -> None:
        self._settings = settings
        self._wire = OpenAIWire(limit_field="max_tokens", max_response_bytes=settings.max_response_bytes)
        self._account = AwsAccount(
            settings, service="lambda", host="lambda", connect_timeout=connect_timeout, clock=clock
        )

    async def open(self, secrets: SecretSource) -> None:
        """Follow those of the credentials that are `secrets`; connections are made when they are needed."""
        self._account.open(secrets)

    async def close(self) -> None:
        """Let go of connections."""
        await self._account.close()

    async def send(self, call: Call) -> Reply:
        """The whole answer; UpstreamFailed when the function failed."""
        with Deadline(call.deadline, NO_ANSWER):
            answer = await self._post(call, "2015-03-31", "invocations")
            body = await read_whole(
                answer, reads_error(answer), self._settings.max_response_bytes, look=_look_for_failure
            )
        return reply_of(call, _unwrapped(body))

    async def stream(self, call: Call) -> AsyncGenerator[list[StreamEvent]]:
        """The events as they come; UpstreamFailed when the function failed, or ended without a finish."""
        answer = await self._post(call, "2021-11-15", "response-streaming-invocations")
        reader = StreamInEvents(_Streamed(reader_of(call)), _PART)
        async with aclosing(read_stream(answer, call, reader, reads_error(answer), wanted=_ANY_TYPE)) as events:
            async for batch in events:
                yield batch

    async def models(self) -> list[str]:
        """Unsupported: of the functions of an account nobody knows which are models."""
        raise Unsupported("Lambda's functions are not listed here")

    async def _post(self, call: Call, version: str, operation: str) -> Answer:
        path = f"/{version}/functions/{quote(call.model, safe='')}/{operation}"
        named = msgspec.structs.replace(call, model=self._settings.served_model or call.model)
        return await self._account.post(path, self._wire.ask(named).body, call.headers)


class _Streamed:
    """What a function streams: server-sent events, or one JSON object where it refuses as if to an API Gateway."""

    def __init__(self, events: StreamReader) -> None:
        self._events = events
        self._begun = False
        self._object: bytearray | None = None
        """What came of it, where it is that."""
        self.has_content = False
        self.ended = False
        self.failure: PolyforgeError | None = None

    def feed(self, chunk: bytes) -> list[StreamEvent]:
        """The events that these bytes complete."""
        if not self._begun:
            self._begun = True
            self._object = bytearray() if chunk.startswith(b"{") else None
        if self._object is None:
            return self._noted(self._events.feed(chunk))
        self._object += chunk
        if len(self._object) > _LONGEST_OBJECT:
            raise UpstreamFailed(_NO_STREAM)
        return []

    def finish(self) -> list[StreamEvent]:
        """The end of what the function says; raises what a status other than 200 means."""
        if self._object is None:
            return self._noted(self._events.finish())
        _unwrapped(bytes(self._object))
        raise UpstreamFailed(_NO_STREAM)

    def _noted(self, events: list[StreamEvent]) -> list[StreamEvent]:
        self.has_content, self.ended = self._events.has_content, self._events.ended
        self.failure = self._events.failure
        return events


def _unwrapped(body: bytes) -> bytes:
    """The answer in what a function says as if to an API Gateway; raises what a status other than 200 means there."""
    response = read_response(body)
    if response is None:
        return body
    if response.status_code != _OK:
        raise refusal(response.status_code, decode_error(response.body.encode()), None, brought=False)
    return response.body.encode()


def _look_for_failure(answer: Answer) -> None:
    """A function that failed is answered for with 200 and a header; what it says is its own log's matter."""
    if (kind := answer.header(_ERROR_HEADER)) is not None:
        raise UpstreamFailed(f"the function failed ({kind[:40]}); its log says why")


ADAPTER = LambdaFunction
