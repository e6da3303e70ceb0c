"""The playground's calls: made by who signed in, with a cookie and no key, and metered as a key's are."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.conftest import Serve
from tests.support.behaviours import NEVER, Answer, Tokens
from tests.support.people import PASSWORD
from tests.support.server import Polyforge
from tests.support.settings import UPSTREAM_KEY, solo
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

CHAT, EMBEDDINGS, GUARDRAILS = "/api/v1/chat", "/api/v1/embeddings", "/api/v1/guardrails/test"
CALL = {"id": "call-1", "type": "function", "function": {"name": "look", "arguments": '{"at": "here"}'}}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
ANN = {"email": "ann@example.org", "password": PASSWORD}


@pytest.fixture(scope="module")
def provider() -> Iterator[Upstream]:
    server = Upstream(api_key=UPSTREAM_KEY).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def place(serve: Serve, provider: Upstream) -> Polyforge:
    lab = {"use": "openai", "base_url": provider.url, "api_key": UPSTREAM_KEY}
    mask = {"use": "pii", "kinds": ["email"], "action": "mask"}
    models = {**solo("talker", guardrails=["mask"]), **solo("slow"), **solo("vectors", task="embedding")}
    started = serve({"providers": {"lab": lab}, "models": models, "guardrails": {"mask": mask}})
    body = {**ANN, "name": "Ann", "key": started.admin_key}
    assert started.call("/api/v1/auth/first-user", json=body).status == 201
    return started


@pytest.fixture(scope="module")
def browser(place: Polyforge) -> Iterator[httpx.Client]:
    """Somebody who signed in on our own page."""
    with httpx.Client(base_url=place.url, headers={"origin": place.url}) as client:
        assert client.post("/api/v1/auth/sign-in", json=ANN).status_code == 200
        client.headers["x-polyforge-csrf"] = client.get("/api/v1/me").json()["csrf"]
        yield client


def conversation(model: str = "talker", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Say hello."}], **more}


def events(text: str) -> list[tuple[str, Any]]:
    pairs = [event.split("\n") for event in text.split("\n\n") if event]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in pairs]


def logged(browser: httpx.Client, request_id: str) -> dict[str, Any]:
    """A request as its page shows it, once it is in the log."""

    def look() -> dict[str, Any] | None:
        answer = browser.get(f"/api/v1/requests/{request_id}")
        return answer.json() if answer.status_code == 200 else None

    found = eventually(look, f"the request {request_id}")
    assert found is not None
    return found


def test_a_chat_streams_to_a_session_and_is_logged_as_the_persons(place: Polyforge, browser: httpx.Client) -> None:
    me = browser.get("/api/v1/me").json()
    answer = browser.post(CHAT, json=conversation(stream=True))
    assert answer.status_code == 200, answer.text
    got = events(answer.text)
    assert [name for name, _ in got if name != "text"] == ["start", "finish", "usage"]
    start, usage = got[0][1], got[-1][1]
    assert (start["model"], start["provider"], start["deployment"]) == ("talker", "lab", "talker")
    assert usage["cost_usd"] == 1.0
    found = logged(browser, start["id"])
    assert (found["user"], found["key"], found["path"], found["stream"]) == (me["id"], me["id"], CHAT, True)
    assert found["price_usd"] == usage["cost_usd"]
    assert len(found["hops"]) == 8
    assert [attempt["outcome"] for attempt in found["tried"]] == ["ok"]
    assert place.api("GET", f"/usage?user={me['id']}").json["totals"]["price_usd"] >= 1.0


def test_tools_and_images_go_to_the_model_and_its_calls_come_back(browser: httpx.Client, provider: Upstream) -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    whole = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    provider.script("talker", Answer("", exact=json.dumps({"id": "x", "model": "talker", **whole}).encode()))
    tool = {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}
    picture = {"type": "image", "data": PIXEL, "media_type": "image/png"}
    turn = {"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture]}
    sampling = {"temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": ["END"], "max_output_tokens": 50}
    asked = {"model": "talker", "system": "Be brief.", "messages": [turn], "tools": [tool], **sampling}
    first = browser.post(CHAT, json=asked)
    assert first.status_code == 200, first.text
    reply = first.json()
    assert reply["finish"] == "tool_calls"
    (call,) = reply["tool_calls"]
    assert (call["name"], call["arguments"]) == ("look", {"at": "here"})
    provider.script("talker", Answer("A pixel.", tokens=Tokens()))
    result = {"type": "tool_result", "call_id": call["id"], "content": "a pixel"}
    turns = [turn, {"role": "assistant", "content": reply["content"]}, {"role": "tool", "content": [result]}]
    second = browser.post(CHAT, json={**asked, "messages": turns})
    assert (second.status_code, second.json()["text"]) == (200, "A pixel.")
    sent = provider.requests("talker")[-1].json
    assert [each["role"] for each in sent["messages"]] == ["system", "user", "assistant", "tool"]
    assert sent["messages"][1]["content"][1]["image_url"]["url"].endswith(PIXEL)
    assert {name: sent[name] for name in ("temperature", "top_p", "seed", "stop")} == {
        name: sampling[name] for name in ("temperature", "top_p", "seed", "stop")
    }


def test_embeddings_tell_what_they_are_charged_for(browser: httpx.Client) -> None:
    answer = browser.post(EMBEDDINGS, json={"model": "vectors", "input": ["one", "two"]})
    assert answer.status_code == 200, answer.text
    assert [item["index"] for item in answer.json()["data"]] == [0, 1]
    assert answer.headers["x-polyforge-cost-usd"] == "1.000000"
    found = logged(browser, answer.headers["x-request-id"])
    assert (found["task"], found["path"], found["price_usd"]) == ("embedding", EMBEDDINGS, 1.0)
    refused = browser.post(EMBEDDINGS, json={"model": "nobody", "input": "x"})
    assert (refused.status_code, refused.headers["content-type"]) == (404, "application/problem+json")


def test_guardrails_can_be_tried_by_who_signed_in(browser: httpx.Client) -> None:
    answer = browser.post(GUARDRAILS, json={"text": "write to joe@example.com"})
    assert answer.status_code == 200, answer.text
    (tried,) = answer.json()["data"]
    assert (tried["decision"], tried["text"]) == ("change", "write to [EMAIL]")


def test_a_stream_that_the_person_stops_is_stopped_upstream_and_logged(
    browser: httpx.Client, provider: Upstream
) -> None:
    provider.script("slow", Answer("one two three four", pauses={2: NEVER}))
    with browser.stream("POST", CHAT, json=conversation("slow", stream=True)) as answer:
        lines = answer.iter_lines()
        start = json.loads(next(line for line in lines if line.startswith("data: ")).removeprefix("data: "))
        next(line for line in lines if line.startswith("event: text"))
    (received,) = provider.wait_for("slow", 1)
    received.wait_over()
    assert received.aborted
    assert logged(browser, start["id"])["status"] == "cancelled"


@pytest.mark.parametrize("path", [CHAT, EMBEDDINGS, GUARDRAILS])
def test_no_other_site_can_spend_a_persons_money(place: Polyforge, browser: httpx.Client, path: str) -> None:
    body = conversation() if path == CHAT else {"model": "vectors", "input": "x"}
    cookie = {"cookie": f"polyforge_session={browser.cookies['polyforge_session']}"}
    proof = {"x-polyforge-csrf": browser.headers["x-polyforge-csrf"]}
    for headers in (
        cookie,
        {**cookie, "origin": place.url},
        {**cookie, **proof},
        {**cookie, **proof, "origin": "https://evil.example"},
        {**cookie, "x-polyforge-csrf": "0" * 64, "origin": place.url},
    ):
        answer = httpx.post(place.url + path, json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied"), headers
    assert httpx.post(place.url + path, json=body, headers={"origin": place.url}).status_code == 401


def test_a_cookie_is_no_key_on_the_paths_of_programs(browser: httpx.Client) -> None:
    assert browser.post("/v1/chat/completions", json=conversation()).status_code == 401


def test_a_conversation_is_saved_found_again_and_changed(browser: httpx.Client) -> None:
    me = browser.get("/api/v1/me").json()
    path, content = "/api/v1/conversations", {"panes": [{"model": "talker", "messages": []}]}
    made = browser.post(path, json={"title": "First", "content": content})
    assert made.status_code == 201, made.text
    saved = made.json()
    assert (saved["own"], saved["owner"], saved["version"]) == (True, {"id": me["id"], "name": "Ann"}, 1)
    assert browser.get(path).json() == {"data": [saved], "next_cursor": None}
    assert browser.get(path, params={"whose": "shared"}).json()["data"] == []
    one = f"{path}/{saved['id']}"
    assert browser.get(one).json() == {**saved, "content": content}
    changed = browser.patch(one, json={"version": 1, "shared": True})
    assert (changed.status_code, changed.json()["version"], changed.json()["title"]) == (200, 2, "First")
    stale = browser.patch(one, json={"version": 1, "title": "Second"})
    assert (stale.status_code, "version 2" in stale.json()["detail"]) == (409, True)
    assert browser.patch(one, json={"version": 2}).status_code == 400
    assert browser.patch(one, json={"version": 2, "title": ""}).status_code == 400
    deep = b'{"title": "x", "content": {"a": ' + b"[" * 5_000 + b"]" * 5_000 + b"}}"
    assert browser.post(path, content=deep, headers={"content-type": "application/json"}).status_code == 400
    assert browser.delete(one).status_code == 204
    assert browser.get(one).status_code == 404
