"""Amazon Bedrock: every model that its Converse API reaches, and embeddings of Titan and Cohere."""

from contextlib import aclosing
from typing import ClassVar, Final
from urllib.parse import quote

from pydantic import Field
from typing_extensions import AsyncGenerator

from polyforge.dialects.aws_eventstream import MEDIA_TYPE
from polyforge.dialects.bedrock_converse.replies import read_reply
from polyforge.dialects.bedrock_converse.requests import PARAMETERS, Guardrail, Maker, write_chat
from polyforge.dialects.bedrock_converse.streams import EventReader
from polyforge.dialects.bedrock_embeddings import TOKENS_HEADER, read_vectors, write_embeddings
from polyforge.dialects.vectors import texts_of, vectors_result
from polyforge.egress.deadlines import Deadline
from polyforge.egress.http import Answer
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Unsupported
from polyforge.ports.provider import Call, Capabilities, Provider, Reply, StreamEvent
from polyforge.ports.secret_source import SecretSource
from polyforge.secrets.references import SecretRef, in_environment
from polyforge.upstreams.aws import AwsAccount, AwsSettings, reads_error
from polyforge.upstreams.aws_streams import EventPayloads
from polyforge.upstreams.calls import NO_ANSWER, read_stream, read_whole
from polyforge.upstreams.streams import CanonicalStream

_KEY_VARIABLE: Final = "AWS_BEARER_TOKEN_BEDROCK"


class Settings(AwsSettings):
    """One account in one region. The model of a deployment is a model's id, an inference profile's, or an ARN."""

    api_key: SecretRef | None = Field(
        default=None,
        description="A Bedrock API key, instead of an access key; default: the environment's"
        " AWS_BEARER_TOKEN_BEDROCK, if there is one.",
    )
    maker: Maker = Field(
        default="anthropic",
        description="Who made the models whose id does not say it, such as application inference profiles: top_k,"
        " thinking and calls one at a time are asked for in each maker's way.",
    )
    guardrail_id: str | None = Field(default=None, description="A guardrail of the account for every call.")
    guardrail_version: str = Field(default="DRAFT", description="Of this guardrail.")


class Bedrock(Provider):
    """Writes every request as Converse wants it."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        tasks=frozenset({"chat", "completion", "embedding"}),
        dialects=frozenset(),
        parameters=PARAMETERS,
        caller_keys=True,
        seller="aws",
    )

    def __init__(self, settings: Settings, connect_timeout: float, clock: Clock | None = None) -> None:
        self._settings = settings
        self._guardrail = (
            None if settings.guardrail_id is None else Guardrail(settings.guardrail_id, settings.guardrail_version)
        )
        self._account = AwsAccount(
            settings,
            service="bedrock",
            host="bedrock-runtime",
            connect_timeout=connect_timeout,
            api_key=_api_key(settings),
            clock=clock,
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
            if call.request.task == "embedding":
                return await self._embed(call)
            body, _ = await self._read(await self._post(call, "converse"), call)
        result = read_reply(body)
        return Reply(usage=result.usage, result=result, finish=result.choices[0].finish)

    async def stream(self, call: Call) -> AsyncGenerator[list[StreamEvent]]:
        """The events as they come; UpstreamFailed when the stream ends before the message does."""
        answer = await self._post(call, "converse-stream")
        reader = CanonicalStream(EventReader(), EventPayloads())
        async with aclosing(read_stream(answer, call, reader, reads_error(answer), wanted=MEDIA_TYPE)) as events:
            async for batch in events:
                yield batch

    async def models(self) -> list[str]:
        """Unsupported: the models are listed at another service, which these credentials need not open."""
        raise Unsupported("Bedrock's models are not listed here")

    async def _embed(self, call: Call) -> Reply:
        """The vectors of all texts, some of them in each call."""
        texts = texts_of(call.request)
        vectors: list[list[float]] = []
        counts: list[int | None] = []
        for body in write_embeddings(texts, model=call.model, dimensions=call.request.dimensions):
            answer = await self._account.post(_path(call, "invoke"), body, call.headers, call.key)
            content, tokens = await self._read(answer, call)
            vectors += read_vectors(content)
            counts.append(tokens)
        known = [count for count in counts if count is not None]
        result = vectors_result(vectors, texts, sum(known) if len(known) == len(counts) else None)
        return Reply(usage=result.usage, result=result)

    async def _read(self, answer: Answer, call: Call) -> tuple[bytes, int | None]:
        """The body, and how many tokens went in, where a header says so."""
        counted: list[str | None] = []
        body = await read_whole(
            answer,
            reads_error(answer),
            self._settings.max_response_bytes,
            brought=call.key is not None,
            look=lambda opened: counted.append(opened.header(TOKENS_HEADER)),
        )
        tokens = counted[0]
        return body, int(tokens) if tokens is not None and tokens.isdecimal() else None

    async def _post(self, call: Call, operation: str) -> Answer:
        if call.chat is None:
            raise Unsupported("this provider does not speak the dialect of the request")
        body = write_chat(call.chat, model=call.model, maker=self._settings.maker, guardrail=self._guardrail)
        return await self._account.post(_path(call, operation), body, call.headers, call.key)


def _path(call: Call, operation: str) -> str:
    return f"/model/{quote(call.model, safe='')}/{operation}"


def _api_key(settings: Settings) -> SecretRef | None:
    if settings.api_key is None and settings.access_key_id is None and in_environment(_KEY_VARIABLE):
        return SecretRef(f"env:{_KEY_VARIABLE}")
    return settings.api_key


ADAPTER = Bedrock
