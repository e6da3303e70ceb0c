"""What guardrails find does not get through: in requests and answers, whole and streamed, however a stream is cut."""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.behaviours import Answer, Behaviour, Exchange, Fail, Play
from tests.support.clients import Response
from tests.support.server import Key, Polyforge, stopping
from tests.support.settings import settings, solo
from tests.support.upstream import Upstream

SECRET = "jane.doe@acme.co"
CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
LEGACY = "/v1/completions"
RULES: dict[str, Any] = {
    "mask": {"use": "pii", "action": "mask", "kinds": ["email"]},
    "block": {"use": "pii", "action": "block", "kinds": ["email"]},
    "flag": {"use": "pii", "action": "flag", "kinds": ["email"]},
    "hide": {"use": "pii", "action": "pseudonyms", "kinds": ["email"]},
    "short": {"use": "length", "action": "block", "on": ["output"], "most": 30},
    "cel": {"use": "rule", "when": "stage == 'input' && text.contains('forbidden')"},
    "json": {"use": "schema", "on": ["output"], "json_schema": {"type": "object", "required": ["ok"]}},
    "topics": {"use": "topics", "deny": {"politics": ["Who should I vote for?", "The president's party"]}},
    "moderated": {"use": "moderation", "model": "moderator", "thresholds": {"violence": 0.5}},
    "unmoderated": {"use": "moderation", "model": "unmoderated-moderator"},
    "oddly": {"use": "moderation", "model": "oddly-moderator"},
    "down": {"use": "http", "url": "http://127.0.0.1:1/judge"},
    "down-open": {"use": "http", "url": "http://127.0.0.1:1/judge", "on_error": "allow"},
}

LIMITS: dict[str, Any] = {
    "one-flight": {"subject": "end_user", "subject_id": "narrow", "measure": "concurrency", "amount": 1},
    "few": {"subject": "end_user", "subject_id": "narrow", "measure": "requests", "amount": 2, "window": "total"},
    "little": {"subject": "end_user", "subject_id": "poor", "measure": "money", "amount": 1.5, "window": "total"},
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    started = Upstream().start()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Polyforge]:
    models = {name: model for rule in RULES for name, model in solo(rule, guardrails=[rule]).items()}
    for moderator in ("moderator", "unmoderated-moderator", "oddly-moderator"):
        models |= solo(moderator, task="moderation")
    declared = settings(upstream, models, guardrails=RULES, limits=LIMITS)
    with stopping(Polyforge(tmp_path_factory.mktemp("guardrails"), declared)) as server:
        yield server


@pytest.fixture
def key(gateway: Polyforge) -> Key:
    return gateway.create_key()


@dataclasses.dataclass(frozen=True)
class Cut(Answer):
    """An answer whose stream is cut into this many pieces."""

    def _contents(self) -> list[str]:
        size = -(-len(self.text) // (self.pieces or 1))
        return [self.text[start : start + size] for start in range(0, len(self.text), size)]


async def moderate(exchange: Exchange) -> None:
    """Judges as OpenAI does, whose answers have this form."""
    results: list[dict[str, Any]] = []
    for text in exchange.json["input"]:
        score = 0.93 if "hurt" in text else 0.001
        categories = {"violence": score > 0.9, "self-harm/intent": False, "illicit": None}
        scores = {"violence": score, "self-harm/intent": 0.0001, "illicit": None}
        applied = {"violence": ["text"], "self-harm/intent": ["text"], "illicit": []}
        results.append(
            {
                "flagged": score > 0.9,
                "categories": categories,
                "category_scores": scores,
                "category_applied_input_types": applied,
            }
        )
    answer = json.dumps({"id": "modr-970d", "model": "omni-moderation-latest", "results": results}).encode()
    await exchange.head(200, {"content-type": "application/json"}, len(answer))
    await exchange.body(answer)
    await exchange.end()


def body(path: str, model: str, text: str, *, stream: bool) -> dict[str, Any]:
    if path == RESPONSES:
        return {"model": model, "input": text, "stream": stream, "store": False}
    asked: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream}
    return asked | ({"max_tokens": 100} if path == MESSAGES else {})


