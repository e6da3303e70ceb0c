"""Keys of providers in a running installation: kept in the database, changed while it runs, or brought by callers."""

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from polyforge.cli.errors import CommandError
from polyforge.cli.main import app
from polyforge.ports.provider import KEY_HEADER
from tests.conftest import Serve
from tests.support.behaviours import Answer, Fail
from tests.support.clients import Response
from tests.support.server import Key, Polyforge
from tests.support.settings import solo
from tests.support.upstream import Received, Upstream
from tests.support.waiting import eventually

CHAT = "/v1/chat/completions"
OURS = "literal-key-of-our-account-1234567890"
BROUGHT = "a-key-that-the-caller-brought-0987654321"
VAULTED = "value-of-the-secret-in-the-database"
TOKENS = {"input": 1_000.0, "output": 1_000.0}


@pytest.fixture(scope="module")
def provider() -> Iterator[Upstream]:
    """A provider that takes any key."""
    server = Upstream().start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def place(serve: Serve, provider: Upstream) -> Polyforge:
    """Two workers; the key of `vaulted` is in the database, callers may bring keys."""
    lab = {"use": "openai", "base_url": provider.url}
    return serve(
        {
            "gateway": {"caller_keys": "allow", "cooldown_seconds": 30},
            "providers": {
                "lab": {
                    **lab,
                    "api_key": OURS,
                    "organization": "our-organization",
                    "headers": {"X-Api-Key": OURS, "x-plain": "kept"},
                },
                "vaulted": {**lab, "api_key": "secret:vaulted-key"},
                "other": {**lab, "api_key": OURS},
            },
            "models": {
                **solo("vault", provider="vaulted"),
                **solo("rotating", provider="vaulted"),
                **solo("priced"),
                **solo("streamed"),
                **solo("refused"),
                **solo("limited"),
                **solo("unpriced", price=None, deployments=[_place("unpriced", cost=TOKENS)]),
                "mixed": {"deployments": [_place("mixed.lab"), _place("mixed.other", provider="other", priority=1)]},
                "family/*": {"deployments": [{"provider": "lab", "cost": TOKENS}]},
            },
        },
        workers=2,
    )


def _place(model: str, provider: str = "lab", **more: Any) -> dict[str, Any]:
    return {"provider": provider, "model": model, **more}


@pytest.fixture(scope="module")
def key(place: Polyforge) -> Key:
    return place.create_key()


def ask(place: Polyforge, key: Key, model: str, brought: str | None = None, *, stream: bool = False) -> Response:
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], "stream": stream}
    headers = {} if brought is None else {KEY_HEADER: brought}
    return place.call(CHAT, key=key.key, json=body, headers=headers)


def sent(provider: Upstream, model: str) -> Received:
    return provider.requests(model)[-1]


def answered(place: Polyforge, key: Key, model: str, status: int) -> bool:
    """Whether each of many calls, which both workers have a share in, has this status."""
    return all(ask(place, key, model).status == status for _ in range(8))


def polyforge(place: Polyforge, *arguments: str, given: str | None = None) -> str:
    """What a command prints; its failure is raised."""
    environ = {"POLYFORGE_URL": place.url, "POLYFORGE_API_KEY": place.admin_key, "THE_VALUE": f"{VAULTED}-2"}
    result = CliRunner().invoke(app, ["secret", *arguments], input=given, env=environ)
    if result.exception is not None:
        raise result.exception
    return result.stdout


def assert_untold(place: Polyforge, *values: str) -> None:
    """None of the values is in the log or in a file of the data folder."""
    for value in values:
        assert value not in place.log
        kept = [path for path in place.data.rglob("*") if path.is_file()]
        assert not [path for path in kept if value.encode() in path.read_bytes()]


# --- kept in the database ---


def test_a_key_in_the_database_is_used_by_every_worker_as_it_comes_changes_and_goes(
    place: Polyforge, provider: Upstream, key: Key, tmp_path: Path
) -> None:
    refused = ask(place, key, "vault")
    assert (refused.status, refused.error["code"]) == (503, "not_configured")
    assert "vaulted-key" in refused.error["message"]
    assert answered(place, key, "vault", 503)
    assert provider.requests("vault") == []

    file = tmp_path / "key"
    file.write_text(f"{VAULTED}\n")
    assert "secret:vaulted-key is at version 1" in polyforge(place, "set", "vaulted-key", "--from-file", str(file))
    eventually(lambda: answered(place, key, "vault", 200), "the new secret in every worker")
    assert sent(provider, "vault").headers["authorization"] == f"Bearer {VAULTED}"

    polyforge(place, "set", "vaulted-key", "--from-env", "THE_VALUE", "--no-project")

    def all_new() -> bool:
        before = len(provider.requests("rotating"))
        if not answered(place, key, "rotating", 200):
            return False
        news = provider.requests("rotating")[before:]
        return all(request.headers["authorization"] == f"Bearer {VAULTED}-2" for request in news)

    eventually(all_new, "the changed secret in every worker")
    polyforge(place, "rm", "vaulted-key")
    eventually(lambda: answered(place, key, "vault", 503), "the removed secret gone from every worker")
    assert answered(place, key, "priced", 200)
    assert_untold(place, VAULTED)


