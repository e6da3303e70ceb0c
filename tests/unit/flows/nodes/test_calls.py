"""Nodes that reach outside: addresses, databases, code, messages, guardrails."""

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from polyforge.flows.document import Interface
from polyforge.flows.running.contract import HttpAnswer, SqlTable, Verdict
from polyforge.kernel.errors import Invalid, NotFound, UpstreamFailed, UpstreamRefused
from tests.support.node_calls import Bench, kind_of

URL = "https://api.example.com/users/{{id}}?q={{q}}"


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_an_address_is_called_with_what_is_put_into_it(bench: Bench) -> None:
    headers = {"X-Say": "{{q}}", "X-Key": {"$secret": "token"}}
    params = {"url": URL, "method": "PUT", "headers": headers, "bearer": {"$secret": "token"}, "max_bytes": 99}
    found = await bench.run("http.request", params, id="a/b?c#d", q="x&y z", body={"n": 1})
    method, url, sent, body, most = bench.facilities.requests[0]
    assert (method, most) == ("PUT", 99)
    assert url == "https://api.example.com/users/a%2Fb%3Fc%23d?q=x%26y%20z"
    assert sent == {
        "idempotency-key": "key-1",
        "x-say": "x&y z",
        "x-key": "s3cret",
        "authorization": "Bearer s3cret",
        "content-type": "application/json",
    }
    assert json.loads(body or b"") == {"n": 1}
    assert found == {
        "status": 200, "headers": {"content-type": "application/json"}, "text": '{"a": 1}', "body": {"a": 1},
    }  # fmt: skip


async def test_an_answer_that_is_no_json_has_no_body(bench: Bench) -> None:
    bench.facilities.answer = HttpAnswer(200, {"content-type": "text/plain; charset=latin-1"}, b"\xe9")
    found = await bench.run("http.request", {"url": "https://a.example.com/", "text": "raw"})
    assert found["text"] == "é"
    assert "body" not in found
    assert bench.facilities.requests[0][3] == b"raw"
    bench.facilities.answer = HttpAnswer(200, {"content-type": "text/plain; charset=nonsense"}, b"ok")
    assert (await bench.run("http.request", {"url": "https://a.example.com/"}))["text"] == "ok"


@pytest.mark.parametrize("charset", ["punycode", "idna", "undefined", "utf-7", "zlib", "unicode_escape", "a\0b"])
async def test_a_server_names_an_encoding_of_texts_or_none(bench: Bench, charset: str) -> None:
    """What else Python knows fails on some bytes, or takes the square of their length and holds up everything."""
    bench.facilities.answer = HttpAnswer(200, {"content-type": f"text/plain; charset={charset}"}, b"a-+AGE-\\x41")
    assert (await bench.run("http.request", {"url": "https://a.example.com/"}))["text"] == "a-+AGE-\\x41"


@pytest.mark.parametrize("charset", ["Shift_JIS", "'windows-1252'", "UTF-16LE", "gb2312", "iso-8859-15"])
async def test_answers_in_usual_encodings_are_read(bench: Bench, charset: str) -> None:
    data = "a b".encode(charset.strip("'"))
    bench.facilities.answer = HttpAnswer(200, {"content-type": f"text/plain; charset={charset}; x=y"}, data)
    assert (await bench.run("http.request", {"url": "https://a.example.com/"}))["text"] == "a b"


async def test_a_status_is_an_error_unless_it_is_accepted(bench: Bench) -> None:
    params: dict[str, Any] = {"url": "https://a.example.com/"}
    for status, error in ((404, UpstreamRefused), (500, UpstreamFailed), (429, UpstreamFailed), (302, UpstreamRefused)):
        bench.facilities.answer = HttpAnswer(status, {"retry-after": "7"}, b"secret words")
        with pytest.raises(error, match=f"a.example.com answered {status}") as caught:
            await bench.run("http.request", params)
        assert "secret" not in caught.value.message
    assert (await bench.run("http.request", {**params, "accept": [302]}))["status"] == 302
    bench.facilities.answer = HttpAnswer(503, {"retry-after": "7"}, b"")
    with pytest.raises(UpstreamFailed) as later:
        await bench.run("http.request", params)
    assert later.value.retry_after == 7


@given(st.text(max_size=30), st.text(max_size=30))
@example("../../admin", "&admin=1#")
@example("a@evil.example.com", "\\")
async def test_whatever_is_put_in_the_call_goes_where_the_flow_says(id_: str, q: str) -> None:
    bench = Bench()
    try:
        await bench.run("http.request", {"url": URL}, id=id_, q=q)
    except Invalid:
        assert id_ in (".", "..") or q in (".", "..")
        return
    parts = urlsplit(bench.facilities.requests[0][1])
    assert (parts.scheme, parts.netloc, parts.fragment) == ("https", "api.example.com", "")
    assert parts.path.count("/") == 2
    assert parse_qsl(parts.query, keep_blank_values=True) == [("q", q)]


