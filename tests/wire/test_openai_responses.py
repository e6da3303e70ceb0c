"""OpenAI's official client against /v1/responses: answers, streams, conversations that go on, and what is kept."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.responses import ResponseFunctionToolCall
from pydantic import BaseModel

from tests.support.clients import Response
from tests.support.scripted.anthropic import Anthropic
from tests.support.scripted.openai import OpenAI
from tests.support.scripted.scenarios import NOW, SCENARIOS, WEATHER
from tests.support.scripted.server import ScriptedServer
from tests.support.server import Polyforge, stopping
from tests.support.waiting import eventually

TOOLS: list[Any] = [
    {"type": "function", "name": call.name, "parameters": {"type": "object"}, "strict": False}
    for call in (WEATHER, NOW)
]
ABSENT = "resp_01ARZ3NDEKTSV4RRFFQ69G5FAV"


class Person(BaseModel):
    """What the structured scenario tells."""

    name: str
    age: int


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedServer]:
    """A chat model; which answer comes is the model's name."""
    server = ScriptedServer(OpenAI())
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def thinker() -> Iterator[ScriptedServer]:
    """A model whose thoughts must go back to it as they came."""
    server = ScriptedServer(Anthropic())
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def gateway(
    provider: ScriptedServer, thinker: ScriptedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Polyforge]:
    """An installation whose models are the scenarios."""
    settings = {
        "providers": {"lab": provider.settings(), "claude": thinker.settings()},
        "models": {"claude/*": {"deployments": [{"provider": "claude"}]}}
        | {name: {"deployments": [{"provider": "lab", "model": name}]} for name in (*SCENARIOS, "broken-text")},
        "gateway": {"attempts": 1, "cooldown_seconds": 0},
        "responses": {"max_bytes": 100_000},
    }
    with stopping(Polyforge(tmp_path_factory.mktemp("responses"), settings)) as server:
        yield server


@pytest.fixture(scope="module")
def key(gateway: Polyforge) -> str:
    """A key without limits."""
    return gateway.create_key().key


@pytest.fixture(scope="module")
def client(gateway: Polyforge, key: str) -> Iterator[openai.OpenAI]:
    """The official client, without retries."""
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0) as client:
        yield client


def post(gateway: Polyforge, key: str, **fields: Any) -> Response:
    return gateway.call("/v1/responses", method="POST", key=key, json={"model": "text", "input": "Hi.", **fields})


# --- answers ---


def test_an_answer_says_what_was_asked_and_what_was_used(client: openai.OpenAI) -> None:
    made = client.responses.create(model="text", input="Hi.", instructions="Be brief.", metadata={"order": "7"})
    assert made.output_text == SCENARIOS["text"].text
    assert (made.status, made.model, made.instructions, made.metadata) == (
        "completed",
        "text",
        "Be brief.",
        {"order": "7"},
    )
    assert made.usage is not None
    assert (made.usage.input_tokens, made.usage.output_tokens, made.usage.total_tokens) == (11, 7, 18)


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name not in ("length", "filtered")])
def test_the_clients_own_reader_of_streams_takes_every_event(client: openai.OpenAI, name: str) -> None:
    with client.responses.stream(model=name, input="Hi.", tools=TOOLS) as events:
        kinds = [event.type for event in events]
        final = events.get_final_response()
    scenario = SCENARIOS[name]
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert final.output_text == ("" if scenario.ending == "refusal" else scenario.text)
    calls = [item for item in final.output if isinstance(item, ResponseFunctionToolCall)]
    assert [json.loads(call.arguments) for call in calls] == [call.arguments or {} for call in scenario.calls]


def test_a_structured_answer_is_parsed(client: openai.OpenAI, provider: ScriptedServer) -> None:
    parsed = client.responses.parse(model="structured", input="Who?", text_format=Person)
    assert parsed.output_parsed == Person(name="Ada", age=36)
    assert provider.last().schema["properties"].keys() == {"name", "age"}
    with client.responses.stream(model="structured", input="Who?", text_format=Person) as events:
        assert events.get_final_response().output_parsed == Person(name="Ada", age=36)


