"""The overview: its sums against the calls themselves on both databases, and home's figures on a running server."""

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.kernel.clock import FakeClock, utc
from polyforge.kernel.usage import Usage
from polyforge.operations.overview.window import WHOLE_SECONDS, TrafficWindow
from polyforge.tenancy.ledger.records import UsageRecord
from polyforge.tenancy.ledger_minutes import MINUTE_SECONDS, step_of
from polyforge.tenancy.ledger_store import LedgerStore
from polyforge.tenancy.usage.questions import Question
from polyforge.tenancy.usage.service import UsageService
from tests.support.clients import RawCall, request_bytes
from tests.support.server import Key, Polyforge, stopping
from tests.support.settings import PER_CALL_USD, settings, solo
from tests.support.upstream import Upstream
from tests.support.waiting import DEADLINE, eventually
from tests.unit.tenancy.samples import NOW, caller, record

MESSAGES = [{"role": "user", "content": "hello"}]
STREAM = "/api/v1/overview/stream"
OPERATOR_PARTS = {"gateway", "model_host", "database", "journal", "cache", "disk"}


def calls(dice: random.Random, count: int) -> list[UsageRecord]:
    statuses = ("ok", "ok", "error", "interrupted", "cancelled", "refused")
    return [
        record(
            id=f"{number:026d}",
            started_at=NOW - dice.uniform(0, 2 * 3_600),
            duration_ms=int(dice.expovariate(1 / 800)),
            status=dice.choice(statuses),
            usage=Usage(input=dice.randrange(50), cache_read=dice.randrange(9), output=dice.randrange(50)),
        )
        for number in range(count)
    ]


