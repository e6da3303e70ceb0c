"""`kill -9` under load: nobody gets a truncated success or waits for ever, and the books tell what was delivered."""

import asyncio
import collections
import dataclasses
import os
import random
import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.faults.conftest import CHAT, MICROS, ask
from tests.support.behaviours import Answer, Gate
from tests.support.clients import Response, call_async, chat
from tests.support.ports import free_port
from tests.support.server import Key, Polyforge, Role, stopping
from tests.support.settings import PER_CALL_USD, settings, solo
from tests.support.upstream import Upstream
from tests.support.waiting import DEADLINE, eventually_async

ROUNDS = {1: 10, 2: 10}
"""How often a process is killed, by the number of workers; ten times as often in a soak."""
CALLERS = 8
EMBEDDER = "polyforge/static-minilm"
RECOVERY_DEADLINE = 60.0
SILENCE = 60.0
PATIENCE = 0.1
TEXT = "the quick brown fox jumps over the lazy dog"
SEED = 20261120

Kind = Literal["plain", "stream", "embedding", "budgeted"]
Verdict = Literal["complete", "broken", "refused"]
PATHS: dict[Kind, str] = {"plain": CHAT, "stream": CHAT, "embedding": "/v1/embeddings", "budgeted": CHAT}
REQUESTS: dict[Kind, dict[str, Any]] = {
    "plain": chat("killed-plain"),
    "stream": chat("killed-stream", stream=True),
    "embedding": {"model": EMBEDDER, "input": [TEXT], "encoding_format": "float"},
    "budgeted": chat("killed-budgeted"),
}


@dataclasses.dataclass
class Callers:
    """Callers who call until they are stopped, and note what came back."""

    server: Polyforge
    key: Key
    budgeted: Key
    vector: list[float]
    completed: list[str] = dataclasses.field(default_factory=list[str])
    """Request ids of the calls whose last byte came."""
    counts: collections.Counter[Kind] = dataclasses.field(default_factory=collections.Counter[Kind])
    """Complete answers by kind."""
    verdicts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter[str])
    problems: list[str] = dataclasses.field(default_factory=list[str])
    stopping: bool = False

    async def run(self) -> None:
        """Everyone calls until `stopping`."""
        kinds: list[Kind] = ["plain", "stream", "embedding"]
        regulars = [self._call_on(kinds[number % len(kinds)], 0.01) for number in range(CALLERS)]
        await asyncio.gather(*regulars, self._call_on("budgeted", 0.2))

    async def _call_on(self, kind: Kind, rest: float) -> None:
        key = self.budgeted if kind == "budgeted" else self.key
        while not self.stopping:
            response = await call_async(self.server.url, PATHS[kind], key=key.key, json=REQUESTS[kind], seconds=SILENCE)
            verdict = self._note(kind, response)
            await asyncio.sleep(rest if verdict == "complete" else PATIENCE)

    def _note(self, kind: Kind, response: Response) -> Verdict | None:
        try:
            verdict = self._judge(kind, response)
        except AssertionError as problem:
            self.problems.append(f"{kind}: {problem}; {response}")
            return None
        self.verdicts[verdict] += 1
        if verdict == "complete":
            self.counts[kind] += 1
            self.completed.append(response.request_id)
        return verdict

    def _judge(self, kind: Kind, response: Response) -> Verdict:
        assert response.failure != "silent", "the caller waited in vain"
        last_byte = response.complete or (kind == "stream" and response.finished)
        if response.status == 0 or not last_byte:
            assert response.failure in ("refused", "closed")
            return "broken"
        if response.status == 503:
            assert float(response.headers["retry-after"]) > 0
            return "refused"
        if response.status == 429 and kind == "budgeted":
            return "refused"
        assert response.status == 200, "an error that is none of the caller's business"
        if kind == "stream" and response.stream_error is not None:
            assert not response.finished
            return "broken"
        self._check_content(kind, response)
        return "complete"

    def _check_content(self, kind: Kind, response: Response) -> None:
        if kind == "embedding":
            assert response.json["data"][0]["embedding"] == self.vector, "another vector"
        else:
            assert response.text == TEXT, "a truncated success"
        assert kind != "stream" or response.finished, "a stream that ended cleanly without its end"


