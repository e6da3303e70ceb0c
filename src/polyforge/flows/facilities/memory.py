"""Values that flows keep from run to run, as small objects of the project."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Final

import msgspec

from polyforge.flows.document import Json
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import NotFound, TooLarge
from polyforge.ports.objects import ObjectFacts, ObjectStore
from polyforge.tenancy.callers import Caller

MOST_VALUES: Final = 1_000
"""Of one flow; the oldest go first."""
MOST_BYTES: Final = 1 << 20
_SWEEP_EVERY: Final = 20
_MOST_FLOWS: Final = 1_000


class _Kept(msgspec.Struct, frozen=True):
    key: str
    until: float
    value: Json


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_Kept).decode


class FlowMemory:
    """What each flow keeps. What several runs keep under one key at once, one of them has kept."""

    def __init__(self, store: ObjectStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._since = Counter[str]()
        """How many values were kept since the flow's were last counted."""

    async def recall(self, caller: Caller, flow_id: str, key: str) -> tuple[Json] | None:
        """What is kept under a key and not too old."""
        name = _folder(caller, flow_id) + _name(key)
        try:
            async with aclosing(self._store.get(name)) as content:
                kept = _decode(b"".join([piece async for piece in content]))
        except (NotFound, msgspec.DecodeError):
            return None
        if kept.until <= self._clock.now():
            await self._store.delete(name)
            return None
        return (kept.value,)

    async def keep(self, caller: Caller, flow_id: str, key: str, value: Json, *, seconds: float) -> None:
        """Keep a value, instead of what was there; TooLarge for one that is too large."""
        data = await asyncio.to_thread(_encode, _Kept(key, self._clock.now() + seconds, value))
        if len(data) > MOST_BYTES:
            raise TooLarge(f"a value has {len(data)} bytes; at most {MOST_BYTES} are kept")
        folder = _folder(caller, flow_id)
        await self._store.put(folder + _name(key), _piece(data))
        if self._since[folder] % _SWEEP_EVERY == 0:
            await self._sweep(folder)
        if len(self._since) >= _MOST_FLOWS:
            self._since.clear()
        self._since[folder] += 1

    async def _sweep(self, folder: str) -> None:
        """Let the oldest values of a flow go, where there are too many."""
        found = list[ObjectFacts]()
        async with aclosing(self._store.list(folder)) as listed:
            async for each in listed:
                found.append(each)
                if len(found) > MOST_VALUES + _SWEEP_EVERY * 2:
                    break
        found.sort(key=lambda each: each.modified_at)
        for each in found[: max(0, len(found) - MOST_VALUES)]:
            await self._store.delete(each.key)


def _folder(caller: Caller, flow_id: str) -> str:
    return f"{caller.project_id}/flow-memory/{flow_id}/"


def _name(key: str) -> str:
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


async def _piece(data: bytes) -> AsyncIterator[bytes]:
    yield data
