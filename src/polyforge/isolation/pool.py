"""Several children that do the same, one request each at a time, kept alive whatever they do."""

import os
import threading
import time
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, Protocol

import msgspec

from polyforge.isolation.child import Child, start_child
from polyforge.isolation.frames import is_readable
from polyforge.isolation.limits import ChildProgram, Ended, Limits, Refused
from polyforge.isolation.output import OutputLines
from polyforge.kernel.errors import BrokenOff, Invalid, PolyforgeError, TimedOut, Unavailable

WATCH_SECONDS: Final = 0.05
"""How often a child's memory is looked at, and whether it is there."""
FIRST_DELAY: Final = 0.25
LONGEST_DELAY: Final = 30.0
WELL_SECONDS: Final = 60.0
"""A child that lived so long is started again after the first delay."""
JOIN_SECONDS: Final = 10.0
OUTPUT_BYTES: Final = 64 * 1024


class Listener(Protocol):
    """Who is told what happens to the children, in their keepers' threads."""

    def said(self, pid: int, line: str) -> None:
        """A child wrote a line."""
        ...

    def ended(self, pid: int, ended: Ended, delay: float) -> None:
        """A child is no more; the next is started after `delay` seconds."""
        ...

    def refused(self, reason: str, delay: float) -> None:
        """A child could not be started; the next try is after `delay` seconds."""
        ...


class PoolFacts(msgspec.Struct, frozen=True):
    """What there is of a pool, and what became of its children since it was opened."""

    living: int
    own_bytes: int
    endings: dict[str, int]
    restarts: int


class _Place:
    """One of the children, through all restarts."""

    def __init__(self) -> None:
        self.child: Child | None = None
        self.hello: bytes | None = None
        self.delay = FIRST_DELAY
        self.start_seconds = 0.0
        self.came_at = 0.0
        self.back_at: float | None = None
        """When the next is expected to be ready, once it is known that there has to be one."""

    def back_in(self) -> float:
        """Seconds until the next child is expected to be ready, when there is none."""
        now = time.monotonic()
        if self.back_at is None:
            return self._next_delay(now - self.came_at) + self.start_seconds
        return max(0.0, self.back_at - now)

    def came(self, child: Child, hello: bytes) -> None:
        """A child is ready."""
        self.child, self.hello = child, hello
        self.came_at, self.back_at = time.monotonic(), None

    def fell(self, lived: float) -> float:
        """Seconds to wait before the next start."""
        delay = self._next_delay(lived)
        self.delay = min(LONGEST_DELAY, 2 * delay)
        self.back_at = time.monotonic() + delay + self.start_seconds
        return delay

    def _next_delay(self, lived: float) -> float:
        return FIRST_DELAY if lived >= WELL_SECONDS else self.delay


