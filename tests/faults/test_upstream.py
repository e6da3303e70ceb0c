"""Whatever the upstream does, the caller gets a right answer or an honest error, and the books are right."""

import contextlib
import dataclasses
import time
from collections.abc import Generator
from email.utils import formatdate

import pytest

from tests.conftest import Serve
from tests.faults.conftest import CHAT, ask, assert_nothing_is_stuck, careful_key, the_record
from tests.support.behaviours import HANG, NEVER, Answer, Behaviour, Drop, Exchange, Fail, Gate, Huge, Other, Play
from tests.support.clients import RawCall, Response, chat, request_bytes
from tests.support.ports import refusing_port, silent_port
from tests.support.server import Key, Polyforge
from tests.support.settings import UPSTREAM_KEY, WELL, Pool, pair, settings, solo
from tests.support.upstream import Upstream

HUNDRED_MB = 100 * 1024 * 1024


async def _empty_stream(exchange: Exchange) -> None:
    await exchange.head(200, {"content-type": "text/event-stream"}, None)
    await exchange.end()


async def _not_http(exchange: Exchange) -> None:
    await exchange.raw(b"SSH-2.0-OpenSSH_9.2\r\n")
    exchange.close()


async def _wrong_json(exchange: Exchange) -> None:
    await exchange.head(200, {"content-type": "application/json"}, 13)
    await exchange.body(b'["surprised"]')
    await exchange.end()


@dataclasses.dataclass(frozen=True)
class Fault:
    """What goes wrong before the first content, and the status that it comes to when there is no other deployment."""

    behaviour: Behaviour
    status: int = 502
    hasty: bool = False
    """Whether it takes a timeout to notice."""


ANY_KIND = {
    "500": Fault(Fail(500)),
    "503": Fault(Fail(503)),
    "429": Fault(Fail(429, headers={"retry-after": "7"}), 429),
    "401": Fault(Fail(401)),
    "403": Fault(Fail(403)),
    "no answer": Fault(Drop("close")),
    "reset": Fault(Drop("reset")),
    "not HTTP": Fault(Play(_not_http)),
    "wrong content type": Fault(Other()),
    "closed in the body": Fault(Answer(ending="close", after=0)),
    "reset in the body": Fault(Answer(ending="reset", after=0)),
    "hang before headers": Fault(HANG, 504, hasty=True),
    "slow first token": Fault(Answer(before_first=NEVER), 504, hasty=True),
}
WHOLE = {
    "malformed JSON": Fault(Answer(ending="bad_json")),
    "JSON of another kind": Fault(Play(_wrong_json)),
    "100 MB with a length": Fault(Huge(HUNDRED_MB)),
    "100 MB without a length": Fault(Huge(HUNDRED_MB, with_length=False)),
    "hang in the body": Fault(Answer(ending="hang"), 504, hasty=True),
}
STREAM = {
    "malformed chunk": Fault(Answer(ending="bad_json", after=0)),
    "error event": Fault(Answer(ending="error_event", after=0)),
    "nothing": Fault(Play(_empty_stream)),
    "ends before its first content": Fault(Answer(ending="cut", after=0)),
    "100 MB in one event": Fault(Huge(HUNDRED_MB, with_length=False)),
    "hang after headers": Fault(Answer(role_first=False, before_first=NEVER), 504, hasty=True),
}
BEFORE_CONTENT = [
    pytest.param(fault, stream, id=f"{name}-{'stream' if stream else 'whole'}")
    for stream, faults in ((False, ANY_KIND | WHOLE), (True, ANY_KIND | STREAM))
    for name, fault in faults.items()
]


@pytest.fixture
def place(fault: Fault, house: Polyforge, request: pytest.FixtureRequest) -> Polyforge:
    """The installation that a fault is tried on."""
    return request.getfixturevalue("hasty") if fault.hasty else house


@pytest.mark.parametrize(("fault", "stream"), BEFORE_CONTENT)
def test_before_content_and_alone_it_is_an_error(
    fault: Fault, stream: bool, place: Polyforge, upstream: Upstream, pool: Pool
) -> None:
    model, key = pool.solo(), careful_key(place)
    upstream.script(model, fault.behaviour)
    response = ask(place, key, model, stream=stream)
    assert (response.status, response.complete) == (fault.status, True), response.body[:500]
    assert response.headers["content-type"].startswith("application/json")
    assert response.error["message"]
    record = the_record(place, key)
    assert (record["id"], record["status"]) == (response.request_id, "error")
    assert record["http_status"] == fault.status
    assert record["price_micros"] == 0
    assert_nothing_is_stuck(place, key)


