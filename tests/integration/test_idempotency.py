"""Requests that are sent again under their key: answered once, in whatever worker, over restarts and kills."""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from tests.conftest import Serve
from tests.support.behaviours import Answer, Fail, Gate
from tests.support.clients import Response, chat
from tests.support.postgres import Postgres
from tests.support.server import Key, Polyforge
from tests.support.settings import settings, solo
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
REPLAYED = "x-polyforge-idempotent"
DEALT = itertools.count()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, serve: Serve, upstream: Upstream) -> Polyforge:
    """Two workers."""
    url = None
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        server.execute("CREATE DATABASE idempotency")
        url = server.url("idempotency")
    models = {**solo("once"), **solo("waited"), **solo("killed"), **solo("cut"), **solo("kept-too", cache={})}
    once = {"max_bytes": 4096, "wait_seconds": 20}
    made = settings(upstream, models, idempotency=once, gateway={"cooldown_seconds": 0, "attempts": 1})
    return serve(made, workers=2, database_url=url)


@pytest.fixture(scope="module")
def key(place: Polyforge) -> Key:
    return place.create_key()


def fresh() -> str:
    return f"key number {next(DEALT)}"


def ask(
    place: Polyforge, key: Key, once: str, content: str = "Say hello.", model: str = "once", **more: Any
) -> Response:
    path = more.pop("path", CHAT)
    return place.call(path, key=key.key, json=chat(model, content, **more), headers={"Idempotency-Key": once})


def said(upstream: Upstream, content: str) -> int:
    messages = [request.json["messages"] for request in upstream.requests() if "messages" in request.json]
    return sum(each[-1]["content"] == content for each in messages)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_the_same_request_gets_the_same_answer(place: Polyforge, upstream: Upstream, path: str, stream: bool) -> None:
    key, once, content = place.create_key(), fresh(), fresh()
    first, *again = [ask(place, key, once, content, path=path, stream=stream, max_tokens=9) for _ in range(6)]
    assert (first.status, first.headers.get(REPLAYED)) == (200, None)
    for each in again:
        assert (each.status, each.headers[REPLAYED]) == (200, "replayed")
        assert float(each.headers["x-polyforge-overhead-ms"]) > 0
        assert each.body == first.body
        assert each.headers["content-type"] == first.headers["content-type"]
        assert each.complete
    assert len({each.request_id for each in (first, *again)}) == 6
    assert said(upstream, content) == 1
    records = place.settled(key, 6)
    assert sorted(record["cached"] for record in records) == [""] + ["idempotent"] * 5
    assert sum(record["price_micros"] for record in records) == 1_000_000


def test_another_request_under_the_same_key_is_refused(place: Polyforge, key: Key) -> None:
    once = fresh()
    assert ask(place, key, once).status == 200
    others: list[dict[str, Any]] = [{"content": "Say goodbye."}, {"temperature": 0.5}, {"stream": True}]
    for more in others:
        refused = ask(place, key, once, **more)
        assert refused.status == 422
        assert refused.error["code"] == "idempotency_key_reused"
        assert refused.error["param"] == "idempotency-key"
    elsewhere = place.call(
        "/v1/completions", key=key.key, json={"model": "once", "prompt": "x"}, headers={"Idempotency-Key": once}
    )
    assert elsewhere.status == 422


def test_keys_are_of_their_project_and_as_callers_write_them(place: Polyforge, upstream: Upstream) -> None:
    one, other, once, content = place.create_key(), place.create_key(), fresh(), fresh()
    assert ask(place, one, once, content).status == 200
    assert ask(place, other, once, content).headers[REPLAYED] == "replayed"
    assert ask(place, one, once.upper(), content).headers.get(REPLAYED) is None
    assert said(upstream, content) == 2


@pytest.mark.parametrize("once", ["x" * 256, "\u00e9", "a\tb"])
def test_a_malformed_key_is_refused(place: Polyforge, key: Key, once: str) -> None:
    refused = ask(place, key, once)
    assert (refused.status, refused.error["param"]) == (400, "idempotency-key")


