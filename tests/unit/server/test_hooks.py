"""Calls from outside that begin runs: what is taken of them, and what is answered."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from polyforge.flows.triggers.firing import MAX_BODY_BYTES
from polyforge.flows.triggers.records import Fired
from polyforge.kernel.errors import Invalid, MethodNotAllowed, TooLarge
from polyforge.server.hooks import Hooks


class Firings:
    """Notes what was delivered."""

    def __init__(self) -> None:
        self.delivered_: list[tuple[str, Mapping[str, str], bytes]] = []

    async def delivered(self, trigger_id: str, headers: Mapping[str, str], body: bytes, address: str) -> Fired:
        assert address == "192.0.2.7"
        self.delivered_.append((trigger_id, headers, body))
        return Fired("run_1", repeated=False)


async def call(firings: Any, *parts: bytes, method: str = "POST", headers: Any = ()) -> tuple[int, Any]:
    waiting = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    waiting.append({"type": "http.request", "body": b"", "more_body": False})
    sent: list[Any] = []

    async def receive() -> Any:
        return waiting.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {"path": "/hooks/trig_1", "method": method, "headers": list(headers)}
    await Hooks(firings, lambda _: "192.0.2.7").answer(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


async def test_a_delivery_is_answered_with_its_run() -> None:
    firings = Firings()
    headers = [(b"webhook-id", b"d1"), (b"x-odd", b"\xe9"), (b"webhook-id", b"d2")]
    assert await call(firings, b'{"a"', b": 1}", headers=headers) == (202, {"run_id": "run_1", "repeated": False})
    assert firings.delivered_ == [("trig_1", {"webhook-id": "d1", "x-odd": "é"}, b'{"a": 1}')]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
async def test_only_post_is_taken(method: str) -> None:
    with pytest.raises(MethodNotAllowed):
        await call(Firings(), method=method)


async def test_a_body_is_bounded_whether_its_length_is_told_or_not() -> None:
    firings = Firings()
    length = str(MAX_BODY_BYTES + 1).encode()
    with pytest.raises(TooLarge):
        await call(firings, headers=[(b"content-length", length)])
    with pytest.raises(TooLarge):
        await call(firings, b"x" * MAX_BODY_BYTES, b"x")
    with pytest.raises(Invalid):
        await call(firings, headers=[(b"content-length", b"many")])
    assert firings.delivered_ == []
    assert (await call(firings, b"x" * MAX_BODY_BYTES))[0] == 202
