"""One file behind a URL, plain or an archive: `https://host/model.onnx`, with the SHA-256 that it must have."""

from collections.abc import AsyncGenerator
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from polyforge.kernel.errors import Invalid
from polyforge.ports.model_source import SourceFile, SourceListing, SourceReference, is_archive
from polyforge.ports.secret_source import SecretSource
from polyforge.upstreams.downloads import Downloads

Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]+$", max_length=253)]


class Settings(BaseModel):
    """Whom to ask."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    allowed_hosts: tuple[Host, ...] = Field(
        default=(), description="Hosts that may be in private networks, and may be asked without TLS."
    )


class HttpsSource:
    """Reads one file. The hash is asked for because a URL promises nothing of what lies behind it tomorrow."""

    def __init__(self, settings: Settings) -> None:
        self._downloads = Downloads(settings.allowed_hosts)

    async def open(self, secrets: SecretSource) -> None:
        """Nothing: it has no credentials."""

    async def close(self) -> None:
        """Nothing is held between downloads."""

    async def listing(self, reference: SourceReference) -> SourceListing:
        """The one file."""
        url, sha256 = _read(reference)
        found = await self._downloads.look(url, trusted=reference.trusted)
        name = unquote(urlsplit(url).path.rpartition("/")[2]) or "model"
        file = SourceFile(name, found.size, sha256, found.validator)
        return SourceListing((file,), sha256, f"{url}#sha256={sha256}", is_archive(name))

    async def read(
        self, reference: SourceReference, listing: SourceListing, file: SourceFile, offset: int
    ) -> AsyncGenerator[bytes]:
        """The file's bytes."""
        url, _ = _read(reference)
        pieces = self._downloads.read(url, offset, file.locator, trusted=reference.trusted)
        try:
            async for piece in pieces:
                yield piece
        finally:
            await pieces.aclose()


def _read(reference: SourceReference) -> tuple[str, str]:
    """The URL without its fragment, and the hash, which may be given as `#sha256=`."""
    url, _, fragment = reference.url.partition("#")
    sha256 = reference.sha256 or fragment.removeprefix("sha256=")
    if not sha256:
        raise Invalid("sha256: give the SHA-256 of the file, or add #sha256=... to the address", param="sha256")
    if fragment and fragment.removeprefix("sha256=") != sha256:
        raise Invalid("source: what follows the # is not the sha256", param="source")
    return url, sha256


ADAPTER = HttpsSource
