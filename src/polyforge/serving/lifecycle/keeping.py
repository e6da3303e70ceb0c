"""Which models are in memory: loaded within a budget, the least recently used leaving first, and back when asked for.

A model that left is READY all the same: its next request waits while it is loaded. Every change of a model is one task
at a time, begun on the event loop; so what is decided there holds until the task is done.
"""

import asyncio
import math
from collections.abc import Callable, Collection, Coroutine, Iterable
from typing import Any, Final, Literal, get_args

import msgspec

from polyforge.kernel.errors import PolyforgeError, Unavailable
from polyforge.ports.model_backend import ProcessBackend
from polyforge.serving.lifecycle.attempts import GIVEN_UP, MOST, REST_SECONDS, LoadAttempts
from polyforge.serving.lifecycle.memory import give_back, resident_bytes
from polyforge.serving.repository import HostedModel
from polyforge.serving.scheduler import Scheduler
from polyforge.telemetry.logs import get_logger

LOOK_SECONDS: Final = 1.0
"""Between looks for models that nobody has used for long."""
RETRY_SECONDS: Final = 10.0
"""Until a model that could not be loaded again is tried once more."""
MEGABYTE: Final = 1_000_000
LEAST_BYTES: Final = MEGABYTE
"""What a model is taken to need at least: an engine has costs of its own."""
Leaving = Literal["idle", "memory", "unloaded"]
LEAVINGS: Final[tuple[Leaving, ...]] = get_args(Leaving)
"""Why models leave: nobody used them, others needed the room, or somebody wanted it so or had another in mind."""
NO_ROOM: Final = "not loaded, for the memory that models may take is full; the first request loads it"

_log = get_logger(__name__)


class Limits(msgspec.Struct, frozen=True):
    """How much memory models may take together (None: any), how many may be loaded at once, and how long a request
    waits for one."""

    memory_bytes: int | None = None
    parallel_loads: int = 2
    wait_seconds: float = 30.0


class Upkeep(msgspec.Struct, frozen=True):
    """What keeps one model in memory.

    `size` is how many bytes it is taken to need until it was loaded. One that is kept warm never leaves; another leaves
    after `idle_seconds` without a request (None: never), or when its memory is needed.
    """

    size: int = 0
    keep_warm: bool = False
    idle_seconds: float | None = None


class Life(msgspec.Struct):
    """What became of one version of a model since the host started; `leavings` counts by reason."""

    model: str
    version: str
    resident: bool = False
    memory_bytes: int = 0
    loads: int = 0
    failures: int = 0
    leavings: dict[Leaving, int] = {}


class _Kept(msgspec.Struct, eq=False):
    model: HostedModel
    upkeep: Upkeep
    holds: int = 0
    """Bytes counted for it while it is in memory, or on its way there."""
    measured: int = 0
    loaded_at: float = 0.0
    retry_at: float = 0.0
    change: asyncio.Task[PolyforgeError | None] | None = None

    @property
    def size(self) -> int:
        """Bytes that it needs: what was seen, else what is supposed."""
        return max(LEAST_BYTES, self.measured or self.upkeep.size)

    @property
    def idle_since(self) -> float:
        return max(self.model.used, self.loaded_at)


