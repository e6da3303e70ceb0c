"""The history of requests: found again by what is known of them, hop by hop; on SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from polyforge.database.database import Database
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import PolyforgeError
from polyforge.kernel.ids import encode
from polyforge.tenancy.admin_key import AdminKey
from polyforge.tenancy.bootstrap import install
from polyforge.tenancy.callers import ALL, Caller
from polyforge.tenancy.history import api as history_api
from polyforge.tenancy.history import store
from polyforge.tenancy.history.feedback import FeedbackService
from polyforge.tenancy.history.pruning import HistoryPruning
from polyforge.tenancy.history.service import HistoryService
from polyforge.tenancy.history.settings import RequestSettings
from polyforge.tenancy.keys import new_secret
from polyforge.tenancy.ledger.details import encode_details
from polyforge.tenancy.ledger.records import UsageRecord
from polyforge.tenancy.ledger_store import LedgerStore
from tests.unit.tenancy.samples import NOW, caller, record

KEY, OTHER_KEY, USER = "0000000000000000000000000A", "0000000000000000000000000B", "0000000000000000000000000U"
OTHER_PROJECT = "0000000000000000000000009P"
START = 5_000_000_000_000
BLOB = encode_details(
    (
        "/v1/chat/completions",
        [START, START + 10_000, START + 30_000, START + 5_030_000],
        4_000_000,
        [
            ("openai", "gpt", START + 100_000, START + 1_100_000, "upstream_rate_limited"),
            ("lab", "llama", START + 2_000_000, 0, "ok"),
        ],
        START + 3_000_000,
        b"\xab" * 16,
        [{"guardrail": "mail", "stage": "input", "action": "mask", "kinds": ["email"], "count": 2}],
        ["seed"],
        "tag=eu",
    )
)


class Api:
    """The routes of requests behind a stand-in for the server's middleware."""

    def __init__(self, database: Database) -> None:
        self.caller: Caller = caller(ALL)
        self.ledger = LedgerStore(database)
        app = FastAPI()
        app.include_router(history_api.router(HistoryService(database), FeedbackService(database, FakeClock(NOW))))
        app.exception_handler(PolyforgeError)(_render)
        app.middleware("http")(self._identify)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")

    async def __call__(self, path: str = "", expected: int = 200, **query: Any) -> Any:
        answer = await self.client.get(f"/api/v1/requests{path}", params=query)
        assert answer.status_code == expected, answer.text
        return answer.json()

    async def say(self, request_id: str, status: int = 201, **body: Any) -> Any:
        answer = await self.client.post(f"/api/v1/requests/{request_id}/feedback", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def ids(self, **query: Any) -> list[str]:
        return [request["id"] for request in (await self(**query))["data"]]

    async def called(self, *records: UsageRecord) -> None:
        await self.ledger.append(f"j{records[0].id}", 0, 1, records)

    async def _identify(self, request: Request, proceed: Any) -> Any:
        request.state.caller = self.caller
        return await proceed(request)


def _from(cursor: str | None) -> dict[str, Any]:
    return {} if cursor is None else {"cursor": cursor}


async def _render(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PolyforgeError)
    return JSONResponse({"code": error.code, "param": error.param}, error.status)


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    await install(database, AdminKey(new_secret(), created=False), FakeClock(NOW))
    made = Api(database)
    yield made
    await made.client.aclose()


async def test_one_request_is_told_with_its_hops_and_attempts(api: Api) -> None:
    whose: dict[str, Any] = {"key_id": KEY, "user_id": USER, "end_user": "ann", "tags": "app=chat,team=red"}
    call = record(**whose, details=BLOB, stream=True, cost=1_000_000, price=1_250_000)
    await api.called(call)
    found = await api(f"/{call.id}")
    assert (found["key"], found["user"], found["end_user"], found["tags"]) == (
        KEY,
        USER,
        "ann",
        ["app=chat", "team=red"],
    )
    assert found["hops"] == [
        {"name": "server", "microseconds": 10},
        {"name": "auth", "microseconds": 20},
        {"name": "dialect", "microseconds": 5000},
    ]
    assert (found["upstream_ms"], found["first_token_ms"], found["attempts"]) == (4.0, 3.0, 2)
    first = {"provider": "openai", "deployment": "gpt", "after_ms": 0.1, "outcome": "upstream_rate_limited"}
    second = {"provider": "lab", "deployment": "llama", "after_ms": 2.0, "outcome": "ok"}
    assert found["tried"] == [{**first, "duration_ms": 1.0}, {**second, "duration_ms": None}]
    assert found["guardrails"] == [
        {"guardrail": "mail", "stage": "input", "action": "mask", "kinds": ["email"], "count": 2}
    ]
    assert (found["dropped"], found["route"], found["trace_id"]) == (["seed"], "tag=eu", "ab" * 16)
    assert (found["input_tokens"], found["cached_tokens"], found["output_tokens"]) == (16, 5, 20)
    assert (found["cost_usd"], found["price_usd"], found["path"]) == (1.0, 1.25, "/v1/chat/completions")


async def test_a_row_of_an_earlier_version_has_no_details(api: Api) -> None:
    call = record(details=None)
    await api.called(call)
    found = await api(f"/{call.id}")
    assert (found["hops"], found["tried"], found["path"], found["trace_id"]) == ([], [], None, None)


async def test_requests_are_listed_newest_first_page_by_page(api: Api) -> None:
    # Two of them began at the same moment.
    calls = [record(started_at=NOW + max(1, age)) for age in range(5)]
    await api.called(*calls)
    expected = [call.id for call in sorted(calls, key=lambda call: (call.started_at, call.id), reverse=True)]
    assert await api.ids() == expected
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(3):
        page = await api(limit=2, **_from(cursor))
        seen += [request["id"] for request in page["data"]]
        cursor = page["next_cursor"]
    assert (seen, cursor) == (expected, None)
    assert (await api(expected=400, cursor="nonsense"))["param"] == "cursor"


FILTERS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"key": OTHER_KEY}, {"key_id": OTHER_KEY}),
    ({"user": USER}, {"user_id": USER}),
    ({"end_user": "ann"}, {"end_user": "ann"}),
    ({"model": "embedder"}, {"model": "embedder"}),
    ({"provider": "lab"}, {"provider": "lab"}),
    ({"status": ["error", "cancelled"]}, {"status": "error"}),
    ({"error": "rate_limited"}, {"error": "rate_limited"}),
    ({"error_text": "TIMEOUT"}, {"error": "upstream_timeout"}),
    ({"tag": "team=red"}, {"tags": "app=chat,team=red"}),
    ({"min_duration_ms": 5000}, {"duration_ms": 5000}),
    ({"min_price_usd": 0.5}, {"price": 500_000}),
    ({"since": "2023-11-14T22:13:21Z"}, {"started_at": NOW + 1}),
    ({"until": "2023-11-14T22:13:20Z"}, {"started_at": NOW - 1}),
]


