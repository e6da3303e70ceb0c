"""The scripted upstream does what it is told, byte for byte."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.behaviours import HANG, NEVER, Answer, Drop, Fail, Gate, Huge, Other, Tokens
from tests.support.clients import RawCall, Response, call, chat, request_bytes
from tests.support.ports import free_port, refusing_port, silent_port
from tests.support.upstream import Upstream

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def server() -> Iterator[Upstream]:
    server = Upstream().start()
    yield server
    server.stop()


def ask(server: Upstream, path: str = CHAT, **body: Any) -> Response:
    return call(server.url, path, json=body)


def test_answers_chat_with_usage(server: Upstream) -> None:
    server.script("plain", Answer("Hi.", tokens=Tokens(5, 2, cached=4)))
    response = ask(server, **chat("plain"))
    assert (response.status, response.text, response.complete) == (200, "Hi.", True)
    assert response.json["usage"]["prompt_tokens_details"] == {"cached_tokens": 4}


def test_plays_a_script_in_order_and_keeps_to_its_last_line(server: Upstream) -> None:
    server.script("moody", Fail(429, headers={"retry-after": "7"}), Answer())
    first, *others = [ask(server, **chat("moody")) for _ in range(3)]
    assert (first.status, first.headers["retry-after"]) == (429, "7")
    assert [other.status for other in others] == [200, 200]


def test_writes_requests_down_as_they_came(server: Upstream) -> None:
    body = b'{ "model":"seen",  "x": 1.10 }'
    call(server.url, CHAT, body=body, headers={"X-Thing": "yes"})
    (request,) = server.wait_for("seen")
    assert (request.body, request.headers["x-thing"], request.aborted) == (body, "yes", False)


@pytest.mark.parametrize("split", [None, 7])
@pytest.mark.parametrize("batch", [1, 100])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_streams_the_same_text_however_it_is_cut(server: Upstream, newline: str, batch: int, split: int | None) -> None:
    answer = Answer(newline=newline, batch=batch, split=split, comments=True, junk=True)
    server.script("cut-up", answer)
    response = ask(server, **chat("cut-up", stream=True))
    assert (response.text, response.finished, response.complete) == (answer.text, True, True)


def test_sends_usage_in_a_stream_only_when_asked(server: Upstream) -> None:
    server.script("counted", Answer(pieces=3))
    without = ask(server, **chat("counted", stream=True))
    asked = ask(server, **chat("counted", stream=True, stream_options={"include_usage": True}))
    assert not any(chunk.get("usage") for chunk in without.chunks)
    assert [chunk["choices"] for chunk in asked.chunks if chunk["usage"]] == [[]]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("ending", ["close", "reset"])
def test_breaks_connections_off(server: Upstream, ending: Any, stream: bool) -> None:
    server.script("broken", Answer(ending=ending, after=2))
    response = ask(server, **chat("broken", stream=stream))
    assert (response.complete, response.failure) == (False, "closed")


def test_ends_a_stream_without_saying_so(server: Upstream) -> None:
    server.script("cut", Answer(ending="cut", after=2))
    response = ask(server, **chat("cut", stream=True))
    assert (response.complete, response.finished, response.text) == (True, False, "Hello there,")


@pytest.mark.parametrize(
    ("behaviour", "stage"),
    [
        (HANG, "waiting"),
        (Answer(before_first=NEVER, role_first=False), "head"),
        (Answer(ending="hang", after=1), "body"),
    ],
)
def test_notices_that_the_caller_hung_up(server: Upstream, behaviour: Answer, stage: str) -> None:
    model = f"left-{stage}"
    server.script(model, behaviour)
    with RawCall(server.url, request_bytes("POST", CHAT, json=chat(model, stream=True))) as one:
        (request,) = server.wait_for(model)
        if stage != "waiting":
            one.read_head()
        if stage == "body":
            one.read_until(lambda response: b"Hello" in response.body)
    request.wait_aborted()
    assert request.aborted_in == stage


def test_waits_at_a_gate_until_the_test_opens_it(server: Upstream) -> None:
    gate = Gate()
    server.script("gated", Answer(before_head=gate))
    responses: list[Response] = []
    threads = [threading.Thread(target=lambda: responses.append(ask(server, **chat("gated")))) for _ in range(3)]
    for thread in threads:
        thread.start()
    server.wait_for("gated", 3)
    assert not responses
    gate.open()
    for thread in threads:
        thread.join()
    assert [response.status for response in responses] == [200, 200, 200]


def test_answers_nothing_wrongly_or_too_much(server: Upstream) -> None:
    server.script("odd", Drop(), Drop("reset"), Other(), Huge(1_000_000, with_length=False), Huge(1_000_000))
    responses = [ask(server, **chat("odd")) for _ in range(5)]
    assert [response.status for response in responses] == [0, 0, 200, 200, 200]
    assert responses[2].headers["content-type"] == "text/html"
    assert len(responses[3].body) == len(responses[4].body) > 980_000


def test_serves_embeddings_completions_and_models(server: Upstream) -> None:
    vectors = ask(server, "/v1/embeddings", model="vectors", input=["a", "b"], dimensions=4)
    assert [len(row["embedding"]) for row in vectors.json["data"]] == [4, 4]
    assert ask(server, "/v1/completions", model="scribe", prompt="Once").json["choices"][0]["text"]
    assert call(server.url, "/v1/models", method="GET").json["data"][0]["id"] == "gpt-upstream"


def test_ports_refuse_or_stay_silent() -> None:
    with refusing_port() as port, pytest.raises(ConnectionRefusedError):
        RawCall(f"http://127.0.0.1:{port}", b"")
    with silent_port() as port, pytest.raises(TimeoutError):
        RawCall(f"http://127.0.0.1:{port}", b"", timeout=0.2)
    assert free_port() > 0
