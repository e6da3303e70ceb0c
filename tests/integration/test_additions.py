"""Providers and models that are added over the API: tried, checked, taken by every worker, changed and removed."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.conftest import Serve
from tests.support.behaviours import Answer, Fail, Gate
from tests.support.clients import RawCall, Response, chat, request_bytes
from tests.support.server import Key, Polyforge
from tests.support.settings import PER_CALL, solo
from tests.support.upstream import MODELS, Upstream
from tests.support.waiting import eventually

CHAT = "/v1/chat/completions"
OLD_KEY = "added-key-one-1234567890"
NEW_KEY = "added-key-two-1234567890"
PRIVATE = "http://10.255.255.1:9/v1"
KEPT = "secret:providers.added.api_key"


@pytest.fixture(scope="module")
def provider() -> Iterator[Upstream]:
    """A provider that takes one key."""
    server = Upstream(OLD_KEY).start()
    yield server
    server.stop()


def server_settings(provider: Upstream) -> dict[str, Any]:
    lab = {"use": "openai", "base_url": provider.url, "api_key": OLD_KEY}
    return {"providers": {"lab": lab}, "models": solo("steady"), "egress": {"allow": ["127.0.0.0/8"]}}


@pytest.fixture(scope="module")
def server(serve: Serve, provider: Upstream) -> Polyforge:
    """Two workers, a provider and a model in the file, and leave to call the provider from elsewhere than the file."""
    return serve(server_settings(provider), workers=2)


@pytest.fixture(scope="module")
def key(server: Polyforge) -> Key:
    return server.create_key(scopes=["inference", "models:read"])


@pytest.fixture(autouse=True)
def nothing_is_left(server: Polyforge) -> Iterator[None]:
    """Take away what a test added."""
    yield
    for each in listed(server, "/models/declarations"):
        if each["declared_in"] == "api":
            assert server.api("DELETE", f"/models/{each['name']}/declaration").status == 204
    for each in listed(server, "/providers"):
        if each["declared_in"] == "api":
            assert server.api("DELETE", f"/providers/{each['name']}").status == 204


def listed(server: Polyforge, path: str) -> list[dict[str, Any]]:
    return server.api("GET", path).json["data"]


def settings_of(provider: Upstream, **more: Any) -> dict[str, Any]:
    return {"base_url": provider.url, "api_key": OLD_KEY, **more}


def added(server: Polyforge, provider: Upstream, name: str = "added") -> dict[str, Any]:
    answer = server.api("POST", "/providers", {"name": name, "use": "openai", "settings": settings_of(provider)})
    assert answer.status == 201, answer.body
    return answer.json


def declare(server: Polyforge, name: str, provider: str = "added", **more: Any) -> Response:
    body = {"name": name, "deployments": [{"provider": provider, "model": name}], "price": dict(PER_CALL), **more}
    return server.api("POST", "/models/declarations", body)


def statuses(server: Polyforge, key: Key, model: str) -> set[int]:
    """What calls get; each on a connection of its own, and enough of them that every worker answers some."""
    return {server.call(CHAT, key=key.key, json=chat(model)).status for _ in range(12)}


def comes_to(server: Polyforge, key: Key, model: str, *expected: int) -> None:
    eventually(lambda: statuses(server, key, model) == set(expected), f"{model} to answer {expected}\n{server.tail()}")


def refused(answer: Response, status: int, param: str | None, *words: str) -> None:
    assert (answer.status, answer.json.get("param")) == (status, param), answer.body
    for word in words:
        assert word in answer.json["detail"], answer.body


def test_a_provider_is_tried_added_used_changed_and_removed(server: Polyforge, provider: Upstream, key: Key) -> None:
    tried = server.api("POST", "/providers/test", {"use": "openai", "settings": settings_of(provider)})
    assert (tried.status, tried.json["ok"], tried.json["models"], tried.json["error"]) == (
        200,
        True,
        ["gpt-upstream", "llama-upstream"],
        None,
    )
    made = added(server, provider)
    assert (made["declared_in"], made["use"], made["error"]) == ("api", "openai", None)
    assert made["settings"] == {"base_url": provider.url, "api_key": KEPT}
    assert declare(server, "fresh").status == 201
    comes_to(server, key, "fresh", 200)
    assert provider.requests("fresh")[-1].headers["authorization"] == f"Bearer {OLD_KEY}"
    shown = server.call("/api/v1/models/fresh", method="GET", key=key.key).json
    assert (shown["declared_in"], shown["deployments"][0]["provider"]) == ("api", "added")
    (view,) = [each for each in listed(server, "/providers") if each["name"] == "added"]
    assert view["models"] == ["fresh"]

    provider.api_key = NEW_KEY
    eventually(lambda: 200 not in statuses(server, key, "fresh"), "the provider to refuse the old key")
    body = {"use": "openai", "settings": {**made["settings"], "api_key": NEW_KEY}}
    assert server.api("PUT", "/providers/added", body).status == 200
    comes_to(server, key, "fresh", 200)
    provider.api_key = OLD_KEY

    refused(server.api("DELETE", "/providers/added"), 409, None, "the models fresh use the provider 'added'")
    assert server.api("DELETE", "/models/fresh/declaration").status == 204
    comes_to(server, key, "fresh", 404)
    assert server.api("DELETE", "/providers/added").status == 204
    assert server.api("GET", "/providers/added").status == 404
    assert server.api("GET", "/secrets/providers.added.api_key").status == 404


def test_a_key_is_never_shown_and_lies_sealed(server: Polyforge, provider: Upstream) -> None:
    secret = "never-to-be-seen-0987654321"
    body = {"name": "hidden", "use": "openai", "settings": settings_of(provider, api_key=secret)}
    answers = [server.api("POST", "/providers", body), server.api("GET", "/providers/hidden")]
    answers += [server.api("GET", path) for path in ("/providers", "/audit", "/secrets", "/events/recent")]
    tried = server.api("POST", "/providers/hidden/test", {})
    assert tried.json["error"]["code"] == "upstream_denied"
    assert secret.encode() not in b"".join([tried.body, *(answer.body for answer in answers)])
    database = b"".join(path.read_bytes() for path in server.data.glob("polyforge.db*"))
    assert secret.encode() not in database
    assert secret not in server.log


def test_a_change_that_keeps_the_key_names_it(server: Polyforge, provider: Upstream, key: Key) -> None:
    made = added(server, provider)
    assert declare(server, "kept").status == 201
    body = {"use": "openai", "settings": {**made["settings"], "max_connections": 7}}
    changed = server.api("PUT", "/providers/added", body)
    assert (changed.status, changed.json["settings"]["max_connections"]) == (200, 7)
    comes_to(server, key, "kept", 200)
    bare = {"use": "openai", "settings": {"base_url": provider.url}}
    assert server.api("PUT", "/providers/added", bare).status == 200
    assert server.api("GET", "/secrets/providers.added.api_key").status == 404
    eventually(lambda: 200 not in statuses(server, key, "kept"), "the provider to refuse calls without a key")


@pytest.mark.parametrize(
    ("change", "param", "words"),
    [
        ({"use": "nonsense"}, "use", "there is no 'nonsense'"),
        ({"settings": {"base_url": "nonsense"}}, "settings.base_url", "http"),
        ({"settings": {"unknown": 1}}, "settings.unknown", "no such setting"),
        ({"settings": {"api_key": "env:HOME"}}, "settings.api_key", "polyforge.yaml"),
        ({"settings": {"api_key": "file:/etc/passwd"}}, "settings.api_key", "polyforge.yaml"),
        ({"settings": {"api_key": "********"}}, "settings.api_key", "stars"),
        ({"settings": {"api_key": "a key\r\nx: y"}}, "settings", "characters"),
        ({"settings": {"headers": {"x-api-key": "abc"}}}, "settings.headers.x-api-key", "secret"),
        ({"settings": {"base_url": "http://a:b@host/v1"}}, "settings.base_url", "password"),
        ({"settings": {"base_url": PRIVATE}}, "settings.base_url", "egress.allow"),
        ({"settings": {"base_url": "http://169.254.169.254/v1"}}, "settings.base_url", "egress.allow"),
        ({"settings": {"base_url": "http://[::1]:9/v1"}}, "settings.base_url", "egress.allow"),
        ({"settings": {"use": "anthropic"}}, "settings.use", "beside"),
    ],
)
def test_what_cannot_be_is_refused_before_it_is_kept(
    server: Polyforge, change: dict[str, Any], param: str, words: str
) -> None:
    body = {"use": "openai", "settings": {}, **change}
    refused(server.api("POST", "/providers", {"name": "wrong", **body}), 400, param, words)
    refused(server.api("POST", "/providers/test", body), 400, param, words)
    assert [each["name"] for each in listed(server, "/providers")] == ["lab"]


def test_what_the_file_declares_is_read_only(server: Polyforge, provider: Upstream) -> None:
    (lab,) = listed(server, "/providers")
    assert (lab["declared_in"], lab["models"], lab["settings"]["api_key"]) == ("file", ["steady"], "*" * 8)
    body = {"use": "openai", "settings": settings_of(provider)}
    refused(server.api("POST", "/providers", {"name": "lab", **body}), 409, "name", "polyforge.yaml")
    refused(server.api("PUT", "/providers/lab", body), 409, "name", "polyforge.yaml")
    refused(server.api("DELETE", "/providers/lab"), 409, "name", "polyforge.yaml")
    refused(declare(server, "steady", "lab"), 409, "name", "polyforge.yaml")
    refused(server.api("DELETE", "/models/steady/declaration"), 409, "name", "polyforge.yaml")
    refused(server.api("POST", "/providers", {"name": "local", **body}), 409, "name", "model host")
    (steady,) = listed(server, "/models/declarations")
    assert (steady["declared_in"], steady["settings"]["deployments"][0]["provider"]) == ("file", "lab")


def test_a_change_that_is_refused_leaves_the_key_as_it_was(server: Polyforge, provider: Upstream, key: Key) -> None:
    added(server, provider)
    assert declare(server, "unharmed", task="transcription").status == 201
    wrong = {"use": "anthropic", "settings": {"base_url": provider.url, "api_key": NEW_KEY}}
    refused(server.api("PUT", "/providers/added", wrong), 409, None, "model 'unharmed'")
    assert server.api("POST", "/providers/added/test", {}).json["ok"] is True
    assert server.api("PUT", "/providers/absent", wrong).status == 404
    assert server.api("GET", "/secrets/providers.absent.api_key").status == 404


def test_names_are_taken_once_and_absent_ones_are_absent(server: Polyforge, provider: Upstream) -> None:
    added(server, provider)
    body = {"use": "openai", "settings": {}}
    refused(server.api("POST", "/providers", {"name": "added", **body}), 409, "name", "PUT changes it")
    assert server.api("PUT", "/providers/absent", body).status == 404
    assert server.api("DELETE", "/providers/absent").status == 404
    assert server.api("POST", "/providers/absent/test", {}).status == 404
    assert declare(server, "team/one").status == 201
    refused(declare(server, "team/one"), 409, "name", "PUT changes it")
    assert server.api("GET", "/models/team/one/declaration").json["declared_in"] == "api"
    assert server.api("GET", "/models/absent/declaration").status == 404
    assert server.api("DELETE", "/models/absent/declaration").status == 404


def test_a_model_that_cannot_be_is_refused_by_its_field(server: Polyforge) -> None:
    refused(declare(server, "odd", "nowhere"), 400, None, "no provider 'nowhere'")
    refused(declare(server, "odd", "lab", task="rerank"), 400, None, "cannot do the task")
    refused(declare(server, "odd", "lab", guardrails=["absent"]), 400, None, "no guardrail 'absent'")
    local = {"name": "odd", "source": "file:///models/odd"}
    refused(server.api("POST", "/models/declarations", local), 400, "source", "polyforge.yaml")
    assert declare(server, "odd", "lab", weight=2).status == 400
    for price in (float("inf"), float("nan"), 1e300):
        refused(declare(server, "odd", "lab", price={"per_call": price}), 400, "price.per_call")
    assert declare(server, "polyforge/odd", "lab").status == 409
    assert [each["name"] for each in listed(server, "/models/declarations")] == ["steady"]


def test_an_added_model_at_a_declared_provider_is_changed_in_place(server: Polyforge, key: Key) -> None:
    assert declare(server, "moved", "lab").status == 201
    comes_to(server, key, "moved", 200)
    body = {"deployments": [{"provider": "lab", "model": "moved-on"}], "price": dict(PER_CALL)}
    assert server.api("PUT", "/models/moved/declaration", body).status == 200
    eventually(
        lambda: (
            server.call("/api/v1/models/moved", method="GET", key=key.key).json["deployments"][0]["model"] == "moved-on"
        ),
        "the other deployment",
    )


def test_what_does_not_fit_any_more_is_left_out_and_says_why(server: Polyforge, provider: Upstream, key: Key) -> None:
    added(server, provider)
    assert declare(server, "lost").status == 201
    assert declare(server, "found", "lab").status == 201
    comes_to(server, key, "lost", 200)
    comes_to(server, key, "found", 200)
    taken = server_settings(provider)
    taken["models"] |= solo("lost", price=dict(PER_CALL))
    taken["models"]["lost"]["deployments"][0]["model"] = "of-the-file"
    server.declare(taken)
    eventually(lambda: bool(shown(server, "lost")["error"]), "the file to count")
    eventually(lambda: statuses(server, key, "lost") == {200} and provider.requests("of-the-file"), "the file's model")
    comes_to(server, key, "found", 200)
    server.declare(server_settings(provider))
    eventually(lambda: shown(server, "lost")["error"] is None, "the added one to come back")


def shown(server: Polyforge, name: str) -> dict[str, Any]:
    (found,) = [
        each for each in listed(server, "/models/declarations") if (each["name"], each["declared_in"]) == (name, "api")
    ]
    return found


def test_a_stream_that_runs_is_finished_though_its_model_goes(server: Polyforge, provider: Upstream, key: Key) -> None:
    gate = Gate()
    provider.script("going", Answer("one two three four", pauses={2: gate}))
    added(server, provider)
    assert declare(server, "going").status == 201
    request = request_bytes("POST", CHAT, key=key.key, json=chat("going", stream=True))
    with begun(server, request) as stream:
        stream.read_until(lambda response: response.text.startswith("one two"))
        assert server.api("DELETE", "/models/going/declaration").status == 204
        comes_to(server, key, "going", 404)
        gate.open()
        answer = stream.read_all()
    assert (answer.text, answer.finished, answer.complete) == ("one two three four", True, True)


def begun(server: Polyforge, request: bytes) -> RawCall:
    """A call that is being answered, by a worker that has heard of the model."""

    def tried() -> list[RawCall]:
        stream = RawCall(server.url, request)
        if stream.read_head().status == 200:
            return [stream]
        stream.hang_up()
        return []

    return eventually(tried, "a worker that knows the model")[0]


def test_what_was_added_is_there_after_a_restart(server: Polyforge, provider: Upstream, key: Key) -> None:
    added(server, provider)
    assert declare(server, "lasting").status == 201
    comes_to(server, key, "lasting", 200)
    server.restart()
    assert statuses(server, key, "lasting") == {200}


def test_a_test_says_what_is_wrong_and_what_to_do(server: Polyforge, provider: Upstream) -> None:
    def tried(use: str = "openai", model: str | None = None, **settings: Any) -> dict[str, Any]:
        body = {"use": use, "settings": settings_of(provider, **settings), "model": model}
        answer = server.api("POST", "/providers/test", body)
        assert answer.status == 200, answer.body
        return answer.json

    wrong = tried(api_key="wrong-key-1234567890")
    assert (wrong["ok"], wrong["error"]["code"]) == (False, "upstream_denied")
    assert "key" in wrong["error"]["hint"]
    gone = tried(base_url="http://127.0.0.1:1/v1")
    assert (gone["ok"], gone["error"]["code"]) == (False, "unavailable")
    assert tried(model="one-word")["ok"] is True
    (asked,) = provider.requests("one-word")
    assert asked.json["max_tokens"] <= 16
    provider.script(MODELS, Fail(500), Answer())
    broken = tried()
    assert (broken["ok"], broken["error"]["code"]) == (False, "upstream_error")


def test_kinds_have_what_a_form_needs(server: Polyforge) -> None:
    kinds = {kind["name"]: kind for kind in listed(server, "/provider-kinds")}
    assert {"openai", "anthropic", "gemini", "bedrock"} <= kinds.keys()
    assert "local" not in kinds
    assert kinds["openai"]["secrets"] == ["api_key"]
    assert kinds["openai"]["label"] == "OpenAI"
    assert kinds["openai"]["settings"]["properties"]["api_key"]["writeOnly"] is True
    assert "base_url" in kinds["openai"]["settings"]["properties"]


def test_those_who_add_at_once_each_get_theirs_and_a_name_goes_to_one(server: Polyforge, provider: Upstream) -> None:
    def add(name: str) -> int:
        return declare(server, name, "lab").status

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(add, [f"many-{number}" for number in range(8)])) == [201] * 8
        assert sorted(threads.map(add, ["only-one"] * 8)) == [201] + [409] * 7
    names = [each["name"] for each in listed(server, "/models/declarations")]
    assert names == sorted([*(f"many-{number}" for number in range(8)), "only-one", "steady"])


def test_only_who_may_change_settings_adds_anything(server: Polyforge, provider: Upstream, key: Key) -> None:
    reader = server.create_key(scopes=["settings:read"])
    body = {"name": "mine", "use": "openai", "settings": settings_of(provider)}
    for who, reading in ((key, 403), (reader, 200)):
        assert server.call("/api/v1/providers", method="GET", key=who.key).status == reading
        assert server.call("/api/v1/models/declarations", method="GET", key=who.key).status == reading
        assert server.call("/api/v1/providers", method="POST", key=who.key, json=body).status == 403
        assert server.call("/api/v1/providers/test", method="POST", key=who.key, json=body).status == 403


def test_each_change_is_in_the_audit_log(server: Polyforge, provider: Upstream) -> None:
    made = added(server, provider, "audited")
    server.api("PUT", "/providers/audited", {"use": "openai", "settings": made["settings"]})
    server.api("DELETE", "/providers/audited")
    events = server.api("GET", "/audit?limit=100").json["data"]
    actions = [event["action"] for event in events if "audited" in json.dumps(event)]
    assert {"provider.added", "provider.changed", "provider.removed"} <= set(actions)
