"""The credentials of one account at a provider, put before each call, and renewed when their secret changes."""

from collections.abc import Callable, Mapping

from polyforge.egress.http import Answer, HttpClient
from polyforge.kernel.errors import NotConfigured, SettingsError
from polyforge.kernel.hidden import Hidden
from polyforge.ports.secret_source import SecretSource, Stop
from polyforge.secrets.references import SecretRef

Credentials = Callable[[str | None], Mapping[str, str]]
"""The headers that carry a key, which is None where none is configured."""


class Account:
    """Calls one HTTP API with a key that stands in the settings or is a `secret:`.

    `credentials` writes all that identifies our account, `brought` only a key that a caller brought instead.
    """

    def __init__(self, http: HttpClient, key: SecretRef | None, credentials: Credentials, brought: Credentials) -> None:
        self._http = http
        self._key = key
        self._credentials = credentials
        self._brought = brought
        self._secrets: SecretSource | None = None
        self._unwatch: Stop | None = None
        self._ready = False
        if key is None or key.name is None:
            self._authorize()

    def open(self, secrets: SecretSource) -> None:
        """Follow the key, where it is one of `secrets`; connections are made when they are needed."""
        if self._key is not None and self._key.name is not None:
            self._secrets = secrets
            self._unwatch = secrets.watch(self._key.name, self._forget)

    async def close(self) -> None:
        """Let go of connections."""
        if self._unwatch is not None:
            self._unwatch()
        await self._http.close()

    def post(self, path: str, body: bytes, headers: Mapping[str, str], brought: Hidden | None = None) -> Answer:
        """A call to be opened; with the key that the caller `brought` instead of ours, if there is one.

        NotConfigured while our key is missing or no good.
        """
        if brought is not None:
            return self._http.post(path, body, headers, self._brought(brought.reveal()))
        if not self._ready:
            self._authorize()
        return self._http.post(path, body, headers)

    def get(self, path: str) -> Answer:
        """A call without a body, to be opened; NotConfigured as for `post`."""
        if not self._ready:
            self._authorize()
        return self._http.get(path)

    def _forget(self) -> None:
        """Look for the key again before the next call."""
        self._ready = False

    def _authorize(self) -> None:
        key = self._key
        revealed = None if key is None else key.reveal(self._secrets)
        try:
            self._http.authorize(self._credentials(revealed))
        except SettingsError as error:
            if key is None or key.name is None:
                raise
            raise NotConfigured(f"{key} is no key: {error.message}") from error
        self._ready = True


def bearer(key: str | None) -> dict[str, str]:
    """The header of OAuth 2 and of OpenAI's API."""
    return {} if key is None else {"authorization": f"Bearer {key}"}
