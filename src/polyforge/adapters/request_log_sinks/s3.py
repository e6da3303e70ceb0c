"""A bucket of S3, or of what speaks its API, as objects of JSON lines by day.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import Field

from polyforge.egress.delivery import deliver
from polyforge.kernel.errors import Invalid, Unavailable
from polyforge.kernel.request_log import LoggedRequest, RequestBatch, line_of
from polyforge.ports.request_log_sink import SEND_SECONDS
from polyforge.ports.secret_source import SecretSource
from polyforge.upstreams.aws import AwsAccount, AwsSettings

_ANSWER_BYTES: Final = 65_536
_TYPE: Final = "application/x-ndjson"


class Settings(AwsSettings):
    """A bucket, and where in it objects go."""

    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", description="Name of the bucket.")
    prefix: str = Field(
        default="polyforge",
        pattern=r"^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*$",
        max_length=500,
        description="What the names of objects begin with; `/YEAR/MONTH/DAY/` follows.",
    )
    timeout_seconds: float = Field(default=15.0, gt=0, lt=SEND_SECONDS, description="For one object.")
    gather_seconds: float = Field(default=60.0, ge=0, le=3600, description="How long requests wait for others.")


class S3Sink:
    """Writes an object per batch and day of its requests; a batch that comes again writes over the same objects."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.gather_seconds = settings.gather_seconds
        self._account: AwsAccount | None = None

    async def open(self, secrets: SecretSource) -> None:
        """Look whether the credentials are there; those of the database may come later. SettingsError without."""
        settings = self._settings
        self._account = AwsAccount(
            settings, service="s3", host=f"{settings.bucket}.s3", connect_timeout=settings.timeout_seconds
        )
        self._account.open(secrets)

    async def close(self) -> None:
        """Hang up."""
        account, self._account = self._account, None
        if account is not None:
            await account.close()

    async def send(self, batch: RequestBatch) -> None:
        """Write them."""
        if self._account is None:
            raise Unavailable("the sink is not open")
        for day, requests in sorted(_by_day(batch.requests).items()):
            body = await asyncio.to_thread(_lines_of, requests)
            await self._put(self._account, f"/{self._settings.prefix}/{day}/{batch.first:020d}.jsonl", body)

    async def _put(self, account: AwsAccount, path: str, body: bytes) -> None:
        """With an endpoint of one's own the bucket stands in the path."""
        path = path if self._settings.endpoint is None else f"/{self._settings.bucket}{path}"
        answer = await deliver(await account.put(path, body, _TYPE), self._settings.timeout_seconds, _ANSWER_BYTES)
        try:
            answer.require_taken()
        except Invalid as error:
            # S3 refuses settings and clocks with it, never what an object says.
            raise Unavailable(error.message) from error


def _by_day(requests: Sequence[LoggedRequest]) -> Mapping[str, list[LoggedRequest]]:
    days: dict[str, list[LoggedRequest]] = {}
    for request in requests:
        days.setdefault(time.strftime("%Y/%m/%d", time.gmtime(request.started_at)), []).append(request)
    return days


def _lines_of(requests: Sequence[LoggedRequest]) -> bytes:
    return b"".join(line_of(request) + b"\n" for request in requests)


ADAPTER = S3Sink
