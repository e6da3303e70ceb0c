"""Amazon SageMaker: models behind one's own endpoints, in containers that speak OpenAI's chat or take `inputs`."""

import re
from contextlib import aclosing
from typing import ClassVar, Final, Literal
from urllib.parse import quote

import msgspec
from pydantic import Field
from typing_extensions import AsyncGenerator

from polyforge.dialects import text_generation
from polyforge.dialects.aws_eventstream import MEDIA_TYPE
from polyforge.dialects.openai_chat import requests
from polyforge.egress.deadlines import Deadline
from polyforge.egress.http import Answer
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Unsupported, UpstreamRefused
from polyforge.ports.provider import Call, Capabilities, Provider, Reply, StreamEvent
from polyforge.ports.secret_source import SecretSource
from polyforge.upstreams.aws import AwsAccount, AwsSettings, reads_error
from polyforge.upstreams.aws_streams import StreamInEvents
from polyforge.upstreams.calls import NO_ANSWER, StreamReader, read_stream, read_whole
from polyforge.upstreams.openai_wire import OpenAIWire, reader_of, reply_of
from polyforge.upstreams.streams import CanonicalStream

_COMPONENT_HEADER: Final = "x-amzn-sagemaker-inference-component"
_COMPONENT: Final = re.compile(r"[a-zA-Z0-9-]{1,63}")
_PART: Final = "PayloadPart"


class Settings(AwsSettings):
    """One account in one region. The model of a deployment is an `endpoint`, or an `endpoint/inference-component`."""

    format: Literal["openai", "inputs"] = Field(
        default="openai",
        description="What the containers speak: OpenAI's chat completions (vLLM, LMI, TGI), or a prompt as `inputs`.",
    )
    served_model: str | None = Field(
        default=None,
        description="What the containers call their model, where they want to be told; default: the endpoint.",
    )


class SageMaker(Provider):
    """Invokes endpoints whose containers speak OpenAI's dialect: bodies in it pass through, others are written."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        tasks=frozenset({"chat", "completion", "embedding"}),
        dialects=frozenset({"openai"}),
        parameters=requests.PARAMETERS | {"top_k"},
    )

    def __init__(self, settings: Settings, connect_timeout: float, clock: Clock | None = None) -> None:
        self._settings = settings
        self._wire = OpenAIWire(limit_field="max_tokens", max_response_bytes=settings.max_response_bytes)
        self._account = AwsAccount(
            settings, service="sagemaker", host="runtime.sagemaker", connect_timeout=connect_timeout, clock=clock
        )

    async def open(self, secrets: SecretSource) -> None:
        """Follow those of the credentials that are `secrets`; connections are made when they are needed."""
        self._account.open(secrets)

    async def close(self) -> None:
        """Let go of connections."""
        await self._account.close()

    async def send(self, call: Call) -> Reply:
        """The whole answer."""
        with Deadline(call.deadline, NO_ANSWER):
            answer = await self._post(call, "invocations")
            body = await read_whole(answer, reads_error(answer), self._settings.max_response_bytes)
        return self._read(call, body)

    async def stream(self, call: Call) -> AsyncGenerator[list[StreamEvent]]:
        """The events as they come; UpstreamFailed when the stream ends without its finish."""
        answer = await self._post(call, "invocations-response-stream")
        reader = StreamInEvents(self._reader(call), _PART)
        async with aclosing(read_stream(answer, call, reader, reads_error(answer), wanted=MEDIA_TYPE)) as events:
            async for batch in events:
                yield batch

    async def models(self) -> list[str]:
        """Unsupported: endpoints are listed at another service, which these credentials need not open."""
        raise Unsupported("SageMaker's endpoints are not listed here")

    async def _post(self, call: Call, operation: str) -> Answer:
        endpoint, slash, component = call.model.partition("/")
        if slash and not _COMPONENT.fullmatch(component):
            raise UpstreamRefused("there is no inference component of this name", status=404, param="model")
        headers = {**call.headers, _COMPONENT_HEADER: component} if component else call.headers
        path = f"/endpoints/{quote(endpoint, safe='')}/{operation}"
        return await self._account.post(path, self._body(call, endpoint), headers)

    def _body(self, call: Call, endpoint: str) -> bytes:
        return self._wire.ask(msgspec.structs.replace(call, model=self._settings.served_model or endpoint)).body

    def _read(self, call: Call, body: bytes) -> Reply:
        return reply_of(call, body)

    def _reader(self, call: Call) -> StreamReader:
        return reader_of(call)


class SageMakerInputs(SageMaker):
    """Invokes endpoints whose containers take a prompt."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        tasks=frozenset({"chat", "completion"}),
        dialects=frozenset(),
        parameters=text_generation.PARAMETERS,
    )

    def _body(self, call: Call, endpoint: str) -> bytes:
        if call.chat is None:
            raise Unsupported("this provider does not speak the dialect of the request")
        return text_generation.write_prompt(call.chat, stream=call.request.stream)

    def _read(self, call: Call, body: bytes) -> Reply:
        result = text_generation.read_reply(body)
        return Reply(usage=result.usage, result=result, finish=result.choices[0].finish)

    def _reader(self, call: Call) -> StreamReader:
        return CanonicalStream(text_generation.TokenReader())


def build(settings: Settings, connect_timeout: float) -> SageMaker:
    """The provider of the format."""
    kind = SageMaker if settings.format == "openai" else SageMakerInputs
    return kind(settings, connect_timeout)


ADAPTER = build
