"""Answers that go on for as long as a caller stays: how many there may be at once, and when they end."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from typing import Final, Generic, TypeVar

from polyforge.database.events.store import Event
from polyforge.database.events.tail import EventTail
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Unavailable
from polyforge.tenancy.callers import Caller

_RETRY_SECONDS: Final = 5.0


class CallerStream(ABC):
    """One reader. It holds nothing of what it reads, so that a slow one costs nothing.

    It ends after `longest_seconds`, and who goes on must show again that they may.
    """

    def __init__(self, caller: Caller, clock: Clock, longest_seconds: float) -> None:
        self.caller = caller
        self.ended = False
        self._clock = clock
        self._until = clock.monotonic() + longest_seconds
        self._stirred = asyncio.Event()

    @abstractmethod
    def frames(self) -> AsyncGenerator[bytes]:
        """The stream as bytes: whole events, and comments where there are none for a while."""

    def end(self) -> None:
        """Let it end before it rests again."""
        self.ended = True
        self.stir()

    def stir(self) -> None:
        """Let it look at once, if it rests."""
        self._stirred.set()

    def left(self) -> float:
        """Seconds until it has gone on for long enough, or its key or token ends; none once it was ended."""
        if self.ended:
            return 0.0
        left = self._until - self._clock.monotonic()
        ends = self.caller.expires_at
        return left if ends is None else min(left, ends - self._clock.now())

    async def rest(self, seconds: float) -> None:
        """Wait for so long, or until it is stirred, be it before this was called."""
        try:
            async with asyncio.timeout(seconds):
                await self._stirred.wait()
        except TimeoutError:
            return
        self._stirred.clear()


_Stream = TypeVar("_Stream", bound=CallerStream)


class CallerStreams(Generic[_Stream]):
    """All streams of one kind in this process; `things` are what they tell of, in words.

    They end when the process drains, and when what their caller may do may have changed.
    """

    def __init__(self, things: str, clock: Clock, *, most: int, most_each: int) -> None:
        self._things = things
        self._clock = clock
        self._most = most
        self._most_each = most_each
        self._open: set[_Stream] = set()
        self._draining = False

    def listen(self, tail: EventTail) -> None:
        """Hear of keys and people; before the tail is opened."""
        tail.listen(["keys"], self._heard_of_keys)
        tail.listen(["people"], self._heard_of_people)

    def release(self, stream: _Stream) -> None:
        """Nobody reads it any more."""
        self._open.discard(stream)

    def drain(self) -> None:
        """End every stream, and begin no other."""
        self._draining = True
        for stream in self._open:
            stream.end()

    def _admit(self, stream: _Stream) -> _Stream:
        """A stream that is now among them; Unavailable when there are too many."""
        if self._draining or len(self._open) >= self._most:
            raise Unavailable(
                f"there are as many streams of {self._things} as there may be", retry_after=_RETRY_SECONDS
            )
        whose, has = self._whose(stream.caller)
        if sum(self._whose(other.caller)[0] == whose for other in self._open) >= self._most_each:
            message = f"{has} {self._most_each} streams of {self._things} already; close one"
            raise Unavailable(message, retry_after=_RETRY_SECONDS)
        self._open.add(stream)
        return stream

    def _whose(self, caller: Caller) -> tuple[str, str]:
        """Among whose streams one of this caller counts, and how to tell them that they have some."""
        return caller.key_id, "you have"

    def _heard_of_keys(self, events: Sequence[Event]) -> None:
        """Something happened to these keys; no events: anything may have."""
        changed = {event.resource_id for event in events}
        for stream in self._open:
            if not events or stream.caller.key_id in changed:
                stream.end()

    def _heard_of_people(self, events: Sequence[Event]) -> None:
        """Something happened to people of these organizations; no events: anything may have."""
        places = {event.organization_id for event in events}
        for stream in self._open:
            caller = stream.caller
            if caller.kind != "key" and (not events or places & {None, caller.organization_id}):
                stream.end()
