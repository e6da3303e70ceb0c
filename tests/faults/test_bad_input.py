"""Input that is wrong in every way that comes to mind: a 4xx in the caller's dialect, with the field; never a 500."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.faults.conftest import CHAT
from tests.support.behaviours import Answer
from tests.support.clients import RawCall, Response, chat, request_bytes
from tests.support.server import Key, Polyforge
from tests.support.settings import Pool
from tests.support.upstream import Upstream

COMPLETIONS = "/v1/completions"
EMBEDDINGS = "/v1/embeddings"
RESPONSES = "/v1/responses"
LOCAL = "polyforge/static-minilm"
GOOD: dict[str, dict[str, Any]] = {
    CHAT: chat("assistant"),
    COMPLETIONS: {"model": "scribe", "prompt": "Once"},
    EMBEDDINGS: {"model": LOCAL, "input": "hello"},
    RESPONSES: {"model": "assistant", "input": "hello"},
}
LIMIT_BYTES = 32 * 1024 * 1024
ULID_LENGTH = 26
SHOWN = 40
DEEP = 100_000


def short(value: object) -> str:
    """A name for a parameter of any length."""
    return str(value)[:SHOWN]


@pytest.fixture(scope="module")
def key(house: Polyforge) -> Key:
    return house.create_key()


@pytest.fixture(autouse=True)
def still_alive(house: Polyforge, key: Key) -> Iterator[None]:
    """Whatever came, the same processes go on answering."""
    before = house.pids("gateway"), house.pids("models")
    yield
    assert house.call(EMBEDDINGS, key=key.key, json=GOOD[EMBEDDINGS]).status == 200
    assert (house.pids("gateway"), house.pids("models")) == before


def assert_says_what_is_wrong(response: Response, status: int | None = None, param: str | None = None) -> None:
    """A 4xx in OpenAI's envelope."""
    assert 400 <= response.status < 500, response
    assert status is None or response.status == status, response
    assert len(response.headers["x-request-id"]) == ULID_LENGTH
    assert response.headers["content-type"].startswith("application/json")
    error = response.error
    assert error.keys() >= {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert error["message"]
    assert error["code"] is None or isinstance(error["code"], str)
    assert error["code"] != "None"
    if param is not None:
        assert error["param"] == param, error
        assert param.split("[")[0].split(".")[0] in error["message"]


def body_of(path: str, **change: Any) -> bytes:
    return json.dumps({**GOOD[path], **change}).encode()


# Bodies that are no JSON objects


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda good: b"",
    "blank": lambda good: b"   \n",
    "cut short": lambda good: good[:-5],
    "with a tail": lambda good: good + b"}",
    "two values": lambda good: good + good,
    "a list": lambda good: b"[" + good + b"]",
    "a text": lambda good: json.dumps(good.decode()).encode(),
    "null": lambda good: b"null",
    "a number": lambda good: b"42",
    "single quotes": lambda good: good.replace(b'"', b"'"),
    "a comment": lambda good: b"/* hi */" + good,
    "a trailing comma": lambda good: good[:-1] + b",}",
    "NaN": lambda good: good[:-1] + b', "temperature": NaN}',
    "Infinity": lambda good: good[:-1] + b', "max_tokens": Infinity}',
    "a raw control character": lambda good: good.replace(b'"model"', b'"mo\x01del"'),
    "NUL": lambda good: good + b"\0",
    "UTF-16": lambda good: good.decode().encode("utf-16"),
    "a form": lambda good: b"model=assistant&messages=hello",
    "compressed rubbish": lambda good: bytes(range(256)) * 4,
    "nested lists": lambda good: b"[" * DEEP,
    "nested objects": lambda good: b'{"a":' * DEEP,
}


@pytest.mark.parametrize("path", GOOD)
@pytest.mark.parametrize("how", BROKEN)
def test_what_is_no_json_object(house: Polyforge, key: Key, path: str, how: str) -> None:
    body = BROKEN[how](json.dumps(GOOD[path]).encode())
    assert_says_what_is_wrong(house.call(path, key=key.key, body=body), 400)


