"""Batches over a database, objects and models of the test, in a process that can be killed at any step."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from sqlalchemy import func, select

from polyforge.adapters.column_files.parquet import ParquetFiles
from polyforge.adapters.objects.memory import MemoryObjects, Settings
from polyforge.batch.batches.calling import Answered, Together
from polyforge.batch.batches.embedding import Unit, split
from polyforge.batch.batches.kind import BatchKind, BatchTools
from polyforge.batch.batches.pace import Pace
from polyforge.batch.batches.records import Batch
from polyforge.batch.batches.removing import BatchPruning
from polyforge.batch.batches.service import BatchService
from polyforge.batch.batches.settings import BatchSettings
from polyforge.batch.files.records import Wish
from polyforge.batch.files.service import FileService
from polyforge.batch.files.settings import FileSettings
from polyforge.batch.tables.scratch import Scratch
from polyforge.database.database import Database
from polyforge.dialects.openai_batches import decode_request
from polyforge.dialects.openai_files import file_id
from polyforge.jobs.records import Job
from polyforge.jobs.service import JobService
from polyforge.jobs.settings import HeavySettings, JobSettings
from polyforge.kernel.clock import FakeClock
from polyforge.ports.data_store import DataStore
from polyforge.secrets.sealing import MasterKeys
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.idempotency.service import Idempotency
from polyforge.tenancy.idempotency.settings import IdempotencySettings
from tests.support.recording import recorder

DAY = 86_400
CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"


def ulid(digit: int) -> str:
    return f"{digit:026d}"


ME = Caller(ulid(5), "k", ulid(1), ulid(11), frozenset({"inference", "files:read", "files:write"}))
STRANGER = replace(ME, organization_id=ulid(2), project_id=ulid(21))


class Models:
    """Answers with what was asked, and counts."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.refuse: Callable[[str], Exception | None] = lambda _: None

    async def call(
        self, caller: Caller, url: str, body: bytes, *, key: bytes | None, tags: tuple[str, ...]
    ) -> Answered:
        del caller, key, tags
        said = json.loads(body)
        texts = said["input"] if url == EMBEDDINGS else [said["n"]]
        texts = [texts] if isinstance(texts, str) else texts
        self.asked.update(str(text) for text in texts)
        await asyncio.sleep(0)
        if (error := self.refuse(str(texts[0]))) is not None:
            raise error
        if url == EMBEDDINGS:
            data = [{"index": index, "embedding": [float(text)]} for index, text in enumerate(texts)]
            answer = {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}}
        else:
            answer = {"said": said["n"], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}
        return Answered("r", json.dumps(answer).encode(), 10)

    async def call_together(self, caller: Caller, unit: Unit, *, tags: tuple[str, ...]) -> Together:
        answered = await self.call(caller, EMBEDDINGS, unit.body, key=None, tags=tags)
        return Together(answered.request_id, *split(unit, answered.body), answered.price)


class Killed(BaseException):
    """The process is gone."""


class Context:
    """Steps as they are kept over attempts. `kill` is asked before a step, inside it (done and not kept), and after."""

    def __init__(self, job: Job, kept: dict[str, str], kill: Callable[[str, str], bool] = lambda *_: False) -> None:
        self.job = job
        self.cancelled = False
        self.told: list[tuple[float, float | None]] = []
        self._kept = kept
        self._kill = kill

    async def step(self, name: str, work: Callable[[], Awaitable[Any]], **_: Any) -> Any:
        if name not in self._kept:
            self._maybe("before", name)
            done = await work()
            self._maybe("inside", name)
            self._kept[name] = json.dumps(done)
            self._maybe("after", name)
        return json.loads(self._kept[name])

    def _maybe(self, when: str, name: str) -> None:
        if self._kill(when, name):
            raise Killed

    def idempotency_key(self, step: str) -> str:
        return step

    async def sleep(self, name: str, seconds: float) -> None:
        raise AssertionError("a batch does not sleep")

    async def wait_for(self, name: str, topic: str, **_: Any) -> Any:
        raise AssertionError("a batch waits for nobody")

    def progress(self, done: float, total: float | None = None, unit: str = "", note: str = "") -> None:
        self.told.append((done, total))

    def log(self, level: str, text: str) -> None:
        assert text


class Room:
    """Batches over a database, objects and models of the test."""

    def __init__(self, database: Database, clock: FakeClock, folder: Path, **settings: Any) -> None:
        self.database = database
        self.clock = clock
        self.objects = MemoryObjects(Settings(), Path())
        told = recorder(clock)
        self.settings = BatchSettings(**settings)
        self.files = FileService(FileSettings(), database, self.objects, clock, told)
        self.jobs = JobService(database, clock, told, JobSettings())
        self.service = BatchService(self.settings, database, self.files, self.jobs, clock, told)
        self.models = Models()
        self.idempotency = Idempotency(IdempotencySettings(), database, clock, MasterKeys([b"m" * 32]))
        self.standing: Callable[[Caller], Caller] = lambda caller: caller
        self.pruning = BatchPruning(database, self.objects, clock)
        self.folder = folder
        self.stores: dict[str, DataStore] = {}
        self.scratch = Scratch(folder / "scratch", 100_000_000)

    async def upload(self, content: bytes, purpose: str = "batch") -> str:
        async def pieces() -> AsyncIterator[bytes]:
            yield content

        async def told() -> Wish:
            return Wish(purpose)

        return file_id((await self.files.upload(ME, "in.jsonl", pieces(), told)).id)

    async def create(self, content: bytes, endpoint: str = CHAT, **asked: Any) -> Batch:
        body = {"input_file_id": await self.upload(content), "endpoint": endpoint, "completion_window": "24h", **asked}
        return await self.service.create(ME, decode_request(json.dumps(body).encode()))

    async def run(
        self, batch: Batch, kept: dict[str, str] | None = None, kill: Callable[[str, str], bool] = lambda *_: False
    ) -> Any:
        """One attempt, in a worker that has just begun."""

        async def current(caller: Caller) -> Caller:
            return self.standing(caller)

        pace = Pace(self.settings.lines_at_once, lambda: 0, asyncio.get_running_loop().time)
        tools = BatchTools(
            self.settings,
            self.database,
            self.objects,
            self.files,
            self.models,
            pace,
            current,
            self.clock,
            self.stores,
            ParquetFiles(HeavySettings().apart()),
            self.scratch,
        )
        job = await self.jobs.get(ME, batch.job_id)
        self.context = Context(job, {} if kept is None else kept, kill)
        return await BatchKind(tools).run(self.context)  # pyright: ignore[reportArgumentType]

    async def lines(self, ulid: str | None) -> list[Any]:
        if ulid is None:
            return []
        found = await self.files.get(ME, ulid)
        whole = b"".join([piece async for piece in self.files.content(ME, found)])
        return [json.loads(line) for line in whole.splitlines()]

    async def count(self, table: Any) -> int:
        async with self.database.read() as session:
            return await session.scalar(select(func.count()).select_from(table))


def chat(count: int) -> bytes:
    return b"".join(
        json.dumps({"custom_id": f"c{n}", "method": "POST", "url": CHAT, "body": {"n": n}}).encode() + b"\n"
        for n in range(count)
    )


def texts(count: int) -> bytes:
    return b"".join(
        json.dumps(
            {"custom_id": f"c{n}", "method": "POST", "url": EMBEDDINGS, "body": {"model": "m", "input": str(n)}}
        ).encode()
        + b"\n"
        for n in range(count)
    )
