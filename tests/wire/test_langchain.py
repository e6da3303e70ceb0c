"""LangChain against every provider: what its users build on top of a chat. What it asks plainly is in the matrix."""

from collections.abc import Iterator, Mapping
from typing import Any

import openai
import pytest
from langchain_core.exceptions import ContextOverflowError, ModelRateLimitError
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, SecretStr

from tests.support.behaviours import vector_of
from tests.support.scripted.langchain_callers import chat_model, read_message
from tests.support.scripted.providers import PROVIDERS, all_serving, settings_before
from tests.support.scripted.scenarios import SCENARIOS
from tests.support.scripted.server import ScriptedServer
from tests.support.scripted.vectors import WIDTH
from tests.support.server import Polyforge, stopping

APIS = {"chat": False, "responses": True}
EMBEDDERS = {
    "openai": "small",
    "azure_openai": "small",
    "bedrock": "amazon.titan-embed-text-v2:0",
    "gemini": "gemini-embedding-001",
    "huggingface": "BAAI/bge-small",
    "lambda_function": "small",
    "sagemaker": "small",
    "vertex": "text-embedding-005",
}
"""A model for embeddings at each provider that has some."""
SIGNED = ("anthropic", "bedrock", "gemini", "vertex", "vertex_anthropic")
"""Whose thoughts have signatures."""
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class Person(BaseModel):
    """Who it is about."""

    name: str
    age: int


class get_weather(BaseModel):
    """How the weather will be."""

    city: str
    days: int


class get_time(BaseModel):
    """What time it is."""


@pytest.fixture(scope="module")
def servers() -> Iterator[Mapping[str, ScriptedServer]]:
    """Every provider's scripted server."""
    with all_serving() as started:
        yield started


