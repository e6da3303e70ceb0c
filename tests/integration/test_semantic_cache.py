"""Answers to questions that mean the same, compared by the embedding model in the package."""

import itertools
from typing import Any

import pytest

from polyforge.kernel.errors import SettingsError
from polyforge.wiring.settings import compose
from tests.conftest import Serve
from tests.support.behaviours import Answer
from tests.support.clients import Response
from tests.support.server import Key, Polyforge
from tests.support.settings import settings, solo
from tests.support.upstream import Upstream

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
RESET, SAME, OTHER = "How do I reset my password?", "How can I reset my password", "How do I reset your password?"
DEALT = itertools.count()
SEMANTIC = {"semantic": {"threshold": 0.93}}


@pytest.fixture(scope="module")
def place(serve: Serve, upstream: Upstream) -> Polyforge:
    models = {
        **solo("alike", price={"input": 100.0, "output": 1000.0}, cache=SEMANTIC),
        **solo("only-alike", cache={"exact": False, **SEMANTIC}),
        **solo("exact-only", cache={}),
        **solo("no-embedder", cache={"semantic": {"model": "gone"}}),
        "gone": {"task": "embedding", "deployments": [{"provider": "lab", "model": "gone"}]},
    }
    upstream.script("gone", Answer(ending="cut"))
    return serve(settings(upstream, models, gateway={"cooldown_seconds": 0, "attempts": 1}))


@pytest.fixture
def key(place: Polyforge) -> Key:
    return place.create_key()


@pytest.fixture
def system() -> str:
    """A system prompt of the test's own, so that it finds nothing of another's."""
    return f"You are assistant {next(DEALT)}."


def ask(place: Polyforge, key: Key, system: str, question: str, path: str = CHAT, **more: Any) -> Response:
    headers = more.pop("headers", {})
    body: dict[str, Any] = {"model": "alike", "max_tokens": 50, **more}
    asked = [*body.pop("earlier", []), {"role": "user", "content": question}]
    if path == MESSAGES:
        body |= {"system": system, "messages": asked}
    else:
        body["messages"] = [{"role": "system", "content": system}, *asked]
    return place.call(path, key=key.key, json=body, headers=headers)


def of(response: Response) -> str | None:
    assert response.status == 200, response.body
    return response.headers.get("x-polyforge-cache")


def test_a_question_that_means_the_same_gets_the_same_answer(place: Polyforge, key: Key, system: str) -> None:
    answers = [ask(place, key, system, question) for question in (RESET, SAME, OTHER, RESET)]
    assert [of(answer) for answer in answers] == ["miss", "semantic", "miss", "hit"]
    assert answers[1].body == answers[0].body
    assert int(answers[1].headers["age"]) >= 0
    records = place.settled(key, 7)
    chats = sorted((record for record in records if record["task"] == "chat"), key=lambda record: record["id"])
    assert [record["cached"] for record in chats] == ["", "semantic", "", "exact"]
    assert [record["price_micros"] > 0 for record in chats] == [True, False, True, False]
    assert {record["model"] for record in records if record["task"] == "embedding"} == {"polyforge/static-minilm"}


def test_forms_and_dialects_stand_for_each_other(place: Polyforge, key: Key, system: str) -> None:
    assert of(ask(place, key, system, RESET)) == "miss"
    for path, stream in itertools.product((CHAT, MESSAGES), (False, True)):
        given = ask(place, key, system, SAME, path, stream=stream)
        assert of(given) == "semantic"
        assert b"Hello" in given.body
        assert (b"message_stop" in given.body) is (path == MESSAGES and stream)


@pytest.mark.parametrize(
    "more",
    [
        {"temperature": 0.5},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]},
        {"earlier": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]},
        {"model": "only-alike"},
        {"model": "exact-only"},
    ],
)
def test_all_but_the_last_message_must_be_the_same(
    place: Polyforge, key: Key, system: str, more: dict[str, Any]
) -> None:
    assert of(ask(place, key, system, RESET)) == "miss"
    assert of(ask(place, key, system, SAME, **more)) == "miss"
    assert of(ask(place, key, f"{system} Be brief.", SAME)) == "miss"
    assert of(ask(place, key, system, SAME)) == "semantic"


def test_other_scripts_and_long_questions_are_not_looked_up(place: Polyforge, key: Key, system: str) -> None:
    for questions in (("भारत की राजधानी क्या है?", "चावल कैसे पकाते हैं?"), (RESET * 100, SAME * 100)):
        assert [of(ask(place, key, system, question)) for question in questions] == ["miss", "miss"]
    assert len(place.settled(key, 4)) == 4


def test_only_questions_where_the_model_says_so(place: Polyforge, key: Key, system: str) -> None:
    found = [of(ask(place, key, system, question, model="only-alike")) for question in (RESET, RESET, SAME)]
    assert found == ["miss", "semantic", "semantic"]


def test_callers_go_past_it_or_renew_it(place: Polyforge, upstream: Upstream, key: Key, system: str) -> None:
    cache = "x-polyforge-cache"
    assert of(ask(place, key, system, RESET)) == "miss"
    assert of(ask(place, key, system, SAME, headers={cache: "bypass"})) == "bypass"
    upstream.script("alike", Answer("renewed"))
    assert of(ask(place, key, system, RESET, headers={cache: "refresh"})) == "miss"
    upstream.script("alike", Answer())
    given = ask(place, key, system, SAME)
    assert (of(given), given.text) == ("semantic", "renewed")


def test_what_was_cleared_is_not_found(place: Polyforge, key: Key, system: str) -> None:
    assert of(ask(place, key, system, RESET)) == "miss"
    assert place.api("DELETE", "/cache?model=alike").status == 200
    assert of(ask(place, key, system, SAME)) == "miss"


def test_without_the_embedding_model_questions_are_asked(place: Polyforge, key: Key, system: str) -> None:
    found = [of(ask(place, key, system, question, model="no-embedder")) for question in (RESET, SAME, RESET)]
    assert found == ["miss", "miss", "hit"]


def test_a_model_that_is_not_there_is_a_wrong_setting(serve: Serve, upstream: Upstream) -> None:
    models = solo("wrong", cache={"semantic": {"model": "nowhere"}})
    with pytest.raises(AssertionError, match=r"models\.wrong\.cache\.semantic\.model: there is no model 'nowhere'"):
        serve(settings(upstream, models))


def test_thresholds_that_mix_everything_up_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"cache\.default\.semantic\.threshold"):
        compose({"cache": {"default": {"semantic": {"threshold": 0.5}}}}, "a test", environ={})