@pytest.mark.parametrize(("path", "field"), [(CHAT, "messages"), (COMPLETIONS, "prompt"), (EMBEDDINGS, "input")])
@pytest.mark.parametrize("inner", [b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"ok\xe2\x82"])
def test_bad_utf8(house: Polyforge, key: Key, path: str, field: str, inner: bytes) -> None:
    good = json.dumps(GOOD[path] | ({"messages": [{"role": "user", "content": "@"}]} if path == CHAT else {field: "@"}))
    assert_says_what_is_wrong(house.call(path, key=key.key, body=good.encode().replace(b"@", inner)), 400)


# Fields of the wrong type or size

HUGE = 10**30
WRONG: list[tuple[str, str, Any, str]] = [
    *[
        (path, "model", value, "model")
        for path in GOOD
        for value in (None, 7, [], {}, True, "", " ", "a b", "x" * 10_000)
    ],
    *[(CHAT, "messages", value, "messages") for value in (None, "hello", 7, {}, [], True)],
    *[(CHAT, "messages", [value], "messages[0]") for value in (None, "hello", 7, [])],
    (CHAT, "messages", [{}], "messages[0].role"),
    (CHAT, "messages", [{"role": 7, "content": "x"}], "messages[0].role"),
    (CHAT, "messages", [{"role": "user", "content": 7}], "messages[0].content"),
    (CHAT, "messages", [{"role": "user", "content": {"text": "x"}}], "messages[0].content"),
    (CHAT, "messages", [{"role": "user", "content": ["x"]}], "messages[0].content[0]"),
    (CHAT, "messages", [{"role": "user", "content": [{"type": 7}]}], "messages[0].content[0].type"),
    (CHAT, "messages", [{"role": "user", "content": "x"}, {"role": "tool", "tool_calls": 7}], "messages[1].tool_calls"),
    *[
        (path, "max_tokens", value, "max_tokens")
        for path in (CHAT, COMPLETIONS)
        for value in ("7", 1.5, -1, 0, True, [], HUGE)
    ],
    *[(CHAT, "max_completion_tokens", value, "max_completion_tokens") for value in ("7", 1.5, -1, 0, HUGE)],
    *[(path, "n", value, "n") for path in (CHAT, COMPLETIONS) for value in ("1", 0, -1, 129, 1.5, HUGE)],
    *[(path, "stream", value, "stream") for path in (CHAT, COMPLETIONS) for value in ("yes", 1, [], {})],
    *[(CHAT, "stream_options", value, "stream_options") for value in (True, "usage", [], 7)],
    (CHAT, "stream_options", {"include_usage": True}, "stream_options"),
    *[(CHAT, "tools", value, "tools") for value in ("weather", 7, {})],
    *[(COMPLETIONS, "prompt", value, "prompt") for value in (None, 7, {}, [])],
    (COMPLETIONS, "prompt", ["fine", 7], "prompt[1]"),
    (COMPLETIONS, "best_of", "2", "best_of"),
    *[(EMBEDDINGS, "input", value, "input") for value in (None, 7, {}, [])],
    (EMBEDDINGS, "input", ["fine", None], "input[1]"),
    (EMBEDDINGS, "input", ["fine", ["nested"]], "input[1]"),
    *[(EMBEDDINGS, "encoding_format", value, "encoding_format") for value in ("int8", 7, [], "FLOAT")],
    *[(EMBEDDINGS, "dimensions", value, "dimensions") for value in ("64", 0, -1, 1.5, HUGE, 10**9)],
]


@pytest.mark.parametrize(("path", "field", "value", "param"), WRONG, ids=short)
def test_wrong_fields_are_named(house: Polyforge, key: Key, path: str, field: str, value: Any, param: str) -> None:
    response = house.call(path, key=key.key, body=body_of(path, **{field: value}))
    assert_says_what_is_wrong(response, 400, param)


@pytest.mark.parametrize(("path", "field"), [(path, field) for path, good in GOOD.items() for field in good])
def test_missing_fields_are_named(house: Polyforge, key: Key, path: str, field: str) -> None:
    rest = {name: value for name, value in GOOD[path].items() if name != field}
    assert_says_what_is_wrong(house.call(path, key=key.key, json=rest), 400, field)


