"""uvicorn under a supervisor: how it begins and how it ends, over real sockets and real signals."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from typing import Any

import pytest

from polyforge.wiring.http_server import SupervisedServer
from tests.support.waiting import DEADLINE


async def answer(scope: Any, receive: Any, send: Any) -> None:
    del scope, receive
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


async def served(drain: Callable[[], None]) -> None:
    """A server that is told to end once it accepts; done when it is over."""
    accepting = asyncio.Event()
    server = SupervisedServer(answer, drain=drain, drain_seconds=1, announce=accepting.set)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        async with asyncio.timeout(DEADLINE):
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            await accepting.wait()
            signal.raise_signal(signal.SIGTERM)
            await serving


async def test_it_drains_and_ends_when_it_is_told_to() -> None:
    drained: list[str] = []
    await served(lambda: drained.append("once"))
    assert drained == ["once"]


async def test_it_ends_though_draining_breaks(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise RuntimeError("no such thing")

    with caplog.at_level(logging.ERROR):
        await served(broken)
    [line] = [record for record in caplog.records if "draining broke" in record.getMessage()]
    assert line.exc_info is not None
    assert "no such thing" in str(line.exc_info[1])