def test_duplicates_wait_for_the_first(place: Polyforge, upstream: Upstream, key: Key) -> None:
    gate, once, content = Gate(), fresh(), fresh()
    upstream.script("waited", Answer("waited for", before_head=gate))
    with ThreadPoolExecutor(8) as together:
        answers = [together.submit(ask, place, key, once, content, "waited", stream=False) for _ in range(8)]
        upstream.wait_for("waited")
        gate.open()
        done = [answer.result() for answer in answers]
    assert {each.status for each in done} == {200}
    assert {each.text for each in done} == {"waited for"}
    assert sum(each.headers.get(REPLAYED) == "replayed" for each in done) == 7
    assert said(upstream, content) == 1


@pytest.mark.parametrize(("status", "kept"), [(400, True), (404, True), (429, False), (500, False), (503, False)])
def test_final_errors_are_kept_and_those_that_may_pass_are_not(
    place: Polyforge, upstream: Upstream, key: Key, status: int, kept: bool
) -> None:
    once, content = fresh(), fresh()
    upstream.script("once", Fail(status))
    first = ask(place, key, once, content)
    upstream.script("once", Answer())
    again = ask(place, key, once, content)
    assert first.status >= 400
    if kept:
        assert (again.status, again.body) == (first.status, first.body)
    else:
        assert (again.status, again.headers.get(REPLAYED)) == (200, None)


@pytest.mark.parametrize("ending", ["cut", "close", "error_event"])
def test_a_stream_that_broke_off_is_made_again(place: Polyforge, upstream: Upstream, key: Key, ending: Any) -> None:
    once, content = fresh(), fresh()
    upstream.script("cut", Answer(ending=ending, after=1), Answer("whole"))
    broken = ask(place, key, once, content, "cut", stream=True)
    assert broken.stream_error
    again = ask(place, key, once, content, "cut", stream=True)
    assert (again.text, again.finished, again.headers.get(REPLAYED)) == ("whole", True, None)


def test_whoever_hangs_up_may_ask_again(place: Polyforge, upstream: Upstream, key: Key) -> None:
    gate, once, content = Gate(), fresh(), fresh()
    upstream.script("waited", Answer(before_head=gate), Answer("second try"))
    before = len(upstream.requests("waited"))
    with pytest.raises(openai.APITimeoutError):
        client(place, key).chat.completions.create(
            model="waited",
            messages=[{"role": "user", "content": content}],
            extra_headers={"Idempotency-Key": once},
            timeout=3.0,
        )
    upstream.wait_for("waited", before + 1)[-1].wait_aborted()
    gate.open()
    again = ask(place, key, once, content, "waited")
    assert again.status == 200, again.body
    assert again.text == "second try"


def test_an_answer_that_is_too_large_is_given_once(place: Polyforge, upstream: Upstream, key: Key) -> None:
    once = fresh()
    upstream.script("once", Answer("long " * 2_000))
    assert ask(place, key, once).status == 200
    upstream.script("once", Answer())
    refused = ask(place, key, once)
    assert (refused.status, refused.error["code"]) == (422, "idempotency_answer_lost")


def test_the_official_client_sends_its_key(place: Polyforge, upstream: Upstream, key: Key) -> None:
    once, content = fresh(), fresh()

    def create(stream: bool) -> Any:
        return client(place, key).chat.completions.create(
            model="once",
            messages=[{"role": "user", "content": content}],
            stream=stream,
            extra_headers={"Idempotency-Key": f"{once} {stream}"},
        )

    assert create(False).id == create(False).id
    texts = ["".join(chunk.choices[0].delta.content or "" for chunk in create(True) if chunk.choices) for _ in range(2)]
    assert texts == ["Hello there, world."] * 2
    assert said(upstream, content) == 2