def test_stream_options_are_read_where_streaming(house: Polyforge, key: Key) -> None:
    body = body_of(CHAT, stream=True, stream_options={"include_usage": "yes"})
    assert_says_what_is_wrong(house.call(CHAT, key=key.key, body=body), 400, "stream_options.include_usage")


@pytest.mark.parametrize("path", GOOD)
def test_unknown_models(house: Polyforge, key: Key, path: str) -> None:
    response = house.call(path, key=key.key, body=body_of(path, model="no-such-model"))
    assert_says_what_is_wrong(response, 404, "model")
    assert response.error["code"] == "model_not_found"


@pytest.mark.parametrize(("path", "model"), [(CHAT, LOCAL), (EMBEDDINGS, "assistant"), (COMPLETIONS, "vectors")])
def test_models_of_another_task(house: Polyforge, key: Key, path: str, model: str) -> None:
    assert_says_what_is_wrong(house.call(path, key=key.key, body=body_of(path, model=model)), 400, "model")


@pytest.mark.parametrize(
    "name",
    [
        "a\r\nx-evil: 1",
        "a\nb",
        "a\0b",
        "\u2028",
        "../../etc/passwd",
        "lab/../x",
        "lab/",
        "lab/%0d%0a",
        "😀",
        "'; DROP TABLE x",
        "lab/*",
    ],
)
def test_names_of_models_are_only_names(house: Polyforge, key: Key, upstream: Upstream, name: str) -> None:
    response = house.call(CHAT, key=key.key, body=body_of(CHAT, model=name))
    assert response.status in (200, 400, 404)
    assert "x-evil" not in response.headers
    if response.status != 200:
        assert_says_what_is_wrong(response, None, "model")


# Odd bodies that are nevertheless JSON: taken or refused, but not fallen over


def test_duplicate_fields_mean_the_same_to_us_and_to_the_upstream(
    house: Polyforge, key: Key, upstream: Upstream, pool: Pool
) -> None:
    model = pool.solo()
    upstream.script(model, Answer())
    body = (
        b'{"model":"%b","max_tokens":1,"messages":[{"role":"user","content":"x"}],"model":"assistant"}' % model.encode()
    )
    response = house.call(CHAT, key=key.key, body=body)
    assert response.status in (200, 400)
    for request in upstream.requests(model) + upstream.requests("assistant"):
        assert request.body.count(b'"model"') == 1


ODD: dict[str, bytes] = {
    "a lone surrogate": b'{"model":"assistant","messages":[{"role":"user","content":"\\ud800"}]}',
    "a lone surrogate in a key": b'{"model":"assistant","messages":[{"role":"user","content":"x"}],"\\udfff":1}',
    "NUL in a text": b'{"model":"assistant","messages":[{"role":"user","content":"a\\u0000b"}]}',
    "a byte order mark": b'\xef\xbb\xbf{"model":"assistant","messages":[{"role":"user","content":"x"}]}',
    "a deep unknown field": b'{"model":"assistant","messages":[{"role":"user","content":"x"}],"x":'
    + b"[" * DEEP
    + b"]" * DEEP
    + b"}",
    "a number without end": b'{"model":"assistant","messages":[{"role":"user","content":"x"}],"x":'
    + b"9" * 200_000
    + b"}",
    "a huge exponent": b'{"model":"assistant","messages":[{"role":"user","content":"x"}],"temperature":1e999}',
    "many keys": json.dumps(chat("assistant") | {f"x{n}": n for n in range(50_000)}).encode(),
    "many messages": json.dumps(chat("assistant") | {"messages": [{"role": "user", "content": "x"}] * 50_000}).encode(),
    "much white space": b" " * 1_000_000 + json.dumps(chat("assistant")).encode(),
    "many choices": json.dumps(chat("assistant", n=128, max_tokens=2**31)).encode(),
}


@pytest.mark.parametrize("how", ODD)
@pytest.mark.parametrize("limited", [False, True], ids=["no limits", "limits"])
def test_odd_bodies_are_taken_or_refused(house: Polyforge, key: Key, how: str, limited: bool) -> None:
    who = house.create_key(budget_usd=1000, rpm=1000, tpm=10**9) if limited else key
    response = house.call(CHAT, key=who.key, body=ODD[how])
    assert response.status == 200 or 400 <= response.status < 500, response


