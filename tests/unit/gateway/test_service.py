"""Whoever was let in is settled, whatever happens next."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from polyforge.gateway.job import Job
from polyforge.gateway.service import Gateway
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.tasks import InferenceRequest
from polyforge.registry.catalog import Model
from polyforge.telemetry.hops import Hops
from polyforge.tenancy.callers import Caller
from tests.unit.limits.limit_samples import NOW


class Store:
    """Lets everybody in, and is asked for ever how much there is of the limits of providers."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.ended: list[str] = []

    async def admit(self, job: Job) -> None:
        job.ceilings = {"p": ()}

    async def lend_ceilings(self, _job: Job) -> None:
        self.asked.set()
        await asyncio.Event().wait()

    def settle(self, job: Job, status: str, _usage: object, *, http_status: int, error: str | None = None) -> None:
        del http_status, error
        if not job.settled:
            job.settled = True
            self.ended.append(status)


@pytest.mark.parametrize("streams", [False, True])
async def test_who_goes_away_while_limits_of_providers_are_asked_for_is_settled(streams: bool) -> None:
    store: Any = Store()
    nothing: Any = SimpleNamespace(any=False)
    gateway = Gateway(store, nothing, nothing, nothing, store, nothing, FakeClock(NOW))
    request = InferenceRequest("chat", "openai", "m", b"{}", stream=streams)
    job = Job("0" * 26, Caller("k", "k", "o", "p", frozenset()), request, Model("m", "chat", ()), Hops(), NOW, 9e9)

    async def ask() -> None:
        if streams:
            async for _ in gateway.stream(job):
                raise AssertionError("there is no answer")
        else:
            await gateway.complete(job)

    asking = asyncio.create_task(ask())
    await asyncio.wait_for(store.asked.wait(), 30)
    asking.cancel()
    await asyncio.wait({asking})
    assert store.ended == ["cancelled"]