def test_a_hit_of_the_cache_is_kept_under_its_key_too(place: Polyforge, upstream: Upstream, key: Key) -> None:
    content, once = fresh(), fresh()
    eventually(
        lambda: ask(place, key, fresh(), content, "kept-too").headers["x-polyforge-cache"] == "hit",
        "an answer in cache",
    )
    first, again = (ask(place, key, once, content, "kept-too") for _ in range(2))
    assert again.headers[REPLAYED] == "replayed"
    assert again.body == first.body


def test_answers_outlast_a_restart_and_a_kill_frees_the_key(place: Polyforge, upstream: Upstream, key: Key) -> None:
    once, interrupted, content = fresh(), fresh(), fresh()
    first = ask(place, key, once, content)
    gate = Gate()
    upstream.script("killed", Answer(before_head=gate), Answer("after the kill"))
    before = len(upstream.requests("killed"))
    with ThreadPoolExecutor(1) as aside:
        lost = aside.submit(attempt, lambda: ask(place, key, interrupted, content, "killed"))
        upstream.wait_for("killed", before + 1)
        for _ in place.pids("gateway"):
            place.kill("gateway")
        assert answered(lost.result()) is None
    gate.open()
    eventually(lambda: len(place.pids("gateway")) == 2, "both workers")
    answer = eventually(
        lambda: answered(attempt(lambda: ask(place, key, interrupted, content, "killed"))), "an answer", 60
    )
    assert answer is not None
    assert (answer.text, answer.headers.get(REPLAYED)) == ("after the kill", None)
    place.restart()
    again = ask(place, key, once, content)
    assert (again.body, again.headers[REPLAYED]) == (first.body, "replayed")
    assert said(upstream, content) == 3


def answered(response: Response | None) -> Response | None:
    return response if response is not None and response.status == 200 else None


def attempt(make: Callable[[], Response]) -> Response | None:
    try:
        return make()
    except OSError:
        return None


def client(place: Polyforge, key: Key) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{place.url}/v1", api_key=key.key, max_retries=0)


def begin(place: Polyforge, path: str, once: str, body: dict[str, Any], key: str) -> Response:
    return place.call(path, key=key, json=body, headers={"Idempotency-Key": once})


def test_work_that_goes_on_without_its_caller_is_begun_once(place: Polyforge) -> None:
    path, once, body, admin = (
        "/api/v1/requests/exports",
        fresh(),
        {"format": "csv", "since": "2026-01-01T00:00:00Z"},
        place.admin_key,
    )
    first, again = (begin(place, path, once, body, admin) for _ in range(2))
    assert (first.status, first.headers.get(REPLAYED)) == (202, None)
    assert (again.status, again.headers[REPLAYED], again.body) == (202, "replayed", first.body)
    assert begin(place, path, once, {**body, "format": "parquet"}, admin).status == 422
    assert begin(place, path, fresh(), body, admin).json["id"] != first.json["id"]
    assert begin(place, path, "x" * 256, body, admin).status == 400


def test_a_key_of_one_caller_gives_nothing_to_another(place: Polyforge) -> None:
    path, once, body = "/api/v1/requests/exports", fresh(), {"format": "csv", "since": "2026-01-01T00:00:00Z"}
    assert begin(place, path, once, body, place.admin_key).status == 202
    other = place.call("/api/v1/keys", key=place.admin_key, json={"name": "other", "scopes": ["jobs:read"]})
    refused = begin(place, path, once, body, other.json["key"])
    assert (refused.status, refused.json["code"]) == (422, "idempotency_key_reused")


def test_what_was_refused_for_now_is_begun_when_it_comes_again(place: Polyforge) -> None:
    wrong = {"input_file_id": "file-01M8000000000000000000000A", "endpoint": CHAT, "completion_window": "24h"}
    once = fresh()
    for _ in range(2):
        refused = begin(place, "/v1/batches", once, wrong, place.admin_key)
        assert (refused.status, refused.headers.get(REPLAYED)) == (404, None)
