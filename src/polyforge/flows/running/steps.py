"""Nodes as steps: each is done once, as often as its policy says, and what came of it is kept."""

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

import msgspec

from polyforge.flows.document import Json
from polyforge.flows.plan import Loop, Plan, Step, Wire, step_key, wires_of
from polyforge.flows.running.caching import result_key
from polyforge.flows.running.calls import Call, CurrentCaller, Here, Money, error_outputs, failure_of
from polyforge.flows.running.contract import NodeRun
from polyforge.flows.running.frames import Done, Frame, made
from polyforge.flows.running.needed import needed
from polyforge.flows.running.notes import RunNotes
from polyforge.flows.running.records import MAX_INLINE, NodeFailed, RunError
from polyforge.flows.running.scene import Order, Scene, Tools
from polyforge.flows.running.supply import Supply
from polyforge.flows.running.turns import working_time
from polyforge.jobs.running import JobContext
from polyforge.kernel.errors import Invalid, PolyforgeError, TimedOut
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.limits.deposits import drawing_on

MAX_RESULT: Final = 16 * 1024 * 1024
"""Bytes of the outputs of one node, and of what one loop collects."""
MOST_HELD: Final = 64 * 1024 * 1024
"""Bytes of outputs of one attempt that are held in memory; beyond it all but small ones lie in the object store."""
MAX_STEP_NAME: Final = 120
_SMALL: Final = 1_024
_LONGEST_PAUSE: Final = 60.0
_LOOK_SECONDS: Final = 0.02
_log = get_logger(__name__)
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


