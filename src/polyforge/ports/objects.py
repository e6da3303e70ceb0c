"""The port to objects: bytes by key, large ones too, that are kept until they are deleted."""

import re
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Final, Protocol

import msgspec

from polyforge.kernel.errors import Invalid
from polyforge.ports.secret_source import SecretSource

LONGEST_KEY: Final = 200
_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)+")
_PREFIX: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*/)+")


class Stored(msgspec.Struct, frozen=True):
    """What was put somewhere."""

    size: int
    sha256: str
    """Of its bytes, in hexadecimal."""


class ObjectFacts(msgspec.Struct, frozen=True):
    """What is known of an object without reading it."""

    key: str
    size: int
    modified_at: float
    """Seconds since the epoch."""


class ObjectStore(Protocol):
    """Keeps objects. Built from its settings and the data folder, `Adapter(settings, data)`; that does no I/O.

    A key is a path of at least two segments of letters, digits, `.`, `_` and `-`, of at most 200 characters in all.
    The first is the project, so that nobody reads another's by accident; Invalid for what is no key. Two that differ
    in case only may be the same to a disk. An object is whole or absent, and replaced only as a whole. Every call but
    those that give bytes ends in bounded time; Unavailable when the storage does not answer, or has no room.
    """

    async def open(self, secrets: SecretSource) -> None:
        """Get ready. Does not require anything else to be up. `secrets` is where `secret:name` is asked for."""
        ...

    async def close(self) -> None:
        """Let go of what `open` took. A second call does nothing."""
        ...

    async def put(self, key: str, content: AsyncIterable[bytes]) -> Stored:
        """Keep what comes, instead of what was there; nothing changes until all of it has come.

        What `content` raises is raised, and nothing is kept then, nor when the call is cancelled before its end.
        """
        ...

    def get(self, key: str, first: int = 0, count: int | None = None) -> AsyncGenerator[bytes]:
        """The bytes from `first` on, `count` of them at most; none where `first` lies behind the end.

        NotFound, before any bytes, when there is no such object. Close what is not read to its end.
        """
        ...

    async def stat(self, key: str) -> ObjectFacts | None:
        """What is known of an object; None when there is none."""
        ...

    async def delete(self, key: str) -> None:
        """Let go of an object. One that is not there is no error."""
        ...

    def list(self, prefix: str) -> AsyncGenerator[ObjectFacts]:
        """The objects whose keys begin with a prefix, which is whole segments and ends with `/`; sorted by key."""
        ...


def check_key(key: str) -> str:
    """A key as it is; Invalid for what is none."""
    if len(key) > LONGEST_KEY or not _KEY.fullmatch(key) or ".." in key:
        raise Invalid(f"{key[:LONGEST_KEY]!r} is no key of an object")
    return key


def check_prefix(prefix: str) -> str:
    """A prefix as it is; Invalid for what is none."""
    if len(prefix) > LONGEST_KEY or not _PREFIX.fullmatch(prefix) or ".." in prefix:
        raise Invalid(f"{prefix[:LONGEST_KEY]!r} is no prefix of keys of objects")
    return prefix