@pytest.mark.parametrize(("query", "only"), FILTERS, ids=[next(iter(query)) for query, _ in FILTERS])
async def test_requests_are_found_by_what_is_known_of_them(api: Api, query: Any, only: Any) -> None:
    sought, other = record(**only), record(tags="team=redder")
    await api.called(sought, other)
    assert await api.ids(**query) == [sought.id]


async def test_a_page_looks_at_a_bounded_number_of_requests(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MOST_SEEN", 3)
    calls = [record(started_at=NOW + age, model="rare" if age in (0, 6) else "assistant") for age in range(8)]
    await api.called(*calls)
    pages: list[list[str]] = []
    looked: list[float | None] = []
    cursor: str | None = None
    while len(pages) < 4:
        page = await api(model="rare", **_from(cursor))
        pages.append([request["id"] for request in page["data"]])
        until = page["searched_until"]
        looked.append(None if until is None else datetime.fromisoformat(until).timestamp() - NOW)
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert pages == [[calls[6].id], [], [calls[0].id]]
    assert looked == [5, 2, None]


async def test_requests_of_another_project_are_absent(api: Api) -> None:
    theirs = record(project_id=OTHER_PROJECT)
    await api.called(theirs)
    assert await api.ids() == []
    await api(f"/{theirs.id}", 404)


async def test_ids_and_filters_that_nothing_can_have_find_nothing(api: Api) -> None:
    await api.called(record())
    await api("/a%00b", 404)
    await api.say("a%00b", 404, rating=1)
    assert await api.ids(model="a\0b", tag="\0") == []


async def test_whoever_may_not_read_usage_is_refused(api: Api) -> None:
    api.caller = caller("inference")
    await api(expected=403)


async def test_details_go_when_their_time_is_up_and_rows_stay(api: Api, database: Database) -> None:
    def at(moment: float) -> str:
        return encode(int(moment * 1000) << 80)

    old = [record(id=at(NOW - 11 * 86_400 + age), details=BLOB, started_at=NOW - 11 * 86_400) for age in range(3)]
    young = record(id=at(NOW - 9 * 86_400), details=BLOB)
    await api.called(*old, young)
    pruning = HistoryPruning(RequestSettings(details_days=10), database, FakeClock(NOW))
    assert [await pruning.step(), await pruning.step()] == [3, 0]
    for call, attempts in [*((each, 0) for each in old), (young, 2)]:
        found = await api(f"/{call.id}")
        assert (found["attempts"], found["price_usd"]) == (attempts, 0.00005)


async def test_the_key_that_asked_says_how_good_an_answer_was(api: Api) -> None:
    call = record(key_id=api.caller.key_id)
    await api.called(call)
    await api.say(call.id, rating=-1, comment="wrong")
    said = await api.say(call.id, rating=1, comment="after all\0", labels=["math"])
    assert (said["rating"], said["score"], said["comment"], said["labels"]) == (1, None, "after all\ufffd", ["math"])
    assert (said["request_id"], said["given_by"], said["model"]) == (call.id, api.caller.key_id, "assistant")
    assert (await api(f"/{call.id}"))["feedback"] == [said]
    assert (await api("/feedback"))["data"] == [said]


async def test_another_key_says_nothing_of_it_but_people_of_the_project_do(api: Api) -> None:
    call = record(key_id=KEY)
    await api.called(call)
    await api.say(call.id, 404, rating=1)
    await api.say("01M7YX9M57AN6S9X0JFQAJ7C4Y", 404, rating=1)
    api.caller = msgspec.structs.replace(caller(ALL), kind="user")
    await api.say(call.id, rating=1)
    api.caller = msgspec.structs.replace(caller(ALL, project_id=OTHER_PROJECT), kind="user")
    await api.say(call.id, 404, rating=1)
    assert (await api("/feedback"))["data"] == []


@pytest.mark.parametrize("body", [{}, {"rating": 0}, {"rating": 1, "score": 1.0}, {"score": 1.5}])
async def test_feedback_says_how_good_in_one_way(api: Api, body: dict[str, Any]) -> None:
    call = record(key_id=api.caller.key_id)
    await api.called(call)
    await api.say(call.id, 422, **body)


async def test_feedback_is_summed_by_model_and_who_answered(api: Api) -> None:
    mine: dict[str, Any] = {"key_id": api.caller.key_id}
    calls = [record(**mine) for _ in range(4)]
    other = record(**mine, model="small", provider="lab", deployment="llama")
    await api.called(*calls, other)
    bodies: list[dict[str, Any]] = [{"rating": 1}, {"rating": -1}, {"score": 0.5}, {"score": 1.0}]
    for call, body in zip(calls, bodies, strict=True):
        await api.say(call.id, **body)
    await api.say(other.id, rating=-1)
    first, second = (await api("/feedback/models", until="2023-11-14T22:13:21Z"))["data"]
    assert (first["model"], first["good"], first["bad"], first["scored"], first["score"]) == (
        "assistant",
        1,
        1,
        2,
        0.75,
    )
    assert (second["deployment"], second["good"], second["bad"], second["score"]) == ("llama", 0, 1, None)