def test_a_stream_that_breaks_off_ends_with_a_failure(client: openai.OpenAI, gateway: Polyforge, key: str) -> None:
    with pytest.raises(openai.APIError, match="broke off"):
        list(client.responses.create(model="broken-text", input="Hi.", stream=True))
    raw = post(gateway, key, model="broken-text", stream=True).body
    events = [json.loads(line[6:]) for line in raw.splitlines() if line.startswith(b"data: ")]
    assert [event["type"] for event in events[-2:]] == ["response.failed", "error"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(events[-2]["response"]["id"])


# --- conversations ---


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_results_of_tools_go_on_from_the_answer_that_called_them(
    client: openai.OpenAI, provider: ScriptedServer, stream: bool
) -> None:
    if stream:
        with client.responses.stream(model="tools", input="Weather?", tools=TOOLS) as events:
            first: Any = events.get_final_response()
    else:
        first = client.responses.create(model="tools", input="Weather?", tools=TOOLS, instructions="Once.")
    results: list[Any] = [
        {"type": "function_call_output", "call_id": item.call_id, "output": f"result of {item.name}"}
        for item in first.output
        if item.type == "function_call"
    ]
    second = client.responses.create(model="text", previous_response_id=first.id, input=results, tools=TOOLS)
    assert second.previous_response_id == first.id
    seen = provider.last()
    assert seen.system == "", "instructions are not carried over"
    assert seen.turns[0] == ("user", "Weather?")
    assert seen.turns[1] == ("assistant", SCENARIOS["tools"].text)
    assert seen.called == [(call.id, call.name, call.arguments or {}) for call in (WEATHER, NOW)]
    assert seen.results == [(call.id, f"result of {call.name}") for call in (WEATHER, NOW)]
    client.responses.create(model="text", previous_response_id=second.id, input="Thanks.")
    assert [text for _, text in provider.last().turns] == [
        "Weather?",
        SCENARIOS["tools"].text,
        SCENARIOS["text"].text,
        "Thanks.",
    ]


def test_an_item_may_be_referred_to_alone(client: openai.OpenAI, provider: ScriptedServer) -> None:
    first = client.responses.create(model="text", input="Hi.")
    reference: Any = {"type": "item_reference", "id": first.output[0].id}
    client.responses.create(model="text", input=[reference, {"role": "user", "content": "And?"}], store=False)
    assert provider.last().turns == [("assistant", SCENARIOS["text"].text), ("user", "And?")]
    absent: Any = {"type": "item_reference", "id": f"msg_{ABSENT[5:]}_0"}
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="text", input=[absent])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("kept", [False, True], ids=["sent back", "kept"])
def test_thoughts_come_back_with_their_signature(
    client: openai.OpenAI, thinker: ScriptedServer, stream: bool, kept: bool
) -> None:
    asked: dict[str, Any] = {"model": "claude/thinking", "input": "6*7?", "store": kept}
    if stream:
        with client.responses.stream(**asked) as events:
            first: Any = events.get_final_response()
    else:
        first = client.responses.create(**asked)
    again: Any = [{"role": "user", "content": "Sure?"}]
    if kept:
        client.responses.create(model="claude/text", previous_response_id=first.id, input=again)
    else:
        client.responses.create(model="claude/text", input=[*first.output, *again], store=False)
    scenario = SCENARIOS["thinking"]
    assert thinker.last().thoughts == [("".join(scenario.thoughts), scenario.signature)]


# --- what is kept ---


