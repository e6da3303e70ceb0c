"""What makes two requests one, and what is kept of an answer."""

import json
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from polyforge.gateway.caching.keys import canonical, exact_key, model_prefix, project_prefix
from polyforge.gateway.recorded import decode_recorded, encode_recorded, record_reply
from polyforge.gateway.routing import Wish
from polyforge.kernel.tasks import EmbeddingResult, InferenceRequest
from polyforge.kernel.usage import Usage
from polyforge.ports.provider import Reply
from polyforge.registry.caching import CacheRules, ModelCacheSettings, rules_of

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def rules(tag: bytes = b"t", **settings: Any) -> CacheRules:
    found = rules_of(ModelCacheSettings(**settings), tag)
    assert found is not None
    return found


def job(body: bytes = json.dumps(BODY).encode(), **changes: Any) -> Any:
    about: dict[str, Any] = {"project": "P1", "key": "K1", "model": "m", "headers": {}, "wish": None, **changes}
    request = InferenceRequest(about.get("task", "chat"), about.get("dialect", "openai"), about["model"], body)
    caller = SimpleNamespace(project_id=about["project"], key_id=about["key"])
    return SimpleNamespace(request=request, caller=caller, headers=about["headers"], wish=about["wish"])


def key(
    path: str = "/p", with_rules: CacheRules | None = None, body: bytes | None = None, **changes: Any
) -> str | None:
    made = job(**changes) if body is None else job(body, **changes)
    return exact_key(made, with_rules or rules(), path)


def test_a_key_begins_with_its_project_and_its_model() -> None:
    made = key()
    assert made is not None
    assert made.startswith(model_prefix("P1", "m"))
    assert made.startswith(project_prefix("P1"))
    assert not model_prefix("P1", "m/x").startswith(model_prefix("P1", "m"))


def test_whatever_can_change_an_answer_changes_the_key() -> None:
    keys = [
        key(),
        key(project="P2"),
        key(model="n"),
        key("/other"),
        key(task="completion"),
        key(dialect="anthropic"),
        key(with_rules=rules(b"other deployments")),
        key(with_rules=rules(partition="key")),
        key(with_rules=rules(partition="key"), key="K2"),
        key(headers={"anthropic-beta": "x"}),
        key(wish=Wish(region="eu")),
        key(wish=Wish(tags=frozenset({"a", "b"}))),
        key(body=json.dumps({**BODY, "temperature": 0}).encode()),
    ]
    assert None not in keys
    assert len(set(keys)) == len(keys)


def test_what_changes_no_answer_changes_no_key() -> None:
    same = {
        "user": "ann",
        "stream": True,
        "stream_options": {},
        "metadata": {},
        "store": True,
        "safety_identifier": "s",
    }
    spaced = json.dumps({**same, **BODY}, indent=2).encode()
    assert key() == key(body=spaced) == key(key="K2") == key(headers={"traceparent": "00-1"})
    assert key(wish=Wish(tags=frozenset({"a", "b"}))) == key(wish=Wish(tags=frozenset({"b", "a"})))


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"a":1e999}', b"--", b"--x\r\n"])
def test_what_cannot_be_compared_has_no_key(body: bytes) -> None:
    assert key(body=body) is None


def form(boundary: str, **fields: str) -> bytes:
    parts = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    return f"{parts}--{boundary}--\r\n".encode()


def test_forms_are_compared_by_their_fields() -> None:
    one = key(body=form("first", model="m", file="sound"))
    assert one is not None
    assert one == key(body=form("second", model="n", file="sound", stream="true"))
    assert one != key(body=form("first", model="m", file="other sound"))
    assert canonical(form("a", stream="true")) != canonical(form("a", stream="false"))


def test_numbers_are_compared_to_the_last_digit() -> None:
    assert canonical(b'{"seed":36893488147419103232}') != canonical(b'{"seed":36893488147419103233}')


@pytest.mark.parametrize(
    "data", [b"", b"\x90", b"\xc1", msgspec.msgpack.encode(["body"]), msgspec.msgpack.encode({"a": 1})]
)
def test_what_another_version_kept_is_not_there(data: bytes) -> None:
    assert decode_recorded(data) is None


def test_vectors_are_kept_as_they_are() -> None:
    request = InferenceRequest("embedding", "openai", "m", b"{}")
    reply = Reply(None, result=EmbeddingResult(memoryview(bytes(24)), 2, 3, Usage(input=4)))
    recorded = record_reply(request, reply, 1.0, 100)
    assert recorded is not None
    again = decode_recorded(encode_recorded(recorded))
    assert again is not None
    given = again.reply(request)
    assert given is not None
    assert isinstance(given.result, EmbeddingResult)
    assert (bytes(given.result.data), given.result.rows, given.result.dimensions) == (bytes(24), 2, 3)
    assert record_reply(request, reply, 1.0, 23) is None
