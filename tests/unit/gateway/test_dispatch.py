"""Dispatch: who is tried, how often, and what the caller gets, with upstreams that follow a script."""

import asyncio
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from typing_extensions import AsyncGenerator

from polyforge.gateway.dispatch import Dispatch
from polyforge.gateway.health import Health
from polyforge.gateway.job import Job
from polyforge.gateway.routing import Wish
from polyforge.gateway.settings import GatewaySettings
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import (
    BrokenOff,
    Invalid,
    NotConfigured,
    PolyforgeError,
    QuotaSpent,
    RateLimited,
    TimedOut,
    Unavailable,
    Unsupported,
    UpstreamDenied,
    UpstreamFailed,
    UpstreamRefused,
)
from polyforge.kernel.hidden import Hidden
from polyforge.kernel.tasks import InferenceRequest
from polyforge.kernel.usage import Usage
from polyforge.ports.provider import Call, Capabilities, Reply, StreamEvent
from polyforge.ports.secret_source import SecretSource
from polyforge.registry.catalog import Deployment, Model
from polyforge.telemetry.hops import Hops
from polyforge.tenancy.callers import Caller

CONTENT = StreamEvent(b"data: hi\n\n", content=True, size=2)
ROLE = StreamEvent(b"data: role\n\n")
END = StreamEvent(b"data: [DONE]\n\n", end=True)
OK = Reply(Usage(1, output=1), b"{}")

NO_LIMITS: Any = None
"""Nobody asks for limits of providers where a job has none."""
Step = Reply | PolyforgeError | list[StreamEvent | PolyforgeError]


class Scripted:
    """Does the next thing of its script at each call."""

    capabilities: ClassVar[Capabilities] = Capabilities(tasks=frozenset({"chat"}), dialects=frozenset({"openai"}))

    def __init__(self, *script: Step) -> None:
        self.script = list(script)
        self.calls: list[Call] = []
        self.closed = 0

    async def open(self, secrets: SecretSource) -> None: ...

    async def close(self) -> None: ...

    async def models(self) -> list[str]:
        return []

    async def send(self, call: Call) -> Reply:
        self.calls.append(call)
        step = self.script.pop(0)
        if isinstance(step, PolyforgeError):
            raise step
        assert isinstance(step, Reply)
        return step

    async def stream(self, call: Call) -> AsyncGenerator[list[StreamEvent]]:
        self.calls.append(call)
        step = self.script.pop(0)
        assert isinstance(step, list)
        try:
            for event in step:
                if isinstance(event, PolyforgeError):
                    raise event
                yield [event]
        finally:
            self.closed += 1


def deployment(index: int) -> Deployment:
    return Deployment(index, f"p{index}", "m", 1, index, None, None, None, None)


class House:
    """A dispatch over scripted providers, one deployment each, by priority."""

    def __init__(self, folder: Path, *providers: Scripted) -> None:
        folder.mkdir(exist_ok=True)
        self.clock = FakeClock()
        self.health = Health(folder / "health", len(providers), self.clock)
        self.health.open()
        self.model = Model("m", "chat", tuple(deployment(index) for index in range(len(providers))))
        named = {f"p{index}": provider for index, provider in enumerate(providers)}
        self.dispatch = Dispatch(GatewaySettings(cooldown_seconds=5), named, self.health, NO_LIMITS, self.clock)

    def job(self) -> Job:
        caller = Caller("k", "k", "o", "p", frozenset())
        request = InferenceRequest("chat", "openai", "m", b"{}")
        deadline = asyncio.get_running_loop().time() + 30
        return Job("id", caller, request, self.model, Hops(), self.clock.now(), deadline)

    async def send(self, key: str | None = None) -> Reply:
        job = self.job()
        job.provider_key = None if key is None else Hidden(key)
        return await self.dispatch.send(job, self.dispatch.route(job))

    async def frames(self) -> list[bytes]:
        job = self.job()
        first, rest = await self.dispatch.stream(job, self.dispatch.route(job))
        found = [event.frame for event in first]
        async for batch in rest:
            found += [event.frame for event in batch]
        return found


@pytest.mark.parametrize("failure", [UpstreamFailed("x"), TimedOut("x"), RateLimited("x"), Unavailable("x")])
async def test_another_deployment_answers(tmp_path: Path, failure: PolyforgeError) -> None:
    first, second = Scripted(failure), Scripted(OK)
    assert await House(tmp_path, first, second).send() is OK
    assert (len(first.calls), len(second.calls)) == (1, 1)


async def test_a_blip_of_the_only_deployment_is_tried_again(tmp_path: Path) -> None:
    only = Scripted(UpstreamFailed("x"), OK)
    assert await House(tmp_path, only).send() is OK