@pytest.fixture(scope="module")
def gateway(servers: Mapping[str, ScriptedServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Polyforge]:
    """One gateway before them all; `provider/scenario` is the model, `vectors/provider` one for embeddings."""
    settings = settings_before(servers)
    settings["models"] |= {
        f"vectors/{name}": {"task": "embedding", "deployments": [{"provider": name, "model": model}]}
        for name, model in EMBEDDERS.items()
    }
    with stopping(Polyforge(tmp_path_factory.mktemp("langchain"), settings)) as server:
        yield server


@pytest.fixture(scope="module")
def key(gateway: Polyforge) -> str:
    """A key for everything."""
    return gateway.create_key().key


@pytest.fixture(scope="module")
def models(gateway: Polyforge, key: str) -> Mapping[str, ChatOpenAI]:
    """The client, in each of OpenAI's dialects."""
    return {api: chat_model(gateway.url, key, use_responses_api=responses) for api, responses in APIS.items()}


@pytest.fixture(params=APIS)
def chat(request: pytest.FixtureRequest, models: Mapping[str, ChatOpenAI]) -> ChatOpenAI:
    """One of them."""
    return models[request.param]


@pytest.fixture(params=[provider.name for provider in PROVIDERS])
def server(request: pytest.FixtureRequest, servers: Mapping[str, ScriptedServer]) -> ScriptedServer:
    """One provider."""
    return servers[request.param]


def answered(bound: Any, asked: list[AnyMessage], *, stream: bool) -> AIMessage:
    if not stream:
        return bound.invoke(asked)
    whole: AIMessageChunk | None = None
    for chunk in bound.stream(asked):
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    return whole


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_agent_goes_on_with_what_its_tools_said(chat: ChatOpenAI, server: ScriptedServer, stream: bool) -> None:
    name = server.provider.name
    agent = chat.bind_tools([get_weather, get_time])
    asked: list[AnyMessage] = [HumanMessage("How is the weather?")]
    said = answered(agent.bind(model=f"{name}/tools"), asked, stream=stream)
    calls = read_message(said).calls
    results = [ToolMessage(f"said by {tool}", tool_call_id=id_) for id_, tool, _ in calls]
    last = answered(agent.bind(model=f"{name}/text"), [*asked, said, *results], stream=stream)
    assert str(last.text) == SCENARIOS["text"].text
    seen = server.last()
    assert [(tool, arguments) for _, tool, arguments in seen.called] == [
        ("get_weather", {"city": "Köln", "days": 2}),
        ("get_time", {}),
    ]
    assert [text for _, text in seen.results] == ["said by get_weather", "said by get_time"]
    assert seen.turns[1] == ("assistant", SCENARIOS["tools"].text)
    if server.provider.keeps_ids:
        assert [id_ for id_, _, _ in seen.called] == [id_ for id_, _ in seen.results] == ["call_one", "call_two"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("server", SIGNED, indirect=True)
def test_signed_thoughts_go_back(models: Mapping[str, ChatOpenAI], server: ScriptedServer, stream: bool) -> None:
    """Through Responses: in chat completions LangChain has no place for them."""
    name, chat = server.provider.name, models["responses"]
    asked: list[AnyMessage] = [HumanMessage("What is 6 times 7?")]
    said = answered(chat.bind(model=f"{name}/thinking"), asked, stream=stream)
    chat.bind(model=f"{name}/text").invoke([*asked, said, HumanMessage("And once more?")])
    signatures = [signature for _, signature in server.last().thoughts]
    assert signatures == [SCENARIOS["thinking"].signature]


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # of what LangChain itself parsed
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_output_in_the_form_of_a_class(chat: ChatOpenAI, server: ScriptedServer, stream: bool) -> None:
    model = chat.model_copy(update={"model_name": f"{server.provider.name}/structured"})
    shaped = model.with_structured_output(Person, method="json_schema")
    found = list(shaped.stream("Who?"))[-1] if stream else shaped.invoke("Who?")
    assert found == Person(name="Ada", age=36)
    assert server.last().schema["required"] == ["name", "age"]


def test_output_in_the_form_of_a_schema(chat: ChatOpenAI, server: ScriptedServer) -> None:
    model = chat.model_copy(update={"model_name": f"{server.provider.name}/structured"})
    schema = {"name": "person", "schema": Person.model_json_schema()}
    assert model.with_structured_output(schema, method="json_schema").invoke("Who?") == {"name": "Ada", "age": 36}
    assert server.last().schema["required"] == ["name", "age"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_output_as_the_arguments_of_a_call(chat: ChatOpenAI, server: ScriptedServer, stream: bool) -> None:
    model = chat.model_copy(update={"model_name": f"{server.provider.name}/only_tools"})
    shaped = model.with_structured_output(get_weather, method="function_calling")
    found = list(shaped.stream("Where?"))[-1] if stream else shaped.invoke("Where?")
    assert found == get_weather(city="Köln", days=2)
    assert server.last().tool_choice == "get_weather"


def test_output_as_any_json(chat: ChatOpenAI, server: ScriptedServer) -> None:
    model = chat.model_copy(update={"model_name": f"{server.provider.name}/structured"})
    shaped = model.with_structured_output(Person, method="json_mode")
    assert shaped.invoke("Who? Answer in JSON.") == Person(name="Ada", age=36)


def test_pictures_in_langchains_own_blocks(chat: ChatOpenAI, server: ScriptedServer) -> None:
    picture = {"type": "image", "base64": PNG, "mime_type": "image/png"}
    content: list[str | dict[Any, Any]] = [{"type": "text", "text": "What is this?"}, picture]
    chat.bind(model=f"{server.provider.name}/text").invoke([HumanMessage(content)])
    assert server.last().images == [("image/png", PNG)]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_context_overflow_is_known_as_such(chat: ChatOpenAI, server: ScriptedServer, stream: bool) -> None:
    with pytest.raises(ContextOverflowError):
        answered(chat.bind(model=f"{server.provider.name}/fail-context"), [HumanMessage("Hello?")], stream=stream)


def test_a_refused_rate_says_when_to_come_back(gateway: Polyforge) -> None:
    """Our own limit; what providers say of rates is in the matrix."""
    chat = chat_model(gateway.url, gateway.create_key(rpm=1).key, "openai/text", use_responses_api=False)
    assert str(chat.invoke("Hello?").text) == SCENARIOS["text"].text
    with pytest.raises(ModelRateLimitError) as refused:
        chat.invoke("Hello again?")
    assert isinstance(refused.value, openai.RateLimitError)
    assert 0 < float(refused.value.response.headers["retry-after"]) <= 120


@pytest.mark.parametrize("responses", APIS.values(), ids=APIS)
async def test_asynchronous_answers_are_the_same(
    gateway: Polyforge, key: str, server: ScriptedServer, responses: bool
) -> None:
    async with openai.DefaultAsyncHttpxClient() as http:  # LangChain's own outlives the loop of a test
        name = f"{server.provider.name}/text"
        chat = chat_model(gateway.url, key, name, use_responses_api=responses, http_async_client=http)
        whole = await chat.ainvoke("Hello?")
        pieces = [str(chunk.text) async for chunk in chat.astream("Hello?")]
    assert "".join(pieces) == str(whole.text) == SCENARIOS["text"].text


def test_a_conversation_that_the_gateway_keeps(gateway: Polyforge, key: str, server: ScriptedServer) -> None:
    name = server.provider.name
    chat = chat_model(gateway.url, key, f"{name}/text", use_responses_api=True, use_previous_response_id=True)
    asked = HumanMessage("Say something.")
    said = chat.invoke([asked])
    chat.invoke([asked, said, HumanMessage("And again?")])
    assert server.last().turns == [
        ("user", "Say something."),
        ("assistant", SCENARIOS["text"].text),
        ("user", "And again?"),
    ]


@pytest.mark.parametrize("provider", EMBEDDERS)
def test_embeddings(gateway: Polyforge, key: str, provider: str) -> None:
    """LangChain would count the tokens of OpenAI's own models first, with a tokenizer that it downloads."""
    embeddings = OpenAIEmbeddings(
        model=f"vectors/{provider}",
        base_url=f"{gateway.url}/v1",
        api_key=SecretStr(key),
        max_retries=0,
        check_embedding_ctx_length=False,
    )
    assert embeddings.embed_documents(["one", "two"]) == [vector_of("one", WIDTH), vector_of("two", WIDTH)]
    assert embeddings.embed_query("Köln") == vector_of("Köln", WIDTH)
