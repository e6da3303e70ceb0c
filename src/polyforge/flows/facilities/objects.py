"""What nodes hand on that is too large or too special for JSON: kept by what it is, each project's for itself."""

import hashlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, Final, cast

from polyforge.batch.files.service import FileService
from polyforge.flows.document import Json
from polyforge.kernel.errors import Invalid, TooLarge
from polyforge.ports.objects import ObjectStore
from polyforge.tenancy.callers import Caller

MOST_BYTES: Final = 64 << 20
_PIECE: Final = 1 << 20
_OWN: Final = re.compile(r"[0-9a-f]{64}")
_FILE: Final = re.compile(r"file-([0-9A-Za-z]{26})")
_REF: Final = "object:"


class FlowObjects:
    """Objects of flows, and files that people uploaded."""

    def __init__(self, store: ObjectStore, files: FileService) -> None:
        self._store = store
        self._files = files

    async def put(self, caller: Caller, data: bytes, media_type: str) -> Mapping[str, Json]:
        """Keep bytes; the same ones are kept once."""
        if len(data) > MOST_BYTES:
            raise TooLarge(f"a value has {len(data)} bytes; flows hand on at most {MOST_BYTES}")
        name = hashlib.sha256(data).hexdigest()
        key = _key(caller, name)
        if await self._store.stat(key) is None:
            await self._store.put(key, _pieces(data))
        return {"$object": name, "media_type": media_type, "bytes": len(data)}

    async def get(self, caller: Caller, reference: Mapping[str, Json]) -> bytes:
        """The bytes of what `put` gave, or of a file of the project; NotFound where there are none."""
        name = _name_of(reference)
        if _OWN.fullmatch(name):
            return await _whole(self._store.get(_key(caller, name)))
        if (named := _FILE.fullmatch(name)) is not None:
            file = await self._files.get(caller, named[1])
            return await _whole(self._files.content(caller, file))
        raise Invalid("this names nothing that is kept; write `object:` with the id of a file")


def _key(caller: Caller, name: str) -> str:
    return f"{caller.project_id}/flow-objects/{name}"


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