def test_the_routes_of_secrets_show_none(place: Polyforge) -> None:
    made = place.api("POST", "/secrets", {"name": "shown", "value": VAULTED})
    assert made.status == 201
    shown = [
        made,
        place.api("GET", "/secrets"),
        place.api("GET", "/secrets/shown"),
        place.api("PUT", "/secrets/shown", {"value": VAULTED}),
        place.api("POST", "/secrets", {"name": "shown", "value": VAULTED}),
        place.api("POST", "/secrets", {"name": "Wrong", "value": VAULTED}),
        place.api("POST", "/secrets", {"name": "large", "value": VAULTED * 10_000}),
        place.api("POST", "/secrets", {"name": "large", "value": VAULTED, "more": VAULTED}),
        place.api("GET", "/audit?limit=5"),
    ]
    assert [answer.status for answer in shown] == [201, 200, 200, 200, 409, 400, 400, 400, 200]
    assert not [answer for answer in shown if VAULTED in answer.body.decode()]
    assert_untold(place, VAULTED)


def test_commands_keep_list_and_remove_secrets(place: Polyforge) -> None:
    printed = json.loads(polyforge(place, "set", "from-pipe", "--json", given=f"{VAULTED}\n"))
    assert (printed["version"], printed["projects"]) == (1, None)
    polyforge(place, "set", "from-pipe", "--keep-value", "--no-project")
    headers, row, *_ = [line.split() for line in polyforge(place, "list").splitlines()]
    assert headers == ["name", "version", "projects", "created", "changed"]
    assert row[:3] == ["from-pipe", "2", "none"]
    assert json.loads(polyforge(place, "list", "--json"))[0]["name"] == "from-pipe"
    polyforge(place, "set", "from-pipe", "--keep-value", "--all-projects")
    assert json.loads(polyforge(place, "list", "--json"))[0]["projects"] is None
    assert polyforge(place, "rm", "from-pipe") == "removed secret:from-pipe\n"
    for wrong in (
        ["set", "from-pipe", "--keep-value"],
        ["set", "x", "--all-projects", "--no-project"],
        ["set", "x", "--from-env", "NOT_SET_ANYWHERE"],
        ["set", "x", "--from-file", "/no/such/file"],
        ["set", "x", "--from-file", "/f", "--from-env", "E"],
        ["rm", "from-pipe"],
    ):
        with pytest.raises(CommandError):
            polyforge(place, *wrong)


def test_commands_tell_how_far_sealing_has_come_and_make_master_keys(place: Polyforge) -> None:
    report = json.loads(polyforge(place, "sealing", "--json"))
    assert (report["left"], [each["current"] for each in report["data"]]) == (0, [True])
    assert polyforge(place, "sealing").splitlines()[-1] == "nothing is left"
    assert len(base64.b64decode(polyforge(place, "new-master").strip())) == 32


def test_a_new_master_key_takes_over_at_the_next_start(serve: Serve, provider: Upstream) -> None:
    one = serve({"providers": {"lab": {"use": "openai", "base_url": provider.url}}})
    for number in range(3):
        assert one.api("POST", "/secrets", {"name": f"s{number}", "value": VAULTED}).status == 201
    old = (one.data / "master.key").read_text().strip()
    before = _report(one)["current"]
    new = polyforge(one, "new-master").strip()
    one._settings["secrets"] = {"master_key": new, "previous_master_keys": [old]}
    one.restart()
    eventually(lambda: _report(one)["left"] == 0, "everything sealed anew")
    report = _report(one)
    assert report["current"] != before
    assert {each["master"]: each["rows"] for each in report["data"]}[report["current"]] >= 3
    assert old not in one.log
    assert new not in one.log


def _report(one: Polyforge) -> dict[str, Any]:
    return one.api("GET", "/secrets/sealing").json


# --- brought by callers ---