@pytest.mark.parametrize(("fault", "stream"), BEFORE_CONTENT)
def test_before_content_another_deployment_answers(
    fault: Fault, stream: bool, place: Polyforge, upstream: Upstream, pool: Pool
) -> None:
    model, key = pool.pair(), careful_key(place)
    upstream.script(f"{model}.first", fault.behaviour)
    response = ask(place, key, model, stream=stream)
    assert (response.status, response.complete) == (200, True), response.body[:500]
    assert response.text == Answer().text
    assert response.finished or not stream
    assert upstream.requests(f"{model}.first")
    assert len(upstream.requests(f"{model}.second")) == 1
    record = the_record(place, key)
    assert (record["status"], record["deployment"]) == ("ok", f"{model}.second")
    assert_nothing_is_stuck(place, key)


@pytest.mark.parametrize("ending", ["hang", "close", "reset", "cut", "bad_json", "error_event", "no_finish"])
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "pair"])
def test_after_content_the_stream_ends_with_an_error(
    ending: str, alone: bool, house: Polyforge, upstream: Upstream, pool: Pool, request: pytest.FixtureRequest
) -> None:
    place: Polyforge = request.getfixturevalue("hasty") if ending == "hang" else house
    model = pool.solo() if alone else pool.pair()
    key, seen = careful_key(place), Gate()
    deployment = model if alone else f"{model}.first"
    upstream.script(deployment, Answer("one two three four", after=2, ending=ending, before_ending=seen))  # pyright: ignore[reportArgumentType]  # one of its endings
    with streaming(place, key, model) as one:
        one.read_until(lambda response: response.text == "one two")
        seen.open()
        response = one.read_all()
    assert response.status == 200
    assert response.text == "one two"
    assert not response.finished
    assert response.stream_error is not None
    assert response.stream_error.keys() >= {"message", "type", "param", "code"}
    assert response.chunks[-1].get("error"), "something came after the error"
    assert len(upstream.requests(deployment)) == 1
    assert alone or not upstream.requests(f"{model}.second")
    assert the_record(place, key)["status"] == "error"
    assert_nothing_is_stuck(place, key)


def test_a_stream_without_its_last_marker_never_just_ends(house: Polyforge, upstream: Upstream, pool: Pool) -> None:
    model, key = pool.solo(), careful_key(house)
    upstream.script(model, Answer(ending="no_done"))
    response = ask(house, key, model, stream=True)
    assert response.text == Answer().text
    assert response.finished != (response.stream_error is not None)
    assert the_record(house, key)["status"] == ("ok" if response.finished else "error")


@contextlib.contextmanager
def streaming(server: Polyforge, key: Key, model: str) -> Generator[RawCall]:
    request = request_bytes("POST", CHAT, key=key.key, json=chat(model, stream=True))
    with RawCall(server.url, request) as one:
        yield one


def test_a_stream_that_never_ends_is_ended(hasty: Polyforge, upstream: Upstream, pool: Pool) -> None:
    model, key = pool.solo(), careful_key(hasty)
    upstream.script(model, Answer(pieces=100_000, gap=0.05))
    response = ask(hasty, key, model, stream=True)
    assert response.stream_error is not None
    assert not response.finished
    upstream.requests(model)[0].wait_aborted()
    assert the_record(hasty, key)["status"] == "error"


