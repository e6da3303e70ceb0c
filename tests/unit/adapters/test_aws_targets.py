"""SageMaker's endpoints and Lambda's functions, scripted: signatures are checked, AWS's own client calls as well."""

import asyncio
import contextlib
import json
from collections.abc import Generator, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import EventStreamError

from polyforge.adapters.providers import lambda_function, sagemaker
from polyforge.dialects.openai_chat.completions import read_completion
from polyforge.dialects.openai_chat.facts import decode_chat, decode_completion
from polyforge.dialects.openai_chat.requests import read_chat
from polyforge.dialects.openai_embeddings import decode_embeddings
from polyforge.kernel.chat import ChatResult, Delta, Finished, TextDelta, ToolCall, ToolCallStart, text_of
from polyforge.kernel.errors import (
    PolyforgeError,
    RateLimited,
    Unavailable,
    Unsupported,
    UpstreamDenied,
    UpstreamFailed,
    UpstreamRefused,
)
from polyforge.kernel.usage import Usage
from polyforge.ports.provider import Call, Provider, Timeouts
from tests.support.behaviours import Behaviour
from tests.support.scripted import bedrock, eventstream
from tests.support.scripted.lambda_function import LambdaFunction, streamed
from tests.support.scripted.openai import OpenAI
from tests.support.scripted.sagemaker import SageMaker
from tests.support.scripted.scenarios import SCENARIOS, Failure, Played, Scenario, ScriptedProvider
from tests.support.scripted.server import Playing
from tests.support.scripted.signed import SignedServer
from tests.support.upstream import Received

CREDENTIALS = Credentials(bedrock.ACCESS_KEY, bedrock.SECRET_KEY)
OPENAI_STREAM = OpenAI().stream(SCENARIOS["text"]).chunks
SERVICES: dict[str, tuple[ScriptedProvider, str]] = {
    "sagemaker": (SageMaker(), "sagemaker"),
    "lambda": (LambdaFunction(), "lambda"),
}


class Server(SignedServer):
    """Answers what a test wants to be answered, and else as it is scripted."""

    played: Played | None = None

    def note(self, request: Received) -> Behaviour:
        behaviour = super().note(request)
        return behaviour if self.played is None else Playing(self.played)


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Server]]:
    running = {name: Server(one, CREDENTIALS, service, bedrock.REGION) for name, (one, service) in SERVICES.items()}
    for server in running.values():
        server.start()
    yield running
    for server in running.values():
        server.stop()


@pytest.fixture(autouse=True)
def _as_scripted(servers: dict[str, Server]) -> Iterator[None]:
    yield
    for server in servers.values():
        assert server.refused == 0
        server.played = None


@pytest.fixture(params=SERVICES)
def server(request: pytest.FixtureRequest, servers: dict[str, Server]) -> Server:
    return servers[request.param]


def provider(server: Server, **more: object) -> Provider:
    settings: dict[str, Any] = {**server.settings(), **more}
    adapter: Any = {"sagemaker": sagemaker, "lambda_function": lambda_function}[settings.pop("use")]
    return adapter.ADAPTER(adapter.Settings.model_validate(settings), 5)


def call(model: str, *, stream: bool = False) -> Call:
    body = {"model": "m", "messages": [{"role": "user", "content": "Say something."}], "stream": stream}
    data = json.dumps(body).encode()
    now = asyncio.get_running_loop().time()
    return Call(decode_chat(data), "id", model, None, Timeouts(), now, now + 30, {}, chat=read_chat(data))


def prompting(*, stream: bool, **fields: Any) -> Call:
    data = json.dumps({"model": "m", "prompt": "Once upon", "stream": stream, **fields}).encode()
    now = asyncio.get_running_loop().time()
    return Call(decode_completion(data), "id", "text", None, Timeouts(), now, now + 30, {}, chat=read_completion(data))


async def deltas_of(one: Provider, asked: Call) -> list[Delta]:
    events = [event async for batch in one.stream(asked) for event in batch]
    assert events[-1].end
    return [delta for event in events for delta in event.deltas]


