"""A model that is loaded anew again and again: nobody's request fails, and the memory stays what it was."""

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.conformance.encoder_files import SHORT, write_encoder
from tests.support.model_host import Caller, Host

IN_A_SOAK = 500
OTHERWISE = 50
WARM_UP = 10
"""Until the allocators have what they need for good."""
CALLERS = 4
GROWTH = 1.1
MODELS = Path(os.environ.get("POLYFORGE_TEST_MODELS", "."))
"""Where a real encoder may be for a soak, in `minilm-onnx-int8`; else a tiny one takes its place."""
BODY = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["red green blue"]}]}


@pytest.fixture
def folder() -> Iterator[Path]:
    """Unix sockets have short paths."""
    with tempfile.TemporaryDirectory(prefix="pf-") as folder:
        yield Path(folder)


@pytest.fixture
def host(folder: Path, soak: bool) -> Iterator[Host]:
    encoder = MODELS / "minilm-onnx-int8"
    if not soak or not encoder.is_dir():
        encoder = write_encoder(folder / "encoder", files={"config.json": SHORT})
    models = {name: {"task": "embedding", "source": f"file://{encoder}"} for name in ("steady", "changing")}
    host = Host(folder, models=models)
    try:
        assert host.start(), host.output.read_text()
        yield host
    finally:
        host.end()


class Busy:
    """Callers who ask until they are stopped, and what came back that was no answer."""

    def __init__(self, caller: Caller, model: str) -> None:
        self._caller = caller
        self._path = f"/v2/models/{model}/infer"
        self._tasks: list[asyncio.Task[None]] = []
        self.answers = 0
        self.failures: list[object] = []

    async def __aenter__(self) -> "Busy":
        self._tasks = [asyncio.create_task(self._ask()) for _ in range(CALLERS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _ask(self) -> None:
        while True:
            status, answer = await self._caller.call(self._path, BODY)
            self.answers += 1
            if status != 200:
                self.failures.append((status, answer))


async def change(caller: Caller, name: str, change: str) -> None:
    status, answer = await caller.call(f"/v2/repository/models/{name}/{change}")
    assert status == 200, answer


@pytest.mark.soak
async def test_reloads_fail_nobody_and_leave_no_memory_behind(host: Host, soak: bool) -> None:
    count = IN_A_SOAK if soak else OTHERWISE
    assert host.process is not None
    process = psutil.Process(host.process.pid)
    caller = Caller(host)
    firsts: list[float] = []

    async def cycle() -> None:
        """A hot reload, and a load after an unload, with the time to its first answer."""
        await change(caller, "steady", "load")
        await change(caller, "changing", "unload")
        status, _ = await caller.call("/v2/models/changing/infer", BODY)
        assert status == 503
        started = time.perf_counter()
        await change(caller, "changing", "load")
        status, answer = await caller.call("/v2/models/changing/infer", BODY)
        firsts.append(time.perf_counter() - started)
        assert status == 200, answer

    async def settled(cycles: int) -> int:
        """What is resident once nobody asks: what runs take while they run is another matter."""
        for _ in range(cycles):
            await cycle()
        return process.memory_info().rss

    async with Busy(caller, "steady"):
        await cycle()
    before = await settled(WARM_UP)
    async with Busy(caller, "steady") as busy:
        for _ in range(count):
            await cycle()
    after = await settled(1)
    assert busy.failures == []
    assert busy.answers > count
    firsts.sort()
    print(  # what a soak is read for
        f"{count} reloads and loads, {busy.answers} answers meanwhile; resident {before / 1e6:.1f} MB before,"
        f" {after / 1e6:.1f} after; first answer after a load: median {firsts[len(firsts) // 2] * 1e3:.0f} ms,"
        f" longest {firsts[-1] * 1e3:.0f} ms"
    )
    assert after < before * GROWTH
    await caller.close()
    host.send(signal.SIGTERM)
    assert host.wait() == 0, host.output.read_text()