def test_a_slow_stream_within_its_limits_is_left_alone(hasty: Polyforge, upstream: Upstream, pool: Pool) -> None:
    model, key = pool.solo(), careful_key(hasty)
    answer = Answer(pieces=8, before_first=0.2, gap=0.1)
    upstream.script(model, answer)
    response = ask(hasty, key, model, stream=True)
    assert (response.text, response.finished) == (answer.whole_text(), True)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_the_upstream_calls_wrong_is_not_tried_elsewhere(
    status: int, stream: bool, hasty: Polyforge, upstream: Upstream, pool: Pool
) -> None:
    model, key = pool.pair(), careful_key(hasty)
    upstream.script(f"{model}.first", Fail(status, kind="invalid_request_error", param="tools"), Answer())
    response = ask(hasty, key, model, stream=stream)
    assert 400 <= response.status < 500
    assert response.error["param"] == "tools"
    assert not upstream.requests(f"{model}.second")
    assert the_record(hasty, key)["price_micros"] == 0
    assert ask(hasty, key, model, stream=stream).text == Answer().text
    assert len(upstream.requests(f"{model}.first")) == 2, "a deployment was left alone for the caller's own mistake"
    hasty.settled(key, 2)


def test_nobody_listens(serve: Serve, upstream: Upstream) -> None:
    with refusing_port() as refusing, silent_port() as silent:
        providers = {
            name: {"use": "openai", "base_url": f"http://127.0.0.1:{port}/v1", "api_key": UPSTREAM_KEY}
            for name, port in (("refusing", refusing), ("silent", silent))
        }
        models = {
            **solo("refused", provider="refusing"),
            **solo("ignored", provider="silent"),
            **pair("refused-first", first_provider="refusing"),
            **pair("ignored-first", first_provider="silent"),
            **solo(WELL),
        }
        gateway = {"timeouts": {"connect": 0.5}}
        server = serve(settings(upstream, models, providers=providers, gateway=gateway))
        for model, statuses in (("refused", (502, 503)), ("ignored", (503, 504))):
            key = careful_key(server)
            assert ask(server, key, model).status in statuses
            assert the_record(server, key)["status"] == "error"
            assert_nothing_is_stuck(server, key)
        for model in ("refused-first", "ignored-first"):
            assert ask(server, careful_key(server), model).status == 200


# Cooling down


def retry_after(response: Response) -> float:
    return float(response.headers["retry-after"])


def test_a_throttled_deployment_is_left_alone_and_callers_are_told_how_long(
    hasty: Polyforge, upstream: Upstream, pool: Pool
) -> None:
    model, key = pool.solo(), hasty.create_key()
    upstream.script(model, Fail(429, headers={"retry-after": "50"}))
    responses = [ask(hasty, key, model) for _ in range(3)]
    assert responses[0].status == 429
    assert [response.status for response in responses[1:]] in ([429, 429], [503, 503])
    assert all(30 < retry_after(response) <= 51 for response in responses)
    assert len(upstream.requests(model)) == 1


@pytest.mark.parametrize("header", ["retry-after-ms", "x-ms-retry-after-ms"])
def test_other_ways_to_say_when(hasty: Polyforge, upstream: Upstream, pool: Pool, header: str) -> None:
    model, key = pool.solo(), hasty.create_key()
    upstream.script(model, Fail(429, headers={header: "50000"}))
    assert all(30 < retry_after(ask(hasty, key, model)) <= 51 for _ in range(2))


def test_a_date_to_come_back_at(hasty: Polyforge, upstream: Upstream, pool: Pool) -> None:
    model, key = pool.solo(), hasty.create_key()
    upstream.script(model, Fail(429, headers={"retry-after": formatdate(time.time() + 50, usegmt=True)}))
    assert all(30 < retry_after(ask(hasty, key, model)) <= 51 for _ in range(2))


@pytest.mark.parametrize("nonsense", ["soon", "-5", "", "1e999", "NaN", "999999999999"])
def test_nonsense_about_when_is_no_harm(hasty: Polyforge, upstream: Upstream, pool: Pool, nonsense: str) -> None:
    model, key = pool.solo(), hasty.create_key()
    upstream.script(model, Fail(429, headers={"retry-after": nonsense}))
    for response in (ask(hasty, key, model), ask(hasty, key, model)):
        assert response.status in (429, 503)
        assert 0 < retry_after(response) <= 3600


@pytest.mark.parametrize(("first", "second"), [("50", "20"), ("20", "50")])
def test_when_all_cool_the_soonest_to_recover_counts(
    hasty: Polyforge, upstream: Upstream, pool: Pool, first: str, second: str
) -> None:
    model, key = pool.pair(), hasty.create_key()
    upstream.script(f"{model}.first", Fail(429, headers={"retry-after": first}))
    upstream.script(f"{model}.second", Fail(429, headers={"retry-after": second}))
    responses = [ask(hasty, key, model) for _ in range(2)]
    assert all(response.status in (429, 503) for response in responses)
    assert all(10 < retry_after(response) <= 21 for response in responses)
    assert len(upstream.requests(f"{model}.first")) == len(upstream.requests(f"{model}.second")) == 1


