"""Documents as bytes in the database, and back; what takes long runs in threads, few at a time."""

import asyncio
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from polyforge.flows.canonical import save, version_id
from polyforge.flows.document import Document
from polyforge.flows.nodetypes import NodeTypes
from polyforge.flows.problems import Problem, errors_in, refuse
from polyforge.flows.reading import Reading, load, read
from polyforge.flows.validating import Checked, check
from polyforge.kernel.errors import Faulty, Invalid, PolyforgeError

_LEVEL: Final = 3
_AT_ONCE: Final = 2
_KEPT: Final = 64
_KEPT_BYTES: Final = 64 * 1024
_Result = TypeVar("_Result")


class Packed(msgspec.Struct, frozen=True):
    """A document, the version that it is, and how it is kept."""

    document: Document
    version: str
    content: bytes
    size: int
    problems: tuple[Problem, ...]


class Desk:
    """Reads, checks and packs documents away from the event loop."""

    def __init__(self, types: NodeTypes) -> None:
        self.types = types
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._known = OrderedDict[tuple[str, str], Document]()

    async def run(self, work: Callable[[], _Result]) -> _Result:
        """What `work` returns, in a thread, once there is room for it."""
        async with self._places:
            return await asyncio.to_thread(work)

    async def read(self, content: bytes) -> Document:
        """The flow in a file; Faulty where there is none."""
        return required(await self.run(lambda: read(content)))

    async def load(self, value: object) -> Document:
        """The flow in decoded JSON; Faulty where there is none."""
        return required(await self.run(lambda: load(value)))

    async def pack(self, document: Document) -> Packed:
        """A document checked, and as it is kept."""
        return await self.run(lambda: self._pack(document))

    async def check(self, document: Document) -> Checked:
        """A document looked at from all sides."""
        return await self.run(lambda: check(document, self.types))

    async def unpack(self, content: bytes) -> Document:
        """What was kept."""
        return await self.run(lambda: unpacked(content))

    def recall(self, flow_id: str, version: str) -> Document | None:
        """What a version holds, which never changes, where that is remembered."""
        known = self._known.get((flow_id, version))
        if known is not None:
            self._known.move_to_end((flow_id, version))
        return known

    async def version(self, flow_id: str, version: str, content: bytes, size: int) -> Document:
        """What was kept of a version; short ones are remembered, since they are what runs often."""
        document = await self.unpack(content)
        if size <= _KEPT_BYTES:
            self._known[flow_id, version] = document
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return document

    def _pack(self, document: Document) -> Packed:
        whole = save(document)
        problems = check(document, self.types).problems
        return Packed(document, version_id(document), zlib.compress(whole, _LEVEL), len(whole), problems)


def unpacked(content: bytes) -> Document:
    """What was kept; PolyforgeError where this version cannot read it, which is a fault of ours."""
    reading = read(zlib.decompress(content))
    if reading.document is None:
        raise PolyforgeError(f"a flow that was kept cannot be read: {reading.problems[0].message}")
    return reading.document


def required(reading: Reading) -> Document:
    """The flow; Faulty with what keeps it from being read."""
    if reading.document is None:
        raise faulty(reading.problems)
    return reading.document


def faulty(problems: tuple[Problem, ...]) -> Faulty:
    """The refusal of a flow, with everything that is wrong with it."""
    try:
        refuse(problems)
    except Invalid as first:
        more = len(errors_in(problems)) - 1
        rest = f" (and {more} more)" if more else ""
        return Faulty(f"{first.message}{rest}", param=first.param, problems=[told(each) for each in problems])
    raise AssertionError("what is refused has an error")


def told(problem: Problem) -> Mapping[str, Any]:
    """A problem as JSON."""
    return msgspec.to_builtins(problem)
