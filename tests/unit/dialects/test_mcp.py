"""Messages of the Model Context Protocol as they are read, and what is refused."""

import json
from typing import Any

import pytest

from polyforge.dialects import mcp
from polyforge.dialects.mcp import McpError, Request, decode, encode_error, encode_result, status_of

ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
HEADERS = {b"mcp-protocol-version": b"2026-07-28", b"mcp-method": b"tools/list"}


def body(**fields: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **fields}).encode()


def refused(content: bytes, headers: dict[bytes, bytes] | None = None) -> McpError:
    with pytest.raises(McpError) as caught:
        decode(content, headers or {})
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"{", mcp.PARSE_ERROR),
        (b"\xff", mcp.PARSE_ERROR),
        (b"[]", mcp.INVALID_REQUEST),
        (b'[{"jsonrpc": "2.0", "id": 1, "method": "ping"}]', mcp.INVALID_REQUEST),
        (b'{"id": 1, "method": "ping"}', mcp.INVALID_REQUEST),
        (body(id=None, method="ping"), mcp.INVALID_REQUEST),
        (body(id=True, method="ping"), mcp.INVALID_REQUEST),
        (body(id="x" * 300, method="ping"), mcp.INVALID_REQUEST),
        (body(id=1), mcp.INVALID_REQUEST),
        (body(id=1, method=2), mcp.INVALID_REQUEST),
        (body(id=1, method="ping", params=[1]), mcp.INVALID_REQUEST),
    ],
)
def test_what_is_no_message_is_refused(content: bytes, code: int) -> None:
    assert refused(content).code == code


def test_notifications_and_answers_expect_nothing() -> None:
    assert not decode(body(method="notifications/initialized"), {}).expects_answer
    assert not decode(body(id=1, result={}), {}).expects_answer
    assert decode(body(id=0, method="ping"), {}).expects_answer


@pytest.mark.parametrize(
    ("asked", "given"), [("2025-06-18", "2025-06-18"), ("2030-01-01", "2025-11-25"), (7, "2025-11-25")]
)
def test_a_handshake_agrees_on_a_revision(asked: object, given: str) -> None:
    request = decode(body(id=1, method="initialize", params={"protocolVersion": asked}), {})
    assert mcp.initialized(request, "1", "")["protocolVersion"] == given


def test_who_says_nothing_is_of_the_oldest_revision() -> None:
    assert decode(body(id=1, method="ping"), {}).version == "2025-03-26"


def test_a_revision_that_nobody_knows_is_refused() -> None:
    error = refused(body(id=1, method="ping"), {b"mcp-protocol-version": b"1999-01-01"})
    assert (error.code, error.data["requested"]) == (mcp.UNSUPPORTED_VERSION, "1999-01-01")


def test_an_envelope_says_what_its_headers_say() -> None:
    request = decode(body(id=1, method="tools/list", params={"_meta": ENVELOPE}), HEADERS)
    assert request.enveloped
    told = json.loads(encode_result(request, {}, "1"))["result"]
    assert told["resultType"] == "complete"
    wrong = HEADERS | {b"mcp-method": b"tools/call"}
    assert refused(body(id=1, method="tools/list", params={"_meta": ENVELOPE}), wrong).code == mcp.HEADER_MISMATCH
    assert refused(body(id=1, method="tools/list"), HEADERS).code == mcp.INVALID_PARAMS
    later = ENVELOPE | {"io.modelcontextprotocol/protocolVersion": "2031-01-01"}
    headers = HEADERS | {b"mcp-protocol-version": b"2031-01-01"}
    error = refused(body(id=1, method="tools/list", params={"_meta": later}), headers)
    assert (error.code, error.id) == (mcp.UNSUPPORTED_VERSION, 1)


def test_a_name_that_no_header_holds_comes_in_base64() -> None:
    headers = HEADERS | {b"mcp-method": b"tools/call", b"mcp-name": b"=?base64?w6Q=?="}
    content = body(id=1, method="tools/call", params={"name": "ä", "_meta": ENVELOPE})
    assert decode(content, headers).params["name"] == "ä"
    for wrong in (b"=?base64?w6?=", b"=?base64?/w==?=", b"a"):
        assert refused(content, headers | {b"mcp-name": wrong}).code == mcp.HEADER_MISMATCH


def test_statuses_are_for_newer_clients() -> None:
    error = McpError(mcp.METHOD_NOT_FOUND, "no", id=3)
    old, new = Request(3, "x", {}, "2025-06-18"), Request(3, "x", {}, "2026-07-28")
    assert (status_of(error, old), status_of(error, new)) == (200, 404)
    assert json.loads(encode_error(error)) == {"jsonrpc": "2.0", "id": 3, "error": {"code": -32601, "message": "no"}}
