"""Values that flows keep from run to run."""

import asyncio
import hashlib
from typing import Final

import msgspec

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.flows.document import Json
from polyforge.flows.facilities.store import MemoryEditor, MemoryStore
from polyforge.flows.running.sealing import Seals
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Conflict, TooLarge
from polyforge.tenancy.callers import Caller

MOST_VALUES: Final = 100_000
"""Of one project; results of nodes that are kept for later runs do not count."""
MOST_BYTES: Final = 256 * 1024
_MARK: Final = "m"
"""No hexadecimal digit, so that no result of a node has such an id."""
_OF_PROJECT: Final = 15
_OF_KEY: Final = 48


class _Kept(msgspec.Struct, frozen=True):
    value: Json


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_Kept).decode


class FlowMemory:
    """What each flow keeps, until it is over."""

    def __init__(self, database: Database, clock: Clock, seals: Seals) -> None:
        self._database = database
        self._clock = clock
        self._seals = seals

    async def recall(self, caller: Caller, flow_id: str, key: str) -> tuple[Json] | None:
        """What is kept under a key and not over."""
        scope = _scope(caller)
        async with self._database.read(scope) as session:
            found = await MemoryStore(session, scope, self._seals).find(_id(caller, flow_id, key), self._clock.now())
        return None if found is None else (_decode(found).value,)

    async def keep(self, caller: Caller, flow_id: str, key: str, value: Json, *, seconds: float) -> None:
        """Keep a value, instead of what was there; TooLarge for one of many bytes, Conflict where there is no room."""
        data = await asyncio.to_thread(_encode, _Kept(value))
        if len(data) > MOST_BYTES:
            raise TooLarge(f"a value has {len(data)} bytes; at most {MOST_BYTES} are kept")
        scope, now = _scope(caller), self._clock.now()
        async with self._database.write(scope) as session:
            editor = MemoryEditor(session, scope, self._database.dialect, self._seals)
            id_ = _id(caller, flow_id, key)
            full = await editor.count(_prefix(caller), now) >= MOST_VALUES
            if full and await editor.find(id_, now) is None:
                raise Conflict(f"flows of a project keep at most {MOST_VALUES} values; keep them for a shorter time")
            await editor.keep(id_, data.decode(), now, now + seconds, caller.user_id)


def _scope(caller: Caller) -> Scope:
    return Scope(caller.organization_id, caller.project_id)


def _prefix(caller: Caller) -> str:
    """What the ids of a project's values begin with, so that they are counted without the others."""
    return _MARK + _hash(caller.organization_id, caller.project_id)[:_OF_PROJECT]


def _id(caller: Caller, flow_id: str, key: str) -> str:
    """What a value is kept under."""
    return _prefix(caller) + _hash(caller.organization_id, caller.project_id, flow_id, key)[:_OF_KEY]


def _hash(*parts: str) -> str:
    return hashlib.sha256(_encode(parts)).hexdigest()