class Killer:
    """Kills a process at random, waits until callers are served again, and writes down how long that took."""

    def __init__(self, server: Polyforge, callers: Callers, workers: int) -> None:
        self._server = server
        self._callers = callers
        self._expected: dict[Role, int] = {"gateway": workers, "models": 1}
        self._random = random.Random(SEED + workers)
        self.times: dict[str, list[float]] = collections.defaultdict(list)

    async def strike(self) -> None:
        """Kill one process; return once it runs again and serves."""
        role: Role = self._random.choice(("gateway", "gateway", "models"))
        victim = self._random.choice(self._server.pids(role))
        served = self._served_by(role)
        await asyncio.sleep(self._random.random() / 10)
        struck = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        await eventually_async(lambda: self._is_whole(role, victim), f"a new {role} process", RECOVERY_DEADLINE)
        before = served()
        await eventually_async(lambda: served() > before, f"an answer from {role}", RECOVERY_DEADLINE)
        self.times[role].append(time.monotonic() - struck)

    async def strike_all(self) -> None:
        """Kill the supervisor, and everything with it; start again."""
        await asyncio.to_thread(self._server.kill_tree)
        started = time.monotonic()
        await asyncio.to_thread(self._server.start)
        self.times["everything"].append(time.monotonic() - started)

    def _is_whole(self, role: Role, victim: int) -> bool:
        pids = self._server.pids(role)
        return victim not in pids and len(pids) == self._expected[role]

    def _served_by(self, role: Role) -> Callable[[], int]:
        counts = self._callers.counts
        return lambda: counts["embedding"] if role == "models" else counts["plain"]

    def report(self) -> str:
        """How long it took, for whoever reads the output of the tests."""
        lines = [
            f"{name}: {len(times)} kills, served after {statistics.median(times):.2f} s, at most {max(times):.2f} s"
            for name, times in sorted(self.times.items())
        ]
        return "\n".join(lines)


