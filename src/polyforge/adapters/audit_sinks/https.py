"""A SIEM or log collector that takes lines of JSON over HTTPS: Splunk's raw endpoint, Vector, Fluent Bit, Logstash."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from polyforge.egress.http import HttpClient
from polyforge.kernel.errors import Invalid, PolyforgeError, SettingsError, Unavailable
from polyforge.kernel.retry_after import read_retry_after
from polyforge.ports.audit_sink import SEND_SECONDS
from polyforge.ports.secret_source import SecretSource, Stop
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
    ca: Path | None = Field(
        default=None, description="PEM file of the authorities that may vouch for it; default: the usual ones."
    )
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
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._client: HttpClient | None = None
        self._secrets: SecretSource | None = None
        self._unwatch: list[Stop] = []

    async def open(self, secrets: SecretSource) -> None:
        """Look whether the secrets are there; those of the database may come later. SettingsError without one."""
        self._client = self._connectable()
        self._secrets = secrets
        for reference in self._references().values():
            if reference.name is None:
                reference.reveal()
            else:
                self._unwatch.append(secrets.watch(reference.name, _ignore))

    async def close(self) -> None:
        """Hang up."""
        for stop in self._unwatch:
            stop()
        self._unwatch.clear()
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
        answer = self._client.post(self._path, body, {}, self._credentials())
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

    def _connectable(self) -> HttpClient:
        headers = {"content-type": "application/x-ndjson", "user-agent": "polyforge"}
        settings = self._settings
        try:
            return HttpClient(self._origin, headers, settings.timeout_seconds, max_connections=1, ca=settings.ca)
        except OSError as error:
            raise SettingsError(f"ca: cannot use {settings.ca}: {error.strerror or error}") from error

    def _references(self) -> dict[str, SecretRef]:
        token = self._settings.token
        return self._settings.headers | ({} if token is None else {"authorization": token})

    def _credentials(self) -> dict[str, str]:
        """The secrets as they are now, so that a new one is used from the next batch on."""
        found = {name: reference.reveal(self._secrets) for name, reference in self._references().items()}
        if self._settings.token is not None:
            found["authorization"] = f"Bearer {found['authorization']}"
        return found


def _ignore() -> None:
    """A changed secret needs nothing done: it is asked for with each batch."""


ADAPTER = HttpsSink