class NodeSteps:
    """The nodes of one attempt at a run."""

    def __init__(
        self,
        order: Order,
        tools: Tools,
        context: JobContext,
        notes: RunNotes,
        money: Money,
        caller: CurrentCaller,
        supply: Supply,
    ) -> None:
        self._order = order
        self._tools = tools
        self._context = context
        self._notes = notes
        self._money = money
        self._caller = caller
        self._supply = supply
        self._slots = asyncio.Semaphore(tools.at_once)
        self._total = _parts_of(order.plans[order.version])
        self._over = 0
        self._held = 0

    async def node(self, scene: Scene, step: Step, frame: Frame) -> Done:
        """What came of a node, now or when it was done; NodeFailed where it fails and nothing deals with that."""
        here, name = scene.here(step.id, frame), self.name(scene, step, frame)
        chosen = await self.chosen(scene, step, frame)
        ran = False

        async def work() -> Any:
            nonlocal ran
            ran = True
            return msgspec.to_builtins(await self._done(scene, step, frame, name, chosen))

        async with self._slots:
            done = msgspec.convert(await self.kept(name, work), Done)
        if not ran:
            self._money.account(done.cost)
        if done.error is not None and not done.ports:
            raise self.failed(done.error, again=not ran)
        self.finished(here, name, done)
        return done

    async def kept(self, name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        """The result of work that is done once."""
        self._notes.busy(1)
        try:
            return await self._context.step(name, work)
        finally:
            self._notes.busy(-1)

    async def chosen(self, scene: Scene, step: Step, frame: Frame) -> frozenset[str] | None:
        """Of a node that runs at the first input that happens, those that it had when it began; None: all.

        That is kept, for a run that goes on after a kill may see others first.
        """
        if step.join != "first" or len([*wires_of(step)]) < 2:  # noqa: PLR2004
            return None
        wires = {name: each for name, each in step.inputs.items() if isinstance(each, Wire)}

        async def live() -> list[str]:
            return sorted(name for name, wire in wires.items() if frame.is_live(wire))

        found = frozenset(await self.kept(f"{self.name(scene, step, frame)}:first", live))
        while not all(frame.is_live(wires[name]) for name in found):  # noqa: ASYNC110  after a kill, for a moment
            await asyncio.sleep(_LOOK_SECONDS)
        return found

    async def taken(self, here: Here, name: str) -> Any:
        """What an earlier run made under a name, as a step keeps it; None where nothing is taken over."""
        return msgspec.to_builtins(await self._taken(here, name))

    def finished(self, here: Here, name: str, done: Done) -> None:
        """Tell of a node that is done."""
        self._notes.cost = self._money.spent
        self._notes.event("node.finished", here.node, here.path, **msgspec.to_builtins(done), key=name)
        if self._total is None:
            self._count()

    def passed(self, scene: Scene) -> None:
        """Tell of a part that is over, or never will be begun; how many there are is known where nothing loops."""
        if self._total is not None and scene.top:
            self._count()

    def failed(self, error: RunError, *, fatal: bool = False, again: bool = False) -> NodeFailed:
        """Tell of a node that failed, where it may be found `again` only if nobody did before; what is to be raised."""
        self._notes.cost = self._money.spent
        if again and self._notes.said("node.failed", error.node, error.path):
            return NodeFailed(error, fatal=fatal)
        self._notes.event("node.failed", error.node, error.path, code=error.code, message=error.message)
        return NodeFailed(error, fatal=fatal)

    def name(self, scene: Scene, step: Step, frame: Frame) -> str:
        """What a step is called in the journal, the same whenever this run goes on."""
        whole = f"{scene.prefix}{step_key(step.id, frame.path)}"
        if len(whole) <= MAX_STEP_NAME:
            return whole
        return f"{whole[: MAX_STEP_NAME - 65]}#{hashlib.sha256(whole.encode()).hexdigest()}"

    def _count(self) -> None:
        self._over += 1
        self._context.progress(self._over, self._total, "nodes")

    async def _done(self, scene: Scene, step: Step, frame: Frame, name: str, chosen: frozenset[str] | None) -> Done:
        """Do what a node does; what is kept of it."""
        here = scene.here(step.id, frame)
        if (taken := await self._taken(here, name)) is not None:
            return taken
        await self._money.begin()
        began = self._tools.clock.monotonic()
        spent = _Spent()
        try:
            self._money.check(here.node, here.path)
            done = await self._repeated(scene, step, frame, name, chosen, spent)
        except NodeFailed as failed:
            if failed.fatal or (step.on_error == "fail" and not frame.keeps):
                raise self.failed(failed.error, fatal=failed.fatal) from failed
            done = Done(error=failed.error) if step.on_error == "fail" else dealt_with(step, failed.error)
        seconds = self._tools.clock.monotonic() - began
        self._tools.seen(step.type, seconds)
        return msgspec.structs.replace(done, cost=spent.micros, seconds=round(seconds, 6))

    async def _taken(self, here: Here, name: str) -> Done | None:
        """A result of an earlier run, which this one keeps too."""
        done = self._order.taken.get(name)
        if done is None:
            return None
        stored = None
        if done.stored is not None:
            assert self._order.parent is not None, "what is taken over comes from somewhere"
            load = partial(self._tools.values.load, self._order.parent, done.stored)
            stored = await self._stored(
                here, await needed(self._tools, here, "the earlier result cannot be read", load)
            )
        return msgspec.structs.replace(done, stored=stored, cost=0, cached=True)

    async def _repeated(
        self, scene: Scene, step: Step, frame: Frame, name: str, chosen: frozenset[str] | None, spent: "_Spent"
    ) -> Done:
        """Try until it works or the policy gives up; NodeFailed then."""
        here = scene.here(step.id, frame)
        for number in range(step.retries + 1):
            self._notes.event("node.started", here.node, here.path, **({"try": number + 1} if number else {}))
            try:
                inputs = await self._supply.inputs(scene, step, frame, chosen)
                caller = await needed(self._tools, here, "who it acts for cannot be looked up", self._caller)
                call = self._call(here, step, frame, name, inputs, caller)
                spent.calls.append(call)
                return await self._tried(scene, step, here, call)
            except NodeFailed:
                raise
            except Exception as error:
                failure = self._failure(error, here)
                if number == step.retries or (isinstance(error, PolyforgeError) and not error.retryable):
                    raise NodeFailed(failure) from error
            text = f"is tried again: {failure.message}"
            self._notes.event("node.log", here.node, here.path, level="warning", text=text)
            pause = min(self._tools.backoff * 2**number, _LONGEST_PAUSE)
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))
        raise AssertionError("the last try ends it")

    def _call(self, here: Here, step: Step, frame: Frame, name: str, inputs: dict[str, Json], caller: Caller) -> Call:
        return Call(
            self._order.site, here, frame.path, step.params, inputs, caller,
            self._context.idempotency_key(name), self._tools.facilities, self._notes, self._money,
        )  # fmt: skip

    def _failure(self, error: Exception, here: Here) -> RunError:
        if not isinstance(error, PolyforgeError):
            _log.error("a node failed unexpectedly", run=self._order.site.run_id, node=here.node, exc_info=error)
        return failure_of(error, here)

    async def _tried(self, scene: Scene, step: Step, here: Here, call: Call) -> Done:
        """One try."""
        runner = self._runner(step)
        key = result_key(self._tools.types, step, call.inputs, call.caller)
        if key is not None and (found := await self._found(here, call.caller, key)) is not None:
            return msgspec.structs.replace(made(found), cached=True)
        limit: asyncio.Timeout | None = None
        try:
            async with working_time(step.timeout_s) as limit:
                with drawing_on(self._money.deposit):
                    outputs = dict(await runner(call))
        except TimeoutError as error:
            if limit is None or not limit.expired():
                raise
            raise TimedOut(f"it took longer than {step.timeout_s} s; raise `timeout_s`, or give it less") from error
        done = await self._storable(scene, step, here, outputs)
        if key is not None and done.outputs is not None:
            await self._keep_found(call.caller, key, done.outputs)
        return done

    async def _found(self, here: Here, caller: Caller, key: str) -> Mapping[str, Json] | None:
        find = partial(self._tools.results.find, caller, key)
        return await needed(self._tools, here, "kept results cannot be looked through", find)

    async def _keep_found(self, caller: Caller, key: str, outputs: Mapping[str, Json]) -> None:
        """Keep a result for later runs; this one does not need it."""
        try:
            await self._tools.results.keep(caller, key, outputs)
        except PolyforgeError as error:
            _log.warning("a result could not be kept for later runs", run=self._order.site.run_id, reason=error.message)

    def _runner(self, step: Step) -> NodeRun:
        found = self._tools.runners.get((step.type, step.v))
        if found is None:
            raise Invalid(f"nodes of the type {step.type}@{step.v} cannot run in this installation")
        return found

    async def _storable(self, scene: Scene, step: Step, here: Here, outputs: dict[str, Json]) -> Done:
        """Outputs as a step keeps them: by their hash in the object store where they are long."""
        if unknown := outputs.keys() - self._supply.ports(scene, step).outputs.keys():
            raise RuntimeError(f"{step.type} gave outputs that it does not have: {sorted(unknown)}")
        data = _encode(outputs)
        if len(data) > MAX_RESULT:
            raise Invalid(f"what it gives has {len(data)} bytes, and {MAX_RESULT} at most are kept; let it give less")
        self._held += len(data)
        if len(data) <= (MAX_INLINE if self._held <= MOST_HELD else _SMALL):
            return made(_decode(data))
        return Done(tuple(outputs), None, await self._stored(here, data))

    async def _stored(self, here: Here, data: bytes) -> str:
        keep = partial(self._tools.values.keep, self._order.site, data)
        return await needed(self._tools, here, "what it gives cannot be kept", keep)


class _Spent:
    """What the tries of one node spent."""

    def __init__(self) -> None:
        self.calls = list[Call]()

    @property
    def micros(self) -> int:
        """In all."""
        return sum(call.spent for call in self.calls)


def _parts_of(plan: Plan) -> int | None:
    """How many nodes a flow has, those of its sub-flows not counted; None where loops have rounds of them."""
    return None if any(isinstance(part, Loop) for part in plan.body) else len(plan.body)


def dealt_with(step: Step, error: RunError) -> Done:
    """What a node gives that failed and whose policy says what then."""
    outputs = dict(step.default) if step.on_error == "default" else error_outputs(error)
    return msgspec.structs.replace(made(outputs), error=error)