async def ask(one: Provider, model: str, *, stream: bool) -> None:
    asked = call(model, stream=stream)
    await (deltas_of(one, asked) if stream else one.send(asked))


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
async def test_answers_whole_and_streamed(server: Server, scenario: Scenario) -> None:
    one = provider(server)
    reply = await one.send(call(scenario.name))
    assert isinstance(reply.result, ChatResult)
    content = reply.result.choices[0].content
    deltas = await deltas_of(one, call(scenario.name, stream=True))
    await one.close()
    if scenario.ending != "refusal":
        assert text_of(content) == scenario.text
        assert [delta.text for delta in deltas if isinstance(delta, TextDelta)] == list(scenario.pieces)
    ids = [wanted.id for wanted in scenario.calls]
    assert [block.id for block in content if isinstance(block, ToolCall)] == ids
    assert [delta.id for delta in deltas if isinstance(delta, ToolCallStart)] == ids
    assert reply.usage is not None
    told = scenario.told
    assert reply.usage.total == told.input + told.cache_read + told.cache_write + told.output
    assert server.last().model == scenario.name


async def test_what_a_client_of_openais_sends_and_gets_passes_as_it_is(server: Server) -> None:
    one, passing = provider(server), call("text")
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"guided_json": {"b":1.0}}'
    passing.request, passing.chat = decode_chat(body), None
    reply = await one.send(passing)
    assert reply.body == OpenAI().whole(SCENARIOS["text"]).chunks[0]
    assert reply.usage is not None
    assert b'"guided_json":{"b":1.0}' in server.requests()[-1].body
    assert server.requests()[-1].json["model"] == "text"
    passing.request = decode_chat(body.replace(b"}]", b'}],"stream":true'))
    frames = [event.frame async for batch in one.stream(passing) for event in batch]
    await one.close()
    assert b"".join(frames) == b"".join(OPENAI_STREAM)
    assert server.requests()[-1].json["stream_options"] == {"include_usage": True}


REFUSALS: dict[Failure, tuple[type[PolyforgeError], ...]] = {
    "rate": (RateLimited,),
    "quota": (RateLimited,),
    "overloaded": (Unavailable, UpstreamFailed),
    "server": (UpstreamFailed,),
    "denied": (UpstreamDenied,),
    "invalid": (UpstreamRefused,),
    "context": (UpstreamRefused,),
    "not_found": (UpstreamRefused,),
}


@pytest.mark.parametrize("failure", REFUSALS)
async def test_refusals_keep_their_meaning(server: Server, failure: Failure) -> None:
    one = provider(server)
    with pytest.raises(REFUSALS[failure]) as refused:
        await one.send(call(f"fail-{failure}"))
    await one.close()
    if failure == "context":
        assert refused.value.code == "context_length_exceeded"
    if failure == "invalid":
        assert (refused.value.status, refused.value.param) == (400, "temperature")
    if failure == "not_found":
        assert refused.value.status == 404
    assert "Task timed out" not in str(refused.value)


@pytest.mark.parametrize("fault", ["broken", "error"])
async def test_a_stream_that_breaks_off_is_a_failure(server: Server, fault: str) -> None:
    one = provider(server)
    with pytest.raises(UpstreamFailed):
        await ask(one, f"{fault}-text", stream=True)
    await one.close()


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'{"choices": []}', b'{"error": "no"}', b"\xff"])
async def test_what_is_no_answer_is_a_failure(server: Server, body: bytes) -> None:
    server.played = Played(200, {"content-type": "application/json"}, (body,))
    one = provider(server)
    with pytest.raises(UpstreamFailed):
        await one.send(call("text"))
    await one.close()


async def test_embeddings_pass_as_they_are(server: Server) -> None:
    answer = {"data": [{"index": 0, "embedding": [1.0]}], "usage": {"prompt_tokens": 2, "total_tokens": 2}}
    server.played = Played(200, {"content-type": "application/json"}, (json.dumps(answer).encode(),))
    one, request = provider(server, served_model="mini"), decode_embeddings(b'{"model":"m","input":"x","odd":1}')
    now = asyncio.get_running_loop().time()
    reply = await one.send(Call(request, "id", "text", None, Timeouts(), now, now + 30, {}))
    await one.close()
    assert (reply.body, reply.usage) == (json.dumps(answer).encode(), Usage(input=2))
    assert server.requests()[-1].json == {"model": "mini", "input": "x", "odd": 1}


# --- SageMaker alone ---


async def test_an_inference_component_is_named_in_a_header(servers: dict[str, Server]) -> None:
    one = provider(servers["sagemaker"])
    await one.send(call("text/adapter-1"))
    await one.close()
    request = servers["sagemaker"].requests()[-1]
    assert request.path == "/endpoints/text/invocations"
    assert request.headers["x-amzn-sagemaker-inference-component"] == "adapter-1"
    assert request.json["model"] == "text"