async def test_each_minute_is_the_sum_of_its_calls(database: Database) -> None:
    known = calls(random.Random(11), 400)
    await LedgerStore(database).append("journal", 0, 1, known)
    scope = Scope(known[0].organization_id, known[0].project_id)
    minutes = await TrafficWindow(database, FakeClock(NOW)).read(scope)
    assert [minute for minute, _ in minutes] == list(
        range(int(NOW // MINUTE_SECONDS) - 59, int(NOW // MINUTE_SECONDS) + 1)
    )
    for minute, found in minutes:
        mine = [call for call in known if call.started_at // MINUTE_SECONDS == minute]
        done = [call for call in mine if call.status != "refused"]
        assert found.requests == len(done)
        assert found.refused == len(mine) - len(done)
        assert found.errors == sum(call.status in ("error", "interrupted") for call in done)
        assert found.input_tokens == sum(call.usage.input_total for call in done)
        assert found.output_tokens == sum(call.usage.output for call in done)
        steps = [step_of(call.duration_ms) for call in done]
        assert dict(found.steps) == {step: steps.count(step) for step in steps}
    assert sum(found.requests for _, found in minutes) > 100


async def test_minutes_come_to_what_usage_says_of_the_same_span(database: Database) -> None:
    known = calls(random.Random(12), 400)
    await LedgerStore(database).append("journal", 0, 1, known)
    whose = caller("usage:read")
    scope = Scope(whose.organization_id, whose.project_id)
    window, usage = TrafficWindow(database, FakeClock(NOW)), UsageService(database, FakeClock(NOW))
    end = NOW // MINUTE_SECONDS * MINUTE_SECONDS
    for since, until in ((end - 3_600, end), (end - 7_140, end - 60), (end - 60, end), (end, end)):
        totals = (await usage.report(whose, Question(), utc(since), utc(until))).totals
        used = await window.used(scope, since, until)
        for name in (
            "requests",
            "errors",
            "duration_ms",
            "input_total",
            "output_tokens",
            "cost_micros",
            "price_micros",
        ):
            assert getattr(used, name) == getattr(totals, name), name


async def test_calls_that_took_long_are_seen_a_little_later(database: Database) -> None:
    ledger, clock = LedgerStore(database), FakeClock(NOW)
    window, call = TrafficWindow(database, clock), record(started_at=NOW - 1, id=f"{1:026d}")
    scope = Scope(call.organization_id, call.project_id)
    await ledger.append("journal", 0, 1, [call])
    assert await _requests(window, scope) == 1
    await ledger.append("journal", 1, 2, [record(started_at=NOW, id=f"{2:026d}")])
    clock.advance(2)
    assert await _requests(window, scope) == 2
    await ledger.append("journal", 2, 3, [record(started_at=NOW - 1_800, id=f"{3:026d}")])
    assert await _requests(window, scope) == 2
    clock.advance(WHOLE_SECONDS)
    assert await _requests(window, scope) == 3
    clock.advance(3_600)
    assert await _requests(window, scope) == 0


async def _requests(window: TrafficWindow, scope: Scope) -> int:
    return sum(found.requests for _, found in await window.read(scope))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Polyforge]:
    models = {**solo("plain"), **solo("other"), **solo("gone", provider="nobody")}
    nobody = {"nobody": {"use": "openai", "base_url": "http://127.0.0.1:9/v1"}}
    made = settings(upstream, models, providers=nobody, gateway={"cooldown_seconds": 600})
    server = Polyforge(tmp_path_factory.mktemp("overview"), made, workers=2)
    with stopping(server):
        yield server


def chat(server: Polyforge, key: Key, model: str) -> int:
    return server.call("/v1/chat/completions", key=key.key, json={"model": model, "messages": MESSAGES}).status


def overview(server: Polyforge, key: str) -> dict[str, Any]:
    response = server.call("/api/v1/overview", method="GET", key=key)
    assert response.status == 200, response.body
    return response.json


def codes(found: dict[str, Any]) -> set[tuple[str, str]]:
    return {(item["code"], item["subject"]) for item in found["attention"]}


def test_home_says_what_usage_and_the_history_say(site: Polyforge) -> None:
    key = site.create_key()
    assert [chat(site, key, model) for model in ("plain", "plain", "other", "absent")] == [200, 200, 200, 404]
    site.settled(key, 3)
    traffic = eventually(
        lambda: found if (found := overview(site, site.admin_key)["traffic"])["today"]["requests"] >= 3 else {},
        "the calls in the overview",
    )
    used = site.api("GET", "/usage?group_by=model&since=" + traffic["today"]["since"]).json
    today = traffic["today"]
    for name in ("requests", "errors", "input_tokens", "output_tokens", "cost_usd", "price_usd", "mean_seconds"):
        assert today[name] == used["totals"][name], name
    by_model = {row["model"]: row for row in used["data"]}
    assert [row["model"] for row in traffic["top_models"]] == ["plain", "other"]
    for row in traffic["top_models"]:
        assert {name: row[name] for name in row} == {name: by_model[row["model"]][name] for name in row}
    hour = traffic["hour"]
    assert len(hour["minutes"]) == 60
    for name in ("requests", "errors", "refused", "input_tokens", "output_tokens"):
        assert hour[name] == sum(minute[name] for minute in hour["minutes"])
    assert hour["requests"] == today["requests"] or today["since"] > hour["since"]
    listed = site.api("GET", "/requests?since=" + hour["since"]).json["data"]
    assert hour["requests"] == sum(each["status"] != "refused" for each in listed)
    assert traffic["yesterday"]["requests"] == 0


def test_operators_see_the_parts_and_others_do_not(site: Polyforge) -> None:
    found = eventually(
        lambda: found if (found := overview(site, site.admin_key))["state"] == "ok" else {}, "all parts to be well"
    )
    assert {part["kind"] for part in found["components"]} == OPERATOR_PARTS
    assert [part["name"] for part in found["components"] if part["kind"] == "gateway"] == ["gateway-0", "gateway-1"]
    assert all(part["detail"] for part in found["components"])
    plain = overview(site, site.create_key().key)
    assert (plain["components"], plain["traffic"]) == (None, None)
    assert plain["deployments"]["ready"] > 0
    usage = overview(site, site.create_key(scopes=["models:read", "usage:read"]).key)
    assert usage["traffic"] is not None
    assert site.call("/api/v1/overview", method="GET", key=site.create_key(scopes=["inference"]).key).status == 403


def test_a_spent_budget_and_an_expiring_key_need_attention(site: Polyforge) -> None:
    key = site.create_key(budget_usd=PER_CALL_USD, name="poor")
    assert [chat(site, key, "plain") for _ in range(2)] == [200, 429]
    site.settled(key, 1)
    found = eventually(
        lambda: found if ("budget_spent", key.id) in codes(found := overview(site, key.key)) else {},
        "the spent budget in the overview",
    )
    assert [(each["kind"], each["used_usd"], each["left_usd"]) for each in found["budgets"]] == [
        ("key", PER_CALL_USD, 0.0)
    ]
    # Of another key's budget it tells nothing.
    assert ("budget_spent", key.id) not in codes(overview(site, site.create_key().key))
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86_400))
    ending = site.create_key(expires_at=soon, name="ending")
    eventually(lambda: ("key_expires", ending.id) in codes(overview(site, site.admin_key)), "the expiring key")
    site.api("DELETE", f"/keys/{ending.id}")
    eventually(lambda: ("key_expires", ending.id) not in codes(overview(site, site.admin_key)), "its end")