# Sizes and framing


@pytest.mark.parametrize("path", GOOD)
def test_a_body_that_says_it_is_too_long(house: Polyforge, key: Key, path: str) -> None:
    response = house.call(path, key=key.key, body=b"{", headers={"content-length": str(10**12)})
    assert_says_what_is_wrong(response, 413)


def test_a_body_that_is_too_long(house: Polyforge, key: Key) -> None:
    body = body_of(CHAT, padding="A" * LIMIT_BYTES)
    assert_says_what_is_wrong(house.call(CHAT, key=key.key, body=body), 413)


def test_a_body_that_grows_too_long(house: Polyforge, key: Key) -> None:
    head = {"transfer-encoding": "chunked", "content-length": ""}
    request = request_bytes("POST", CHAT, key=key.key, body=b"", headers=head)
    chunk = b"100000\r\n" + b"A" * 0x100000 + b"\r\n"
    with RawCall(house.url, request + chunk * 34 + b"0\r\n\r\n") as one:
        assert_says_what_is_wrong(one.read_all(), 413)


def test_a_chunked_body_is_as_good_as_any(house: Polyforge, key: Key) -> None:
    body = body_of(CHAT)
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    head = {"transfer-encoding": "chunked", "content-length": ""}
    with RawCall(house.url, request_bytes("POST", CHAT, key=key.key, body=b"", headers=head) + chunks) as one:
        assert one.read_all().status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"content-length": "abc"},
        {"content-length": "-1"},
        {"content-length": "1e3"},
        {"content-length": "10, 20"},
        {"transfer-encoding": "chunked", "content-length": "5"},
        {"transfer-encoding": "gzip, chunked, nonsense", "content-length": ""},
        {"x-long": "A" * 200_000},
        {"bad header": "x"},
        {"x-null": "a\0b"},
    ],
    ids=short,
)
def test_broken_framing_is_refused(house: Polyforge, key: Key, headers: dict[str, str]) -> None:
    request = request_bytes("POST", CHAT, key=key.key, body=body_of(CHAT), headers=headers)
    with RawCall(house.url, request) as one:
        response = one.read_all()
    assert 400 <= response.status < 500 or response.failure == "closed", response


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00\x01\x00", b"GARBAGE\r\n\r\n", b"GET\r\n\r\n", b"\0" * 1000])
def test_what_is_no_http(house: Polyforge, garbage: bytes) -> None:
    with RawCall(house.url, garbage) as one:
        response = one.read_all()
    assert 400 <= response.status < 500 or response.failure in ("closed", "not HTTP")


# Headers, keys, verbs, paths


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "", "multipart/form-data", "x/y; z"]
)
def test_content_types_are_no_reason_to_fall_over(house: Polyforge, key: Key, content_type: str) -> None:
    response = house.call(CHAT, key=key.key, body=body_of(CHAT), headers={"content-type": content_type})
    assert response.status == 200 or 400 <= response.status < 500


@pytest.mark.parametrize(
    "given",
    ["evil\tid", 'x"}\\n{"injected": true', "A" * 10_000, "\x7f\x80\xff", "01ARZ3NDEKTSV4RRFFQ69G5FAV"],
    ids=short,
)
def test_request_ids_are_our_own(house: Polyforge, key: Key, given: str) -> None:
    response = house.call(CHAT, key=key.key, body=body_of(CHAT), headers={"x-request-id": given})
    assert response.status == 200 or 400 <= response.status < 500
    if response.status == 200:
        assert len(response.request_id) == ULID_LENGTH
        assert response.request_id != given


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer  ",
        "Basic dXNlcjpwYXNz",
        "pf-" + "A" * 43,
        "Bearer pf-" + "A" * 43,
        "Bearer pf-" + "A" * 100_000,
        "Bearer \x80\xff\xfe",
        "Bearer pf-' OR 1=1 --",
        "Bearer null",
        "Digest username=x",
        "Bearer a b c",
    ],
    ids=short,
)
@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/api/v1/keys", "/api/v1/usage"])
def test_who_shows_no_good_key_is_nobody(house: Polyforge, path: str, authorization: str) -> None:
    method = "POST" if path == CHAT else "GET"
    response = house.call(path, method=method, body=b"", headers={"authorization": authorization})
    if len(authorization) > 50_000:
        assert 400 <= response.status < 500 or response.failure == "closed"
        return
    assert response.status == 401, response
    message = response.error["message"] if path.startswith("/v1/") else response.json["detail"]
    assert message
    assert len(authorization) < 10 or authorization.split(" ", 1)[-1] not in message


