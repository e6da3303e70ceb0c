"""Google's own client against the scripted servers, so that what the providers are tested with is no invention."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import errors, types
from google.oauth2 import service_account

from tests.support.behaviours import vector_of
from tests.support.scripted.gemini import GeminiServer
from tests.support.scripted.scenarios import SCENARIOS, Ending, Failure, Scenario
from tests.support.scripted.vertex import TOKEN_PATH, Vertex, VertexServer, key_file

FAILURES: dict[Failure, tuple[int, str]] = {
    "rate": (429, "RESOURCE_EXHAUSTED"),
    "quota": (429, "RESOURCE_EXHAUSTED"),
    "overloaded": (503, "UNAVAILABLE"),
    "server": (500, "INTERNAL"),
    "denied": (400, "INVALID_ARGUMENT"),
    "invalid": (400, "INVALID_ARGUMENT"),
    "context": (400, "INVALID_ARGUMENT"),
    "not_found": (404, "NOT_FOUND"),
}
REASONS: dict[Ending, types.FinishReason] = {
    "stop": types.FinishReason.STOP,
    "length": types.FinishReason.MAX_TOKENS,
    "tool_calls": types.FinishReason.STOP,
    "refusal": types.FinishReason.STOP,
    "content_filter": types.FinishReason.SAFETY,
}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


@pytest.fixture(scope="module")
def google() -> Iterator[GeminiServer]:
    server = GeminiServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def client(google: GeminiServer) -> Iterator[genai.Client]:
    with genai.Client(api_key="sk-scripted", http_options=types.HttpOptions(base_url=google.origin)) as client:
        yield client


def check(answers: list[types.GenerateContentResponse], scenario: Scenario) -> None:
    parts = [part for answer in answers for part in (answer.candidates or [])[0].content.parts or ()]  # pyright: ignore[reportOptionalMemberAccess]
    assert "".join(part.text or "" for part in parts if not part.thought) == scenario.text
    assert "".join(part.text or "" for part in parts if part.thought) == "".join(scenario.thoughts)
    calls = [part.function_call for part in parts if part.function_call]
    assert [(call.name, call.args) for call in calls] == [(call.name, call.arguments) for call in scenario.calls]
    last = answers[-1]
    assert (last.candidates or [])[0].finish_reason == REASONS[scenario.ending]
    usage, told = last.usage_metadata, scenario.told
    assert usage is not None
    assert usage.total_token_count == told.input + told.cache_read + told.cache_write + told.output
    assert (usage.cached_content_token_count or 0) == told.cache_read
    assert (usage.thoughts_token_count or 0) == told.reasoning


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_every_scenario_is_an_answer_to_googles_client(client: genai.Client, scenario: Scenario) -> None:
    check([client.models.generate_content(model=scenario.name, contents="hi")], scenario)
    check(list(client.models.generate_content_stream(model=scenario.name, contents="hi")), scenario)


@pytest.mark.parametrize("failure", FAILURES)
def test_every_failure_is_an_error_to_googles_client(client: genai.Client, failure: Failure) -> None:
    with pytest.raises(errors.APIError) as caught:
        client.models.generate_content(model=f"fail-{failure}", contents="hi")
    assert (caught.value.code, caught.value.status) == FAILURES[failure]


def test_what_googles_client_asks_is_read(client: genai.Client, google: GeminiServer) -> None:
    answer = client.models.generate_content(model="tools", contents="hi").candidates
    assert answer is not None
    results = [
        types.Part(
            function_response=types.FunctionResponse(id="call_one", name="get_weather", response={"output": "x"})
        )
    ]
    contents: list[Any] = [
        types.Content(
            role="user", parts=[types.Part(text="hi"), types.Part.from_bytes(data=b"\0\0\0", mime_type="image/png")]
        ),
        answer[0].content,
        types.Content(role="user", parts=results),
    ]
    config = types.GenerateContentConfig(
        system_instruction="Be brief.",
        temperature=0.5,
        top_p=0.25,
        max_output_tokens=9,
        stop_sequences=["END"],
        response_mime_type="application/json",
        response_json_schema=SCHEMA,
        thinking_config=types.ThinkingConfig(thinking_budget=64),
        tools=[
            types.Tool(
                function_declarations=[types.FunctionDeclaration(name="get_weather", parameters_json_schema=SCHEMA)]
            )
        ],
        tool_config=types.ToolConfig(
            function_calling_config=types.FunctionCallingConfig(
                mode=types.FunctionCallingConfigMode.ANY, allowed_function_names=["get_weather"]
            )
        ),
    )
    client.models.generate_content(model="text", contents=contents, config=config)
    seen = google.last()
    assert (seen.model, seen.system, seen.stream) == ("text", "Be brief.", False)
    assert (seen.temperature, seen.top_p, seen.output_limit, seen.stop) == (0.5, 0.25, 9, ["END"])
    assert (seen.schema, seen.budget) == (SCHEMA, 64)
    assert (seen.tools, seen.tool_choice) == ({"get_weather": SCHEMA}, "get_weather")
    assert seen.turns == [("user", "hi"), ("assistant", "Let me look.")]
    assert seen.images == [("image/png", "AAAA")]
    assert [id_ for id_, _, _ in seen.called] == ["call_one", "call_two"]
    assert seen.results == [("call_one", "x")]


def test_signatures_come_through_googles_client(client: genai.Client, google: GeminiServer) -> None:
    chat = client.chats.create(model="thinking")
    chat.send_message("hi")
    chat.send_message("and?")
    assert google.last().thoughts == [("First I multiply.", SCENARIOS["thinking"].signature)]


def test_models_and_vectors(client: genai.Client) -> None:
    assert len(list(client.models.list())) == 3
    config = types.EmbedContentConfig(output_dimensionality=2)
    answer = client.models.embed_content(model="e", contents=["one", "two"], config=config)
    assert [one.values for one in answer.embeddings or ()] == [vector_of("one", 2), vector_of("two", 2)]


def test_vertex_takes_what_googles_library_signs() -> None:
    server = VertexServer(Vertex())
    server.audience = "https://oauth2.googleapis.com/token"
    server.start()
    try:
        credentials: Any = service_account.Credentials.from_service_account_info(  # pyright: ignore[reportUnknownMemberType]
            json.loads(key_file()), scopes=["https://www.googleapis.com/auth/cloud-platform"]
        )
        statement = credentials._make_authorization_grant_assertion().decode()
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": statement}
        granted = httpx.post(server.origin + TOKEN_PATH, data=form)
        assert granted.json() == {"access_token": server.issued[-1], "expires_in": 3600, "token_type": "Bearer"}
        forged = httpx.post(server.origin + TOKEN_PATH, data={**form, "assertion": statement[:-8] + "AAAAAAAA"})
        assert (forged.status_code, forged.json()["error"]) == (400, "invalid_grant")
    finally:
        server.stop()