@pytest.mark.parametrize(
    ("params", "inputs"),
    [
        ({"url": URL}, {"id": "..", "q": ""}),
        ({"url": "{{where}}/x"}, {"where": "ftp://a.example.com"}),
        ({"url": "{{where}}"}, {"where": "https://user:pass@a.example.com/"}),
        ({"url": "https://a.example.com/", "headers": {"X-A": "{{v}}"}}, {"v": "a\r\nX-B: c"}),
        ({"url": "https://a.example.com/", "headers": {"Host": "b.example.com"}}, {}),
        ({"url": "https://a.example.com/", "headers": {"Content-Length": "3"}}, {}),
    ],
)
async def test_what_would_lead_elsewhere_is_not_called(bench: Bench, params: Any, inputs: Any) -> None:
    with pytest.raises(Invalid):
        await bench.run("http.request", params, **inputs)
    assert bench.facilities.requests == []


@pytest.mark.parametrize(
    "secret", [{"bearer": {"$secret": "token"}}, {"headers": {"X-Say": "{{q}}", "X-Key": {"$secret": "token"}}}]
)
def test_a_secret_is_sent_only_to_a_host_that_is_written_out(secret: dict[str, Any]) -> None:
    kind = kind_of("http.request")
    for url in ("{{where}}", "{{where}}/x", " {{where}}"):
        with pytest.raises(ValueError, match="written out"):
            kind.ports({"url": url, **secret}, Interface())
        assert "where" in kind.ports({"url": url, "headers": {"X-Say": "{{q}}"}}, Interface()).inputs
    assert "id" in kind.ports({"url": URL, **secret}, Interface()).inputs


async def test_a_secret_that_is_not_there_is_not_sent(bench: Bench) -> None:
    with pytest.raises(NotFound):
        await bench.run("http.request", {"url": "https://a.example.com/", "bearer": {"$secret": "nope"}})
    assert bench.facilities.requests == []


async def test_rows_are_read(bench: Bench) -> None:
    params = {"connection": {"$ref": "connection:sales"}, "query": "SELECT :n", "inputs": {"n": "number"}}
    assert await bench.run("sql.query", params, n=1) == {"rows": [{"n": 1}], "count": 1}
    assert bench.facilities.queries == [("sales", "SELECT :n", {"n": 1}, 1_000)]
    bench.facilities.table = SqlTable([{"n": 1}], truncated=True)
    with pytest.raises(Invalid, match="more than 5 rows"):
        await bench.run("sql.query", {**params, "max_rows": 5}, n=1)


async def test_code_runs_with_its_inputs(bench: Bench) -> None:
    bench.facilities.left = [1]
    params = {"code": "result = [a]", "inputs": {"a": "number"}, "result": "list<number>", "memory_mb": 64}
    assert await bench.run("code.python", params, a=1) == {"result": [1]}
    code, inputs, limits = bench.facilities.code[0]
    assert (code, dict(inputs), limits.memory_bytes) == ("result = [a]", {"a": 1}, 64 << 20)
    with pytest.raises(Invalid, match="`result` is no text"):
        await bench.run("code.python", {**params, "result": "text"}, a=1)


async def test_messages_are_sent(bench: Bench) -> None:
    text = {"subject": "About {{w}}", "text": "See {{w}}"}
    found = await bench.run("notify.send", {"email": ["a@example.com"], **text}, w="x")
    assert found["sent_at"].endswith("Z")
    await bench.run("notify.send", {"slack": {"$secret": "hook"}, **text}, w="x")
    await bench.run("notify.send", {"webhook": "https://a.example.com/h", **text}, w="x")
    assert [each[:2] for each in bench.facilities.messages] == [
        ("email", ("a@example.com",)),
        ("slack", ("https://hooks.example.com/x",)),
        ("webhook", ("https://a.example.com/h",)),
    ]
    assert {each[2:] for each in bench.facilities.messages} == {("About x", "See x", "key-1")}


async def test_a_guardrail_judges(bench: Bench) -> None:
    params = {"guardrail": {"$ref": "guardrail:pii"}}
    bench.facilities.verdict = Verdict(passed=True, text="[masked]", kinds=("email",))
    assert await bench.run("guardrail.check", params, text="a@b.c") == {"passed": "[masked]"}
    bench.facilities.verdict = Verdict(passed=False, text="a@b.c", kinds=("email",))
    assert await bench.run("guardrail.check", params, text="a@b.c") == {"blocked": {"kinds": ["email"]}}
    assert bench.facilities.judged[0] == ("pii", "a@b.c", "input")
