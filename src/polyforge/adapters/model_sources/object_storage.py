"""Objects below a prefix of S3, or of what speaks its API: Google Cloud Storage with HMAC keys, MinIO, Ceph.

`s3://bucket/prefix`, and with `model_sources.gs` declared `gs://bucket/prefix`.
Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/ and https://cloud.google.com/storage/docs/interoperability
"""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Final
from urllib.parse import quote, unquote

from pydantic import Field, StringConstraints

from polyforge.dialects.object_lists import ListedObject, decode_s3
from polyforge.egress.http import Answer
from polyforge.kernel.errors import Denied, Invalid, NotConfigured, SettingsError, TimedOut
from polyforge.ports.model_source import SourceFile, SourceListing, SourceReference
from polyforge.ports.secret_source import SecretSource
from polyforge.upstreams.aws import AwsAccount, AwsSettings
from polyforge.upstreams.downloads import read_from, require_readable
from polyforge.upstreams.objects import located, model_of

_BUCKET: Final = r"^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$"
_PAGE_BYTES: Final = 8 * 1024 * 1024
_MAX_PAGES: Final = 1_000
_MAX_ACCOUNTS: Final = 32

Bucket = Annotated[str, StringConstraints(pattern=_BUCKET)]


class Settings(AwsSettings):
    """Whose buckets, and which of them everybody may read models from."""

    buckets: tuple[Bucket, ...] = Field(
        default=(),
        description="Buckets whose models everybody may add who may add models; others only who runs the installation.",
    )
    timeout_seconds: float = Field(default=30.0, gt=0, description="How long a connection or a page of names may take.")


class ObjectStorageSource:
    """Lists what begins with a prefix, or the one object of that name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._secrets: SecretSource | None = None
        self._accounts: dict[str, AwsAccount] = {}

    async def open(self, secrets: SecretSource) -> None:
        """Keep what credentials may be asked for."""
        self._secrets = secrets

    async def close(self) -> None:
        """Hang up."""
        accounts, self._accounts = self._accounts, {}
        for account in accounts.values():
            await account.close()

    async def listing(self, reference: SourceReference) -> SourceListing:
        """The objects below the prefix; their ETags are the revision."""
        bucket, prefix = self._allowed(reference)
        found = await self._listed(bucket, prefix)
        return model_of(found, prefix, reference, f"the bucket {bucket}")

    async def read(
        self, reference: SourceReference, listing: SourceListing, file: SourceFile, offset: int
    ) -> AsyncGenerator[bytes]:
        """The object's bytes; Conflict when it is no longer what was listed."""
        bucket, _ = self._allowed(reference)
        etag, key = located(file)
        headers = {"if-match": etag} if etag else {}
        if offset:
            headers["range"] = f"bytes={offset}-"
        async with self._opened(bucket, quote(key, safe="/-._~"), headers) as answer:
            pieces = read_from(answer, offset, etag)
            try:
                async for piece in pieces:
                    yield piece
            finally:
                await pieces.aclose()

    async def _listed(self, bucket: str, prefix: str) -> list[ListedObject]:
        found: list[ListedObject] = []
        following = ""
        for _ in range(_MAX_PAGES):
            query = {"list-type": "2", "prefix": prefix}
            if following:
                query["continuation-token"] = following
            asked = "&".join(f"{name}={quote(value, safe='-._~')}" for name, value in sorted(query.items()))
            page = decode_s3(await self._page(bucket, f"?{asked}"))
            found += page.objects
            following = page.following
            if not following:
                return found
        raise Invalid("source: there are too many objects below it", param="source")

    async def _page(self, bucket: str, query: str) -> bytes:
        try:
            async with asyncio.timeout(self._settings.timeout_seconds), self._opened(bucket, query, {}) as answer:
                require_readable(answer)
                return await answer.body(_PAGE_BYTES)
        except TimeoutError as error:
            raise TimedOut("the object storage did not answer in time") from error

    @asynccontextmanager
    async def _opened(self, bucket: str, target: str, headers: dict[str, str]) -> AsyncGenerator[Answer]:
        """With an endpoint of one's own the bucket stands in the path."""
        path = "/" if self._settings.endpoint is None else f"/{bucket}/"
        answer = self._account(bucket).get(f"{path}{target}", headers)
        try:
            await answer.open()
            yield answer
        finally:
            await answer.close()

    def _account(self, bucket: str) -> AwsAccount:
        name = bucket if self._settings.endpoint is None else ""
        known = self._accounts.get(name)
        if known is not None:
            return known
        if self._secrets is None:
            raise NotConfigured("the object storage is not open yet")
        if len(self._accounts) >= _MAX_ACCOUNTS:
            raise NotConfigured(f"models were fetched from {_MAX_ACCOUNTS} buckets; set an endpoint, or restart")
        try:
            account = AwsAccount(
                self._settings, service="s3", host=f"{bucket}.s3", connect_timeout=self._settings.timeout_seconds
            )
        except SettingsError as error:
            raise NotConfigured(error.message) from error
        account.open(self._secrets)
        self._accounts[name] = account
        return account

    def _allowed(self, reference: SourceReference) -> tuple[str, str]:
        bucket, prefix = _parsed(reference.url)
        if not reference.trusted and bucket not in self._settings.buckets:
            raise Denied("models can be added from the buckets that the settings name for it")
        return bucket, prefix


def _parsed(url: str) -> tuple[str, str]:
    bucket, _, prefix = url.partition("://")[2].partition("/")
    if not re.fullmatch(_BUCKET, bucket) or "?" in prefix or "#" in prefix:
        raise Invalid(f"source: {url[:200]} should look like s3://bucket/prefix", param="source")
    return bucket, unquote(prefix)


ADAPTER = ObjectStorageSource
