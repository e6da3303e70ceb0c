"""Answers that are given again in a running installation: when, to whom, at what price, and how they are let go."""

import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from polyforge.cli.main import app
from tests.conftest import Serve
from tests.support.behaviours import Answer, Exchange, Fail, Gate
from tests.support.clients import Response, chat
from tests.support.redis import RedisServer
from tests.support.server import Key, Polyforge
from tests.support.settings import settings, solo
from tests.support.upstream import Upstream
from tests.support.waiting import eventually

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
CACHE, TTL = "x-polyforge-cache", "x-polyforge-cache-ttl"
TOKENS = {"input": 100.0, "output": 1000.0}
"""9 tokens in and 3 out, as the upstream says: 900 + 3000 micro-USD."""
PRICE = 3900
COST = 90
"""What they are taken to cost, because nobody declared it."""
DEALT = itertools.count()


def cached(name: str, **cache: Any) -> dict[str, Any]:
    return solo(name, price=TOKENS, cache=cache)


@pytest.fixture(scope="module")
def place(serve: Serve, upstream: Upstream) -> Polyforge:
    models = {
        **cached("kept"),
        **cached("charged", price=0.5),
        **cached("own", partition="key"),
        **cached("short", ttl=1),
        **cached("off", exact=False),
        **solo("vectors-kept", task="embedding", cache={}),
        **solo("plain", price=TOKENS),
    }
    return serve(settings(upstream, models, cache={"max_entry_bytes": 4096}, gateway={"cooldown_seconds": 0}))


@pytest.fixture(scope="module")
def key(place: Polyforge) -> Key:
    return place.create_key()


def words() -> str:
    """What nobody asked before."""
    return f"question {next(DEALT)}"


def ask(place: Polyforge, key: Key, content: str, model: str = "kept", **more: Any) -> Response:
    headers = more.pop("headers", {})
    return place.call(CHAT, key=key.key, json=chat(model, content, **more), headers=headers)


def of(response: Response) -> str | None:
    assert response.status == 200, response.body
    return response.headers.get(CACHE)


def calls(upstream: Upstream, content: str) -> int:
    return sum(
        content == request.json["messages"][-1]["content"]
        for request in upstream.requests()
        if "messages" in request.json
    )


def test_the_second_answer_is_the_first(place: Polyforge, upstream: Upstream) -> None:
    key, content = place.create_key(), words()
    first, second = ask(place, key, content), ask(place, key, content)
    assert (of(first), of(second)) == ("miss", "hit")
    assert second.body == first.body
    assert "age" not in first.headers
    assert int(second.headers["age"]) >= 0
    assert first.request_id != second.request_id
    assert calls(upstream, content) == 1
    bought, given = place.settled(key, 2)
    assert (bought["cached"], bought["price_micros"], bought["saved_micros"]) == ("", PRICE, 0)
    assert (given["cached"], given["price_micros"], given["cost_micros"]) == ("exact", 0, 0)
    assert (given["status"], given["input_tokens"], given["output_tokens"]) == ("ok", 9, 3)
    assert (given["provider"], given["saved_micros"]) == ("", COST)


def test_of_many_at_once_one_is_answered_upstream(place: Polyforge, upstream: Upstream) -> None:
    gate, key, content = Gate(), place.create_key(), words()
    upstream.script("kept", Answer(before_head=gate))
    before = len(upstream.requests("kept"))
    with ThreadPoolExecutor(8) as together:
        answers = [together.submit(ask, place, key, content) for _ in range(8)]
        upstream.wait_for("kept", before + 1)
        gate.open()
        done = [of(answer.result()) for answer in answers]
    assert sorted(map(str, done)) == ["hit"] * 7 + ["miss"]
    assert calls(upstream, content) == 1
    assert sorted(record["cached"] for record in place.settled(key, 8)) == [""] + ["exact"] * 7