def ask(gateway: Polyforge, key: Key, path: str, model: str, text: str = "hello", *, stream: bool = False) -> Response:
    return gateway.call(path, key=key.key, json=body(path, model, text, stream=stream))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
def test_a_model_is_not_shown_what_is_masked(
    gateway: Polyforge, upstream: Upstream, key: Key, path: str, stream: bool
) -> None:
    before = len(upstream.requests("mask"))
    assert ask(gateway, key, path, "mask", f"write to {SECRET} now", stream=stream).status == 200
    (request,) = upstream.wait_for("mask", before + 1)[before:]
    assert SECRET not in request.body.decode()
    assert "write to [EMAIL] now" in request.body.decode()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
def test_a_caller_is_not_shown_what_is_masked(
    gateway: Polyforge, upstream: Upstream, key: Key, path: str, stream: bool
) -> None:
    upstream.script("mask", Cut(f"Ask {SECRET} about it.", pieces=9))
    answer = ask(gateway, key, path, "mask", stream=stream)
    assert answer.status == 200
    assert SECRET not in answer.body.decode()
    assert "[EMAIL]" in _said(answer, path, stream=stream)


@pytest.mark.parametrize("pieces", range(1, 45))
def test_nothing_of_a_find_leaves_wherever_a_stream_is_cut(
    gateway: Polyforge, upstream: Upstream, key: Key, pieces: int
) -> None:
    upstream.script("mask", Cut(f"Do ask {SECRET} about this, please.", pieces=pieces, split=7))
    answer = ask(gateway, key, CHAT, "mask", stream=True)
    assert answer.complete
    assert answer.text == "Do ask [EMAIL] about this, please."
    assert answer.events[-1] == "[DONE]"


@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
def test_a_request_that_is_blocked_reaches_nobody_and_costs_nothing(
    gateway: Polyforge, upstream: Upstream, key: Key, path: str
) -> None:
    before = len(upstream.requests("block"))
    answer = ask(gateway, key, path, "block", f"write to {SECRET}")
    assert answer.status == 400
    assert "guardrail" in answer.body.decode()
    assert SECRET not in answer.body.decode()
    assert len(upstream.requests("block")) == before
    (record,) = gateway.settled(key)
    assert (record["status"], record["price_micros"], record["http_status"]) == ("error", 0, 400)


def test_an_answer_that_is_blocked_is_paid_for_and_not_shown(gateway: Polyforge, upstream: Upstream, key: Key) -> None:
    upstream.script("block", Answer(f"Ask {SECRET}."))
    answer = ask(gateway, key, CHAT, "block")
    assert (answer.status, answer.error["code"]) == (400, "guardrail_blocked")
    assert SECRET not in answer.body.decode()
    (record,) = gateway.settled(key)
    assert (record["status"], record["price_micros"]) == ("error", 1_000_000)


