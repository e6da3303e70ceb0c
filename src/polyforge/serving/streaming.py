"""Several answers to one request, each sent on when it is there."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import closing, suppress
from typing import Final

from polyforge.kernel.errors import Cancelled, PolyforgeError, TimedOut, Unavailable
from polyforge.ports.model_backend import ModelRequest, Outputs, StreamingBackend
from polyforge.serving.scheduler import BackendBroke

MAX_STREAMS: Final = 64
"""Each has a thread; more get 503."""
AHEAD: Final = 4
"""Answers that wait to be read; when there are so many the backend waits too."""
RETRY_SECONDS: Final = 1.0

_End = PolyforgeError | BackendBroke | None


class Streams:
    """The streams that are under way in a host."""

    def __init__(self, max_streams: int = MAX_STREAMS) -> None:
        self._max_streams = max_streams
        self._under_way = 0

    async def answers(
        self,
        backend: StreamingBackend,
        request: ModelRequest,
        *,
        within: float,
        gone: Callable[[], Awaitable[None]],
        ended: Callable[[], None],
    ) -> AsyncGenerator[Outputs]:
        """The answers of a backend, each within so many seconds after the one before.

        `gone` returns when the caller hangs up; `ended` is called when the backend is free again, which may be a while
        after nobody reads any more. Unavailable when there are too many streams, TimedOut, Cancelled, BackendBroke, and
        what the backend raises.
        """
        if self._under_way >= self._max_streams:
            ended()
            raise Unavailable(f"{self._under_way} streams are under way, as many as may be", retry_after=RETRY_SECONDS)
        self._under_way += 1
        reader = _Reader(backend, request, lambda: self._end(ended))
        watcher = asyncio.ensure_future(gone())
        try:
            while (outputs := await _next(reader, watcher, within)) is not None:
                yield outputs
        finally:
            watcher.cancel()
            reader.stop()

    def _end(self, ended: Callable[[], None]) -> None:
        self._under_way -= 1
        ended()


class _Reader:
    """Takes the answers of a backend in a thread of its own."""

    def __init__(self, backend: StreamingBackend, request: ModelRequest, ended: Callable[[], None]) -> None:
        self.answers: asyncio.Queue[Outputs | _End] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._room = threading.Semaphore(AHEAD)
        self._stopped = threading.Event()
        self._ended = ended
        threading.Thread(target=self._read, args=(backend, request), name="stream", daemon=True).start()

    def taken(self) -> None:
        """There is room for one more."""
        self._room.release()

    def stop(self) -> None:
        """Nobody reads any more."""
        self._stopped.set()
        self._room.release()

    def _read(self, backend: StreamingBackend, request: ModelRequest) -> None:
        end: _End = None
        try:
            with closing(backend.stream(request)) as answers:
                for outputs in answers:
                    self._tell(self.answers.put_nowait, outputs)
                    self._room.acquire()
                    if self._stopped.is_set():
                        break
        except PolyforgeError as error:
            end = error
        except BaseException as error:  # noqa: BLE001  a panic in a native library is no Exception
            end = BackendBroke(f"{type(error).__name__} in the backend")
            end.__cause__ = error
        self._tell(self.answers.put_nowait, end)
        self._tell(self._ended)

    def _tell(self, callback: Callable[..., None], *arguments: Outputs | _End) -> None:
        # When the loop is closed nobody is left to tell.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *arguments)


async def _next(reader: _Reader, watcher: asyncio.Future[None], within: float) -> Outputs | None:
    """The next answer, or None when there are no more."""
    taking = asyncio.ensure_future(reader.answers.get())
    try:
        done, _ = await asyncio.wait((taking, watcher), timeout=within, return_when=asyncio.FIRST_COMPLETED)
    finally:
        taking.cancel()
    if taking not in done:
        raise Cancelled("the caller closed the connection") if done else TimedOut("Request timeout expired")
    found = taking.result()
    if isinstance(found, BaseException):
        raise found
    reader.taken()
    return found
