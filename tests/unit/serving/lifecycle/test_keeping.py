"""What is in memory and what is not: budget, sleep, waking, replacement, and what fails."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from polyforge.kernel.errors import Invalid, Unavailable
from polyforge.ports.model_backend import ModelBackend, Signature
from polyforge.serving.lifecycle import keeping
from polyforge.serving.lifecycle.attempts import GIVEN_UP, MOST, LoadAttempts
from polyforge.serving.lifecycle.engine import Engine, Runs
from polyforge.serving.lifecycle.figures import life_text
from polyforge.serving.lifecycle.keeping import MEGABYTE, NO_ROOM, Lifecycle, Limits, Upkeep
from polyforge.serving.repository import HostedModel
from polyforge.serving.scheduler import Scheduler
from tests.support.waiting import DEADLINE
from tests.unit.serving.backends import Adder, request_of


class Slow(Adder):
    """Loads once it may; counts how many did so, and at once."""

    loading = 0
    most = 0

    def __init__(self, may_load: threading.Event, **given: Any) -> None:
        super().__init__(**given)
        self._may_load = may_load

    def load(self) -> None:
        Slow.loading += 1
        Slow.most = max(Slow.most, Slow.loading)
        assert self._may_load.wait(DEADLINE)
        Slow.loading -= 1


class House:
    """A lifecycle, its scheduler, and every backend that was made for each model."""

    def __init__(self, limits: Limits) -> None:
        self.scheduler = Scheduler(threads=4, max_queue=10)
        self.trims = 0
        self.memory = 0
        self.made: dict[str, list[Adder]] = {}
        self.runs = Runs()
        self.lifecycle = Lifecycle(self.scheduler, limits, memory=lambda: self.memory, trim=self._trim)

    def _trim(self) -> None:
        self.trims += 1

    def model(
        self, name: str, make: Callable[[], ModelBackend] = Adder, version: str = "1", **upkeep: Any
    ) -> HostedModel:
        def made() -> ModelBackend:
            backend = make()
            assert isinstance(backend, Adder)
            self.made.setdefault(name, []).append(backend)
            return backend

        model = HostedModel(name, Engine(name, made, self.runs), version)
        self.lifecycle.keep(model, Upkeep(**upkeep))
        return model

    def held(self, model: HostedModel) -> int:
        (life,) = self.lifecycle.lives([model])
        return life.memory_bytes

    async def ask(self, model: HostedModel) -> None:
        awake = await self.lifecycle.awake(model, within=DEADLINE)
        awake.used = asyncio.get_running_loop().time()
        assert awake.signature.platform == "adder"
        await self.scheduler.infer(awake, request_of(1), rows=1, within=DEADLINE, gone=never)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110  # what it waits for happens in threads, too
            await asyncio.sleep(0.001)


async def never() -> None:
    await asyncio.Event().wait()


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """Room for three models of one megabyte."""
    house = House(Limits(memory_bytes=3 * MEGABYTE, wait_seconds=DEADLINE))
    house.scheduler.open()
    yield house
    await house.scheduler.close()


async def test_the_least_recently_used_leaves_and_comes_back_when_it_is_asked(house: House) -> None:
    models = [house.model(name) for name in "abcd"]
    await house.lifecycle.begin(models, lambda: None)
    a, b, c, d = models
    assert [model.resident for model in models] == [True, True, True, False]
    assert (d.state, d.reason) == ("UNAVAILABLE", NO_ROOM)
    for model in (a, c, b):
        await house.ask(model)
    await house.ask(d)
    assert [model.resident for model in models] == [False, True, True, True]
    assert a.ready
    assert a.signature.platform == "adder"
    assert house.made["a"][0].closed
    assert house.trims == 1
    await house.ask(a)
    assert [model.resident for model in models] == [True, True, False, True]
    assert [len(house.made[name]) for name in "abcd"] == [2, 1, 1, 1]


async def test_what_is_kept_warm_never_leaves(house: House) -> None:
    warm = [house.model(name, keep_warm=True) for name in "abc"]
    late = house.model("late")
    await house.lifecycle.begin([*warm, late], lambda: None)
    with pytest.raises(Unavailable, match=r"'late' needs about 1 MB; .* nothing may leave") as caught:
        await house.ask(late)
    assert caught.value.retry_after
    assert all(model.resident for model in warm)
    huge = house.model("huge", size=4 * MEGABYTE)
    with pytest.raises(Unavailable, match="'huge' needs about 4 MB, more than the 3 MB"):
        await house.ask(huge)


async def test_a_model_that_keeps_state_does_not_leave_for_others(house: House) -> None:
    class Stateful(Adder):
        @property
        def signature(self) -> Signature:
            return msgspec.structs.replace(super().signature, stateful=True, instances=1)

    models = [house.model("stateful", Stateful), *(house.model(name) for name in "abc")]
    await house.lifecycle.begin(models[:3], lambda: None)
    await house.ask(models[3])
    assert [model.resident for model in models] == [True, False, True, True]


async def test_what_was_seen_counts_more_than_the_size_of_the_files(house: House) -> None:
    class Large(Adder):
        def load(self) -> None:
            house.memory += 2 * MEGABYTE

    large, small, other = house.model("large", Large), house.model("small"), house.model("other")
    await house.lifecycle.load(large)
    await house.lifecycle.load(small)
    await house.ask(large)
    assert house.held(large) == 2 * MEGABYTE
    await house.ask(other)
    assert not small.resident
    assert large.resident


async def test_a_model_sleeps_when_nobody_uses_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "LOOK_SECONDS", 0.001)
    idle, warm, used = (
        house.model("idle", idle_seconds=0.001),
        house.model("warm", idle_seconds=0.001, keep_warm=True),
        house.model("used"),
    )
    await house.lifecycle.begin([idle, warm, used], lambda: None)
    looking = asyncio.create_task(house.lifecycle.run())
    await until(lambda: house.made["idle"][0].closed)
    looking.cancel()
    assert warm.resident
    assert used.resident
    await house.ask(idle)
    assert len(house.made["idle"]) == 2


async def test_a_request_that_comes_while_a_model_leaves_is_answered_by_the_next_one(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "LOOK_SECONDS", 0.001)
    model = house.model("m", idle_seconds=0.0)
    await house.lifecycle.begin([model], lambda: None)
    (first,) = house.made["m"]
    first.gate.clear()
    running = asyncio.create_task(house.ask(model))
    await asyncio.to_thread(first.started.acquire)
    looking = asyncio.create_task(house.lifecycle.run())
    await until(lambda: not model.resident)
    late = asyncio.create_task(house.ask(model))
    await asyncio.sleep(0.01)
    assert not first.closed
    assert not late.done()
    first.gate.set()
    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(running, late)
    looking.cancel()
    assert first.closed
    assert len(house.made["m"]) >= 2


async def test_many_requests_wait_for_one_load(house: House) -> None:
    may_load = threading.Event()
    model = house.model("m", lambda: Slow(may_load))
    asking = [asyncio.create_task(house.ask(model)) for _ in range(5)]
    await asyncio.sleep(0.01)
    asking[0].cancel()
    may_load.set()
    async with asyncio.timeout(DEADLINE):
        done = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    assert done[1:] == [None] * 4
    assert len(house.made["m"]) == 1


async def test_a_request_does_not_wait_for_ever(house: House) -> None:
    may_load = threading.Event()
    model = house.model("m", lambda: Slow(may_load))
    with pytest.raises(Unavailable, match="still being loaded") as caught:
        await house.lifecycle.awake(model, within=0.01)
    assert caught.value.retry_after
    may_load.set()
    await house.ask(model)
    assert len(house.made["m"]) == 1


async def test_so_many_are_loaded_at_once() -> None:
    house = House(Limits(parallel_loads=2))
    house.scheduler.open()
    may_load = threading.Event()
    Slow.loading = Slow.most = 0
    models = [house.model(name, lambda: Slow(may_load)) for name in "abcde"]
    told: list[int] = []
    beginning = asyncio.create_task(house.lifecycle.begin(models, lambda: told.append(1)))
    await until(lambda: Slow.loading == 2)
    assert len(told) == 2
    may_load.set()
    async with asyncio.timeout(DEADLINE):
        await beginning
    assert (Slow.most, len(told)) == (2, 5)
    await house.scheduler.close()


async def test_what_takes_a_models_place_answers_who_waited_for_it(house: House) -> None:
    old = house.model("m", version="1")
    await house.lifecycle.begin([old], lambda: None)
    fresh = house.model("m", version="1")
    await house.lifecycle.load(fresh, instead_of=[old])
    assert fresh.ready
    old.successor = fresh
    await house.lifecycle.unload(old)
    assert house.lifecycle.lives([old]) == []
    assert await house.lifecycle.awake(old, within=1) is fresh


async def test_a_model_that_is_broken_is_left(house: House) -> None:
    broken = house.model("broken", lambda: Adder(load_error=Invalid("no good")))
    panics = house.model("panics", lambda: Adder(load_error=KeyError("x")))
    await house.lifecycle.begin([broken, panics], lambda: None)
    assert (broken.state, broken.reason) == ("UNAVAILABLE", "no good")
    assert panics.state == "UNAVAILABLE"
    with pytest.raises(Unavailable, match="no good"):
        await house.ask(broken)
    assert len(house.made["broken"]) == 1
    assert house.made["broken"][0].closed
    assert house.held(broken) == 0


@pytest.mark.parametrize(("seconds", "answers"), [(60.0, False), (0.0, True)])
async def test_a_model_that_once_worked_is_tried_again_after_a_while(
    house: House, monkeypatch: pytest.MonkeyPatch, seconds: float, answers: bool
) -> None:
    monkeypatch.setattr(keeping, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(keeping, "RETRY_SECONDS", seconds)
    errors: list[BaseException | None] = [None, Invalid("for now"), None]
    model = house.model("m", lambda: Adder(load_error=errors.pop(0)), idle_seconds=0.0)
    await house.lifecycle.load(model)
    looking = asyncio.create_task(house.lifecycle.run())
    await until(lambda: not model.resident)
    looking.cancel()
    for _ in range(2):
        with contextlib.nullcontext() if answers else pytest.raises(Unavailable, match="for now"):
            await house.ask(model)
    assert len(house.made["m"]) == (3 if answers else 2)


@pytest.mark.parametrize(("seconds", "answers"), [(60.0, False), (0.0, True)])
async def test_a_model_that_waits_for_others_is_tried_again_after_a_while(
    house: House, monkeypatch: pytest.MonkeyPatch, seconds: float, answers: bool
) -> None:
    monkeypatch.setattr(keeping, "RETRY_SECONDS", seconds)
    errors: list[BaseException | None] = [Unavailable("the other server is down"), None]
    model = house.model("m", lambda: Adder(load_error=errors.pop(0)))
    await house.lifecycle.begin([model], lambda: None)
    assert (model.state, model.reason) == ("UNAVAILABLE", "the other server is down")
    with contextlib.nullcontext() if answers else pytest.raises(Unavailable, match="is down"):
        await house.ask(model)
    assert len(house.made["m"]) == (2 if answers else 1)


async def test_models_that_failed_are_loaded_when_what_they_needed_is_there_and_no_others(house: House) -> None:
    errors: list[BaseException | None] = [Unavailable("its key is not known yet"), None]
    waits = house.model("waits", lambda: Adder(load_error=errors.pop(0)))
    loaded, gone, strange = house.model("loaded"), house.model("gone"), HostedModel("strange", Adder())
    await house.lifecycle.begin([waits, loaded, gone], lambda: None)
    gone.state = "UNLOADING"
    await house.lifecycle.unload(gone)
    gone.state = "UNAVAILABLE"
    house.lifecycle.try_again([waits, loaded, gone, strange])
    house.lifecycle.try_again([waits])
    await until(lambda: waits.ready)
    await house.ask(waits)
    assert {name: len(made) for name, made in house.made.items()} == {"waits": 2, "loaded": 1, "gone": 1}
    assert not gone.resident


async def test_runs_that_are_under_way_are_known(house: House) -> None:
    model = house.model("m")
    await house.lifecycle.load(model)
    house.made["m"][0].gate.clear()
    assert house.runs.oldest() is None
    asking = asyncio.create_task(house.ask(model))
    await asyncio.to_thread(house.made["m"][0].started.acquire)
    oldest = house.runs.oldest()
    assert oldest is not None
    assert oldest[0] == "m"
    house.made["m"][0].gate.set()
    await asking
    assert len(house.runs) == 0


async def test_what_became_of_models_is_counted(house: House) -> None:
    models = [house.model(name) for name in ("a", 'b "quoted"', "c", "d")]
    broken = house.model("broken", lambda: Adder(load_error=Invalid("no good")))
    await house.lifecycle.begin([broken, *models], lambda: None)
    await house.ask(models[3])
    await house.lifecycle.unload(models[3])
    text = life_text(house.lifecycle.lives([*models, broken]))
    assert 'polyforge_model_resident{model="b \\"quoted\\"",version="1"} 1\n' in text
    assert 'polyforge_model_unloads_total{model="a",version="1",reason="memory"} 1\n' in text
    assert 'polyforge_model_memory_bytes{model="a",version="1"} 0\n' in text
    assert f'polyforge_model_memory_bytes{{model="c",version="1"}} {MEGABYTE}\n' in text
    assert 'polyforge_model_load_failures_total{model="broken",version="1"} 1\n' in text
    assert 'model="d"' not in text
    assert text.count("# TYPE polyforge_model_loads_total counter") == 1
    assert not life_text([])


async def test_what_may_have_crashed_the_host_comes_last_and_then_not_at_all(house: House, tmp_path: Path) -> None:
    path = tmp_path / "models" / "loading.json"
    loads: list[str] = []

    def made(name: str) -> Adder:
        loads.append(name)
        return Adder()

    async def begin() -> HostedModel:
        """A start; the model that it may have been."""
        lifecycle = Lifecycle(
            house.scheduler, Limits(), memory=lambda: None, trim=lambda: None, attempts=LoadAttempts(path)
        )
        names = ("suspect", "a", "b")
        models = [HostedModel(name, Engine(name, partial(made, name), house.runs)) for name in names]
        for model in models:
            lifecycle.keep(model, Upkeep())
        await lifecycle.begin(models, lambda: None)
        return models[0]

    for _ in range(MOST - 1):
        crashing = LoadAttempts(path)
        crashing.read()
        crashing.begin("suspect", "1")
        # The process ends here.
    assert LoadAttempts(path).read() == {("suspect", "1"): MOST - 1}
    assert (await begin()).ready
    assert (sorted(loads[:2]), loads[2:]) == (["a", "b"], ["suspect"])
    assert LoadAttempts(path).read() == {}

    for _ in range(MOST):
        crashing = LoadAttempts(path)
        crashing.read()
        crashing.begin("suspect", "1")
    given_up = await begin()
    assert (given_up.state, given_up.reason) == ("UNAVAILABLE", GIVEN_UP)
    assert sorted(loads[3:]) == ["a", "b"]


def test_an_orderly_end_and_a_damaged_file_count_against_nothing(tmp_path: Path) -> None:
    path = tmp_path / "loading.json"
    attempts = LoadAttempts(path)
    attempts.begin("m", "1")
    attempts.close()
    assert LoadAttempts(path).read() == {}
    path.write_bytes(b"{")
    assert LoadAttempts(path).read() == {}


async def test_who_waits_for_a_model_that_goes_for_good_does_not_bring_it_back(house: House) -> None:
    model = house.model("m")
    await house.lifecycle.load(model)
    (backend,) = house.made["m"]
    backend.gate.clear()
    running = asyncio.create_task(house.ask(model))
    await asyncio.to_thread(backend.started.acquire)
    model.state, model.reason = "UNLOADING", "unloading"
    leaving = asyncio.create_task(house.lifecycle.unload(model))
    await until(lambda: not model.resident)
    late = asyncio.create_task(house.ask(model))
    await asyncio.sleep(0.01)
    backend.gate.set()
    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(running, leaving)
        with pytest.raises(Unavailable, match="unloading"):
            await late
    assert len(house.made["m"]) == 1


async def test_a_model_that_cannot_even_be_closed_harms_no_other(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    class Sticky(Adder):
        def close(self) -> None:
            raise ValueError("no")

    monkeypatch.setattr(keeping, "LOOK_SECONDS", 0.001)
    sticky, other = house.model("sticky", Sticky, idle_seconds=0.0), house.model("other", idle_seconds=0.0)
    await house.lifecycle.begin([sticky, other], lambda: None)
    looking = asyncio.create_task(house.lifecycle.run())
    await until(lambda: not sticky.resident and not other.resident)
    assert not looking.done()
    looking.cancel()
    await house.ask(other)