def test_a_deployment_that_is_left_alone_says_why(site: Polyforge) -> None:
    key = site.create_key()
    assert chat(site, key, "gone") >= 500
    site.settled(key, 1)
    # Whichever worker is asked: they share what they know of deployments.
    for _ in range(4):
        found = eventually(
            lambda: found if (found := overview(site, key.key))["deployments"]["cooling"] else {}, "the cooldown"
        )
        cooling = found["deployments"]["cooling_now"]
        assert [(each["model"], each["provider"], each["cause"]) for each in cooling] == [("gone", "nobody", "failure")]
        assert ("deployment_cooling", "gone/nobody/gone") in codes(found)
    blind = site.create_key(scopes=["models:read"], models=["plain"])
    assert overview(site, blind.key)["deployments"] == {"ready": 1, "cooling": 0, "cooling_now": []}


def read_events(stream: RawCall, count: int) -> list[dict[str, Any]]:
    """The first events of a stream, as they were told."""
    read = stream.read_until(lambda response: response.body.count(b"event: overview") >= count)
    blocks = [block for block in read.body.decode().split("\n\n") if block.startswith("event: overview")]
    return [json.loads(block.split("data: ", 1)[1]) for block in blocks if "data: " in block]


def test_the_stream_tells_at_once_and_when_something_changed(site: Polyforge) -> None:
    request = request_bytes("GET", STREAM, key=site.admin_key, headers={"last-event-id": "17"})
    key = site.create_key()
    with RawCall(site.url, request, timeout=DEADLINE) as stream:
        head = stream.read_head()
        assert (head.status, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        before = read_events(stream, 1)[0]["traffic"]["today"]["requests"]
        assert chat(site, key, "plain") == 200
        stream.read_until(
            lambda response: f'"requests":{before + 1},'.encode() in response.body.split(b"event: overview")[-1]
        )
    site.settled(key, 1)


def test_a_stream_ends_with_its_key(site: Polyforge) -> None:
    key = site.create_key(scopes=["models:read"])
    with RawCall(site.url, request_bytes("GET", STREAM, key=key.key), timeout=DEADLINE) as stream:
        assert stream.read_head().status == 200
        site.api("DELETE", f"/keys/{key.id}")
        assert stream.read_all().complete


def test_streams_end_cleanly_when_the_server_stops(tmp_path: Path) -> None:
    with stopping(Polyforge(tmp_path / "site", {})) as server:
        found = overview(server, server.admin_key)
        assert ("no_provider", "providers") in codes(found)
        with RawCall(server.url, request_bytes("GET", STREAM, key=server.admin_key), timeout=DEADLINE) as stream:
            assert stream.read_head().status == 200
            assert read_events(stream, 1)
            assert server.stop() == 0
            assert stream.read_all().complete
