"""The port to places that models are fetched from: what lies there, and the bytes of it from any offset on."""

from collections.abc import AsyncGenerator
from typing import Final, Protocol

import msgspec

from polyforge.ports.secret_source import SecretSource

ARCHIVES: Final = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
"""How the names of files end that are unpacked."""


def is_archive(name: str) -> bool:
    """Whether a file of this name is to be unpacked."""
    return name.lower().endswith(ARCHIVES)


class SourceReference(msgspec.Struct, frozen=True):
    """Where a model is, as it was asked for.

    `trusted` says that whoever runs the installation named it: then it may be in a private network or in any folder of
    this machine.
    """

    url: str
    sha256: str | None = None
    """What the one file behind the URL must hash to, in lower-case hexadecimal."""
    trusted: bool = False

    @property
    def scheme(self) -> str:
        """What stands before the colon, in lower case."""
        return self.url.partition(":")[0].lower()


class SourceFile(msgspec.Struct, frozen=True):
    """One file of a model; `path` is relative, with slashes. What the source does not tell is None."""

    path: str
    size: int | None = None
    sha256: str | None = None
    locator: str = ""
    """What the source itself finds it by."""


class SourceListing(msgspec.Struct, frozen=True):
    """What lies at a reference.

    `revision` is different for different content, and empty when the source cannot promise that. `pinned` is the
    reference that means exactly this content for good, as far as the source has such a thing. `archive` says that the
    only file is to be unpacked. `vouched` says that the hashes are the source's own word, and not that of whoever asks:
    a file that is on this machine already is then taken without asking the source for it.
    """

    files: tuple[SourceFile, ...]
    revision: str = ""
    pinned: str = ""
    archive: bool = False
    vouched: bool = False


class ModelSource(Protocol):
    """One kind of place. Every failure is a `PolyforgeError`: Unavailable and its like may pass, Invalid does not."""

    async def open(self, secrets: SecretSource) -> None:
        """Get ready; credentials may come later."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...

    async def listing(self, reference: SourceReference) -> SourceListing:
        """What lies there; NotFound when nothing does, Invalid for a reference that means nothing here."""
        ...

    def read(
        self, reference: SourceReference, listing: SourceListing, file: SourceFile, offset: int
    ) -> AsyncGenerator[bytes]:
        """The bytes of a file that was listed, from `offset` on; Conflict when it has changed since."""
        ...
