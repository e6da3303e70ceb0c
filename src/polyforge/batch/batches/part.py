"""Makes the calls of one part of a batch, and puts their answers in the order of the lines."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from polyforge.batch.batches.calling import EMBEDDINGS, CallsModels
from polyforge.batch.batches.embedding import Unit, alone, shares, units_of
from polyforge.batch.batches.pace import Pace
from polyforge.batch.batches.writing import Writer
from polyforge.dialects.openai_batches import BatchUsage, Line, in_one_line, sum_of, usage_in
from polyforge.kernel.errors import (
    BrokenOff,
    IdempotencyRunning,
    NotConfigured,
    PolyforgeError,
    QuotaSpent,
    RateLimited,
    Unavailable,
)
from polyforge.kernel.money import Micros
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.callers import Caller

_TRIES: Final = 3
_PIECE: Final = 256 * 1024
_PASSING: Final = (RateLimited, Unavailable, IdempotencyRunning)
_LASTING: Final = (QuotaSpent, BrokenOff, NotConfigured)
"""Of those that pass, what does not pass soon."""
_log = get_logger(__name__)


class Stop:
    """Why no more calls are to be begun; nobody has said so yet."""

    def __init__(self) -> None:
        self.code = ""
        self.message = ""
        self._asked = asyncio.Event()

    def ask(self, code: str, message: str) -> None:
        """Begin no more calls. The first reason counts."""
        if not self._asked.is_set():
            self.code, self.message = code, message
            self._asked.set()

    @property
    def asked(self) -> bool:
        """Whether somebody did."""
        return self._asked.is_set()

    async def within(self, seconds: float) -> bool:
        """Wait so long, or until somebody does; whether that was so."""
        try:
            async with asyncio.timeout(seconds):
                return await self._asked.wait()
        except TimeoutError:
            return False


class Done(msgspec.Struct, frozen=True):
    """What became of the lines of a part."""

    completed: int = 0
    failed: int = 0
    output: int = 0
    """Bytes of answers."""
    errors: int = 0
    """Bytes of refusals."""
    usage: BatchUsage = BatchUsage()
    price: Micros = 0

    def then(self, more: "Done") -> "Done":
        """This and what was done after it."""
        return Done(
            self.completed + more.completed,
            self.failed + more.failed,
            self.output + more.output,
            self.errors + more.errors,
            sum_of(self.usage, more.usage),
            self.price + more.price,
        )


class Part:
    """The lines of one part. `ulid` is the batch's; `told` hears of lines that are over, each time some are."""

    def __init__(
        self,
        ulid: str,
        url: str,
        lines: Sequence[Line],
        caller: Caller,
        calls: CallsModels,
        pace: Pace,
        stop: Stop,
        writer: Writer,
        told: Callable[[], None],
    ) -> None:
        self._ulid = ulid
        self._url = url
        self._lines = lines
        self._caller = caller
        self._calls = calls
        self._pace = pace
        self._stop = stop
        self._writer = writer
        self._told = told
        self._answers: dict[int, bytes] = {}
        self._refusals: dict[int, bytes] = {}
        self._usage = BatchUsage()
        self._price = 0
        self.undone = 0
        """Lines whose calls were never made."""

    async def run(self, at_once: int, inputs: int) -> None:
        """Make all calls, so many at once at most; ends when every line has an answer or a refusal."""
        units = units_of(self._lines, inputs) if self._url == EMBEDDINGS else map(alone, self._lines)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(at_once, len(self._lines))):
                tasks.create_task(self._work(units))

    def done(self) -> Done:
        """What came of it."""
        return Done(
            len(self._answers),
            len(self._refusals),
            sum(map(len, self._answers.values())),
            sum(map(len, self._refusals.values())),
            self._usage,
            self._price,
        )

    @property
    def over(self) -> int:
        """Lines that have an answer or a refusal."""
        return len(self._answers) + len(self._refusals)

    def output(self) -> AsyncGenerator[bytes]:
        """The lines of answers, in order."""
        return _joined(self._answers, self._lines)

    def everything(self) -> AsyncGenerator[bytes]:
        """The lines of answers and of refusals, in order."""
        return _joined({**self._answers, **self._refusals}, self._lines)

    def errors(self) -> AsyncGenerator[bytes]:
        """The lines of refusals, in order."""
        return _joined(self._refusals, self._lines)

    async def _work(self, units: Iterator[Unit]) -> None:
        for unit in units:
            await self._make(unit)

    async def _make(self, unit: Unit) -> None:
        """One call until it has been answered or refused for good."""
        tries = 0
        while not self._stop.asked:
            try:
                async with self._pace.turn():
                    # It may have been a long wait.
                    if self._stop.asked:
                        break
                    await self._call(unit)
            except PolyforgeError as error:
                if isinstance(error, _PASSING) and not isinstance(error, _LASTING):
                    await self._stop.within(self._pace.no_room(error.retry_after))
                    continue
                tries += 1
                if error.retryable and tries < _TRIES:
                    await self._stop.within(2.0**tries)
                    continue
                await self._refused(unit, error)
            except Exception as error:  # noqa: BLE001 - one line must not take the others along
                _log.exception("the call of a batch broke", batch=self._ulid, line=unit.lines[0].number)
                await self._refused(unit, PolyforgeError(f"something went wrong on our side: {type(error).__name__}"))
            return
        for line in unit.lines:
            self.undone += 1
            self._refusals[line.number] = self._writer.undone(line, self._stop.code, self._stop.message)
        self._told()

    async def _call(self, unit: Unit) -> None:
        tags = (f"batch={self._ulid}",)
        if len(unit.lines) > 1:
            await self._call_together(unit, tags)
            return
        (line,) = unit.lines
        # What embeddings cost is little; to remember every call would cost more.
        key = None if self._url == EMBEDDINGS else f"\0batch/{self._ulid}/{line.number}".encode()
        answered = await self._calls.call(self._caller, self._url, unit.body, key=key, tags=tags)
        body = in_one_line(answered.body)
        used = usage_in(body)
        written = self._writer.answer(line, answered.request_id, body, used, answered.price)
        self._answered({line.number: written}, used, answered.price)

    async def _call_together(self, unit: Unit, tags: tuple[str, ...]) -> None:
        found = await self._calls.call_together(self._caller, unit, tags=tags)
        answer, written = self._writer.answer, dict[int, bytes]()
        each = zip(unit.lines, found.bodies, found.tokens, shares(found.price, unit.weights), strict=True)
        for line, body, tokens, price in each:
            used = BatchUsage(input_tokens=tokens, total_tokens=tokens)
            written[line.number] = answer(line, found.request_id, body, used, price)
        tokens = sum(found.tokens)
        self._answered(written, BatchUsage(input_tokens=tokens, total_tokens=tokens), found.price)

    def _answered(self, written: dict[int, bytes], used: BatchUsage, price: Micros) -> None:
        self._pace.went_through()
        self._answers |= written
        self._usage = sum_of(self._usage, used)
        self._price += price
        self._told()

    async def _refused(self, unit: Unit, error: PolyforgeError) -> None:
        """A call of several lines is made again for each of them: one may be wrong, and the others not."""
        if len(unit.lines) > 1:
            for line in unit.lines:
                await self._make(alone(line))
            return
        for line in unit.lines:
            self._refusals[line.number] = self._writer.refusal(line, error)
        self._told()


async def _joined(written: dict[int, bytes], lines: Iterable[Line]) -> AsyncGenerator[bytes]:
    piece = bytearray()
    for line in lines:
        piece += written.get(line.number, b"")
        if len(piece) >= _PIECE:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)
