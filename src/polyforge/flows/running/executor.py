"""Runs a plan: every node in every round is a step that is done once, and what runs next follows from kept results.

So a run that goes on after a kill decides as it did before. Where a decision depends on who was first, or on a failure
that something else comes after, that is kept too.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Final, cast

import msgspec

from polyforge.flows.document import Json
from polyforge.flows.evaluating import cel_holds
from polyforge.flows.nodetypes import INPUT, OUTPUT
from polyforge.flows.plan import Loop, Step
from polyforge.flows.porttypes import ANY, list_of, parse_type
from polyforge.flows.running.calls import CurrentCaller, Here, Money
from polyforge.flows.running.frames import SKIPPED, Board, Done, Frame, Part, made
from polyforge.flows.running.interface import check_inputs
from polyforge.flows.running.needed import needed
from polyforge.flows.running.notes import RunNotes
from polyforge.flows.running.records import Decision, NodeFailed, Question, RunError
from polyforge.flows.running.scene import Order, Scene, Tools
from polyforge.flows.running.steps import MAX_RESULT, NodeSteps, dealt_with
from polyforge.flows.running.supply import Supply
from polyforge.flows.running.values import value_fits
from polyforge.flows.templates import Hole, parse_template
from polyforge.jobs.running import JobContext
from polyforge.kernel.errors import Invalid, PolyforgeError

TOPIC: Final = "approval:"
_TRIGGER: Final = "trigger."
_encode: Final = msgspec.json.Encoder().encode
Own = Callable[[Scene, Step, Frame], Awaitable[Done]]


class Execution:
    """One attempt at a run."""

    def __init__(
        self,
        order: Order,
        tools: Tools,
        context: JobContext,
        notes: RunNotes,
        money: Money,
        caller: CurrentCaller,
    ) -> None:
        self._order = order
        self._tools = tools
        self._context = context
        self._notes = notes
        self._supply = Supply(order, tools, caller)
        self._steps = NodeSteps(order, tools, context, notes, money, caller, self._supply)
        self._own: Mapping[str, Own] = {
            INPUT: self._input,
            OUTPUT: self._output,
            "control.wait": self._wait,
            "human.approval": self._approval,
            "flow.call": self._call,
        }

    async def run(self) -> dict[str, Json]:
        """Run it to its end; its outputs. NodeFailed where it fails."""
        scene = Scene(self._order.plans[self._order.version], self._order.inputs, {})
        self._context.occupied(1)
        try:
            return await self._scene(scene, keeps=False)
        finally:
            self._context.occupied(-1)

    async def _scene(self, scene: Scene, *, keeps: bool) -> dict[str, Json]:
        await self._body(scene, scene.plan.body, Frame((), (), keeps=keeps))
        return scene.outputs

    async def _body(self, scene: Scene, parts: tuple[Part, ...], frame: Frame) -> None:
        """Run what stands side by side; the first failure ends all of it."""
        board = Board(parts, frame, partial(self._skipped, scene))

        async def go(part: Part) -> None:
            done = await self._part(scene, part, frame)
            self._steps.passed(scene)
            for following in board.settle(part.id, done):
                begin(go(following))

        async with self._side_by_side() as begin:
            for part in board.start():
                begin(go(part))

    @asynccontextmanager
    async def _side_by_side(self) -> "AsyncGenerator[Callable[[Coroutine[Any, Any, None]], None]]":
        """What is begun here goes on at the same time; the first failure ends all of it, and is told alone.

        Each is something that goes on in the job, and who only waits for them is nothing.
        """

        def begin(work: Coroutine[Any, Any, None]) -> None:
            self._context.occupied(1)
            group.create_task(work).add_done_callback(lambda _: self._context.occupied(-1))

        self._context.occupied(-1)
        try:
            with _one_failure():
                async with asyncio.TaskGroup() as group:
                    yield begin
        finally:
            self._context.occupied(1)

    def _skipped(self, scene: Scene, part: Part, frame: Frame) -> None:
        here = scene.here(part.id, frame)
        self._notes.event("node.skipped", here.node, here.path)
        self._steps.passed(scene)

    async def _part(self, scene: Scene, part: Part, frame: Frame) -> Done:
        if isinstance(part, Loop):
            run = self._foreach if part.kind == "foreach" else self._while
            return await self._controlled(scene, part, frame, run(scene, part, frame))
        if part.type.startswith(_TRIGGER):
            return self._told(scene, part, frame, self._trigger(scene, part))
        own = self._own.get(part.type)
        if own is not None:
            return await self._controlled(scene, part, frame, own(scene, part, frame))
        return await self._steps.node(scene, part, frame)

    async def _controlled(self, scene: Scene, part: Part, frame: Frame, work: Awaitable[Done]) -> Done:
        """What the runner does itself: it fails as a node does."""
        here = scene.here(part.id, frame)
        try:
            return await work
        except NodeFailed:
            raise
        except PolyforgeError as error:
            raise self._steps.failed(RunError.of(error, here.node, here.path), again=frame.keeps) from error

    # What goes in and comes out

    async def _input(self, scene: Scene, step: Step, frame: Frame) -> Done:
        name = step.params["name"]
        declared = scene.plan.interface.inputs[name]
        default = {} if declared.default is msgspec.UNSET else {name: declared.default}
        given = {**default, **scene.inputs}
        return self._told(scene, step, frame, made({"value": given[name]}) if name in given else SKIPPED)

    async def _output(self, scene: Scene, step: Step, frame: Frame) -> Done:
        inputs = await self._supply.inputs(scene, step, frame, None)
        scene.outputs[step.params["name"]] = inputs["value"]
        return self._told(scene, step, frame, made({}))

    def _trigger(self, scene: Scene, step: Step) -> Done:
        trigger = self._order.trigger
        return made(trigger.outputs) if scene.top and step.type == f"{_TRIGGER}{trigger.kind}" else SKIPPED

    def _told(self, scene: Scene, step: Step, frame: Frame, done: Done) -> Done:
        """Say of what is no step of its own that it is over."""
        here = scene.here(step.id, frame)
        self._notes.event("node.finished" if done is not SKIPPED else "node.skipped", here.node, here.path)
        return done

    # Waiting

    async def _wait(self, scene: Scene, step: Step, frame: Frame) -> Done:
        here, name = scene.here(step.id, frame), self._steps.name(scene, step, frame)
        if (taken := await self._taken(here, name)) is not None:
            return taken
        chosen = await self._steps.chosen(scene, step, frame)
        inputs = await self._supply.inputs(scene, step, frame, chosen)
        seconds = float(step.params["seconds"])
        self._notes.event("node.waiting", here.node, here.path, seconds=seconds)
        with self._waiting():
            await self._context.sleep(name, seconds)
        done = made(inputs)
        self._steps.finished(here, name, done)
        return done

    async def _approval(self, scene: Scene, step: Step, frame: Frame) -> Done:
        """Ask, wait, and go the way that was decided; the row has the last word, whenever a message came."""
        here, name, site = scene.here(step.id, frame), self._steps.name(scene, step, frame), self._order.site
        if (taken := await self._taken(here, name)) is not None:
            return taken
        chosen = await self._steps.chosen(scene, step, frame)
        inputs = await self._supply.inputs(scene, step, frame, chosen)
        params, seconds = step.params, float(step.params["expires_in_s"])
        text = rendered(params["question"], inputs)
        assignees = tuple(params["assignees"])
        question = Question(here.node, here.path, text, params.get("form"), inputs.get("show"), assignees, seconds)
        ask = partial(self._tools.approvals.ask, site, question)
        asking = partial(needed, self._tools, here, "nobody can be asked", ask)
        approval = await self._steps.kept(f"{name}:ask", asking)
        self._notes.event("node.waiting", here.node, here.path, approval=approval, question=text[:2_000])
        with self._waiting():
            topic, message = f"{TOPIC}{approval}", text[:300]
            await self._context.wait_for(name, topic, code="approval", message=message, timeout_seconds=seconds)
        found = await self._steps.kept(f"{name}:decided", lambda: self._decided(here, approval))
        done = _way(msgspec.convert(found, Decision))
        self._steps.finished(here, name, done)
        return done

    async def _taken(self, here: Here, name: str) -> Done | None:
        """What an earlier run waited for, where this one takes it over."""
        if self._order.parent is None:
            return None
        done = msgspec.convert(
            await self._steps.kept(f"{name}:taken", lambda: self._steps.taken(here, name)), Done | None
        )
        if done is not None:
            self._steps.finished(here, name, done)
        return done

    async def _decided(self, here: Here, approval: str) -> Any:
        close = partial(self._tools.approvals.close, self._order.site, approval)
        return msgspec.to_builtins(await needed(self._tools, here, "what was decided cannot be read", close))

    @contextmanager
    def _waiting(self) -> Generator[None]:
        """A node waits for as long as the block runs, and longer where the job is let go meanwhile."""
        self._notes.waits(1)
        self._context.occupied(-1)
        try:
            yield
        finally:
            self._context.occupied(1)
            if not self._context.released:
                self._notes.waits(-1)

    # Loops

    async def _foreach(self, scene: Scene, loop: Loop, frame: Frame) -> Done:
        items = await self._items(loop, frame)
        left, size = iter(range(len(items))), _Size()
        kept = dict[int, dict[str, Json]]()

        async def go() -> None:
            for number in left:
                inner = frame.inside(loop, number, {"item": items[number], "index": number})
                found = await self._item(scene, loop, inner, number)
                if found is not None:
                    size.add(found)
                    kept[number] = found
                # A loop whose nodes are all kept, or skipped, would hold up everything else of this worker.
                await asyncio.sleep(0)

        async with self._side_by_side() as begin:
            for _ in range(min(loop.parallel, len(items))):
                begin(go())
        collected = {
            name: [kept[number][name] for number in sorted(kept) if name in kept[number]] for name in loop.collect
        }
        return self._looped(scene, loop, frame, made(collected), len(items))

    async def _items(self, loop: Loop, frame: Frame) -> list[Json]:
        assert loop.over is not None, "a loop without a list has no plan"
        found = await self._supply.argument(loop.over, frame, list_of(ANY))
        if not isinstance(found, list):
            raise Invalid("what it goes over is no list; look at the node that it comes from")
        items = cast("list[Json]", found)
        if len(items) > loop.max_iterations:
            raise Invalid(
                f"the list has {len(items)} items, and {loop.max_iterations} at most are allowed:"
                ' raise "max_iterations", or give it fewer'
            )
        return items

    async def _item(self, scene: Scene, loop: Loop, inner: Frame, number: int) -> dict[str, Json] | None:
        """What one round leaves; None where it is left out."""
        try:
            await self._body(scene, loop.body, inner)
        except NodeFailed as failed:
            if loop.on_error != "leave_out" or failed.fatal:
                raise
            here, told = scene.here(loop.id, inner), msgspec.to_builtins(failed.error)
            self._notes.event("item.left_out", here.node, here.path, index=number, error=told)
            return None
        return await self._supply.collected(loop.collect, inner)

    async def _while(self, scene: Scene, loop: Loop, frame: Frame) -> Done:
        assert loop.when is not None, "a loop without a condition has no plan"
        variables = {name: await self._supply.argument(given, frame, ANY) for name, given in loop.start.items()}
        rounds = 0
        while await asyncio.to_thread(cel_holds, loop.when, {**variables, "index": rounds}):
            if rounds >= loop.max_iterations:
                raise Invalid(
                    f"it would go on after {rounds} rounds, which are all that are allowed:"
                    ' raise "max_iterations", or let "when" end sooner'
                )
            inner = frame.inside(loop, rounds, {**variables, "index": rounds})
            await self._body(scene, loop.body, inner)
            variables |= await self._supply.collected(loop.carry, inner)
            _Size().add(variables)
            rounds += 1
            await asyncio.sleep(0)
        return self._looped(scene, loop, frame, made({**variables, "rounds": rounds}), rounds)

    def _looped(self, scene: Scene, loop: Loop, frame: Frame, done: Done, rounds: int) -> Done:
        here = scene.here(loop.id, frame)
        self._notes.event("node.finished", here.node, here.path, ports=list(done.ports), rounds=rounds)
        return done

    # Sub-flows

    async def _call(self, scene: Scene, step: Step, frame: Frame) -> Done:
        """Another flow as a node. Where a failure of it is dealt with here, failures in it are kept."""
        here, name = scene.here(step.id, frame), self._steps.name(scene, step, frame)
        inputs = await self._supply.inputs(scene, step, frame, await self._steps.chosen(scene, step, frame))
        _, version = self._order.pinned[scene.plan.version][step.params["flow"]["$ref"]]
        keeps = frame.keeps or step.retries > 0 or step.on_error != "fail"
        if not self._notes.said("node.started", here.node, here.path):
            self._notes.event("node.started", here.node, here.path, version=version)
        done = SKIPPED
        for turn in range(step.retries + 1):
            prefix = f"{name}~{turn}/" if turn else f"{name}/"
            path = f"{here.path}/" if here.path else ""
            inner = Scene(self._order.plans[version], inputs, {}, False, prefix, f"{here.node}/", path)
            try:
                _check_given(inner, here)
                done = made(_promised(step, await self._scene(inner, keeps=keeps), here))
            except NodeFailed as failed:
                last = turn == step.retries
                if failed.fatal or (last and step.on_error == "fail"):
                    # What failed inside was told of there.
                    own = failed.error.node == here.node
                    told = partial(self._steps.failed, failed.error, fatal=failed.fatal, again=frame.keeps)
                    raise told() if own else failed from None
                if last:
                    done = dealt_with(step, failed.error)
            else:
                break
        self._steps.finished(here, name, done)
        return done


class _Size:
    """Bounds what is collected."""

    def __init__(self) -> None:
        self._left = MAX_RESULT

    def add(self, values: Mapping[str, Json]) -> None:
        """Invalid where it is too much."""
        self._left -= len(_encode(values))
        if self._left < 0:
            raise Invalid(f"the loop leaves more than {MAX_RESULT} bytes; let its nodes give less")


def rendered(template: str, inputs: Mapping[str, Json]) -> str:
    """A template with its names filled in; one whose input was skipped is empty."""
    return "".join(
        str(inputs.get(piece.name, "")) if isinstance(piece, Hole) else piece for piece in parse_template(template)
    )


def _way(decision: Decision) -> Done:
    match decision.state:
        case "approved":
            return made({"approved": decision.answers})
        case "rejected":
            return made({"rejected": {"reason": decision.reason}})
        case "expired":
            return made({"expired": {}})
        case other:
            raise Invalid(f"the approval is {other}; run the flow again")


def _check_given(scene: Scene, here: Here) -> None:
    """NodeFailed where what goes into another flow does not fit what that declares."""
    try:
        check_inputs(scene.plan.interface, scene.inputs)
    except Invalid as error:
        raise NodeFailed(RunError.of(error, here.node, here.path)) from error


def _promised(step: Step, outputs: Mapping[str, Json], here: Here) -> dict[str, Json]:
    """The outputs that a node for another flow declares; NodeFailed where that flow gives something else."""
    found = dict[str, Json]()
    for name, written in step.params.get("outputs", {}).items():
        if name not in outputs:
            continue
        if not value_fits(outputs[name], parse_type(written)):
            message = f"the flow gives {name!r}, and it is no {written}"
            hint = "declare the type that it has"
            raise NodeFailed(RunError("invalid_request", message, here.node, here.path, hint))
        found[name] = outputs[name]
    return found


@contextmanager
def _one_failure() -> Generator[None]:
    """Of what went wrong in several places only the first is told, and one that ends the run before others."""
    try:
        yield
    except BaseExceptionGroup as errors:
        found = list(_leaves(errors))
        raise next((each for each in found if isinstance(each, NodeFailed) and each.fatal), found[0]) from None


def _leaves(errors: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for each in errors.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _leaves(cast("BaseExceptionGroup[BaseException]", each))
        else:
            yield each