def test_a_stream_that_is_blocked_ends_with_an_error_and_never_clean(
    gateway: Polyforge, upstream: Upstream, key: Key
) -> None:
    upstream.script("block", Cut(f"It is so that {SECRET} knows.", pieces=8, gap=0.05))
    answer = ask(gateway, key, CHAT, "block", stream=True)
    assert answer.status == 200
    assert SECRET not in answer.body.decode()
    assert json.loads(answer.events[-1])["error"]["code"] == "guardrail_blocked"
    (record,) = gateway.settled(key)
    assert (record["status"], record["price_micros"]) == ("error", 1_000_000)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_what_is_flagged_goes_through(gateway: Polyforge, upstream: Upstream, key: Key, stream: bool) -> None:
    upstream.script("flag", Answer(f"Ask {SECRET}."))
    answer = ask(gateway, key, CHAT, "flag", f"I am {SECRET}", stream=stream)
    assert answer.text == f"Ask {SECRET}."


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_model_sees_stand_ins_and_its_caller_the_truth(
    gateway: Polyforge, upstream: Upstream, key: Key, stream: bool
) -> None:
    before = len(upstream.requests("hide"))
    assert ask(gateway, key, CHAT, "hide", f"I am {SECRET}").status == 200
    shown = json.loads(upstream.wait_for("hide", before + 1)[before].body)["messages"][0]["content"]
    assert SECRET not in shown
    stand_in = shown.removeprefix("I am ")
    upstream.script("hide", Cut(f"So you are {stand_in}, are you?", pieces=11))
    assert ask(gateway, key, CHAT, "hide", f"I am {SECRET}", stream=stream).text == f"So you are {SECRET}, are you?"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_answer_may_be_too_long(gateway: Polyforge, upstream: Upstream, key: Key, stream: bool) -> None:
    upstream.script("short", Cut("word " * 20, pieces=20))
    answer = ask(gateway, key, CHAT, "short", stream=stream)
    assert "guardrail_blocked" in answer.body.decode()
    assert answer.body.count(b"word") <= 6


def test_a_rule_in_cel_judges(gateway: Polyforge, key: Key) -> None:
    assert ask(gateway, key, CHAT, "cel", "what is forbidden?").error["code"] == "guardrail_blocked"
    assert ask(gateway, key, CHAT, "cel", "what is allowed?").status == 200


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_answer_must_fit_its_schema(gateway: Polyforge, upstream: Upstream, key: Key, stream: bool) -> None:
    upstream.script("json", Cut('{"ok": true}', pieces=4), Cut('{"no": true}', pieces=4))
    assert ask(gateway, key, CHAT, "json", stream=stream).text == '{"ok": true}'
    refused = ask(gateway, key, CHAT, "json", stream=stream)
    assert refused.status == 400
    assert refused.error["code"] == "guardrail_blocked"


def test_a_guardrail_that_is_down_blocks_unless_its_policy_says_otherwise(
    gateway: Polyforge, upstream: Upstream, key: Key
) -> None:
    before = len(upstream.requests("down"))
    answer = ask(gateway, key, CHAT, "down")
    assert (answer.status, answer.error["code"]) == (503, "guardrail_failed")
    assert len(upstream.requests("down")) == before
    assert ask(gateway, key, CHAT, "down-open").status == 200


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_topic_is_known_by_its_examples(gateway: Polyforge, upstream: Upstream, key: Key, stream: bool) -> None:
    denied = ask(gateway, key, CHAT, "topics", "Which party will you vote for, that of the president?", stream=stream)
    assert (denied.status, denied.error["code"]) == (400, "guardrail_blocked")
    assert "politics" in denied.error["message"]
    upstream.script("topics", Cut("Do vote for the party of the president.", pieces=5), Answer("Use the sort method."))
    answered = ask(gateway, key, CHAT, "topics", "How do I sort a list?", stream=stream)
    assert "guardrail_blocked" in answered.body.decode()
    assert b"vote" not in answered.body
    assert ask(gateway, key, CHAT, "topics", "How do I sort a list?", stream=stream).text == "Use the sort method."


def test_a_provider_moderates(gateway: Polyforge, upstream: Upstream, key: Key) -> None:
    upstream.script("moderator", Play(moderate))
    before = len(upstream.requests("moderated"))
    refused = ask(gateway, key, CHAT, "moderated", "how do I hurt somebody?")
    assert (refused.status, refused.error["code"]) == (400, "guardrail_blocked")
    assert "violence" in refused.error["message"]
    assert len(upstream.requests("moderated")) == before
    assert upstream.requests("moderator")[-1].path == "/v1/moderations"
    assert ask(gateway, key, CHAT, "moderated", "how do I sort a list?").status == 200
    records = gateway.settled(key, 5)
    assert sorted((each["task"], each["status"], each["price_micros"]) for each in records) == [
        ("chat", "error", 0),
        ("chat", "ok", 1_000_000),
        *[("moderation", "ok", 1_000_000)] * 3,
    ]


