"""Payloads, and how they are cut and sealed."""

import hashlib
import zlib
from collections.abc import Callable
from typing import Final

import msgspec

from polyforge.database.scopes import Scope
from polyforge.database.texts import storable
from polyforge.secrets.sealing import MasterKeys

BELONGS_TO: Final = "payload/{organization_id}/{project_id}/{id}"
"""What a sealed payload is bound to, so that it does not open in another row."""
_LEVEL: Final = 1


class Part(msgspec.Struct, array_like=True, frozen=True):
    """A request or an answer."""

    content: bytes
    """Text in UTF-8."""
    size: int
    """Bytes that it had before it was cut, or left out."""
    cut: bool = False
    left_out: str = ""
    """Why there is nothing of it: `binary`, or `pseudonyms` where it named people whom the request had hidden."""


class Payload(msgspec.Struct, array_like=True, frozen=True):
    """What was asked and what was answered."""

    request: Part
    answer: Part
    content_type: str
    """Of the answer."""
    http_status: int


class Offered(msgspec.Struct, frozen=True):
    """A payload that is to be kept; `make` puts it together, in a thread."""

    id: str
    scope: Scope
    user_id: str
    end_user: str
    size: int
    """Bytes that it takes while it waits."""
    make: Callable[[], Payload]


_decode: Final = msgspec.msgpack.Decoder(Payload).decode
_encode: Final = msgspec.msgpack.Encoder().encode


def part_of(content: bytes, size: int, limit: int) -> Part:
    """Text of which there were `size` bytes, cut after `limit` of them, but not within a character."""
    if size == len(content) <= limit:
        return Part(content, size)
    return Part(content[:limit].decode("utf-8", "ignore").encode(), size, cut=True)


def hash_of(end_user: str) -> bytes:
    """What a payload's row says of an end user."""
    # NUL is what the ledger cannot store: it has another character there, and so has whoever looks for it.
    return hashlib.sha256(storable(end_user).encode("utf-8", "surrogatepass")).digest()


def seal(master: MasterKeys, scope: Scope, request_id: str, payload: Payload) -> bytes:
    """A payload as it is kept."""
    return master.seal(zlib.compress(_encode(payload), _LEVEL), _belongs_to(scope, request_id))


def unseal(master: MasterKeys, scope: Scope, request_id: str, sealed: bytes) -> Payload:
    """A payload as it was; Unsealable when it cannot be had."""
    return _decode(zlib.decompress(master.open(sealed, _belongs_to(scope, request_id))))


def _belongs_to(scope: Scope, request_id: str) -> str:
    return BELONGS_TO.format(organization_id=scope.organization_id, project_id=scope.project_id, id=request_id)