class Lifecycle:
    """Loads models, puts them to sleep and wakes them. Everything here is called on one event loop."""

    def __init__(
        self,
        scheduler: Scheduler,
        limits: Limits,
        *,
        memory: Callable[[], int | None] = resident_bytes,
        trim: Callable[[], None] = give_back,
        attempts: LoadAttempts | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._limits = limits
        self._memory = memory
        self._trim = trim
        self._attempts = attempts or LoadAttempts()
        self._kept: dict[HostedModel, _Kept] = {}
        self._lives: dict[tuple[str, str], Life] = {}
        self._slots = asyncio.Semaphore(limits.parallel_loads)
        self._room = asyncio.Lock()
        self._loading = 0
        self._together: list[_Kept] = []
        self._before: int | None = None

    def lives(self, models: Iterable[HostedModel]) -> list[Life]:
        """What became of those of the models that are looked after here."""
        found: list[Life] = []
        for model in models:
            if model in self._kept:
                life = self._life(model)
                found.append(
                    msgspec.structs.replace(life, resident=model.resident, memory_bytes=self._kept[model].holds)
                )
        return found

    def _life(self, model: HostedModel) -> Life:
        return self._lives.setdefault((model.name, model.version), Life(model.name, model.version))

    def keep(self, model: HostedModel, upkeep: Upkeep) -> None:
        """Look after a model that is not loaded yet."""
        self._kept[model] = _Kept(model, upkeep)
        model.resident = False

    def keep_as(self, model: HostedModel, upkeep: Upkeep) -> None:
        """Look after a model otherwise from now on."""
        if model in self._kept:
            self._kept[model].upkeep = upkeep

    async def begin(self, models: Iterable[HostedModel], starting: Callable[[], None]) -> None:
        """Load models in this order, as far as the memory goes; `starting` is called before each.

        What fails is UNAVAILABLE with its reason; what finds no room is loaded by its first request. What may have
        crashed the host before comes last and alone, and what has done so again is left for a while.
        """
        crashes = await asyncio.to_thread(self._attempts.read)
        suspects: list[HostedModel] = []
        others: list[HostedModel] = []
        for model in models:
            count = crashes.get((model.name, model.version), 0)
            if count >= MOST:
                self._give_up(model)
            else:
                (suspects if count else others).append(model)
        await self._begin_all(others, starting, self._limits.parallel_loads)
        await self._begin_all(suspects, starting, 1)

    def _give_up(self, model: HostedModel) -> None:
        model.state, model.reason = "UNAVAILABLE", GIVEN_UP
        self._kept[model].retry_at = asyncio.get_running_loop().time() + REST_SECONDS
        _log.error("a model is not served", model=model.name, version=model.version, reason=GIVEN_UP)

    async def _begin_all(self, models: Iterable[HostedModel], starting: Callable[[], None], at_once: int) -> None:
        waiting = iter(models)

        async def load_next() -> None:
            for model in waiting:
                starting()
                kept = self._kept[model]
                error = await self._changed(kept, self._bring(kept, evict=False))
                if error is not None:
                    model.state, model.reason = "UNAVAILABLE", NO_ROOM
                elif not model.ready:
                    _log.error("a model is not served", model=model.name, version=model.version, reason=model.reason)

        await asyncio.gather(*(load_next() for _ in range(at_once)))

    async def load(self, model: HostedModel, *, instead_of: Collection[HostedModel] = ()) -> None:
        """Load a model, letting others leave for it; afterwards it is ready, or unavailable with a reason.

        The memory of those that it takes the place of counts as free: for a moment both are there.
        """
        if model not in self._kept:
            self.keep(model, Upkeep())
        kept = self._kept[model]
        error = await self._changed(kept, self._bring(kept, instead_of=instead_of))
        if error is not None:
            model.state, model.reason = "UNAVAILABLE", error.message

    def try_again(self, models: Iterable[HostedModel]) -> None:
        """Load those of the models that could not be loaded, for what kept them from it may have changed."""
        for model in models:
            kept = self._kept.get(model)
            if kept is not None and kept.change is None and not model.resident and model.state == "UNAVAILABLE":
                self._begin(kept, self._bring(kept))

    async def unload(self, model: HostedModel) -> None:
        """Let go of a model for good, once the requests that it has are answered. It takes no new ones already."""
        kept = self._kept.get(model)
        if kept is None:
            return
        # Nobody wakes it any more, not even who waits for it already.
        kept.retry_at = math.inf
        while kept.change is not None:
            await asyncio.shield(kept.change)
        if model.resident:
            await self._changed(kept, self._sleep(kept, "unloaded"))
        self._kept.pop(model, None)
        if all((other.name, other.version) != (model.name, model.version) for other in self._kept):
            self._lives.pop((model.name, model.version), None)

    async def awake(self, model: HostedModel, *, within: float) -> HostedModel:
        """The model itself, or what took its place, loaded; one that cannot answer is given back as it is.

        Unavailable when it cannot be loaded for want of memory, or takes longer than a request waits.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + min(within, self._limits.wait_seconds)
        while not model.resident:
            if model.successor is not None:
                model = model.successor
                continue
            kept = self._kept.get(model)
            if kept is None or loop.time() < kept.retry_at:
                return model
            change = kept.change or self._begin(kept, self._bring(kept))
            error = await _outcome(change, deadline)
            if error is not None:
                raise error
        return model

    async def run(self) -> None:
        """Until it is cancelled: put to sleep what nobody has used for long."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for kept in list(self._kept.values()):
                if self._is_idle(kept, loop.time()):
                    await self._changed(kept, self._sleep(kept, "idle"))

    def _is_idle(self, kept: _Kept, now: float) -> bool:
        seconds = kept.upkeep.idle_seconds
        return seconds is not None and now - kept.idle_since >= seconds and self._may_leave(kept)

    def _may_leave(self, kept: _Kept) -> bool:
        model = kept.model
        if not (model.resident and model.ready) or kept.change is not None:
            return False
        # What a stateful model knows of its sequences would be lost with it.
        return not kept.upkeep.keep_warm and not model.signature.stateful

    def _begin(
        self, kept: _Kept, change: Coroutine[Any, Any, PolyforgeError | None]
    ) -> asyncio.Task[PolyforgeError | None]:
        """Start to change a model that nothing changes. The task goes on when who began it does not wait any more."""

        async def changing() -> PolyforgeError | None:
            try:
                return await change
            except PolyforgeError as error:
                return error
            except Exception:  # noqa: BLE001  one model's trouble is nobody else's
                _log.exception("a model could not be loaded or unloaded", model=kept.model.name)
                return Unavailable(f"model '{kept.model.name}' could not be loaded or unloaded; the log has the reason")
            finally:
                # Here and not in a callback: who awaits a task that is done goes on before its callbacks are called.
                kept.change = None

        kept.change = asyncio.get_running_loop().create_task(changing())
        return kept.change

    async def _changed(self, kept: _Kept, change: Coroutine[Any, Any, PolyforgeError | None]) -> PolyforgeError | None:
        while kept.change is not None:
            await asyncio.shield(kept.change)
        return await asyncio.shield(self._begin(kept, change))

    async def _bring(
        self, kept: _Kept, *, evict: bool = True, instead_of: Collection[HostedModel] = ()
    ) -> PolyforgeError | None:
        """Load a model; what comes back is why there is no room for it."""
        if kept.model.resident:
            return None
        async with self._slots:
            async with self._room:
                error = await self._make_room(kept, evict, instead_of)
                if error is not None:
                    return error
                kept.holds = kept.size
            await self._load(kept)
        return None

    async def _load(self, kept: _Kept) -> None:
        model = kept.model
        if not self._loading:
            self._before, self._together = self._memory(), []
        self._loading += 1
        try:
            await asyncio.to_thread(self._attempts.begin, model.name, model.version)
            await self._scheduler.load(model)
            await asyncio.to_thread(self._attempts.end, model.name, model.version)
        except RuntimeError:
            _log.exception("a model broke while loading", model=model.name, version=model.version)
            await asyncio.to_thread(self._attempts.end, model.name, model.version)
        finally:
            self._loading -= 1
        now = asyncio.get_running_loop().time()
        if not model.ready:
            self._life(model).failures += 1
            await self._close(kept)
            # One that never worked will not, unless it waits for others: it needs somebody to load it.
            kept.retry_at = now + RETRY_SECONDS if kept.loaded_at or model.may_recover else math.inf
            return
        self._life(model).loads += 1
        kept.loaded_at = now
        model.resident, model.reason = True, ""
        if outside := _process_bytes(model):
            kept.measured = max(kept.measured, outside)
        else:
            self._together.append(kept)
        kept.holds = kept.size
        if not self._loading:
            self._measure()

    def _measure(self) -> None:
        """Share out how much the memory has grown among those that were loaded at the same time."""
        after = self._memory()
        if self._before is None or after is None or not self._together:
            return
        grown, supposed = max(0, after - self._before), sum(kept.size for kept in self._together)
        for kept in self._together:
            kept.measured = max(kept.measured, grown * kept.size // supposed)
            kept.holds = kept.size if kept.holds else 0

    async def _sleep(self, kept: _Kept, why: Leaving) -> PolyforgeError | None:
        """Let go of the memory of a model that answers no requests from now on, once those that it has are answered."""
        kept.model.resident = False
        leavings = self._life(kept.model).leavings
        leavings[why] = leavings.get(why, 0) + 1
        await self._scheduler.unload(kept.model)
        kept.holds = 0
        await asyncio.to_thread(self._trim)
        return None

    async def _close(self, kept: _Kept) -> None:
        kept.holds = 0
        await asyncio.to_thread(kept.model.backend.close)
        await asyncio.to_thread(self._trim)

    async def _make_room(self, kept: _Kept, evict: bool, instead_of: Collection[HostedModel]) -> PolyforgeError | None:
        """Have others leave until a model fits; when it cannot fit, none leaves, and the reason comes back."""
        budget = self._limits.memory_bytes
        if budget is None:
            return None
        name, needed = kept.model.name, kept.size
        if needed > budget:
            return Unavailable(
                f"model '{name}' needs about {_megabytes(needed)}, more than the {_megabytes(budget)} that models may"
                " take together",
                retry_after=RETRY_SECONDS,
            )
        places = {id(model) for model in (*instead_of, kept.model)}
        others = [other for other in self._kept.values() if id(other.model) not in places]
        free = budget - sum(other.holds for other in others)
        leaving: list[_Kept] = []
        for other in sorted((other for other in others if self._may_leave(other)), key=lambda each: each.model.used):
            if free >= needed or not evict:
                break
            leaving.append(other)
            free += other.holds
        if free < needed:
            return Unavailable(
                f"model '{name}' needs about {_megabytes(needed)}; the memory that models may take is full, and nothing"
                " may leave",
                retry_after=RETRY_SECONDS,
            )
        await asyncio.gather(*(asyncio.shield(self._begin(other, self._sleep(other, "memory"))) for other in leaving))
        return None


async def _outcome(change: asyncio.Task[PolyforgeError | None], deadline: float) -> PolyforgeError | None:
    """What a change comes to; Unavailable when it takes beyond the deadline. It goes on then."""
    try:
        async with asyncio.timeout_at(deadline):
            return await asyncio.shield(change)
    except TimeoutError:
        return Unavailable("the model is still being loaded", retry_after=RETRY_SECONDS)


def _process_bytes(model: HostedModel) -> int:
    """The memory of the processes that a model has for itself."""
    facts = model.backend.processes if isinstance(model.backend, ProcessBackend) else None
    return 0 if facts is None else facts.resident_bytes


def _megabytes(count: int) -> str:
    return f"{math.ceil(count / MEGABYTE)} MB"
