"""What a caller hears of answers that are broken in every way."""

import json

import pytest

from benchmarks.scorecard.hearing import heard_of
from tests.support.clients import Response

STREAM = {"content-type": "text/event-stream; charset=utf-8"}


def stream(*events: object, complete: bool = True) -> Response:
    lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
    return Response(200, STREAM, "".join(f"data: {line}\n\n" for line in lines).encode(), complete)


def chunk(text: str) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {"content": text}}]}


def test_text_of_a_good_stream() -> None:
    heard = heard_of(stream(chunk("one "), chunk("two"), "[DONE]"), 1.5)
    assert (heard.text, heard.done, heard.whole, heard.seconds) == ("one two", True, True, 1.5)
    assert (heard.error, heard.unreadable, heard.without_choices) == (None, 0, 0)


@pytest.mark.parametrize("error", [{"message": "it  broke", "type": "x"}, "it broke"])
def test_an_error_event_is_told_and_is_no_chunk_without_choices(error: object) -> None:
    heard = heard_of(stream(chunk("one"), {"error": error}))
    assert (heard.text, heard.error, heard.without_choices) == ("one", "it broke", 0)


def test_what_is_not_json_is_counted() -> None:
    heard = heard_of(stream(chunk("one"), '{"choices": [', "[DONE]"))
    assert (heard.text, heard.unreadable, heard.done) == ("one", 1, True)


def test_a_usage_chunk_is_one_without_choices() -> None:
    assert heard_of(stream(chunk("one"), {"choices": [], "usage": {}}, "[DONE]")).without_choices == 1


def test_a_stream_that_broke_off_is_not_whole() -> None:
    assert not heard_of(stream(chunk("one"), complete=False)).whole


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"error": {"message": "no room", "type": "x"}}', "no room"),
        (b'{"status": "failure", "message": "no room"}', "no room"),
        (b"<h1>no room</h1>", "<h1>no room</h1>"),
        (b"", ""),
    ],
)
def test_a_refusal_is_told_whatever_its_form(body: bytes, told: str) -> None:
    heard = heard_of(Response(500, {"content-type": "application/json"}, body, True))
    assert (heard.refused, heard.error) == (True, told)


def test_a_whole_answer() -> None:
    body = json.dumps({"choices": [{"message": {"content": "hello"}}]}).encode()
    heard = heard_of(Response(200, {"content-type": "application/json"}, body, True))
    assert (heard.text, heard.refused, heard.done) == ("hello", False, False)


def test_no_answer_at_all() -> None:
    heard = heard_of(Response(failure="silent"))
    assert (heard.status, heard.silent, heard.whole) == (0, True, False)