async def test_what_ended_over_a_request_does_not_get_it_again_but_others_do(tmp_path: Path) -> None:
    only = Scripted(BrokenOff("x"), OK)
    with pytest.raises(BrokenOff):
        await House(tmp_path / "one", only).send()
    assert len(only.calls) == 1
    first, second = Scripted(BrokenOff("x"), OK), Scripted(UpstreamFailed("x"), OK)
    with pytest.raises(UpstreamFailed):
        await House(tmp_path / "two", first, second).send()
    assert (len(first.calls), len(second.calls)) == (1, 1)


async def test_it_ends_after_the_allowed_attempts(tmp_path: Path) -> None:
    only = Scripted(*[UpstreamFailed("x")] * 3)
    house = House(tmp_path, only)
    with pytest.raises(UpstreamFailed):
        await house.send()
    assert len(only.calls) == 3
    with pytest.raises(Unavailable) as refused:
        await house.send()
    assert refused.value.retry_after == pytest.approx(5)
    house.clock.advance(5)
    only.script.append(OK)
    assert await house.send() is OK


@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_what_is_wrong_with_the_request_is_not_tried_elsewhere_and_cools_nothing(
    tmp_path: Path, status: int
) -> None:
    first, second = Scripted(*[UpstreamRefused("x", status=status)] * 4), Scripted()
    house = House(tmp_path, first, second)
    for _ in range(4):
        with pytest.raises(UpstreamRefused):
            await house.send()
    assert (len(first.calls), second.calls) == (4, [])


async def test_a_rate_limit_cools_at_once_and_the_longer_cooldown_stays(tmp_path: Path) -> None:
    first, second = Scripted(RateLimited("x", retry_after=20)), Scripted(RateLimited("x", retry_after=50))
    house = House(tmp_path, first, second)
    with pytest.raises(RateLimited) as refused:
        await house.send()
    assert refused.value.retry_after == pytest.approx(20)
    house.health.cool(1, 3)
    house.clock.advance(21)
    first.script.append(RateLimited("x", retry_after=1000))
    with pytest.raises(RateLimited):
        await house.send()
    assert house.health.cooling_until(0) - house.clock.now() == pytest.approx(60)
    assert len(second.calls) == 1


async def test_refused_credentials_cool_at_once(tmp_path: Path) -> None:
    house = House(tmp_path, Scripted(UpstreamDenied("x")), Scripted(OK, OK))
    assert await house.send() is OK
    assert await house.send() is OK
    assert house.health.cooling_until(0) > house.clock.now()


async def test_a_key_that_is_not_set_yet_is_passed_over_and_cools_nothing(tmp_path: Path) -> None:
    first, second = Scripted(*[NotConfigured("x")] * 4, OK), Scripted(*[OK] * 4)
    house = House(tmp_path, first, second)
    for _ in range(4):
        assert await house.send() is OK
    assert await house.send() is OK
    assert (len(first.calls), len(second.calls)) == (5, 4)
    alone = Scripted(NotConfigured("the secret 'x' is missing"), OK)
    house = House(tmp_path, alone)
    with pytest.raises(NotConfigured, match="is missing"):
        await house.send()
    assert await house.send() is OK


async def test_the_callers_key_is_handed_on_and_its_limits_are_its_own(tmp_path: Path) -> None:
    first = Scripted(RateLimited("x", retry_after=20), UpstreamFailed("x"), OK, OK)
    house = House(tmp_path, first)
    with pytest.raises(RateLimited) as refused:
        await house.send("brought")
    assert refused.value.retry_after == 20
    assert await house.send("brought") is OK
    assert await house.send() is OK
    assert [call.key for call in first.calls] == [Hidden("brought")] * 3 + [None]
    assert "brought" not in repr(first.calls)


async def test_a_stream_fails_over_before_its_first_content_and_what_was_held_is_not_repeated(tmp_path: Path) -> None:
    first, second = Scripted([ROLE, UpstreamFailed("x")]), Scripted([ROLE, CONTENT, END])
    assert await House(tmp_path, first, second).frames() == [ROLE.frame, CONTENT.frame, END.frame]
    assert (first.closed, second.closed) == (1, 1)


async def test_a_stream_does_not_fail_over_after_content(tmp_path: Path) -> None:
    first, second = Scripted([CONTENT, UpstreamFailed("x")]), Scripted([CONTENT, END])
    house = House(tmp_path, first, second)
    with pytest.raises(UpstreamFailed):
        await house.frames()
    assert (second.calls, first.closed) == ([], 1)


async def test_leaving_before_the_first_content_hangs_up(tmp_path: Path) -> None:
    class Silent(Scripted):
        async def stream(self, call: Call) -> AsyncGenerator[list[StreamEvent]]:
            try:
                yield [ROLE]
                await asyncio.Event().wait()
            finally:
                self.closed += 1

    only = Silent()
    house = House(tmp_path, only)
    task = asyncio.create_task(house.frames())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert only.closed == 1


async def test_the_wait_for_upstreams_is_not_our_overhead(tmp_path: Path) -> None:
    class Slow(Scripted):
        async def send(self, call: Call) -> Reply:
            await asyncio.sleep(0.05)
            return await super().send(call)

    house = House(tmp_path, Slow(UpstreamFailed("x"), OK))
    job = house.job()
    await house.dispatch.send(job, house.dispatch.route(job))
    assert job.hops.waited >= 2 * 45_000_000
    assert [attempt.outcome for attempt in job.attempts] == ["upstream_error", "ok"]