def test_a_cooling_deployment_is_not_asked_while_another_is_well(
    hasty: Polyforge, upstream: Upstream, pool: Pool
) -> None:
    model, key = pool.pair(), hasty.create_key()
    upstream.script(f"{model}.first", Fail(429, headers={"retry-after": "50"}))
    assert [ask(hasty, key, model).status for _ in range(4)] == [200] * 4
    assert len(upstream.requests(f"{model}.first")) == 1


def test_a_deployment_that_keeps_failing_is_left_alone(hasty: Polyforge, upstream: Upstream, pool: Pool) -> None:
    model, key = pool.pair(), hasty.create_key()
    upstream.script(f"{model}.first", Fail(500))
    assert [ask(hasty, key, model).status for _ in range(20)] == [200] * 20
    assert len(upstream.requests(f"{model}.first")) <= 5


@pytest.mark.parametrize("stream", [False, True])
def test_one_failure_is_tried_again(house: Polyforge, upstream: Upstream, pool: Pool, stream: bool) -> None:
    model, key = pool.solo(), careful_key(house)
    upstream.script(model, Fail(500), Answer())
    response = ask(house, key, model, stream=stream)
    assert (response.status, response.text) == (200, Answer().text)
    assert the_record(house, key)["status"] == "ok"


def test_all_deployments_fail(hasty: Polyforge, upstream: Upstream, pool: Pool) -> None:
    model, key = pool.pair(), careful_key(hasty)
    for deployment in ("first", "second"):
        upstream.script(f"{model}.{deployment}", Fail(500))
    assert ask(hasty, key, model).status == 502
    assert the_record(hasty, key)["status"] == "error"
    assert_nothing_is_stuck(hasty, key)


# Callers who leave


LEAVING = {
    "whole, before headers": (False, HANG, "waiting"),
    "whole, in the body": (False, Answer(ending="hang"), "body"),
    "stream, before headers": (True, HANG, "waiting"),
    "stream, before content": (True, Answer(before_first=NEVER), "body"),
    "stream, before anything": (True, Answer(before_first=NEVER, role_first=False), "head"),
    "stream, in the middle": (True, Answer(pauses={2: NEVER}), "body"),
}


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize(("stream", "behaviour", "stage"), LEAVING.values(), ids=LEAVING.keys())
def test_a_caller_who_leaves_ends_the_call_upstream(
    stream: bool, behaviour: Answer, stage: str, reset: bool, house: Polyforge, upstream: Upstream, pool: Pool
) -> None:
    model, key = pool.solo(), careful_key(house)
    upstream.script(model, behaviour)
    with RawCall(house.url, request_bytes("POST", CHAT, key=key.key, json=chat(model, stream=stream))) as one:
        (request,) = upstream.wait_for(model)
        if behaviour.pauses:
            one.read_until(lambda response: "there," in response.text)
        one.hang_up(reset=reset)
    request.wait_aborted()
    assert request.aborted_in in (stage, "head")
    assert the_record(house, key)["status"] == "cancelled"
    assert_nothing_is_stuck(house, key)


def test_a_caller_who_leaves_is_not_failed_over(house: Polyforge, upstream: Upstream, pool: Pool) -> None:
    model, key = pool.pair(), careful_key(house)
    upstream.script(f"{model}.first", HANG)
    with streaming(house, key, model) as one:
        (request,) = upstream.wait_for(f"{model}.first")
        one.hang_up()
    request.wait_aborted()
    assert the_record(house, key)["status"] == "cancelled"
    assert not upstream.requests(f"{model}.second")


def test_a_caller_who_leaves_after_the_last_byte_was_served(house: Polyforge, upstream: Upstream, pool: Pool) -> None:
    key = careful_key(house)
    with streaming(house, key, pool.solo()) as one:
        one.read_until(lambda response: response.finished)
        one.hang_up(reset=True)
    assert the_record(house, key)["status"] == "ok"