class Pool:
    """`size` children of one program; `subject` is what errors call them, such as "model 'x'"."""

    def __init__(self, program: ChildProgram, limits: Limits, *, size: int, subject: str, listener: Listener) -> None:
        self._program = program
        self._limits = limits
        self._subject = subject
        self._listener = listener
        self._places = [_Place() for _ in range(size)]
        self._threads: list[threading.Thread] = []
        self._idle: list[Child] = []
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._failure: PolyforgeError | None = None
        self._opened = False
        self._endings: Counter[str] = Counter()
        self._restarts = 0

    def open(self) -> bytes:
        """Start every child and wait until they are ready; the hello of the first.

        Invalid when the program refuses, Unavailable when a child ends or takes too long; then none is left.
        """
        self._threads = [
            threading.Thread(target=self._keep, args=(place,), name="keeper", daemon=True) for place in self._places
        ]
        for thread in self._threads:
            thread.start()
        with self._changed:
            settled = self._changed.wait_for(
                lambda: (
                    self._failure or self._closing.is_set() or all(place.hello is not None for place in self._places)
                ),
                self._limits.start_seconds + JOIN_SECONDS,
            )
            if not settled:
                self._failure = Unavailable(f"{self._subject} did not start: its processes do not get ready")
            elif self._closing.is_set() and self._failure is None:
                self._failure = Unavailable(f"{self._subject} is being unloaded")
            self._opened = self._failure is None
        if self._failure is not None:
            self.close()
            raise self._failure
        return self._places[0].hello or b""

    def close(self) -> None:
        """Let every child go."""
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(JOIN_SECONDS)
        self._threads = []

    @property
    def facts(self) -> PoolFacts:
        """What there is now."""
        living = [place.child for place in self._places if place.child is not None]
        return PoolFacts(len(living), sum(child.own_bytes() for child in living), dict(self._endings), self._restarts)

    @property
    def back_in(self) -> float | None:
        """Seconds until a child is expected to be there again; None while one is."""
        with self._changed:
            return _back_in(self._places)

    @contextmanager
    def child(self, number: int | None = None) -> Generator[Child]:
        """A child for one request, once one is free, or that of this number (from 0, through all its restarts).

        Unavailable while all are being restarted, BrokenOff when this request's own ends, TimedOut when it takes too
        long.
        """
        places = self._places if number is None else [self._places[number]]
        child = self._take(places)
        try:
            yield child
        except Ended as ended:
            raise self._told(ended, child, places) from ended
        finally:
            with self._changed:
                if child.ended is None:
                    self._idle.append(child)
                else:
                    self._forget(child)
                self._changed.notify_all()

    def _take(self, places: Sequence[_Place]) -> Child:
        deadline = time.monotonic() + self._limits.run_seconds
        with self._changed:
            while not self._closing.is_set():
                while (child := self._idle_of(places)) is not None:
                    if not child.hung_up:
                        return child
                    self._forget(child)
                again = _back_in(places)
                if again is not None:
                    raise Unavailable(f"{self._subject} is being restarted: its process ended", retry_after=again)
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    raise Unavailable(f"{self._subject}: all its processes are busy", retry_after=FIRST_DELAY)
        raise Unavailable(f"{self._subject} is being unloaded")

    def _idle_of(self, places: Sequence[_Place]) -> Child | None:
        """The child of one of these places that was idle for the shortest time, which it is no longer."""
        for child in reversed(self._idle):
            if any(place.child is child for place in places):
                self._idle.remove(child)
                return child
        return None

    def _forget(self, child: Child) -> None:
        """It is not there any more, from now on; its keeper sees that, and ends it if need be."""
        for place in self._places:
            if place.child is child:
                place.child = None

    def _told(self, ended: Ended, child: Child, places: Sequence[_Place]) -> PolyforgeError:
        if ended.ending == "time":
            return TimedOut(f"{self._subject} took longer than {self._limits.run_seconds:g} seconds and was stopped")
        reasons = {
            "crashed": f"crashed ({ended.detail})",
            "memory": f"took more than its {self._limits.memory_bytes} bytes of memory and was stopped",
            "protocol": "did not answer as it must and was stopped",
        }
        with self._changed:
            self._forget(child)
            # While others are there, they answer.
            again = _back_in(places) or FIRST_DELAY
        return BrokenOff(f"{self._subject} {reasons[ended.ending]}; it is being restarted", retry_after=again)

    def _keep(self, place: _Place) -> None:
        """One child after another, in the thread that starts them."""
        while not self._closing.is_set():
            try:
                self._keep_one(place)
            except OSError as error:
                self._failed(place, Unavailable(f"{self._subject}: its process cannot be started: {error.strerror}"))
            except Exception as error:  # noqa: BLE001  whatever it was, the next child may do better
                self._failed(place, Unavailable(f"{self._subject}: its process was lost: {error!r}"))

    def _keep_one(self, place: _Place) -> None:
        """The life of one child; returns when it is time for the next. OSError when it cannot be started."""
        began = time.monotonic()
        child = start_child(self._program, self._limits)
        try:
            self._live(place, child)
        except Refused as error:
            child.dismiss()
            self._failed(place, Invalid(str(error)))
        except Ended as ended:
            self._lost(place, child, ended, time.monotonic() - began)
        finally:
            child.release()

    def _live(self, place: _Place, child: Child) -> None:
        """From the start to the end; returns when the pool closes, else raises Ended or Refused."""
        began = time.monotonic()
        lines = OutputLines()
        ready = False
        try:
            while not self._closing.is_set():
                self._listen(child, lines, WATCH_SECONDS)
                if ready and place.child is None:
                    child.end("crashed")
                elif not ready and (hello := child.take_hello()) is not None:
                    ready = True
                    place.start_seconds = time.monotonic() - began
                    self._ready(place, child, hello)
                elif not ready and time.monotonic() - began > self._limits.start_seconds:
                    child.end("time", "it did not get ready")
                child.poll()
                if child.ended:
                    raise child.ended
            child.dismiss()
        finally:
            self._gone(place, child)
            self._listen(child, lines, 0)
            for line in lines.end():
                self._listener.said(child.pid, line)

    def _listen(self, child: Child, lines: OutputLines, seconds: float) -> None:
        """Take what the child wrote; at most as many bytes as fit into a pipe at a time, so that it is watched too."""
        if not is_readable(child.output_fd, seconds):
            return
        with suppress(BlockingIOError):
            chunk = os.read(child.output_fd, OUTPUT_BYTES)
            for line in lines.feed(chunk):
                self._listener.said(child.pid, line)
            if not chunk:
                self._closing.wait(seconds)

    def _ready(self, place: _Place, child: Child, hello: bytes) -> None:
        with self._changed:
            if place.hello is not None:
                self._restarts += 1
            place.came(child, hello)
            self._idle.append(child)
            self._changed.notify_all()

    def _gone(self, place: _Place, child: Child) -> None:
        with self._changed:
            place.child = None
            if child in self._idle:
                self._idle.remove(child)
            self._changed.notify_all()

    def _lost(self, place: _Place, child: Child, ended: Ended, lived: float) -> None:
        self._endings[ended.ending] += 1
        if not self._opened and self._fail(
            Unavailable(f"{self._subject} did not start: its process ended, {ended.ending} {ended.detail}".rstrip())
        ):
            return
        delay = place.fell(lived)
        self._listener.ended(child.pid, ended, delay)
        self._closing.wait(delay)

    def _failed(self, place: _Place, error: PolyforgeError) -> None:
        if not self._opened and self._fail(error):
            return
        delay = place.fell(0)
        self._listener.refused(error.message, delay)
        self._closing.wait(delay)

    def _fail(self, error: PolyforgeError) -> bool:
        """Give the opening up; whether there was one."""
        with self._changed:
            if self._opened:
                return False
            self._failure = self._failure or error
            self._closing.set()
            self._changed.notify_all()
        return True


def _back_in(places: Sequence[_Place]) -> float | None:
    """Seconds until one of these places is expected to have a child again; None while one has."""
    if any(place.child is not None for place in places):
        return None
    return max(FIRST_DELAY, min(place.back_in() for place in places))
