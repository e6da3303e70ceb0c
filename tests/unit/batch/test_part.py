"""The calls of a part: all answered or refused, in order, patient where there is no room, and stopped when asked."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from polyforge.batch.batches.calling import EMBEDDINGS, Answered, Together
from polyforge.batch.batches.embedding import Unit, split
from polyforge.batch.batches.pace import Pace
from polyforge.batch.batches.part import Part, Stop
from polyforge.batch.batches.writing import OpenAIWriter
from polyforge.dialects.openai_batches import Line
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import BudgetSpent, Invalid, PolyforgeError, RateLimited, Unavailable, UpstreamFailed
from polyforge.tenancy.callers import Caller
from tests.support.waiting import eventually_async

CHAT = "/v1/chat/completions"
ME = Caller("k", "k", "o", "p", frozenset({"inference"}))


class Models:
    """Answers as it is told, and remembers who asked what."""

    def __init__(self, answer: Callable[[dict[str, Any], int], Any] | None = None) -> None:
        self._answer = answer
        self.asked: list[dict[str, Any]] = []
        self.keys: list[bytes | None] = []
        self.running = 0
        self.most = 0
        self.gate: asyncio.Event | None = None

    async def call(
        self, caller: Caller, url: str, body: bytes, *, key: bytes | None, tags: tuple[str, ...]
    ) -> Answered:
        asked = json.loads(body)
        self.asked.append(asked)
        self.keys.append(key)
        assert (caller, tags) == (ME, ("batch=01B",))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if self.gate is not None:
                await self.gate.wait()
            await asyncio.sleep(0)
            said = self._answer(asked, len(self.asked)) if self._answer else {"said": asked["n"]}
        finally:
            self.running -= 1
        if isinstance(said, PolyforgeError):
            raise said
        usage = {"prompt_tokens": 2, "completion_tokens": 3}
        return Answered("r1", json.dumps({**said, "usage": usage}, indent=2).encode(), 5)

    async def call_together(self, caller: Caller, unit: Unit, *, tags: tuple[str, ...]) -> Together:
        answered = await self.call(caller, EMBEDDINGS, unit.body, key=None, tags=tags)
        return Together(answered.request_id, *split(unit, answered.body), answered.price)


def lines(count: int) -> list[Line]:
    return [Line(number, f"c{number}", json.dumps({"n": number}).encode()) for number in range(1, count + 1)]


def part(
    models: Models, count: int = 10, *, pace: Pace | None = None, url: str = CHAT, **other: Any
) -> tuple[Part, Stop]:
    stop = Stop()
    pace = pace or Pace(100, lambda: 0, asyncio.get_running_loop().time)
    told = other.pop("told", lambda: None)
    given = other.pop("lines", lines(count))
    return Part("01B", url, given, ME, models, pace, stop, OpenAIWriter("01B"), told), stop


async def written(made: Part) -> tuple[list[Any], list[Any]]:
    output = b"".join([piece async for piece in made.output()])
    errors = b"".join([piece async for piece in made.errors()])
    return [json.loads(line) for line in output.splitlines()], [json.loads(line) for line in errors.splitlines()]


async def test_answers_come_in_the_order_of_the_lines() -> None:
    told: list[int] = []
    made, _ = part(Models(), 50, told=lambda: told.append(made.over))
    await made.run(8, 1)
    output, errors = await written(made)
    assert errors == []
    assert [line["custom_id"] for line in output] == [f"c{number}" for number in range(1, 51)]
    assert output[6] == {
        "id": "batch_req_01B_7",
        "custom_id": "c7",
        "response": {
            "status_code": 200,
            "request_id": "r1",
            "body": {"said": 7, "usage": {"prompt_tokens": 2, "completion_tokens": 3}},
        },
        "error": None,
    }
    done = made.done()
    assert (done.completed, done.failed, done.price, sum(told)) == (50, 0, 250, 1275)
    assert (done.usage.input_tokens, done.usage.output_tokens, done.usage.total_tokens) == (100, 150, 250)


async def test_each_call_has_a_key_of_its_own_that_callers_cannot_send() -> None:
    models = Models()
    made, _ = part(models, 3)
    await made.run(8, 1)
    assert sorted(key or b"" for key in models.keys) == [b"\0batch/01B/1", b"\0batch/01B/2", b"\0batch/01B/3"]


async def test_a_refusal_is_of_its_line_alone() -> None:
    def answer(asked: dict[str, Any], _: int) -> Any:
        return {2: Invalid("wrong", param="messages"), 4: BudgetSpent("spent")}.get(asked["n"], {"said": 1})

    models = Models(answer)
    made, _ = part(models, 5)
    await made.run(2, 1)
    output, errors = await written(made)
    assert [line["custom_id"] for line in output] == ["c1", "c3", "c5"]
    assert [line["custom_id"] for line in errors] == ["c2", "c4"]
    assert errors[0]["response"]["status_code"] == 400
    assert errors[0]["response"]["body"]["error"]["param"] == "messages"
    assert (errors[1]["response"]["status_code"], errors[1]["error"]) == (429, None)
    assert len(models.asked) == 5


async def test_where_there_is_no_room_it_waits_and_nothing_fails() -> None:
    def answer(_: dict[str, Any], count: int) -> Any:
        if count % 3 == 0:
            return RateLimited("full", retry_after=0.1)
        return Unavailable("away", retry_after=0.1) if count % 7 == 0 else {"said": 1}

    models = Models(answer)
    made, _ = part(models, 20)
    await made.run(8, 1)
    output, errors = await written(made)
    assert (len(output), errors) == (20, [])
    assert len(models.asked) > 20


async def test_what_fails_again_and_again_is_refused() -> None:
    models = Models(lambda asked, _: UpstreamFailed("broken") if asked["n"] == 1 else {"said": 1})
    made, _ = part(models, 2)
    await made.run(8, 1)
    output, errors = await written(made)
    assert [line["custom_id"] for line in output] == ["c2"]
    assert errors[0]["response"]["status_code"] == 502
    assert Counter(asked["n"] for asked in models.asked) == {1: 3, 2: 1}


async def test_when_it_is_to_stop_what_runs_is_answered_and_the_rest_told() -> None:
    models = Models()
    models.gate = asyncio.Event()
    made, stop = part(models, 10)
    running = asyncio.create_task(made.run(3, 1))
    await eventually_async(lambda: models.running == 3, "three calls")
    stop.ask("batch_cancelled", "it was cancelled")
    stop.ask("batch_expired", "too late to matter")
    models.gate.set()
    await running
    output, errors = await written(made)
    assert (len(output), len(errors), made.undone) == (3, 7, 7)
    assert errors[0]["response"] is None
    assert errors[0]["error"] == {"code": "batch_cancelled", "message": "it was cancelled"}


async def test_nobody_waits_for_room_once_it_is_to_stop() -> None:
    made, stop = part(Models(lambda *_: RateLimited("full", retry_after=50.0)), 3)
    running = asyncio.create_task(made.run(3, 1))
    await asyncio.sleep(0)
    stop.ask("batch_expired", "it is over")
    await running
    assert made.undone == 3


async def test_what_goes_together_and_is_refused_is_asked_one_by_one() -> None:
    def answer(asked: dict[str, Any], _: int) -> Any:
        texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
        if "bad" in texts:
            return Invalid("one of them is wrong")
        return {"model": "m", "data": [{"index": index, "embedding": [1.0]} for index in range(len(texts))]}

    texts = ["a", "b", "bad", "c"]
    given = [
        Line(number, f"c{number}", json.dumps({"model": "m", "input": text}).encode())
        for number, text in enumerate(texts, 1)
    ]
    models = Models(answer)
    made, _ = part(models, url="/v1/embeddings", lines=given)
    await made.run(4, 128)
    output, errors = await written(made)
    assert [line["custom_id"] for line in output] == ["c1", "c2", "c4"]
    assert [line["custom_id"] for line in errors] == ["c3"]
    assert len(models.asked) == 5
    assert set(models.keys) == {None}


# --- pace ---


async def test_fewer_calls_run_while_others_are_answered() -> None:
    others = 0
    pace = Pace(8, lambda: others, asyncio.get_running_loop().time)
    for _ in range(200):
        pace.went_through()
    assert pace.allowed == 8
    others = 6
    models = Models()
    made, _ = part(models, 30, pace=pace)
    await made.run(8, 1)
    assert models.most == 2
    others = 100
    assert pace.allowed == 1


def test_it_is_halved_once_for_refusals_that_come_together() -> None:
    clock = FakeClock()
    pace = Pace(16, lambda: 0, clock.monotonic)
    for _ in range(500):
        pace.went_through()
    assert pace.allowed == 16
    for _ in range(10):
        assert pace.no_room(2.0) == 2.0
    assert pace.allowed == 8
    clock.advance(1.0)
    pace.no_room(None)
    assert pace.allowed == 4
    for _ in range(50):
        clock.advance(1.0)
        pace.no_room(None)
    assert pace.allowed == 1
    assert pace.no_room(10_000.0) == 60.0


async def test_it_never_runs_more_than_it_may() -> None:
    pace = Pace(3, lambda: 0, asyncio.get_running_loop().time)
    for _ in range(100):
        pace.went_through()
    models = Models()
    made, _ = part(models, 40, pace=pace)
    await made.run(30, 1)
    assert models.most == 3


@pytest.mark.parametrize("asked", [True, False])
async def test_waiting_ends_when_it_is_to_stop(asked: bool) -> None:
    stop = Stop()
    if asked:
        stop.ask("a", "b")
    assert await stop.within(30.0 if asked else 0.01) is asked