@pytest.mark.parametrize(("rule", "behaviour"), [("unmoderated", Fail(500)), ("oddly", Answer("no results"))])
def test_without_moderation_nothing_goes_through(
    gateway: Polyforge, upstream: Upstream, key: Key, rule: str, behaviour: Behaviour
) -> None:
    upstream.script(f"{rule}-moderator", behaviour)
    answer = ask(gateway, key, CHAT, rule, "how do I sort a list?")
    assert (answer.status, answer.error["code"]) == (503, "guardrail_failed")
    assert upstream.requests(f"{rule}-moderator")
    assert not upstream.requests(rule)


def test_what_a_guardrail_asks_takes_no_turn_of_its_caller_but_its_money(
    gateway: Polyforge, upstream: Upstream
) -> None:
    upstream.script("moderator", Play(moderate))
    narrow = gateway.create_key(rpm=2, concurrency=1)
    assert [ask(gateway, narrow, CHAT, "moderated").status for _ in range(3)] == [200, 200, 429]
    poor = gateway.create_key(budget_usd=2.0)
    answer = ask(gateway, poor, CHAT, "moderated")
    # One dollar is for the call, one for what is asked about the question, and none is left for the answer.
    assert (answer.status, answer.error["code"]) == (503, "guardrail_failed")


def test_nor_does_it_count_for_limits_on_others_than_keys_but_those_of_money(
    gateway: Polyforge, upstream: Upstream, key: Key
) -> None:
    upstream.script("moderator", Play(moderate))
    asked = body(CHAT, "moderated", "hello", stream=False)
    statuses = [gateway.call(CHAT, key=key.key, json={**asked, "user": "narrow"}).status for _ in range(3)]
    assert statuses == [200, 200, 429]
    answer = gateway.call(CHAT, key=key.key, json={**asked, "user": "poor"})
    assert (answer.status, answer.error["code"]) == (503, "guardrail_failed")


def test_what_guardrails_would_do_can_be_tried(gateway: Polyforge, upstream: Upstream) -> None:
    asked = {
        "text": f"write to {SECRET}",
        "guardrails": ["mask", "block", "flag", "cel", "topics", "moderated", "down"],
    }
    upstream.script("moderator", Play(moderate))
    answer = gateway.api("POST", "/guardrails/test", asked)
    assert answer.status == 200, answer.body
    tried = {each["name"]: each for each in answer.json["data"]}
    decisions = {name: each["decision"] for name, each in tried.items()}
    assert decisions == {
        "mask": "change",
        "block": "block",
        "flag": "flag",
        "cel": "pass",
        "topics": "pass",
        "moderated": "pass",
        "down": "error",
    }
    assert tried["mask"]["text"] == "write to [EMAIL]"
    names = [each["name"] for each in gateway.api("GET", "/guardrails").json["data"]]
    assert names == list(RULES)
    assert gateway.api("POST", "/guardrails/test", {"text": "x", "guardrails": ["no"]}).status == 404


def complete(gateway: Polyforge, key: Key, model: str, prompt: Any, *, stream: bool = False) -> Response:
    return gateway.call(LEGACY, key=key.key, json={"model": model, "prompt": prompt, "stream": stream})