@pytest.fixture(params=sorted(ROUNDS), ids=lambda workers: f"{workers} workers")
def workers(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture
def rounds(workers: int, soak: bool) -> int:
    return ROUNDS[workers] * (10 if soak else 1)


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_killing_any_process(tmp_path: Path, upstream: Upstream, workers: int, rounds: int) -> None:
    models = {**solo("killed-plain"), **solo("killed-stream"), **solo("killed-budgeted"), **solo("killed-gated")}
    server = Polyforge(tmp_path, settings(upstream, models), workers=workers, port=free_port())
    server.clean = False
    upstream.script("killed-stream", Answer(TEXT, gap=0.005))
    for model in ("killed-plain", "killed-budgeted"):
        upstream.script(model, Answer(TEXT))
    budget_calls = 20 + 2 * rounds
    with stopping(server):
        callers = Callers(
            server,
            key=server.create_key(concurrency=CALLERS),
            budgeted=server.create_key(budget_usd=budget_calls * PER_CALL_USD),
            vector=await reference_vector(server),
        )
        seen_before = len(chats_upstream(upstream))
        killer = Killer(server, callers, workers)
        running = asyncio.create_task(callers.run())
        for number in range(rounds):
            await (killer.strike_all() if number % 10 == 4 else killer.strike())
        callers.stopping = True
        await running
        print(f"\n{killer.report()}\n{dict(callers.verdicts)}")
        assert not callers.problems, "\n".join(callers.problems[:10])
        await assert_no_slot_is_stuck(server, callers.key, upstream)
        await spend_the_rest(server, callers.budgeted)
        assert await asyncio.to_thread(server.stop) == 0
        assert_books_agree(server, callers, budget_calls)
        arrived = len(chats_upstream(upstream)) - seen_before
        dispatched = [record for record in server.records() if record["model"].startswith("killed-")]
        assert len(dispatched) >= arrived, "a call upstream that no record speaks of"
        await asyncio.to_thread(server.start)
        await asyncio.to_thread(assert_sums_agree, server)
        assert (await asyncio.to_thread(ask, server, callers.budgeted, "killed-budgeted")).status == 429


async def reference_vector(server: Polyforge) -> list[float]:
    """What the local model answers when nobody disturbs it."""
    response = await call_async(
        server.url, PATHS["embedding"], key=server.admin_key, json=REQUESTS["embedding"], seconds=SILENCE
    )
    assert response.status == 200, response.body
    return response.json["data"][0]["embedding"]


def chats_upstream(upstream: Upstream) -> list[Any]:
    return [request for request in upstream.requests() if request.model.startswith("killed-")]


async def assert_no_slot_is_stuck(server: Polyforge, key: Key, upstream: Upstream) -> None:
    """As many calls as the key may have in flight are in flight at once, as soon as every worker is back."""
    end = time.monotonic() + DEADLINE
    while (statuses := await fill_every_slot(server, key, upstream)) != [200] * CALLERS:
        assert time.monotonic() < end, f"{statuses.count(429)} of {CALLERS} slots stay taken: {statuses}"


async def fill_every_slot(server: Polyforge, key: Key, upstream: Upstream) -> list[int]:
    """The statuses of calls that all have to be in flight before the first of them is answered."""
    gate, before = Gate(), len(upstream.requests("killed-gated"))
    upstream.script("killed-gated", Answer(before_head=gate))
    body = chat("killed-gated")
    calls = [
        asyncio.create_task(call_async(server.url, CHAT, key=key.key, json=body, seconds=SILENCE))
        for _ in range(CALLERS)
    ]

    def everyone_is_in_or_refused() -> bool:
        arrived = len(upstream.requests("killed-gated")) - before
        return arrived + sum(call.done() for call in calls) >= CALLERS

    try:
        await eventually_async(everyone_is_in_or_refused)
    finally:
        gate.open()
    return [response.status for response in await asyncio.gather(*calls)]


async def spend_the_rest(server: Polyforge, key: Key) -> None:
    while True:
        response = await asyncio.to_thread(ask, server, key, "killed-budgeted")
        if response.status != 200:
            assert response.error["code"] == "insufficient_quota", response.body
            return


def assert_sums_agree(server: Polyforge) -> None:
    """What is summed up by hour and by day is what the records say."""
    records = server.records()
    prices: collections.Counter[str] = collections.Counter()
    for record in records:
        prices[record["key_id"]] += record["price_micros"]
    for unit in ("hour", "day"):
        report = server.api("GET", f"/usage?group_by=key,{unit}&limit=10000").json
        assert report["totals"]["requests"] == len(records)
        told: collections.Counter[str] = collections.Counter()
        for row in report["data"]:
            told[row["key"]] += round(row["price_usd"] * MICROS)
        assert told == prices


def assert_books_agree(server: Polyforge, callers: Callers, budget_calls: int) -> None:
    """Every delivered call has one record that says so, and a budget was spent to the last cent, not more."""
    records = {record["id"]: record for record in server.records()}
    missing = [request_id for request_id in callers.completed if request_id not in records]
    assert not missing, f"{len(missing)} of {len(callers.completed)} delivered calls without a record: {missing[:5]}"
    wrong = [records[request_id] for request_id in callers.completed if records[request_id]["status"] != "ok"]
    assert not wrong, f"delivered calls with another status: {wrong[:5]}"
    assert len(set(callers.completed)) == len(callers.completed), "two calls with one request id"
    assert {record["status"] for record in records.values()} <= {"ok", "error", "cancelled", "interrupted"}
    spent = sum(record["price_micros"] for record in records.values() if record["key_id"] == callers.budgeted.id)
    assert spent == budget_calls * PER_CALL_USD * MICROS
