"""Input files, line by line, as they come."""

from collections.abc import AsyncGenerator, AsyncIterable

import msgspec

from polyforge.dialects.openai_batches import BatchProblem, Line, read_line
from polyforge.kernel.errors import TooLarge

MOST_PROBLEMS = 100
"""Of a file, that are told."""


class Raw(msgspec.Struct, frozen=True, gc=False):
    """A line: its number, where it begins in the file, and its bytes without their end."""

    number: int
    start: int
    content: bytes


class Plan(msgspec.Struct, frozen=True):
    """How a file is worked through."""

    total: int = 0
    """Lines."""
    parts: list[list[int]] = []
    """For each: the first byte, how many bytes there are, the number of the first line, and how many calls."""
    problems: list[BatchProblem] = []


async def raw_lines(
    pieces: AsyncIterable[bytes], longest: int, first: int = 1, *, blank: bool = False
) -> AsyncGenerator[Raw]:
    """The lines in some bytes, also blank ones if wanted; TooLarge for one that is too long."""
    held, start, number = bytearray(), 0, first
    async for piece in pieces:
        held += piece
        begin = 0
        while (end := held.find(b"\n", begin)) >= 0:
            content = bytes(held[begin:end])
            if len(content) > longest:
                raise _too_long(number, longest)
            if blank or content.strip():
                yield Raw(number, start + begin, content)
            begin, number = end + 1, number + 1
        del held[:begin]
        start += begin
        if len(held) > longest:
            raise _too_long(number, longest)
    if held.strip():
        yield Raw(number, start, bytes(held))


def _too_long(number: int, longest: int) -> TooLarge:
    return TooLarge(f"line {number} has more than {longest} bytes")


class Planner:
    """Reads all lines of a file once: finds what is wrong, and where its parts begin."""

    def __init__(self, url: str, most_lines: int, part_lines: int, part_bytes: int) -> None:
        self._url = url
        self._most_lines = most_lines
        self._part_lines = part_lines
        self._part_bytes = part_bytes
        self._ids: set[int] = set()
        self._parts: list[list[int]] = []
        self._problems: list[BatchProblem] = []
        self._total = 0

    def add(self, raw: Raw) -> bool:
        """One more line; False when it needs no more of them to refuse the file."""
        self._total += 1
        if self._total > self._most_lines:
            self._problems.append(
                BatchProblem(
                    "too_many_requests", f"the file has more than {self._most_lines} lines; split it", raw.number
                )
            )
            return False
        line = read_line(raw.content, raw.number, self._url)
        if isinstance(line, BatchProblem):
            self._problems.append(line)
        else:
            self._check_id(line)
        self._extend(raw)
        return len(self._problems) < MOST_PROBLEMS

    def plan(self) -> Plan:
        """What was found."""
        problems = self._problems
        if not self._total and not problems:
            problems = [BatchProblem("empty_file", "the file has no lines", None)]
        return Plan(self._total, [] if problems else self._parts, problems)

    def refuse(self, code: str, message: str) -> None:
        """Something else is wrong with the file."""
        self._problems.append(BatchProblem(code, message))

    def _check_id(self, line: Line) -> None:
        # As a number of 64 bits each stays small; two that differ share one with no chance worth speaking of.
        known = hash(line.custom_id)
        if known in self._ids:
            message = f"custom_id: {line.custom_id[:100]!r} stands in an earlier line too"
            self._problems.append(BatchProblem("duplicate_custom_id", message, line.number, "custom_id"))
        self._ids.add(known)

    def _extend(self, raw: Raw) -> None:
        size = len(raw.content)
        if self._parts:
            last = self._parts[-1]
            reach = raw.start + size - last[0]
            if last[3] < self._part_lines and reach <= self._part_bytes:
                last[1], last[3] = reach, last[3] + 1
                return
        self._parts.append([raw.start, size, raw.number, 1])