@pytest.mark.parametrize(("first", "again"), [(False, True), (True, False), (True, True)])
def test_whole_answers_and_streams_stand_for_each_other(
    place: Polyforge, upstream: Upstream, key: Key, first: bool, again: bool
) -> None:
    content = words()
    made, given = ask(place, key, content, stream=first), ask(place, key, content, stream=again)
    assert (of(made), of(given)) == ("miss", "hit")
    assert given.text == made.text == "Hello there, world."
    assert given.complete
    assert given.finished is again
    assert calls(upstream, content) == 1


@pytest.mark.parametrize("wanted_first", [False, True])
def test_a_stream_given_again_tells_usage_to_whoever_asks(place: Polyforge, key: Key, wanted_first: bool) -> None:
    content = words()
    for wanted in (wanted_first, not wanted_first):
        options: dict[str, Any] = {"stream_options": {"include_usage": True}} if wanted else {}
        response = ask(place, key, content, stream=True, **options)
        told = [chunk["usage"]["total_tokens"] for chunk in response.chunks if chunk.get("usage")]
        assert told == ([12] if wanted else [])


def test_what_changes_no_answer_makes_no_other_request(place: Polyforge, upstream: Upstream, key: Key) -> None:
    content = words()
    assert of(ask(place, key, content, temperature=0.7, user="ann", metadata={"a": "b"})) == "miss"
    body = (
        b'{"user": "bob" , "temperature":7e-1, "messages": [ {"content":"%b","role":"user"} ],"model":"kept",'
        b'"stream":true, "stream_options":{"include_usage":true}}' % content.encode()
    )
    assert of(place.call(CHAT, key=key.key, body=body)) == "hit"
    assert calls(upstream, content) == 1


@pytest.mark.parametrize(
    "more",
    [
        {"temperature": 0.1},
        {"max_tokens": 7},
        {"seed": 36893488147419103233},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"x_unknown": 1},
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "the same"}]},
        {"messages": [{"role": "user", "content": "the  same"}]},
    ],
)
def test_whatever_may_change_the_answer_makes_another_request(place: Polyforge, key: Key, more: dict[str, Any]) -> None:
    ask(place, key, "the same", seed=36893488147419103232)
    assert of(ask(place, key, "the same", seed=36893488147419103232)) == "hit"
    body = {**chat("kept", "the same"), "seed": 36893488147419103232, **more}
    assert of(place.call(CHAT, key=key.key, json=body)) == "miss"


def test_callers_go_past_the_cache_or_renew_it(place: Polyforge, upstream: Upstream, key: Key) -> None:
    content = words()
    for text in ("first", "second", "third"):
        upstream.script("kept", Answer(text))
        headers = {"second": {CACHE: "bypass"}, "third": {CACHE: "refresh"}}.get(text, {})
        response = ask(place, key, content, headers=headers)
        assert (of(response), response.text) == ({"second": "bypass"}.get(text, "miss"), text)
    upstream.script("kept", Answer())
    assert ask(place, key, content).text == "third"
    assert calls(upstream, content) == 3


@pytest.mark.parametrize(
    "headers", [{CACHE: "no"}, {TTL: "0"}, {TTL: "-1"}, {TTL: "1.5"}, {TTL: "9" * 20}, {CACHE: "\u00e9"}]
)
def test_a_malformed_header_is_refused_by_its_name(place: Polyforge, key: Key, headers: dict[str, str]) -> None:
    response = ask(place, key, words(), headers=headers)
    assert response.status == 400
    assert response.error["param"] in headers


def test_an_answer_is_kept_for_as_long_as_was_asked_for(place: Polyforge, key: Key) -> None:
    lasting, brief, usual = words(), words(), words()
    ask(place, key, lasting, headers={TTL: "600"})
    ask(place, key, brief, headers={TTL: "1"})
    ask(place, key, usual, model="short")
    eventually(lambda: of(ask(place, key, brief, headers={TTL: "1"})) == "miss", "the end of a short time")
    eventually(lambda: of(ask(place, key, usual, model="short")) == "miss", "the end of the model's time")
    assert of(ask(place, key, lasting)) == "hit"