def contexts(house: House, *sizes: int | None) -> None:
    """Say what the deployments declare as their contexts, and have too long prompts go to larger ones."""
    places = [msgspec.structs.replace(p, context=size) for p, size in zip(house.model.deployments, sizes, strict=True)]
    house.model = msgspec.structs.replace(house.model, deployments=tuple(places), widens=True)


def too_long() -> UpstreamRefused:
    return UpstreamRefused("too many tokens", status=400, code="context_length_exceeded")


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_prompt_too_long_for_one_goes_to_a_larger_one_where_the_policy_says_so(
    tmp_path: Path, streamed: bool
) -> None:
    failed: Step = [too_long()] if streamed else too_long()
    done: Step = [CONTENT, END] if streamed else OK
    small, unknown, smaller, large = Scripted(failed), Scripted(), Scripted(), Scripted(done)
    house = House(tmp_path, small, unknown, smaller, large)
    contexts(house, 8_000, None, 4_000, 128_000)
    assert await (house.frames() if streamed else house.send())
    assert [len(each.calls) for each in (small, unknown, smaller, large)] == [1, 0, 0, 1]
    assert house.health.cooling_until(0) == 0


async def test_a_prompt_too_long_for_all_is_refused_as_the_last_one_said(tmp_path: Path) -> None:
    providers = [Scripted(too_long()) for _ in range(3)]
    house = House(tmp_path, *providers)
    contexts(house, 8_000, 16_000, 16_000)
    with pytest.raises(UpstreamRefused) as refused:
        await house.send()
    assert refused.value.code == "context_length_exceeded"
    assert [len(each.calls) for each in providers] == [1, 1, 0]


async def test_without_that_policy_the_caller_hears_of_it(tmp_path: Path) -> None:
    first, second = Scripted(too_long()), Scripted(OK)
    with pytest.raises(UpstreamRefused):
        await House(tmp_path, first, second).send()
    assert not second.calls


async def test_an_account_without_credit_is_left_alone_for_longer_than_a_busy_one(tmp_path: Path) -> None:
    first, second = Scripted(QuotaSpent("x", retry_after=1)), Scripted(RateLimited("x", retry_after=7))
    house = House(tmp_path, first, second)
    with pytest.raises(RateLimited) as limited:
        await house.send()
    assert limited.value.retry_after == pytest.approx(7)
    assert house.health.cooling_until(0) == house.clock.now() + 300
    assert (house.health.cause(0), house.health.cause(1)) == ("quota", "rate")
    with pytest.raises(RateLimited) as waiting:
        house.dispatch.route(house.job())
    assert (waiting.value.status, waiting.value.retry_after) == (429, pytest.approx(7))


async def test_one_that_is_down_makes_it_503(tmp_path: Path) -> None:
    house = House(tmp_path, Scripted(), Scripted())
    house.health.cool(0, 30, "rate")
    house.health.cool(1, 20, "failure")
    with pytest.raises(Unavailable) as waiting:
        house.dispatch.route(house.job())
    assert (waiting.value.status, waiting.value.retry_after) == (503, pytest.approx(20))


async def test_what_the_caller_wants_of_a_deployment_is_obeyed_or_refused(tmp_path: Path) -> None:
    house = House(tmp_path, Scripted(), Scripted())
    job = house.job()
    job.wish = Wish(provider="p1")
    assert [place.provider for place in house.dispatch.route(job).attempts] == ["p1"]
    job.wish = Wish(tags=frozenset({"eu"}))
    with pytest.raises(Invalid, match="tag") as refused:
        house.dispatch.route(job)
    assert refused.value.param == "x-polyforge-route"


async def test_a_request_that_no_deployment_can_answer_is_refused(tmp_path: Path) -> None:
    house = House(tmp_path, Scripted(), Scripted())
    blind = [msgspec.structs.replace(place, vision=False) for place in house.model.deployments]
    house.model = msgspec.structs.replace(house.model, deployments=tuple(blind))
    job = house.job()
    job.request.images = 1
    with pytest.raises(Unsupported, match="takes images"):
        house.dispatch.route(job)


async def test_answers_and_failures_are_measured_where_there_is_a_choice(tmp_path: Path) -> None:
    house = House(tmp_path, Scripted(UpstreamFailed("x")), Scripted(OK))
    await house.send()
    failed, answered = house.health.latency(0, False), house.health.latency(1, False)
    assert failed is not None
    assert answered is not None
    assert failed >= 2.0 > answered
    assert house.health.latency(1, True) is None
    alone = House(tmp_path / "alone", Scripted(OK))
    alone.model = msgspec.structs.replace(alone.model, simple=True)
    await alone.send()
    assert alone.health.latency(0, False) is None