def test_a_response_can_be_read_listed_and_removed(client: openai.OpenAI) -> None:
    made = client.responses.create(model="text", input=[{"role": "user", "content": "one"}])
    assert client.responses.retrieve(made.id) == made
    then = client.responses.create(model="text", input="two", previous_response_id=made.id)
    items: list[Any] = list(client.responses.input_items.list(then.id, limit=2, order="asc"))
    assert [item.type for item in items] == ["message"] * 3
    assert [item.content[0].text for item in items] == ["one", SCENARIOS["text"].text, "two"]
    assert len({item.id for item in items}) == 3
    newest: Any = client.responses.input_items.list(then.id, limit=1).data[0]
    assert newest.content[0].text == "two"
    client.responses.delete(made.id)
    for gone in (
        lambda: client.responses.retrieve(made.id),
        lambda: client.responses.delete(made.id),
        lambda: client.responses.input_items.list(made.id),
        lambda: client.responses.create(model="text", input="x", previous_response_id=made.id),
    ):
        with pytest.raises(openai.NotFoundError, match="there is no response"):
            gone()
    assert client.responses.retrieve(then.id).output_text == then.output_text


def test_what_is_not_to_be_kept_or_is_too_large_is_not(client: openai.OpenAI) -> None:
    for made in (
        client.responses.create(model="text", input="Hi.", store=False),
        client.responses.create(model="text", input="x" * 100_000),
    ):
        assert made.to_dict()["store"] is False
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(made.id)


def test_answers_come_while_nothing_can_be_kept_and_say_so(client: openai.OpenAI, gateway: Polyforge) -> None:
    path = gateway.data / "polyforge.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        whole = client.responses.create(model="text", input="Hi.")
        with client.responses.stream(model="text", input="Hi.") as events:
            streamed = events.get_final_response()
        other.execute("ROLLBACK")
    for made in (whole, streamed):
        assert made.output_text == SCENARIOS["text"].text
        assert made.to_dict()["store"] is False
    eventually(lambda: client.responses.create(model="text", input="Hi.").to_dict()["store"], "keeping responses again")


# --- refusals ---


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"input": []}, 400, "input"),
        ({"input": [{"type": "message", "role": "user", "content": 1}]}, 400, "input[0].content"),
        ({"input": [{"type": "item_reference", "id": 5}]}, 400, "input[0].id"),
        ({"input": [{"type": "item_reference"}]}, 404, "input"),
        ({"tools": [{"type": "web_search"}]}, 400, "tools[0]"),
        ({"previous_response_id": "resp_1"}, 404, "previous_response_id"),
        ({"previous_response_id": ABSENT}, 404, "previous_response_id"),
        ({"previous_response_id": 7}, 400, "previous_response_id"),
        ({"background": True}, 400, "background"),
        ({"truncation": "auto"}, 400, "truncation"),
        ({"model": "nobody"}, 404, "model"),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_what_cannot_be_done_is_refused_by_name(
    gateway: Polyforge, key: str, fields: dict[str, Any], status: int, param: str, stream: bool
) -> None:
    refused = post(gateway, key, **fields, stream=stream)
    assert (refused.status, refused.json["error"]["param"]) == (status, param), refused.body
    assert refused.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"/v1/responses/{ABSENT}", 404),
        ("GET", "/v1/responses/nonsense", 404),
        ("GET", f"/v1/responses/{ABSENT}/output", 404),
        ("DELETE", f"/v1/responses/{ABSENT}/input_items", 405),
        ("PUT", f"/v1/responses/{ABSENT}", 405),
        ("GET", "/v1/responses", 405),
    ],
)
def test_paths_that_lead_nowhere_say_so(gateway: Polyforge, key: str, method: str, path: str, status: int) -> None:
    refused = gateway.call(path, method=method, key=key)
    assert refused.status == status
    assert refused.json["error"]["message"]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "order=up", "after=nothing"])
def test_a_page_that_cannot_be_is_refused(client: openai.OpenAI, gateway: Polyforge, key: str, query: str) -> None:
    made = client.responses.create(model="text", input="Hi.")
    refused = gateway.call(f"/v1/responses/{made.id}/input_items?{query}", method="GET", key=key)
    assert (refused.status, refused.json["error"]["param"]) == (400, query.partition("=")[0])


def test_without_a_key_nothing_is_told(gateway: Polyforge) -> None:
    assert gateway.call(f"/v1/responses/{ABSENT}", method="GET").status == 401