@pytest.mark.parametrize("model", ["text/", "text/日本", "text/a/b", "text/a_b"])
async def test_a_component_that_cannot_be_is_not_found(servers: dict[str, Server], model: str) -> None:
    one = provider(servers["sagemaker"])
    with pytest.raises(UpstreamRefused) as refused:
        await one.send(call(model))
    await one.close()
    assert (refused.value.status, refused.value.param) == (404, "model")


def tokens(*pieces: str) -> list[dict[str, Any]]:
    return [{"index": 1, "token": {"id": 1, "text": text, "special": False}, "details": None} for text in pieces]


def generated(*events: dict[str, Any]) -> Played:
    data = [b"data:" + json.dumps(one).encode() + b"\n\n" for one in events]
    parts = [eventstream.event("PayloadPart", one, "application/octet-stream") for one in data]
    return Played(200, {"content-type": "application/vnd.amazon.eventstream"}, tuple(parts))


LAST: dict[str, Any] = {
    "index": 3,
    "token": {"id": 2, "text": "</s>", "special": True},
    "generated_text": " a time",
    "details": {"finish_reason": "length", "generated_tokens": 3, "input_length": 4, "seed": None},
}


async def test_an_endpoint_that_takes_inputs(servers: dict[str, Server]) -> None:
    server = servers["sagemaker"]
    one = provider(server, format="inputs")
    details = {"finish_reason": "stop_sequence", "generated_tokens": 3, "prefill": [{"id": 1}], "tokens": []}
    answer = [{"generated_text": " a time", "details": details}]
    server.played = Played(200, {"content-type": "application/json"}, (json.dumps(answer).encode(),))
    reply = await one.send(prompting(stream=False, max_tokens=5, temperature=0, stop="x"))
    assert server.requests()[-1].json == {
        "inputs": "Once upon",
        "parameters": {
            "max_new_tokens": 5,
            "do_sample": False,
            "stop": ["x"],
            "details": True,
            "return_full_text": False,
        },
    }
    assert isinstance(reply.result, ChatResult)
    assert text_of(reply.result.choices[0].content) == " a time"
    assert (reply.finish, reply.usage) == ("stop_sequence", Usage(input=1, output=3))
    server.played = generated(*tokens(" a", " time"), LAST)
    deltas = await deltas_of(one, prompting(stream=True))
    assert [delta.text for delta in deltas if isinstance(delta, TextDelta)] == [" a", " time"]
    assert [delta.finish for delta in deltas if isinstance(delta, Finished)] == ["length"]
    assert server.requests()[-1].json["stream"] is True
    for broken in (generated(*tokens(" a")), generated({"error": "oh", "error_type": "generation"}), generated()):
        server.played = broken
        with pytest.raises(UpstreamFailed):
            await deltas_of(one, prompting(stream=True))
    await one.close()


async def test_an_endpoint_that_takes_inputs_has_no_place_for_a_conversation(servers: dict[str, Server]) -> None:
    one = provider(servers["sagemaker"], format="inputs")
    asked = call("text")
    assert asked.chat is not None
    asked.chat.messages *= 2
    with pytest.raises(Unsupported, match="conversation"):
        await one.send(asked)
    with pytest.raises(Unsupported, match="presence_penalty"):
        await one.send(prompting(stream=False, presence_penalty=1))
    await one.close()


# --- Lambda alone ---


