"""Whoever takes batches over HTTP: a collector of logs, a SIEM, a service that looks at traces."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from polyforge.egress.delivery import Delivered, deliver
from polyforge.egress.http import HttpClient
from polyforge.kernel.errors import SettingsError, Unavailable
from polyforge.ports.secret_source import SecretSource, Stop
from polyforge.secrets.references import SecretRef


class Receiver:
    """Posts to one address, a batch after the other, with the secrets as they are at that moment.

    `references` are all secrets that may be asked for, `seconds` is the time for one call, `ca` a PEM file of the
    authorities that may vouch for the receiver, instead of the usual ones.
    """

    def __init__(
        self,
        url: str,
        media_type: str,
        seconds: float,
        references: Iterable[SecretRef],
        most_bytes: int,
        ca: Path | None = None,
    ) -> None:
        parts = urlsplit(url)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._path = parts.path + (f"?{parts.query}" if parts.query else "")
        self._headers = {"content-type": media_type, "user-agent": "polyforge"}
        self._seconds = seconds
        self._references = list(references)
        self._most_bytes = most_bytes
        self._ca = ca
        self._client: HttpClient | None = None
        self._secrets: SecretSource | None = None
        self._unwatch: list[Stop] = []

    async def open(self, secrets: SecretSource) -> None:
        """Look whether the secrets are there; those of the database may come later. SettingsError without one."""
        self._client = self._connectable()
        self._secrets = secrets
        for reference in self._references:
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

    def reveal(self, reference: SecretRef) -> str:
        """A secret as it is now, so that a new one is used from the next batch on."""
        return reference.reveal(self._secrets)

    async def post(self, path: str, body: bytes, credentials: Mapping[str, str]) -> Delivered:
        """Post a batch to the address with `path` behind it; Unavailable when no answer comes in time."""
        if self._client is None:
            raise Unavailable("the sink is not open")
        call = self._client.post(self._path + path or "/", body, {}, credentials)
        return await deliver(call, self._seconds, self._most_bytes)

    def _connectable(self) -> HttpClient:
        try:
            return HttpClient(self._origin, self._headers, self._seconds, max_connections=1, ca=self._ca)
        except OSError as error:
            raise SettingsError(f"ca: cannot use {self._ca}: {error.strerror or error}") from error


def _ignore() -> None:
    """A changed secret needs nothing done: it is asked for with each batch."""
