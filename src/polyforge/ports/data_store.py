"""The port to stores of data that belong to other people's programs: read and written by path, and never tidied."""

import re
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Final, Protocol

from polyforge.kernel.errors import Invalid
from polyforge.ports.objects import ObjectFacts, Stored
from polyforge.ports.secret_source import SecretSource

LONGEST_PATH: Final = 500
_SEGMENT: Final = r"[^\x00-\x1f\x7f/\\.][^\x00-\x1f\x7f/\\]*"
_PATH: Final = re.compile(rf"{_SEGMENT}(/{_SEGMENT})*")


class DataStore(Protocol):
    """A place that the operator declared. Built from its settings and the data folder; that does no I/O.

    A path is segments with slashes between them, none of which begins with a dot; Invalid for anything else, and for
    what leads out of the store. Unavailable when the store does not answer, or refuses us.
    """

    async def open(self, secrets: SecretSource) -> None:
        """Get ready. Does not require anything else to be up."""
        ...

    async def close(self) -> None:
        """Let go of what `open` took. A second call does nothing."""
        ...

    async def stat(self, key: str) -> ObjectFacts | None:
        """What is known of what lies at a path; None when nothing does."""
        ...

    def get(self, key: str, first: int = 0, count: int | None = None) -> AsyncGenerator[bytes]:
        """The bytes from `first` on, `count` of them at most, all of one version; NotFound when nothing lies there."""
        ...

    async def put(self, key: str, content: AsyncIterable[bytes]) -> Stored:
        """Keep what comes, instead of what was there; nothing changes until all of it has come."""
        ...


def check_path(path: str) -> str:
    """A path as it is; Invalid for what is none."""
    if len(path) > LONGEST_PATH or not _PATH.fullmatch(path):
        raise Invalid(f"{path[:LONGEST_PATH]!r} is no path in a store: write folder/file.csv, without a leading slash")
    return path