async def test_a_function_may_answer_as_to_a_gateway(
    servers: dict[str, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = "arn:aws:lambda:eu-central-1:123456789012:function:chat:live"
    monkeypatch.setitem(SCENARIOS, arn, SCENARIOS["text"])
    server = servers["lambda"]
    inner = server.provider.whole(SCENARIOS["text"]).chunks[0].decode()
    body = json.dumps({"statusCode": 200, "headers": {}, "body": inner}).encode()
    server.played = Played(200, {"content-type": "application/json"}, (body,))
    one = provider(server)
    reply = await one.send(call(arn))
    await one.close()
    assert isinstance(reply.result, ChatResult)
    assert text_of(reply.result.choices[0].content) == SCENARIOS["text"].text


@pytest.mark.parametrize("failure", ["invalid", "context", "server"])
async def test_a_function_that_refuses_says_so_in_a_stream_too(servers: dict[str, Server], failure: Failure) -> None:
    server = servers["lambda"]
    server.played = streamed(server.provider.failure(failure))
    one = provider(server)
    with pytest.raises(REFUSALS[failure]) as refused:
        await ask(one, "text", stream=True)
    await one.close()
    if failure == "invalid":
        assert (refused.value.status, refused.value.param) == (400, "temperature")


async def test_a_function_may_cut_its_events_anywhere(servers: dict[str, Server]) -> None:
    server, data = servers["lambda"], b"".join(OPENAI_STREAM)
    cut = data.index(b"{")
    server.played = streamed(Played(200, {"content-type": "application/json"}, (data[:cut], data[cut:])))
    one = provider(server)
    deltas = await deltas_of(one, call("text", stream=True))
    await one.close()
    assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == SCENARIOS["text"].text


@pytest.mark.parametrize("said", ["whole", "endless"])
async def test_a_function_that_does_not_stream_is_a_failure(servers: dict[str, Server], said: str) -> None:
    server = servers["lambda"]
    whole = server.provider.whole(SCENARIOS["text"])
    chunks = whole.chunks if said == "whole" else (b'{"choices":"', *[b"x" * 10_000] * 7)
    server.played = streamed(Played(200, whole.headers, chunks))
    one = provider(server)
    with pytest.raises(UpstreamFailed, match="did not stream"):
        await ask(one, "text", stream=True)
    await one.close()


# --- the scripted servers, by AWS's own client ---


@contextlib.contextmanager
def sdk(service: str, server: Server) -> Generator[Any]:
    client: Any = boto3.client(  # pyright: ignore[reportUnknownMemberType]
        service,  # pyright: ignore[reportArgumentType]
        endpoint_url=server.origin,
        region_name=bedrock.REGION,
        aws_access_key_id=bedrock.ACCESS_KEY,
        aws_secret_access_key=bedrock.SECRET_KEY,
        config=Config(retries={"total_max_attempts": 1}),
    )
    yield client
    client.close()


BODY = json.dumps({"model": "x", "messages": [{"role": "user", "content": "Say something."}]})


def test_the_official_client_reads_the_scripted_endpoint(servers: dict[str, Server]) -> None:
    with sdk("sagemaker-runtime", servers["sagemaker"]) as client:
        check_endpoint(client)


def check_endpoint(client: Any) -> None:
    whole = client.invoke_endpoint(EndpointName="text", Body=BODY, ContentType="application/json")
    expected = SCENARIOS["text"].text
    assert json.loads(whole["Body"].read())["choices"][0]["message"]["content"] == expected
    stream = client.invoke_endpoint_with_response_stream(EndpointName="text", Body=BODY, ContentType="application/json")
    data = b"".join(part["PayloadPart"]["Bytes"] for part in stream["Body"])
    assert data == b"".join(OPENAI_STREAM)
    with pytest.raises(client.exceptions.ModelError) as refused:
        client.invoke_endpoint(EndpointName="fail-context", Body=BODY)
    assert refused.value.response["OriginalStatusCode"] == 400
    broken = client.invoke_endpoint_with_response_stream(EndpointName="error-text", Body=BODY)["Body"]
    with contextlib.closing(broken), pytest.raises(EventStreamError, match="scripted break"):
        list(broken)


def test_the_official_client_reads_the_scripted_function(servers: dict[str, Server]) -> None:
    with sdk("lambda", servers["lambda"]) as client:
        check_function(client)


def check_function(client: Any) -> None:
    whole = client.invoke(FunctionName="text", Payload=BODY)
    assert "FunctionError" not in whole
    assert json.loads(whole["Payload"].read())["choices"][0]["message"]["content"] == SCENARIOS["text"].text
    assert client.invoke(FunctionName="fail-server", Payload=BODY)["FunctionError"] == "Unhandled"
    stream = client.invoke_with_response_stream(FunctionName="text", Payload=BODY)
    events = list(stream["EventStream"])
    assert b"".join(one["PayloadChunk"]["Payload"] for one in events[:-1]) == b"".join(OPENAI_STREAM)
    assert "InvokeComplete" in events[-1]
    with pytest.raises(client.exceptions.TooManyRequestsException):
        client.invoke(FunctionName="fail-rate", Payload=BODY)
