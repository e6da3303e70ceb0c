"""Messages on their way out, made and sent in the background, so that no answer tells whether there was one.

They are kept in memory: what a process that is killed had not sent is lost, and people ask again. One that drains sends
what it can until then.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from typing import Final

import msgspec

from polyforge.kernel.errors import PolyforgeError, Unavailable
from polyforge.ports.notifier import Notice, Notifier
from polyforge.ports.secret_source import SecretSource
from polyforge.telemetry.logs import get_logger

_log = get_logger(__name__)

MAX_WAITING: Final = 1_000
_WORKERS: Final = 2
_PAUSES: Final = (1.0, 10.0, 60.0, 300.0, 900.0)
"""Seconds before each further try: 21 minutes, within which a mail server may restart and every link still works."""
_LAST_PAUSES: Final = 1.0
"""The same while draining."""
_MOST_NAMED: Final = 20

Make = Callable[[], Awaitable[Notice | None]]
"""Makes a message, or finds that there is none to send."""


class _Letter(msgspec.Struct, eq=False):
    """A message that is not sent or given up yet."""

    make: Make
    notice: Notice | None = None
    """The message, once it is made."""
    tries: int = 0


class Post:
    """A bounded number of messages to make and send; each that fails is tried again after one of `pauses`."""

    def __init__(self, notifier: Notifier, *, pauses: tuple[float, ...] = _PAUSES) -> None:
        self._notifier = notifier
        self.mails = notifier.mails
        """Whether messages reach people by themselves."""
        self._pauses = pauses
        self._letters: set[_Letter] = set()
        self._promised = 0
        self._queue: asyncio.Queue[_Letter] = asyncio.Queue()
        self._resting: dict[_Letter, asyncio.TimerHandle] = {}
        self._settled = asyncio.Event()
        self._settled.set()
        self._ends_at: float | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, secrets: SecretSource) -> None:
        """Begin to send."""
        await self._notifier.open(secrets)
        self._tasks = [asyncio.create_task(self._work(), name="post") for _ in range(_WORKERS)]

    def drain(self, seconds: float) -> None:
        """The end is near: try at once what rests, and let `close` wait that long, counted from now."""
        self._ends_at = asyncio.get_running_loop().time() + seconds
        for letter, timer in list(self._resting.items()):
            timer.cancel()
            self._again(letter)

    async def close(self) -> None:
        """Stop sending, after what `drain` gave; says what was not sent."""
        if self._ends_at is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._ends_at):
                    await self.settled()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        for timer in self._resting.values():
            timer.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._notifier.close()
        if self._letters:
            _log.error("messages were not sent", count=len(self._letters), to=_masked(self._letters))

    @contextmanager
    def room(self) -> Generator[Callable[[Make], None]]:
        """Room for one message of what is about to be done; Unavailable, so that it is not done, when too many wait.

        Gives what is to be called with the message once it is done.
        """
        if len(self._letters) + self._promised >= MAX_WAITING:
            raise Unavailable("too many messages wait to be sent; try again later", retry_after=60.0)
        self._promised += 1
        try:
            yield self._add
        finally:
            self._promised -= 1

    def put(self, make: Make) -> None:
        """Have a message made and sent later; Unavailable when too many wait."""
        with self.room() as add:
            add(make)

    def _add(self, make: Make) -> None:
        letter = _Letter(make)
        self._letters.add(letter)
        self._settled.clear()
        self._queue.put_nowait(letter)

    async def settled(self) -> None:
        """Wait until everything that was put is sent or given up."""
        await self._settled.wait()

    async def _work(self) -> None:
        while True:
            await self._try(await self._queue.get())

    async def _try(self, letter: _Letter) -> None:
        try:
            letter.notice = letter.notice or await letter.make()
            if letter.notice is not None:
                await self._notifier.send(letter.notice)
        except PolyforgeError as error:
            self._put_off(letter, error.message)
        except Exception:  # noqa: BLE001 - whatever it was, the messages behind it must go out
            _log.exception("a message could not be made")
            self._done(letter)
        else:
            self._done(letter)

    def _put_off(self, letter: _Letter, reason: str) -> None:
        if letter.tries == len(self._pauses):
            _log.error("a message could not be sent", to=_masked([letter]), reason=reason)
            self._done(letter)
            return
        pause = self._pauses[letter.tries]
        if self._ends_at is not None:
            pause = min(pause, _LAST_PAUSES)
        letter.tries += 1
        _log.warning("a message will be sent again", to=_masked([letter]), seconds=pause, reason=reason)
        self._resting[letter] = asyncio.get_running_loop().call_later(pause, self._again, letter)

    def _again(self, letter: _Letter) -> None:
        del self._resting[letter]
        self._queue.put_nowait(letter)

    def _done(self, letter: _Letter) -> None:
        self._letters.discard(letter)
        if not self._letters:
            self._settled.set()


def _masked(letters: Iterable[_Letter]) -> list[str]:
    """Whom they are for, as far as that is known by now: enough to ask around, too little to write to."""
    addresses = (letter.notice.to.rpartition("@") for letter in letters if letter.notice is not None)
    return sorted(f"{name[:1]}***@{domain}" for name, _, domain in addresses)[:_MOST_NAMED]