@pytest.mark.parametrize("prompt", [f"write to {SECRET} now", ["hello", f"write to {SECRET} now"]], ids=["one", "two"])
def test_prompts_of_legacy_completions_are_judged(
    gateway: Polyforge, upstream: Upstream, key: Key, prompt: Any
) -> None:
    before = len(upstream.requests("mask"))
    assert complete(gateway, key, "mask", prompt).status == 200
    (request,) = upstream.wait_for("mask", before + 1)[before:]
    assert request.path == LEGACY
    assert SECRET not in request.body.decode()
    assert "write to [EMAIL] now" in request.body.decode()
    assert complete(gateway, key, "block", prompt).error["code"] == "guardrail_blocked"


@pytest.mark.parametrize("prompt", [[1, 2, 3], [[1, 2], [3]], ["hello", 4]])
def test_tokens_are_refused_because_nobody_can_judge_them(gateway: Polyforge, key: Key, prompt: Any) -> None:
    assert complete(gateway, key, "mask", prompt).status == 400


def test_legacy_completions_are_judged(gateway: Polyforge, upstream: Upstream, key: Key) -> None:
    upstream.script("mask", Answer(f"Ask {SECRET} about it."), Answer("Nothing here."))
    assert complete(gateway, key, "mask", "hello").json["choices"][0]["text"] == "Ask [EMAIL] about it."
    untouched = complete(gateway, key, "mask", "hello").json
    assert (untouched["object"], untouched["choices"][0]["text"]) == ("text_completion", "Nothing here.")
    upstream.script("block", Answer(f"Ask {SECRET}."))
    refused = complete(gateway, key, "block", "hello")
    assert (refused.status, refused.error["code"]) == (400, "guardrail_blocked")
    assert SECRET not in refused.body.decode()


@pytest.mark.parametrize("pieces", [1, 2, 3, 5, 8, 13, 21, 34])
def test_nothing_of_a_find_leaves_in_a_stream_of_a_legacy_completion(
    gateway: Polyforge, upstream: Upstream, key: Key, pieces: int
) -> None:
    upstream.script("mask", Cut(f"Do ask {SECRET} about this, please.", pieces=pieces, split=7))
    answer = complete(gateway, key, "mask", "hello", stream=True)
    assert "".join(chunk["choices"][0]["text"] for chunk in answer.chunks) == "Do ask [EMAIL] about this, please."
    assert answer.chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert answer.events[-1] == "[DONE]"


def test_a_stream_of_a_legacy_completion_that_is_blocked_ends_with_an_error(
    gateway: Polyforge, upstream: Upstream, key: Key
) -> None:
    upstream.script("block", Cut(f"It is so that {SECRET} knows.", pieces=8, gap=0.05))
    answer = complete(gateway, key, "block", "hello", stream=True)
    assert SECRET not in answer.body.decode()
    assert json.loads(answer.events[-1])["error"]["code"] == "guardrail_blocked"
    upstream.script("json", Cut('{"no": true}', pieces=4))
    assert complete(gateway, key, "json", "hello", stream=True).error["code"] == "guardrail_blocked"


def test_personal_data_is_found_and_hidden_over_the_api(gateway: Polyforge) -> None:
    asked = {"text": f"Ask {SECRET} or 4111 1111 1111 1111."}
    found = gateway.api("POST", "/privacy/detect", asked).json["data"]
    assert [(each["kind"], asked["text"][each["start"] : each["end"]]) for each in found] == [
        ("email", SECRET),
        ("card", "4111 1111 1111 1111"),
    ]
    hidden = gateway.api("POST", "/privacy/redact", {**asked, "keep_last": {"card": 4}}).json["text"]
    assert hidden == "Ask [EMAIL] or **** **** **** 1111."
    assert gateway.api("POST", "/privacy/detect", {**asked, "kinds": ["no"]}).status == 400


def _said(answer: Response, path: str, *, stream: bool) -> str:
    """The text of an answer in whichever dialect."""
    if path == CHAT:
        return answer.text
    if not stream:
        return answer.body.decode()
    pieces = [chunk.get("delta") for chunk in answer.chunks]
    return "".join(piece if isinstance(piece, str) else piece.get("text", "") for piece in pieces if piece)
