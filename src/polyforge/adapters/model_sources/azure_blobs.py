"""Blobs below a prefix of one storage account of Azure: `az://container/prefix`, with a shared access signature.

Sources: https://learn.microsoft.com/en-us/rest/api/storageservices/list-blobs and .../get-blob
"""

import asyncio
import re
from collections.abc import AsyncGenerator
from typing import Annotated, Final
from urllib.parse import quote, unquote, urlencode, urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from polyforge.dialects.object_lists import ListedObject, decode_azure
from polyforge.egress.addresses import HttpBase
from polyforge.kernel.errors import Denied, Invalid, TimedOut
from polyforge.ports.model_source import SourceFile, SourceListing, SourceReference
from polyforge.ports.secret_source import SecretSource
from polyforge.secrets.following import FollowedSecrets
from polyforge.secrets.references import SecretRef
from polyforge.upstreams.downloads import Downloads
from polyforge.upstreams.objects import located, model_of

_VERSION: Final = "2021-12-02"
_CONTAINER: Final = r"^[a-z0-9$](-?[a-z0-9])*$"
_PAGE_BYTES: Final = 16 * 1024 * 1024
_MAX_PAGES: Final = 1_000

Container = Annotated[str, StringConstraints(pattern=_CONTAINER, max_length=63)]


class Settings(BaseModel):
    """Whose blobs, and which of them everybody may read models from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: HttpBase = Field(description="Such as `https://account.blob.core.windows.net`.")
    sas_token: SecretRef | None = Field(
        default=None, description="A shared access signature that may read and list; default: public containers only."
    )
    containers: tuple[Container, ...] = Field(
        default=(),
        description="Containers whose models everybody may add who may add models; others only who runs the"
        " installation.",
    )
    timeout_seconds: float = Field(default=30.0, gt=0, description="How long a page of names may take.")


class AzureBlobSource:
    """Lists what lies below a prefix, or the one blob of that name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._downloads = Downloads((urlsplit(settings.endpoint).hostname or "",))
        self._secrets = FollowedSecrets(settings.sas_token)

    async def open(self, secrets: SecretSource) -> None:
        """Follow the signature, where it is a secret of the database."""
        self._secrets.open(secrets)

    async def close(self) -> None:
        """Stop following it."""
        self._secrets.close()

    async def listing(self, reference: SourceReference) -> SourceListing:
        """The blobs below the prefix; their ETags are the revision."""
        container, prefix = self._allowed(reference)
        found = await self._listed(container, prefix)
        return model_of(found, prefix, reference, f"the container {container}")

    async def read(
        self, reference: SourceReference, listing: SourceListing, file: SourceFile, offset: int
    ) -> AsyncGenerator[bytes]:
        """The blob's bytes; Conflict when it is no longer what was listed."""
        container, _ = self._allowed(reference)
        etag, key = located(file)
        url = self._url(f"{container}/{quote(key, safe='/')}", {})
        pieces = self._downloads.read(url, offset, etag, {"x-ms-version": _VERSION})
        try:
            async for piece in pieces:
                yield piece
        finally:
            await pieces.aclose()

    async def _listed(self, container: str, prefix: str) -> list[ListedObject]:
        found: list[ListedObject] = []
        marker = ""
        for _ in range(_MAX_PAGES):
            query = {"restype": "container", "comp": "list", "prefix": prefix, "marker": marker}
            page = decode_azure(await self._page(self._url(container, query)))
            found += page.objects
            marker = page.following
            if not marker:
                return found
        raise Invalid("source: there are too many blobs below it", param="source")

    async def _page(self, url: str) -> bytes:
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                return await self._downloads.fetch(url, _PAGE_BYTES, {"x-ms-version": _VERSION})
        except TimeoutError as error:
            raise TimedOut("the blob storage did not answer in time") from error

    def _url(self, path: str, query: dict[str, str]) -> str:
        asked = [urlencode({name: value for name, value in query.items() if value})]
        token = self._settings.sas_token
        if token is not None:
            asked.append(self._secrets.reveal(token).removeprefix("?"))
        text = "&".join(part for part in asked if part)
        return f"{self._settings.endpoint.rstrip('/')}/{path}{'?' if text else ''}{text}"

    def _allowed(self, reference: SourceReference) -> tuple[str, str]:
        container, _, prefix = reference.url.partition("://")[2].partition("/")
        if not re.fullmatch(_CONTAINER, container) or "?" in prefix or "#" in prefix:
            raise Invalid(f"source: {reference.url[:200]} should look like az://container/prefix", param="source")
        if not reference.trusted and container not in self._settings.containers:
            raise Denied("models can be added from the containers that the settings name for it")
        return container, unquote(prefix)


ADAPTER = AzureBlobSource