def test_nobody_learns_which_models_there_are(house: Polyforge) -> None:
    answers = {
        house.call(CHAT, key="pf-nobody", json=chat(model)).error["message"] for model in ("assistant", "unknown")
    }
    assert len(answers) == 1


@pytest.mark.parametrize("path", [*GOOD, "/v1/models"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "POST"])
def test_wrong_verbs(house: Polyforge, key: Key, path: str, method: str) -> None:
    if (method == "GET") == (path == "/v1/models") and method in ("GET", "POST"):
        return
    response = house.call(path, method=method, key=key.key, body=b"")
    assert_says_what_is_wrong(response, 405)
    assert response.headers["allow"]
    assert response.error["param"] is None


@pytest.mark.parametrize(
    "path",
    [
        "/v1",
        "/v1/",
        "/v1/nothing",
        "/v1/chat",
        "/v1/chat/completions/",
        "/v1//chat/completions",
        "/v1/%00",
        "/v1/models/a%0d%0ab",
    ],
)
def test_unknown_paths_in_openai_dialect(house: Polyforge, key: Key, path: str) -> None:
    assert_says_what_is_wrong(house.call(path, key=key.key, json={}, method="GET"), 404)


@pytest.mark.parametrize(
    "path", ["/nothing", "/api/v1/nothing", "/api/v2", "/api/v1/keys/nobody", "/../etc/passwd", "/%ff"]
)
def test_unknown_paths_elsewhere_are_problems(house: Polyforge, path: str) -> None:
    response = house.call(path, key=house.admin_key, method="GET")
    assert response.status == 404, response
    assert response.headers["content-type"].startswith("application/problem+json")
    assert response.json["status"] == 404


# The management API


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"name": None}, "name"),
        ({"name": 7}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 10_000}, "name"),
        ({"scopes": "inference"}, "scopes"),
        ({"scopes": ["fly"]}, "scopes"),
        ({"models": "assistant"}, "models"),
        ({"models": [7]}, "models"),
        ({"budget_usd": "much"}, "budget_usd"),
        ({"budget_usd": -1}, "budget_usd"),
        ({"budget_usd": 10**40}, "budget_usd"),
        ({"budget_period": "fortnight"}, "budget_period"),
        ({"rpm": 0}, "rpm"),
        ({"rpm": -5}, "rpm"),
        ({"rpm": HUGE}, "rpm"),
        ({"rpm": 1.5}, "rpm"),
        ({"tpm": "x"}, "tpm"),
        ({"concurrency": 0}, "concurrency"),
        ({"expires_at": "yesterday-ish"}, "expires_at"),
        ({"bugdet_usd": 5}, "bugdet_usd"),
    ],
    ids=short,
)
def test_wrong_keys_are_not_made(house: Polyforge, change: dict[str, Any], param: str) -> None:
    response = house.api("POST", "/keys", {"name": "ok", **change})
    assert response.status in (400, 422), response
    assert response.headers["content-type"].startswith("application/problem+json")
    assert (response.json["param"] or "").split(".")[0] == param
    assert param in response.json["detail"]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"{", b"\xff", b'{"name": "\\ud800"}', b'{"name": "a\\u0000b"}', b"[" * DEEP]
)
def test_bodies_of_the_management_api(house: Polyforge, body: bytes) -> None:
    response = house.call("/api/v1/keys", key=house.admin_key, body=body)
    assert response.status == 201 or 400 <= response.status < 500, response


@pytest.mark.parametrize(
    "query", ["group_by=nothing", "since=x", "until=-1", "group_by=key&group_by=key", "since=1e400", "%ff=%00"]
)
def test_queries_of_the_management_api(house: Polyforge, query: str) -> None:
    response = house.call(f"/api/v1/usage?{query}", key=house.admin_key, method="GET")
    assert response.status == 200 or 400 <= response.status < 500, response
