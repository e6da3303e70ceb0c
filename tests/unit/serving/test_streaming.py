"""Answers that come one after the other: through the routes of the host, and what becomes of them when nobody reads."""

import asyncio
import json
import struct
import threading
from collections.abc import AsyncIterator, Generator
from typing import Any

import msgspec
import pytest

from polyforge.kernel.errors import Invalid, TimedOut, Unavailable
from polyforge.kernel.tensors import Tensor
from polyforge.ports.model_backend import ModelRequest, Outputs, Signature
from polyforge.serving.api import OipApp
from polyforge.serving.repository import HostedModel, Repository
from polyforge.serving.scheduler import Scheduler
from polyforge.serving.streaming import AHEAD, Streams
from tests.support.waiting import eventually_async
from tests.unit.serving.backends import Adder, numbers_of, request_of

PATH = "/v2/models/counter/generate_stream"


class Counter(Adder):
    """Counts from `x` on, one number per answer, until it is stopped; 7 is refused, 13 breaks it, 99 is the last."""

    def __init__(self) -> None:
        super().__init__()
        self.given = 0
        self.left = threading.Event()

    @property
    def signature(self) -> Signature:
        return msgspec.structs.replace(super().signature, streams=True)

    def stream(self, request: ModelRequest) -> Generator[Outputs]:
        (number,) = numbers_of(request.inputs["x"])
        try:
            while number < 99:
                if number == 7:
                    raise Invalid("x: 7 is refused", param="x")
                if number == 13:
                    raise KeyError("thirteen")
                assert self.gate.wait(20)
                self.given += 1
                yield (Tensor("y", "INT64", (1,), struct.pack("<q", number)),)
                number += 1
        finally:
            self.left.set()


class Client:
    """One call of the app, whose parts are looked at as they come."""

    def __init__(self, app: OipApp, number: int) -> None:
        self.parts: list[bytes] = []
        self.status = 0
        self.ended = False
        self._body = json.dumps({"x": number}).encode()
        self._gone = asyncio.Event()
        self._asked = False
        self.task = asyncio.ensure_future(app(self._scope(), self._receive, self._send))

    def hang_up(self) -> None:
        self._gone.set()

    def events(self) -> list[Any]:
        return [json.loads(part.removeprefix(b"data: ")) for part in self.parts]

    def _scope(self) -> dict[str, Any]:
        return {"type": "http", "method": "POST", "path": PATH, "raw_path": PATH.encode(), "headers": []}

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self._body}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        if message["body"]:
            self.parts.append(message["body"])
        self.ended = not message.get("more_body", False)


class Host:
    """A host of one model that streams."""

    def __init__(self) -> None:
        self.backend = Counter()
        self.model = HostedModel("counter", self.backend)
        self.model.load()
        self.scheduler = Scheduler(threads=1, max_queue=1)
        self.app = OipApp(Repository([self.model]), self.scheduler, version="9", max_rows=8, timeout=20)


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    host = Host()
    host.scheduler.open()
    yield host
    await host.scheduler.close()


async def test_every_answer_is_an_event_of_its_own(host: Host) -> None:
    client = Client(host.app, 90)
    await client.task
    assert client.status == 200
    assert [event["y"] for event in client.events()] == list(range(90, 99))
    assert client.ended
    assert (host.model.statistics.succeeded, host.model.statistics.failed) == (1, 0)


async def test_a_model_that_gives_no_answer_gives_an_empty_stream(host: Host) -> None:
    client = Client(host.app, 99)
    await client.task
    assert (client.status, client.parts, client.ended) == (200, [], True)


async def test_an_error_before_the_first_answer_is_a_plain_one(host: Host) -> None:
    client = Client(host.app, 7)
    await client.task
    assert (client.status, client.parts) == (400, [b'{"error":"x: 7 is refused"}'])


async def test_an_error_after_it_is_the_last_event(host: Host) -> None:
    client = Client(host.app, 5)
    await client.task
    assert client.status == 200
    assert client.events()[-1] == {"error": "x: 7 is refused"}
    assert [event["y"] for event in client.events()[:-1]] == [5, 6]
    assert host.model.statistics.failed == 1


async def test_what_nobody_foresaw_is_opaque(host: Host) -> None:
    client = Client(host.app, 12)
    await client.task
    assert client.events()[0]["y"] == 12
    assert "thirteen" not in client.events()[1]["error"]


async def test_a_caller_who_leaves_stops_the_model(host: Host) -> None:
    client = Client(host.app, -1_000_000_000)
    await eventually_async(lambda: len(client.parts) > 3)
    client.hang_up()
    await client.task
    await eventually_async(host.backend.left.is_set)
    assert host.model.statistics.cancelled == 1


async def test_a_model_is_not_unloaded_under_a_stream(host: Host) -> None:
    host.backend.gate.clear()
    client = Client(host.app, 97)
    unloading = asyncio.ensure_future(host.scheduler.unload(host.model))
    await asyncio.sleep(0.05)
    assert not unloading.done()
    assert not host.backend.closed
    host.backend.gate.set()
    await client.task
    await unloading
    assert [event["y"] for event in client.events()] == [97, 98]
    assert host.backend.closed


async def never() -> None:
    await asyncio.Event().wait()


def nothing() -> None:
    pass


async def test_only_a_few_answers_are_computed_ahead() -> None:
    backend = Counter()
    answers = Streams().answers(backend, request_of(-1_000_000), within=20, gone=never, ended=nothing)
    await anext(answers)
    # One was read, and one more waits for room.
    await eventually_async(lambda: backend.given == AHEAD + 2)
    await asyncio.sleep(0.02)
    assert backend.given == AHEAD + 2
    await answers.aclose()
    await eventually_async(backend.left.is_set)


async def test_more_streams_than_there_may_be_are_refused() -> None:
    streams = Streams(max_streams=1)
    ended = asyncio.Event()
    first = streams.answers(Counter(), request_of(1), within=20, gone=never, ended=ended.set)
    await anext(first)
    refused = asyncio.Event()
    second = streams.answers(Counter(), request_of(1), within=20, gone=never, ended=refused.set)
    with pytest.raises(Unavailable):
        await anext(second)
    assert refused.is_set()
    await first.aclose()
    await asyncio.wait_for(ended.wait(), 20)
    third = streams.answers(Counter(), request_of(98), within=20, gone=never, ended=nothing)
    assert [numbers_of(outputs[0]) async for outputs in third] == [[98]]


async def test_an_answer_that_takes_too_long_ends_the_stream() -> None:
    backend = Counter()
    answers = Streams().answers(backend, request_of(1), within=0.05, gone=never, ended=nothing)
    await anext(answers)
    backend.gate.clear()
    with pytest.raises(TimedOut):
        _ = [outputs async for outputs in answers]
    backend.gate.set()
    await eventually_async(backend.left.is_set)
