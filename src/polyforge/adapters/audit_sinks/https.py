"""A SIEM or log collector that takes lines of JSON over HTTPS: Splunk's raw endpoint, Vector, Fluent Bit, Logstash."""

import asyncio
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from polyforge.egress.http import HttpClient
from polyforge.kernel.errors import Invalid, PolyforgeError, Unavailable
from polyforge.kernel.retry_after import read_retry_after
from polyforge.ports.audit_sink import SEND_SECONDS
from polyforge.secrets.references import SecretRef

_OK: Final = range(200, 300)
_REFUSED: Final = frozenset({400, 413, 422})
"""Statuses that speak of what was sent; with any other, such as 401 or 404, waiting or an operator can help."""


class Settings(BaseModel):
    """An endpoint and how it is called."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(description="Where lines of JSON are posted to; `http://` is for what runs on the same machine.")
    token: SecretRef | None = Field(default=None, description="Sent as `Authorization: Bearer`.")
    headers: dict[str, SecretRef] = Field(default_factory=dict, description="Sent with every batch.")
    timeout_seconds: float = Field(default=10.0, gt=0, lt=SEND_SECONDS, description="For one batch altogether.")

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            usable = (
                parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0 and "@" not in parts.netloc
            )
        except ValueError:
            usable = False
        if not usable or not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError("must be an http or https URL, without a user in it")
        return url


class HttpsSink:
    """Posts batches, each an `application/x-ndjson` body."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        parts = urlsplit(settings.url)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._client: HttpClient | None = None

    async def open(self) -> None:
        """Read the secrets; SettingsError when one is missing."""
        headers = {name: value.reveal() for name, value in self._settings.headers.items()}
        if self._settings.token is not None:
            headers["authorization"] = f"Bearer {self._settings.token.reveal()}"
        headers |= {"content-type": "application/x-ndjson", "user-agent": "polyforge"}
        self._client = HttpClient(self._origin, headers, self._settings.timeout_seconds, max_connections=1)

    async def close(self) -> None:
        """Hang up."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def send(self, lines: Sequence[bytes]) -> None:
        """Post them; any 2xx accepts them."""
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                await self._post(b"".join(line + b"\n" for line in lines))
        except TimeoutError as error:
            raise Unavailable("the sink did not answer in time") from error
        except Invalid:
            raise
        except PolyforgeError as error:
            raise Unavailable(error.message, retry_after=error.retry_after) from error

    async def _post(self, body: bytes) -> None:
        if self._client is None:
            raise Unavailable("the sink is not open")
        answer = self._client.post(self._path, body, {})
        try:
            await answer.open()
            await answer.error_body()
            status, retry_after = answer.status, read_retry_after(answer.header)
        finally:
            await answer.close()
        if status in _REFUSED:
            raise Invalid(f"the sink refused it with {status}")
        if status not in _OK:
            raise Unavailable(f"the sink answered {status}", retry_after=retry_after)


ADAPTER = HttpsSink