@pytest.mark.parametrize(
    "behaviour",
    [
        Answer(ending="no_finish"),
        Answer(ending="cut", after=1),
        Answer(ending="close", after=1),
        Answer(ending="error_event", after=1),
        Answer(ending="bad_json", after=1),
    ],
    ids=lambda behaviour: behaviour.ending,
)
def test_a_stream_without_a_proper_end_is_not_kept(
    place: Polyforge, upstream: Upstream, key: Key, behaviour: Answer
) -> None:
    content = words()
    upstream.script("kept", behaviour, Answer("whole"))
    ask(place, key, content, stream=True)
    upstream.script("kept", Answer("whole"))
    response = ask(place, key, content, stream=True)
    assert (of(response), response.text) == ("miss", "whole")
    upstream.script("kept", Answer())


def test_errors_and_answers_without_their_end_or_too_large_are_not_kept(
    place: Polyforge, upstream: Upstream, key: Key
) -> None:
    content = words()
    upstream.script("kept", Fail(400))
    assert ask(place, key, content).status == 400
    upstream.script("kept", Answer("long " * 2000))
    assert of(ask(place, key, content)) == "miss"
    assert of(ask(place, key, content, stream=True)) == "miss"
    unended = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":null}]}'
    upstream.script("kept", Answer(exact=unended))
    assert of(ask(place, key, content)) == "miss"
    upstream.script("kept", Answer())
    assert of(ask(place, key, content)) == "miss"
    assert of(ask(place, key, content)) == "hit"


def test_a_hit_can_have_a_price(place: Polyforge) -> None:
    key, content = place.create_key(budget_usd=1.0), words()
    for _ in range(2):
        ask(place, key, content, model="charged", max_tokens=3)
    bought, given = place.settled(key, 2)
    assert (bought["price_micros"], given["price_micros"], given["cost_micros"]) == (PRICE, PRICE // 2, 0)


def test_a_hit_counts_as_a_request_and_gives_back_what_was_reserved(place: Polyforge) -> None:
    key, content = place.create_key(budget_usd=0.02, rpm=3), words()
    kinds = [of(ask(place, key, content, max_tokens=3)) for _ in range(3)]
    assert kinds == ["miss", "hit", "hit"]
    refused = ask(place, key, content, max_tokens=3)
    assert refused.status == 429
    assert refused.error["code"] == "rate_limit_exceeded"
    assert sum(record["price_micros"] for record in place.settled(key, 3)) == PRICE


def test_an_answer_that_our_own_limit_cut_off_is_not_kept(place: Polyforge, upstream: Upstream, key: Key) -> None:
    limited, content = place.create_key(budget_usd=0.05), words()
    cut = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"length"}]}'
    upstream.script("kept", Answer(exact=cut))
    assert of(ask(place, limited, content)) == "miss"
    assert of(ask(place, key, content)) == "miss"
    assert of(ask(place, key, content)) == "hit"
    upstream.script("kept", Answer())


def test_two_projects_share_nothing(place: Polyforge, upstream: Upstream) -> None:
    """Whatever dialect and form either of them uses."""
    mine, other = place.create_key(), project_key(place)
    body = chat("kept", "a secret of ours", max_tokens=50)
    forms = list(itertools.product((CHAT, MESSAGES), (False, True)))
    for path, stream in forms:
        assert of(place.call(path, key=mine.key, json={**body, "stream": stream})) == ("hit" if stream else "miss")
    for path, stream in forms:
        for _ in range(2):
            found = place.call(path, key=other.key, json={**body, "stream": stream})
            assert of(found) == "miss"
            assert place.call("/api/v1/cache", key=other.key, method="DELETE").status == 200
    assert calls(upstream, "a secret of ours") == 2 + 2 * len(forms)
    for path, stream in forms:
        assert of(place.call(path, key=mine.key, json={**body, "stream": stream})) == "hit"


def test_keys_share_nothing_where_the_model_says_so(place: Polyforge, key: Key) -> None:
    content, other = words(), place.create_key()
    assert [of(ask(place, one, content, model="own")) for one in (key, other, key, other)] == [
        "miss",
        "miss",
        "hit",
        "hit",
    ]