def test_the_callers_key_is_sent_instead_of_all_that_is_ours(place: Polyforge, provider: Upstream, key: Key) -> None:
    assert ask(place, key, "priced", BROUGHT).status == 200
    told = sent(provider, "priced")
    assert told.headers["authorization"] == f"Bearer {BROUGHT}"
    assert told.headers["x-plain"] == "kept"
    assert OURS not in str(told.all_headers)
    assert KEY_HEADER not in told.headers
    assert "openai-organization" not in told.headers
    assert ask(place, key, "priced").status == 200
    told = sent(provider, "priced")
    assert (told.headers["authorization"], told.headers["x-api-key"]) == (f"Bearer {OURS}", OURS)
    assert told.headers["openai-organization"] == "our-organization"
    assert BROUGHT not in str(told.all_headers)
    streamed = ask(place, key, "streamed", BROUGHT, stream=True)
    assert streamed.finished
    assert sent(provider, "streamed").headers["authorization"] == f"Bearer {BROUGHT}"
    assert_untold(place, BROUGHT)


def test_it_costs_us_nothing_and_is_charged_for_as_declared(place: Polyforge) -> None:
    key = place.create_key(budget_usd=5)
    for model, brought in (("priced", BROUGHT), ("unpriced", BROUGHT), ("family/x", BROUGHT), ("unpriced", None)):
        assert ask(place, key, model, brought).status == 200
    records = place.settled(key, 4)
    assert [record["cost_micros"] > 0 for record in records] == [False, False, False, True]
    assert [record["price_micros"] > 0 for record in records] == [True, False, False, True]


def test_it_goes_to_one_provider_only(place: Polyforge, provider: Upstream, key: Key) -> None:
    provider.script("mixed.lab", Fail(500))
    assert ask(place, key, "mixed").status == 200
    assert ask(place, key, "mixed", BROUGHT).status == 502
    assert BROUGHT not in str([request.all_headers for request in provider.requests("mixed.other")])
    assert sent(provider, "mixed.lab").headers["authorization"] == f"Bearer {BROUGHT}"


def test_a_key_that_the_provider_refuses_harms_nobody_else(place: Polyforge, provider: Upstream, key: Key) -> None:
    provider.script("refused", *[Fail(401, message=f"Incorrect key {BROUGHT}")] * 5, Answer())
    for _ in range(5):
        refused = ask(place, key, "refused", BROUGHT)
        assert (refused.status, refused.error["param"]) == (401, KEY_HEADER)
        assert BROUGHT not in refused.body.decode()
    assert ask(place, key, "refused").status == 200
    provider.script("limited", *[Fail(429, headers={"retry-after": "17"})] * 5, Answer())
    for _ in range(5):
        limited = ask(place, key, "limited", BROUGHT)
        assert (limited.status, limited.headers["retry-after"]) == (429, "17")
    assert ask(place, key, "limited").status == 200
    assert_untold(place, BROUGHT)


@pytest.mark.parametrize("wrong", [" ", "x" * 513, "two words", "sk-é"])
def test_what_can_be_no_key_is_refused(place: Polyforge, provider: Upstream, key: Key, wrong: str) -> None:
    before = len(provider.requests("priced"))
    refused = ask(place, key, "priced", wrong)
    assert (refused.status, refused.error["param"]) == (400, KEY_HEADER)
    assert len(provider.requests("priced")) == before


def test_a_model_whose_provider_takes_no_key_says_so(place: Polyforge, key: Key) -> None:
    body = {"model": "polyforge/static-minilm", "input": "hello"}
    refused = place.call("/v1/embeddings", key=key.key, json=body, headers={KEY_HEADER: BROUGHT})
    assert (refused.status, refused.error["param"]) == (400, KEY_HEADER)


def test_a_key_is_for_models_that_the_caller_may_use(place: Polyforge) -> None:
    narrow = place.create_key(models=["unpriced"])
    assert ask(place, narrow, "priced", BROUGHT).status == 404
    assert ask(place, narrow, "unpriced", BROUGHT).status == 200


def test_keys_of_callers_are_refused_unless_allowed_before_anything_is_spent(serve: Serve, provider: Upstream) -> None:
    usual = serve({"providers": {"lab": {"use": "openai", "base_url": provider.url}}, "models": solo("usual")})
    key = usual.create_key(rpm=1)
    refused = ask(usual, key, "usual", BROUGHT)
    assert (refused.status, refused.error["param"]) == (403, KEY_HEADER)
    assert KEY_HEADER in refused.error["message"]
    assert provider.requests("usual") == []
    assert ask(usual, key, "usual").status == 200
    usual.settled(key, 1)
    assert BROUGHT not in usual.log
    assert os.listdir(usual.data)
