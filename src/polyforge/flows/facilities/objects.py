"""What nodes hand on that is too large or too special for JSON: kept by what it is, each project's for itself."""

import hashlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, Final, cast

from polyforge.batch.files.service import FileService
from polyforge.flows.document import Json
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Invalid, TooLarge, Unavailable
from polyforge.ports.objects import ObjectStore
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.callers import Caller

MOST_BYTES: Final = 64 << 20
_PIECE: Final = 1 << 20
_OWN: Final = re.compile(r"[0-9a-f]{64}")
_FILE: Final = re.compile(r"file-([0-9A-Za-z]{26})")
_REF: Final = "object:"
FRESH_SECONDS: Final = 86_400.0
"""What was put so long ago is put again when it is asked for, so that it stays."""
_log = get_logger(__name__)


class FlowObjects:
    """Objects of flows, which go when nobody asked for them in a long time, and files that people uploaded."""

    def __init__(self, store: ObjectStore, files: FileService, clock: Clock) -> None:
        self._store = store
        self._files = files
        self._clock = clock

    async def put(self, caller: Caller, data: bytes, media_type: str) -> Mapping[str, Json]:
        """Keep bytes; the same ones are kept once."""
        if len(data) > MOST_BYTES:
            raise TooLarge(f"a value has {len(data)} bytes; flows hand on at most {MOST_BYTES}")
        name = hashlib.sha256(data).hexdigest()
        await self._keep(_key(caller, name), data)
        return {"$object": name, "media_type": media_type, "bytes": len(data)}

    async def get(self, caller: Caller, reference: Mapping[str, Json]) -> bytes:
        """The bytes of what `put` gave, or of a file of the project; NotFound where there are none."""
        name = _name_of(reference)
        if _OWN.fullmatch(name):
            data = await _whole(self._store.get(_key(caller, name)))
            try:
                await self._keep(_key(caller, name), data)
            except Unavailable as error:
                _log.warning("an object that was read could not be put again", reason=error.message)
            return data
        if (named := _FILE.fullmatch(name)) is not None:
            file = await self._files.get(caller, named[1])
            return await _whole(self._files.content(caller, file))
        raise Invalid("this names nothing that is kept; write `object:` with the id of a file")

    async def _keep(self, key: str, data: bytes) -> None:
        """Put it, unless it was put lately."""
        known = await self._store.stat(key)
        if known is None or self._clock.now() - known.modified_at > FRESH_SECONDS:
            await self._store.put(key, _pieces(data))


def prefix_of(project_id: str) -> str:
    """Where the objects of a project lie."""
    return f"{project_id}/flow-objects/"


def _key(caller: Caller, name: str) -> str:
    return f"{prefix_of(caller.project_id)}{name}"


def _name_of(reference: Any) -> str:
    if not isinstance(reference, Mapping):
        return ""
    said = cast("Mapping[str, Any]", reference)
    name: Any = said.get("$object") or said.get("$ref", "")
    return name.removeprefix(_REF) if isinstance(name, str) else ""


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), _PIECE):
        yield data[start : start + _PIECE]


async def _whole(content: AsyncGenerator[bytes]) -> bytes:
    pieces, room = list[bytes](), MOST_BYTES
    async with aclosing(content):
        async for piece in content:
            room -= len(piece)
            if room < 0:
                raise TooLarge(f"an object has more than {MOST_BYTES} bytes, which flows do not read")
            pieces.append(piece)
    return b"".join(pieces)
