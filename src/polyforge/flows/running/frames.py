"""Where a run stands: what came of each part, in each round of each loop, and what can go on because of that. Pure."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from polyforge.flows.document import Json
from polyforge.flows.plan import Decision, Loop, Path, State, Step, Wire, decide, wires_of
from polyforge.flows.running.records import RunError

Part = Step | Loop


class Done(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of a part. `outputs` is None where they lie in the object store, as `stored`."""

    ports: tuple[str, ...] = ()
    """The outputs that happened."""
    outputs: dict[str, Json] | None = None
    stored: str | None = None
    cost: int = 0
    seconds: float = 0.0
    error: RunError | None = None
    """It failed; with `ports`, that was dealt with."""
    cached: bool = False
    """It was taken from an earlier run."""


SKIPPED: Final = Done()


def made(outputs: Mapping[str, Json], *, cost: int = 0, seconds: float = 0.0) -> Done:
    """What came of a part that gave these outputs."""
    return Done(tuple(outputs), dict(outputs), cost=cost, seconds=seconds)


class Frame:
    """The parts that stand side by side, in one round of the loops around them. `keeps`: failures are kept too,
    because what comes after them depends on them."""

    def __init__(self, around: "tuple[Frame, ...]", path: Path, *, keeps: bool) -> None:
        self._frames = (*around, self)
        self.path = path
        self.keeps = keeps
        self.known: dict[str, Done] = {}

    def inside(self, loop: Loop, number: int, values: Mapping[str, Json]) -> "Frame":
        """A round of a loop, in which the loop gives these values."""
        keeps = self.keeps or loop.on_error == "leave_out"
        frame = Frame(self._frames, (*self.path, number), keeps=keeps)
        frame.known[loop.id] = made(values)
        return frame

    def find(self, wire: Wire) -> Done | None:
        """What came of the source of a wire."""
        return self._frames[wire.depth].known.get(wire.source)

    def state(self, wire: Wire) -> State:
        """How a wire stands."""
        found = self.find(wire)
        return "open" if found is None else "live" if wire.port in found.ports else "dead"

    def is_live(self, wire: Wire) -> bool:
        """Whether a wire brought something."""
        return self.state(wire) == "live"


class Board:
    """Which of the parts of a frame can go on."""

    def __init__(self, parts: Sequence[Part], frame: Frame, skipped: Callable[[Part, Frame], None]) -> None:
        self._frame = frame
        self._skipped = skipped
        self._open = {part.id: part for part in parts}
        self._needs = {part.id: tuple(_needs(part, frame)) for part in parts}
        self._following: dict[str, list[str]] = {}
        for part in parts:
            for source in dict.fromkeys((*_sources(part, frame), *self._needs[part.id])):
                self._following.setdefault(source, []).append(part.id)

    def start(self) -> list[Part]:
        """What can run at once."""
        return self._look(list(self._open))

    def settle(self, part: str, done: Done) -> list[Part]:
        """Something came of a part; what can run because of that."""
        self._frame.known[part] = done
        return self._look(self._following.get(part, ()))

    def _look(self, parts: Iterable[str]) -> list[Part]:
        ready, waiting = list[Part](), deque(parts)
        while waiting:
            part = self._open.get(waiting.popleft())
            if part is None or (decision := self._decide(part)) == "wait":
                continue
            del self._open[part.id]
            if decision == "run":
                ready.append(part)
                continue
            self._frame.known[part.id] = SKIPPED
            self._skipped(part, self._frame)
            waiting += self._following.get(part.id, ())
        return ready

    def _decide(self, part: Part) -> Decision:
        decision = decide(part, self._frame.state)
        if decision == "run" and any(source not in self._frame.known for source in self._needs[part.id]):
            return "wait"
        return decision


def _sources(part: Part, frame: Frame) -> Iterator[str]:
    """What of this frame a part is linked to."""
    return (wire.source for wire in wires_of(part) if wire.depth == len(frame.path))


def _needs(part: Part, frame: Frame) -> Iterator[str]:
    """What of this frame the parts inside a loop take: the loop as a whole waits for it."""
    if isinstance(part, Loop):
        yield from dict.fromkeys(wire.source for wire in _inner_wires(part) if wire.depth == len(frame.path))


def _inner_wires(loop: Loop) -> Iterator[Wire]:
    waiting: list[Part] = [loop]
    while waiting:
        part = waiting.pop()
        if part is not loop:
            yield from wires_of(part)
        if isinstance(part, Loop):
            yield from (*part.collect.values(), *part.carry.values())
            waiting += part.body