def test_models_without_a_cache_say_nothing_of_one(place: Polyforge, upstream: Upstream, key: Key) -> None:
    for model in ("plain", "off"):
        content = words()
        assert of(ask(place, key, content, model=model)) is None
        assert of(ask(place, key, content, model=model, headers={CACHE: "refresh"})) is None
        assert calls(upstream, content) == 2


def test_vectors_are_given_again(place: Polyforge, upstream: Upstream, key: Key) -> None:
    body = {"model": "vectors-kept", "input": ["one", "two"]}
    first, second = (place.call("/v1/embeddings", key=key.key, json=body) for _ in range(2))
    assert (of(first), of(second)) == ("miss", "hit")
    assert first.json["data"] == second.json["data"]
    assert len(upstream.requests("vectors-kept")) == 1


def test_the_cache_tells_what_it_saved_and_is_cleared(place: Polyforge) -> None:
    key = project_key(place)
    content = words()
    for _ in range(3):
        of(place.call(CHAT, key=key.key, json=chat("kept", content)))
    of(place.call(CHAT, key=key.key, json=chat("own", content)))

    def row() -> dict[str, Any] | None:
        answer = place.call("/api/v1/cache", key=key.key, method="GET").json
        assert answer["store"]["use"] == "memory"
        assert answer["store"]["bytes"] > 0
        rows = {each["model"]: each for each in answer["data"]}
        return rows.get("kept") if rows.get("kept", {}).get("hits") == 2 and "own" in rows else None

    assert eventually(row, "the ledger's sums") == {
        "model": "kept",
        "hits": 2,
        "misses": 1,
        "hit_rate": 0.6667,
        "saved_usd": 2 * COST / 1_000_000,
    }
    cleared = place.call("/api/v1/cache?model=own", key=key.key, method="DELETE")
    assert (cleared.status, cleared.json) == (200, {"removed": 1})
    assert of(place.call(CHAT, key=key.key, json=chat("kept", content))) == "hit"
    assert of(place.call(CHAT, key=key.key, json=chat("own", content))) == "miss"
    # The worker that was asked also hears of it a little later, and lets go of what it kept meanwhile.
    assert place.call("/api/v1/cache", key=key.key, method="DELETE").json["removed"] in (1, 2)
    assert of(place.call(CHAT, key=key.key, json=chat("kept", content))) == "miss"


def test_clearing_is_heard_in_every_worker(serve: Serve, upstream: Upstream) -> None:
    two = serve(settings(upstream, cached("kept-twice")), workers=2)
    key, content = two.create_key(), words()

    def all_kept() -> bool:
        return [of(ask(two, key, content, model="kept-twice")) for _ in range(12)] == ["hit"] * 12

    eventually(all_kept, "both workers to have the answer")
    before = calls(upstream, content)
    assert two.api("DELETE", "/cache").status == 200

    def cleared() -> bool:
        ask(two, key, content, model="kept-twice")
        return calls(upstream, content) >= before + 2

    eventually(cleared, "both workers to have let go of it")


def test_metrics_count_what_came_of_look_ups(place: Polyforge, key: Key) -> None:
    ask(place, key, words())
    page = place.call("/metrics", method="GET").body.decode()
    assert 'polyforge_cache_lookups_total{model="kept",outcome="hit"}' in page
    assert 'polyforge_cache_lookups_total{model="kept",outcome="miss"}' in page
    assert 'polyforge_cache_saved_usd_total{model="kept"}' in page


def test_workers_share_answers_in_redis_and_go_on_without_it(
    serve: Serve, upstream: Upstream, redis_server: RedisServer
) -> None:
    cache = {"use": "redis", "url": redis_server.url, "timeout_seconds": 2.0}
    two = serve(settings(upstream, cached("shared"), cache=cache), workers=2)
    key, content = two.create_key(), words()
    assert of(ask(two, key, content, model="shared")) == "miss"
    assert [of(ask(two, key, content, model="shared")) for _ in range(10)] == ["hit"] * 10
    assert redis_server.command("DBSIZE") == "1"
    assert two.api("DELETE", "/cache").json == {"removed": 1}
    assert of(ask(two, key, content, model="shared")) == "miss"
    redis_server.kill()
    assert [of(ask(two, key, content, model="shared")) for _ in range(10)] == ["miss"] * 10
    assert two.api("DELETE", "/cache").status == 503
    redis_server.start()
    eventually(lambda: of(ask(two, key, content, model="shared")) == "hit", "Redis in use again", 60)


