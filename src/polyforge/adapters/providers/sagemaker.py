"""Amazon SageMaker: models behind one's own endpoints, in containers that speak OpenAI's chat or take `inputs`."""

from contextlib import aclosing
from typing import ClassVar, Final, Literal
from urllib.parse import quote

from pydantic import Field
from typing_extensions import AsyncGenerator

from polyforge.dialects import text_generation
from polyforge.dialects.aws_eventstream import MEDIA_TYPE
from polyforge.dialects.openai_chat import facts, replies, requests
from polyforge.dialects.openai_chat.streams import ChunkReader
from polyforge.egress.deadlines import Deadline
from polyforge.egress.http import Answer
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Unsupported
from polyforge.ports.provider import Call, Capabilities, Provider, Reply, StreamEvent
from polyforge.ports.secret_source import SecretSource
from polyforge.upstreams.aws import AwsAccount, AwsSettings, reads_error
from polyforge.upstreams.aws_streams import SseInEvents
from polyforge.upstreams.calls import NO_ANSWER, read_stream, read_whole
from polyforge.upstreams.streams import CanonicalStream
from polyforge.upstreams.vectors import read_vectors

_COMPONENT_HEADER: Final = "x-amzn-sagemaker-inference-component"
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
    """Invokes endpoints with what their containers speak."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        tasks=frozenset({"chat", "completion", "embedding"}),
        dialects=frozenset(),
        parameters=requests.PARAMETERS | text_generation.PARAMETERS,
    )

    def __init__(self, settings: Settings, connect_timeout: float, clock: Clock | None = None) -> None:
        self._settings = settings
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
        if call.chat is None:
            return read_vectors(body)
        read = replies.read_reply if self._settings.format == "openai" else text_generation.read_reply
        result = read(body)
        return Reply(usage=result.usage, result=result, finish=result.choices[0].finish)

    async def stream(self, call: Call) -> AsyncGenerator[list[StreamEvent]]:
        """The events as they come; UpstreamFailed when the stream ends without its finish."""
        answer = await self._post(call, "invocations-response-stream")
        deltas = ChunkReader() if self._settings.format == "openai" else text_generation.TokenReader()
        reader = CanonicalStream(deltas, SseInEvents(_PART))
        async with aclosing(read_stream(answer, call, reader, reads_error(answer), wanted=MEDIA_TYPE)) as events:
            async for batch in events:
                yield batch

    async def models(self) -> list[str]:
        """Unsupported: endpoints are listed at another service, which these credentials need not open."""
        raise Unsupported("SageMaker's endpoints are not listed here")

    async def _post(self, call: Call, operation: str) -> Answer:
        endpoint, _, component = call.model.partition("/")
        headers = {**call.headers, _COMPONENT_HEADER: component} if component else call.headers
        path = f"/endpoints/{quote(endpoint, safe='')}/{operation}"
        return await self._account.post(path, self._body(call, endpoint), headers)

    def _body(self, call: Call, endpoint: str) -> bytes:
        name = self._settings.served_model or endpoint
        if call.chat is None:
            return facts.rewrite(call.request.body, model=name)
        if self._settings.format == "inputs":
            return text_generation.write_prompt(call.chat, stream=call.request.stream)
        return requests.write_chat(call.chat, model=name, stream=call.request.stream)


ADAPTER = SageMaker