class Echo:
    """Answers with what was asked last."""

    async def play(self, exchange: Exchange) -> None:
        await Answer(exchange.json["messages"][-1]["content"]).play(exchange)


def test_what_guardrails_hide_comes_back_out_of_the_cache(
    serve: Serve, upstream: Upstream, redis_server: RedisServer
) -> None:
    upstream.script("hidden", Echo())
    cache = {"use": "redis", "url": redis_server.url, "timeout_seconds": 5.0}
    hide = {"hide": {"use": "pii", "action": "pseudonyms", "kinds": ["email"]}}
    models = solo("hidden", cache={}, guardrails=["hide"])
    one = serve(settings(upstream, models, cache=cache, guardrails=hide))
    key = one.create_key()

    def told(address: str, stream: bool) -> tuple[str | None, str]:
        response = ask(one, key, f"Write to {address}", model="hidden", stream=stream)
        return of(response), response.text

    assert told("ann@example.com", False) == ("miss", "Write to ann@example.com")
    assert told("ann@example.com", False) == ("hit", "Write to ann@example.com")
    assert told("ann@example.com", True) == ("hit", "Write to ann@example.com")
    assert told("bob@example.com", True) == ("miss", "Write to bob@example.com")
    one.restart()
    # What stands for an address may be another thing now.
    assert told("ann@example.com", False)[1] == "Write to ann@example.com"
    assert not [each for each in upstream.requests("hidden") if b"ann@" in each.body or b"bob@" in each.body]


def test_the_commands_tell_and_clear(place: Polyforge, key: Key) -> None:
    environ = {"POLYFORGE_URL": place.url, "POLYFORGE_API_KEY": place.admin_key, "POLYFORGE_DATA": str(place.data)}

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["cache", *arguments], env=environ)
        if result.exception is not None:
            raise result.exception
        return result.stdout

    content = words()
    assert [of(ask(place, key, content)) for _ in range(2)] == ["miss", "hit"]
    eventually(lambda: "kept" in run("stats"), "the ledger's sums")
    assert run("stats").split()[:6] == ["model", "hits", "misses", "hit", "rate", "saved"]
    assert json.loads(run("stats", "--json"))["store"]["use"] == "memory"
    assert run("clear", "--model", "plain") == "cleared\n"
    assert of(ask(place, key, content)) == "hit"
    run("clear")
    assert of(ask(place, key, content)) == "miss"


def test_check_shows_what_is_in_force_and_no_password(tmp_path: Path) -> None:
    config = tmp_path / "polyforge.yaml"
    config.write_text("cache: {use: redis, url: 'redis://user:sesame@example.com'}")
    shown = CliRunner().invoke(app, ["check", "--config", str(config)]).stdout
    assert "cache.timeout_seconds" in shown
    assert "sesame" not in shown


def project_key(place: Polyforge) -> Key:
    """A key of a project that nobody else uses."""
    number = next(DEALT)
    project = made(place.api("POST", "/projects", {"name": f"project {number}"}))["id"]
    person = {"email": f"owner{number}@example.com", "password": "a quiet river bends twice"}
    made(place.api("POST", "/users", {**person, "name": "x", "role": "owner"}))
    with httpx.Client(base_url=f"{place.url}/api/v1", headers={"origin": place.url}) as browser:
        assert browser.post("/auth/sign-in", json=person).status_code == 200
        headers = {"x-polyforge-csrf": browser.get("/me").json()["csrf"], "x-polyforge-project": project}
        scopes = ["inference", "usage:read", "cache:write"]
        answer = browser.post("/keys", json={"name": "k", "scopes": scopes}, headers=headers)
        assert answer.status_code == 201, answer.text
        return Key(answer.json()["id"], answer.json()["key"])


def made(response: Response) -> dict[str, Any]:
    assert response.status == 201, response.body
    return response.json
